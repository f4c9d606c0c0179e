//! A passkey's secret part, and the authenticator data that it signs (WebAuthn L3 sections 6.1 and 6.5).

use crate::record::Held;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::seal::{self, SealError};
use keyferry_crypto::secret::SecretVec;
use keyferry_crypto::sign::SigningKey;
use keyferry_crypto::tree::SecurityDomainSecret;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::Metadata;
use keyferry_wire::relying_party::RpId;
use keyferry_wire::{AccountId, CredentialId, Wire, Writer, message};

/// COSE algorithm ECDSA with P-256 and SHA-256 (RFC 9053).
pub(crate) const ES256: i64 = -7;

message! {
    /// Opens in the enclave only.
    pub(crate) struct Passkey {
        1 => pub(crate) alg: i64,
        2 => pub(crate) private: Held<32>,
        3 => pub(crate) public: Bytes,
        4 => pub(crate) user_id: Bytes,
        /// hmac-secret's CredRandomWithUV and CredRandomWithoutUV.
        5 => pub(crate) prf_verified: Held<32>,
        6 => pub(crate) prf_unverified: Held<32>,
    }
}

/// Where a passkey's ciphertext belongs: its associated data.
pub(crate) struct Place<'a> {
    pub(crate) account: &'a AccountId,
    pub(crate) credential: &'a CredentialId,
    pub(crate) epoch: u32,
}

/// Blob sizes tell nothing but a class of 64 bytes.
const BLOB_PADDING: usize = 64;
const METADATA_PADDING: usize = 64;

impl Passkey {
    pub(crate) fn generate(user_id: Bytes, random: &mut dyn Random) -> (Passkey, SigningKey) {
        let key = SigningKey::generate(random);
        let passkey = Passkey {
            alg: ES256,
            private: Held(*key.scalar().expose()),
            public: key.public().to_vec().into(),
            user_id,
            prf_verified: Held::random(random),
            prf_unverified: Held::random(random),
        };
        (passkey, key)
    }

    pub(crate) fn seal(
        &self,
        sds: &SecurityDomainSecret,
        place: &Place<'_>,
        rp_id: &RpId,
        random: &mut dyn Random,
    ) -> Vec<u8> {
        let key = sds.passkey_key(&place.credential.0, rp_id.as_str());
        let plain = SecretVec::new(self.to_bytes());
        let aad = place.aad(rp_id.as_str());
        let salt = random::bytes(random);
        seal::seal_padded(key.expose(), Label::PasskeyBlob, &aad.each(), plain.expose(), salt, BLOB_PADDING)
    }

    /// Opens for its own relying party alone: the id is in the key and in the associated data.
    pub(crate) fn open(
        sds: &SecurityDomainSecret,
        place: &Place<'_>,
        rp_id: &RpId,
        blob: &[u8],
    ) -> Result<Passkey, SealError> {
        let key = sds.passkey_key(&place.credential.0, rp_id.as_str());
        let aad = place.aad(rp_id.as_str());
        let plain = seal::open_padded(key.expose(), Label::PasskeyBlob, &aad.each(), blob)?;
        Passkey::from_bytes(plain.expose()).map_err(|_| SealError)
    }

    pub(crate) fn signing_key(&self) -> Option<SigningKey> {
        let public = <[u8; 65]>::try_from(&self.public[..]).ok()?;
        SigningKey::from_parts(&self.private.0, &public).ok()
    }
}

/// Metadata under K_meta: for member devices, which list passkeys with it.
pub(crate) fn seal_metadata(
    sds: &SecurityDomainSecret,
    place: &Place<'_>,
    metadata: &Metadata,
    random: &mut dyn Random,
) -> Vec<u8> {
    let key = sds.metadata_key();
    let epoch = place.epoch.to_be_bytes();
    let aad: [&[u8]; 3] = [&place.account.0, &place.credential.0, &epoch];
    let salt = random::bytes(random);
    seal::seal_padded(key.expose(), Label::MetadataRow, &aad, &metadata.to_bytes(), salt, METADATA_PADDING)
}

/// Opens metadata again, to change it.
pub(crate) fn open_metadata(
    sds: &SecurityDomainSecret,
    place: &Place<'_>,
    sealed: &[u8],
) -> Result<Metadata, SealError> {
    let key = sds.metadata_key();
    let epoch = place.epoch.to_be_bytes();
    let aad: [&[u8]; 3] = [&place.account.0, &place.credential.0, &epoch];
    let plain = seal::open_padded(key.expose(), Label::MetadataRow, &aad, sealed)?;
    Metadata::from_bytes(plain.expose()).map_err(|_| SealError)
}

/// Class of what a ciphertext holds: a synced passkey.
const CLASS_SYNCED: [u8; 1] = [1];

struct PlaceAad<'a> {
    place: &'a Place<'a>,
    rp_id: &'a str,
    epoch: [u8; 4],
}

impl<'a> Place<'a> {
    fn aad(&'a self, rp_id: &'a str) -> PlaceAad<'a> {
        PlaceAad { place: self, rp_id, epoch: self.epoch.to_be_bytes() }
    }
}

impl PlaceAad<'_> {
    fn each(&self) -> [&[u8]; 5] {
        [&self.place.account.0, &self.place.credential.0, self.rp_id.as_bytes(), &self.epoch, &CLASS_SYNCED]
    }
}

const FLAG_UP: u8 = 0x01;
const FLAG_UV: u8 = 0x04;
const FLAG_BE: u8 = 0x08;
const FLAG_BS: u8 = 0x10;
const FLAG_AT: u8 = 0x40;

/// Authenticator data of an assertion: the passkey is backed up and eligible to be (BE, BS), its counter is 0.
pub(crate) fn assertion_data(rp_id: &RpId, verified: bool) -> Vec<u8> {
    let uv = if verified { FLAG_UV } else { 0 };
    let mut data = Vec::with_capacity(37);
    data.extend_from_slice(&sha256(&[rp_id.as_str().as_bytes()]));
    data.push(FLAG_UP | FLAG_BE | FLAG_BS | uv);
    data.extend_from_slice(&[0; 4]);
    data
}

/// Authenticator data of a new credential, with its attested credential data.
pub(crate) fn registration_data(
    rp_id: &RpId,
    verified: bool,
    aaguid: &[u8; 16],
    credential: &CredentialId,
    cose_key: &[u8],
) -> Vec<u8> {
    let mut data = assertion_data(rp_id, verified);
    if let Some(flags) = data.get_mut(32) {
        *flags |= FLAG_AT;
    }
    data.extend_from_slice(aaguid);
    data.extend_from_slice(&[0, 16]);
    data.extend_from_slice(&credential.0);
    data.extend_from_slice(cose_key);
    data
}

/// How a new credential is vouched for.
pub(crate) enum Attestation {
    None,
}

/// The attestation object (canonical CBOR, as CTAP2 orders its keys).
pub(crate) fn attestation_object(attestation: &Attestation, authenticator_data: &[u8]) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(3);
    w.text("fmt");
    match attestation {
        Attestation::None => {
            w.text("none");
            w.text("attStmt");
            w.map(0);
        }
    }
    w.text("authData");
    w.byte_string(authenticator_data);
    w.into_bytes()
}
