//! The envelope that carries a TEE's evidence (RATS, RFC 9334).

use crate::cbor::Bytes;
use crate::message;

message! {
    /// Evidence of one enclave instance. `runtime_data` is the exact bytes of a JSON object;
    /// `SHA-256(runtime_data) || 32 zero bytes` is the report data that `report` vouches for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Evidence {
        1 => pub version: u16,
        /// `snp`, `snp-aci`, `tdx`, `nitro`, `tpm`, or the stand-in `sim`.
        2 => pub kind: String,
        3 => pub report: Bytes,
        4 => pub endorsements: Vec<Bytes>,
        5 => pub init_data: Bytes,
        6 => pub runtime_data: Bytes,
    }
}

message! {
    /// The report of evidence kind `sim`, the named stand-in for a TEE: bound like a real one, signed by nobody.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SimReport {
        1 => pub measurement: crate::Hash,
        2 => pub debug: bool,
        3 => pub report_data: [u8; 64],
    }
}

/// Audience of the evidence that a starting enclave shows to its key broker; no deployment has this name.
pub const KEY_BROKER: &str = "key-broker";

/// Name of the stand-in kind.
pub const SIM: &str = "sim";
