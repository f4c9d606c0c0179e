//! The table of domain-separation labels, so that two uses of one key can never be confused. Only the public hashes
//! that the gateway computes, too, have theirs in `keyferry-tlog::state`. docs/PROTOCOL.md lists all of them, and
//! `cargo xtask tidy` compares.

macro_rules! labels {
    ($($(#[$meta:meta])* $name:ident = $word:literal,)+) => {
        /// What a derived key, a hash, a MAC or a sealed text is for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Label { $($(#[$meta])* $name,)+ }

        impl Label {
            /// Every label, in the order of the table.
            pub const ALL: &'static [Label] = &[$(Label::$name,)+];

            /// The bytes that enter the computation.
            pub const fn as_str(self) -> &'static str {
                match self { $(Label::$name => concat!("keyferry/v1/", $word),)+ }
            }
        }
    };
}

labels! {
    /// Account record: row key from the account key, and its AEAD.
    RecordAccount = "record-account",
    /// Device part of a record.
    RecordDevice = "record-device",
    /// K_svc under K_root.
    ServiceSeal = "service-seal",
    /// K_log: Ed25519 seed of a shard's log.
    LogSign = "log-sign",
    /// K_map: blinds account ids for the map.
    MapKey = "map-key",
    /// K_name: account ids.
    AccountName = "account-name",
    /// K_id: tags of verified claims.
    Identity = "identity",
    /// K_acct.
    AccountKey = "account-key",
    /// Hash of a security domain secret in the record.
    SdsHash = "sds-hash",
    /// W_dev: SDS or member key under a device's K_dw.
    DeviceWrap = "device-wrap",
    /// A member's private key, and HPKE of SDS to a member.
    MemberWrap = "member-wrap",
    /// W_pin: member key under K_pin.
    PinWrap = "pin-wrap",
    /// W_prev: the SDS of the epoch before.
    EpochPrev = "epoch-prev",
    /// K_pk: key of one passkey.
    Passkey = "passkey",
    /// The passkey's blob.
    PasskeyBlob = "passkey-blob",
    /// A passkey's large blob.
    LargeBlob = "large-blob",
    /// K_meta.
    Metadata = "metadata",
    /// A metadata row.
    MetadataRow = "metadata-row",
    /// Tag by which an owner finds its leaf.
    AuditLeafTag = "audit-leaf-tag",
    /// Key and AEAD of a leaf's event.
    AuditLeafSeal = "audit-leaf-seal",
    /// Key and value of a leaf's hiding commitment.
    AuditLeafCommit = "audit-leaf-commit",
    /// Detail record that a leaf commits to.
    AuditDetail = "audit-detail",
    /// Request signature by the device key.
    RequestHw = "request-hw",
    /// Request signature by the user-verification key.
    RequestUv = "request-uv",
    /// h: identity of one PIN attempt.
    Attempt = "attempt",
    /// K_pin.
    PinKey = "pin-key",
    /// The enclave's check value of a client key.
    PinTag = "pin-tag",
    /// The commitment that the client checks before it speaks.
    PinCommit = "pin-commit",
    /// client_key from OPRF output and hardened PIN.
    PinClient = "pin-client",
    /// Argon2id salt of the PIN.
    PinSalt = "pin-salt",
    /// Nonce of the OPRF proof.
    OprfNonce = "oprf-nonce",
    /// Argon2id salt of the account password.
    PasswordSalt = "password-salt",
    /// The enclave's check value of a password proof.
    PasswordCheck = "password-check",
    /// Noise prologue.
    NoisePrologue = "noise-prologue",
    /// Release of a root key to an enclave.
    Release = "release",
    /// HPKE to a device or an enclave.
    DeviceBox = "device-box",
    /// AAGUID of a deployment and mode.
    Aaguid = "aaguid",
    /// What a client's resumable flow draws from its seed.
    FlowSeed = "flow-seed",
    /// Identity of an operation.
    Op = "op",
    /// Device id from its keys.
    DeviceId = "device-id",
    /// Guard of a software uv key behind a device PIN.
    UvGuard = "uv-guard",
    /// A credential id: a function of the operation that made it.
    CredentialId = "credential-id",
}

impl Label {
    /// The bytes that enter the computation.
    pub const fn as_bytes(self) -> &'static [u8] {
        self.as_str().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_labels_share_their_bytes() {
        let all: BTreeSet<_> = Label::ALL.iter().map(|label| label.as_str()).collect();
        assert_eq!(all.len(), Label::ALL.len());
    }

    #[test]
    fn every_label_is_lower_case_words_under_the_version() {
        for label in Label::ALL {
            let word = label.as_str().strip_prefix("keyferry/v1/").expect("prefix");
            assert!(word.chars().all(|c| c.is_ascii_lowercase() || c == '-'), "{word}");
            assert!(label.as_bytes().len() < 64);
        }
    }
}
