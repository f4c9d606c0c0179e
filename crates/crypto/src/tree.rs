//! The key tree of the design, section 5: which key comes from which. Each key is a type, so that a function that
//! wants an audit key cannot be given a root key.
//!
//! Ids come as bytes and numbers as u64; both are framed (see [`crate::hash`]), numbers as 8 bytes big-endian.
//! Absent: what is wrapped under which key with which associated data; that is said where it is sealed (`engine`,
//! `client`), with [`crate::seal`] and the labels here.

use crate::{
    hash, kdf,
    label::Label,
    seal::{self, SealError},
    secret::SecretVec,
    sign::{Ed25519Seed, LogKey},
};

/// A member's pair (M_priv, M_pub): opens the SDS of each epoch that was left for it.
pub type MemberKey = crate::hpke::BoxKey;

crate::secret! {
    /// K_root: never leaves the HSM but to an attested enclave.
    pub struct RootKey(32);
    /// K_svc: drawn once at genesis, kept sealed under K_root.
    pub struct ServiceKey(32);
    /// K_map: blinds account ids towards the store.
    pub struct MapKey(32);
    /// K_name: makes account ids from names.
    pub struct NameKey(32);
    /// K_id: makes tags of verified claims.
    pub struct IdentityKey(32);
    /// K_acct: seals one account's record under one root.
    pub struct AccountKey(32);
    /// SDS: the security domain secret of one epoch, never stored next to its key.
    pub struct SecurityDomainSecret(32);
    /// K_pk: opens one passkey.
    pub struct PasskeyKey(32);
    /// K_meta: opens the list of passkeys of one epoch, and no passkey.
    pub struct MetadataKey(32);
    /// Opens the SDS of the epoch before.
    pub struct PrevKey(32);
    /// K_audit: opens the account's ledger entries of one epoch.
    pub struct AuditKey(32);
    /// K_dw: the enclave's half of a device's wrap.
    pub struct DeviceWrapKey(32);
    /// Encrypts the event of one leaf.
    pub struct LeafSealKey(32);
    /// Blinds the commitment of one leaf.
    pub struct LeafCommitKey(32);
}

impl RootKey {
    /// K_acct of an account under this root.
    pub fn account_key(&self, log_id: &[u8; 32], account: &[u8]) -> AccountKey {
        AccountKey::make(|key| kdf::derive_into(self.expose(), Label::AccountKey, &[log_id, account], key))
    }

    /// Seals K_svc; `root` is the number r of this root key.
    pub fn seal_service(
        &self,
        service: &ServiceKey,
        log_id: &[u8; 32],
        root: u64,
        salt: [u8; 16],
    ) -> Vec<u8> {
        let aad: &[&[u8]] = &[log_id, &root.to_be_bytes()];
        seal::seal(self.expose(), Label::ServiceSeal, aad, service.expose(), salt)
    }

    /// Opens K_svc.
    pub fn open_service(&self, sealed: &[u8], log_id: &[u8; 32], root: u64) -> Result<ServiceKey, SealError> {
        let aad: &[&[u8]] = &[log_id, &root.to_be_bytes()];
        let bytes = seal::open(self.expose(), Label::ServiceSeal, aad, sealed)?;
        ServiceKey::from_slice(bytes.expose()).ok_or(SealError)
    }
}

impl ServiceKey {
    /// K_log of a shard: the same for every boot and every root.
    pub fn log_key(&self, log_id: &[u8; 32], shard: u64) -> LogKey {
        let context: &[&[u8]] = &[log_id, &shard.to_be_bytes()];
        LogKey::from_seed(&Ed25519Seed::make(|seed| {
            kdf::derive_into(self.expose(), Label::LogSign, context, seed);
        }))
    }

    /// K_map.
    pub fn map_key(&self, log_id: &[u8; 32]) -> MapKey {
        MapKey::make(|key| kdf::derive_into(self.expose(), Label::MapKey, &[log_id], key))
    }

    /// K_name.
    pub fn name_key(&self, log_id: &[u8; 32]) -> NameKey {
        NameKey::make(|key| kdf::derive_into(self.expose(), Label::AccountName, &[log_id], key))
    }

    /// K_id.
    pub fn identity_key(&self, log_id: &[u8; 32]) -> IdentityKey {
        IdentityKey::make(|key| kdf::derive_into(self.expose(), Label::Identity, &[log_id], key))
    }
}

impl MapKey {
    /// Where the map and the store keep an account; its first bits are the shard.
    pub fn blind(&self, account: &[u8]) -> [u8; 32] {
        hash::hmac(self.expose(), Label::MapKey, &[account])
    }
}

impl NameKey {
    /// The account id of a local name (no issuer) or of an issuer's subject.
    pub fn account_id(&self, kind: &[u8], issuer: &[u8], subject: &[u8]) -> [u8; 32] {
        hash::hmac(self.expose(), Label::AccountName, &[kind, issuer, subject])
    }
}

impl IdentityKey {
    /// What the enclave keeps of a stable claim, bound to the account.
    pub fn tag(&self, account: &[u8], claim: &[u8], value: &[u8]) -> [u8; 32] {
        hash::hmac(self.expose(), Label::Identity, &[account, claim, value])
    }
}

impl SecurityDomainSecret {
    /// What the record keeps, so that an opened SDS can be checked.
    pub fn hash(&self, account: &[u8], epoch: u64) -> [u8; 32] {
        hash::labelled_hash(Label::SdsHash, &[account, &epoch.to_be_bytes(), self.expose()])
    }

    /// K_pk: bound to the credential and to the relying party, so that a passkey opens for its own site alone.
    pub fn passkey_key(&self, credential: &[u8], rp_id: &str) -> PasskeyKey {
        let context: &[&[u8]] = &[credential, &hash::sha256(&[rp_id.as_bytes()])];
        PasskeyKey::make(|key| kdf::derive_into(self.expose(), Label::Passkey, context, key))
    }

    /// K_meta of this epoch.
    pub fn metadata_key(&self) -> MetadataKey {
        MetadataKey::make(|key| kdf::derive_into(self.expose(), Label::Metadata, &[], key))
    }

    /// The key under which the SDS of the epoch before is kept.
    pub fn prev_key(&self) -> PrevKey {
        PrevKey::make(|key| kdf::derive_into(self.expose(), Label::EpochPrev, &[], key))
    }
}

impl AuditKey {
    /// The public tag of the account's leaf number `seq`: the owner computes it and finds the leaf in any mirror.
    pub fn tag(&self, seq: u64) -> [u8; 32] {
        hash::hmac(self.expose(), Label::AuditLeafTag, &[&seq.to_be_bytes()])
    }

    /// The keys of leaf `seq`. `random` are the 16 bytes in the leaf: a fork never repeats key and nonce.
    pub fn leaf_keys(&self, seq: u64, random: &[u8; 16]) -> LeafKeys {
        let context: &[&[u8]] = &[&seq.to_be_bytes(), random];
        LeafKeys {
            seal: LeafSealKey::make(|key| {
                kdf::derive_into(self.expose(), Label::AuditLeafSeal, context, key);
            }),
            commit: LeafCommitKey::make(|key| {
                kdf::derive_into(self.expose(), Label::AuditLeafCommit, context, key);
            }),
        }
    }
}

/// The two keys of one leaf.
#[derive(Debug)]
pub struct LeafKeys {
    /// Encrypts the event.
    pub seal: LeafSealKey,
    /// Blinds the commitment.
    pub commit: LeafCommitKey,
}

impl LeafKeys {
    /// Encrypts the leaf's one event: ciphertext || 16-byte tag, no header, since the leaf has its size fixed. The
    /// key is single-use, hence a zero nonce.
    pub fn seal_event(&self, aad: &[&[u8]], event: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(event.len() + 16);
        seal::seal_once(self.seal.expose(), Label::AuditLeafSeal, aad, event, &mut out);
        out
    }

    /// Opens what [`LeafKeys::seal_event`] made.
    pub fn open_event(&self, aad: &[&[u8]], sealed: &[u8]) -> Result<SecretVec, SealError> {
        seal::open_once(self.seal.expose(), Label::AuditLeafSeal, aad, sealed)
    }

    /// The hiding commitment to `parts`.
    pub fn commitment(&self, parts: &[&[u8]]) -> [u8; 32] {
        hash::hmac(self.commit.expose(), Label::AuditLeafCommit, parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Seeded, hex};

    const LOG: [u8; 32] = [1; 32];
    const ACCOUNT: [u8; 32] = [2; 32];
    const BYTES: [u8; 32] = [5; 32];

    // Kept for ever: what was sealed or named with these keys must be found again. Computed in Python
    // (`cryptography` HKDF, HMAC and Ed25519) from the framing rule alone.
    #[test]
    fn every_key_is_that_of_another_implementation() {
        let root = RootKey::from_bytes(BYTES);
        let service = ServiceKey::from_bytes(BYTES);
        let sds = SecurityDomainSecret::from_bytes(BYTES);
        let audit = AuditKey::from_bytes(BYTES);
        let leaf = audit.leaf_keys(9, &[6; 16]);
        let name = service.name_key(&LOG).account_id(b"local", b"", b"alice");
        let pairs: [([u8; 32], &str); 12] = [
            (
                *root.account_key(&LOG, &ACCOUNT).expose(),
                "0bb22d085e223f1b3c8b30a242e8c8de7db65445dd2ca681d4bcfe160d9b87b6",
            ),
            (
                service.log_key(&LOG, 3).public(),
                "87c15189554ab2da0687087b6bf61a425ffb3dcca7ca573852159daefcca10b6",
            ),
            (
                service.map_key(&LOG).blind(&ACCOUNT),
                "acf87c1e2dfc40a18a0a36af5494b67eabca5e564225cb7ceaf772688d756154",
            ),
            (name, "446cc427fdc0584115a556eb252618a3f0a796abeed45d97f5e214124c5a713d"),
            (
                service.identity_key(&LOG).tag(&ACCOUNT, b"sub", b"42"),
                "fda6a9a2400b624f67308ec3f1b7aee2301894749c313abde4e1e58290342996",
            ),
            (sds.hash(&ACCOUNT, 7), "860033790f21c1fac0c6ac72b0c3752a754c1906bf68ca3e1533159ae19e6044"),
            (
                *sds.passkey_key(b"credential", "example.com").expose(),
                "41bf070916913b44fa571b5a3d9300fa722b91e72e5b0d01183635a752647a76",
            ),
            (
                *sds.metadata_key().expose(),
                "72260ba3591c4fc12a6ae5f2a353c15a775db98370353635a5950370f4be89e8",
            ),
            (*sds.prev_key().expose(), "ecf08b40b4807579ae5e2b69276ea796dba6fb2bd1ada2a3ef32a00b9d27b667"),
            (audit.tag(9), "176e5ab64879e9411c72a31bbf9383d11b8dd29860b4dbf56832d010e5a0af35"),
            (*leaf.seal.expose(), "45825267b14cb1165c0c9266fb7a61a19dac168ce2b9d4dfc0de8453d0aef2aa"),
            (
                leaf.commitment(&[b"event"]),
                "4c0030f1c00ae7cdd08aab828d9c88bcd16be1c5ba26c5547c2144cdd41fd863",
            ),
        ];
        for (index, (actual, expected)) in pairs.into_iter().enumerate() {
            assert_eq!(actual.to_vec(), hex(expected), "{index}");
        }
    }

    #[test]
    fn a_passkey_key_is_bound_to_credential_site_and_epoch() {
        let sds = SecurityDomainSecret::from_bytes(BYTES);
        let key = sds.passkey_key(b"credential", "example.com");
        assert!(!key.matches(sds.passkey_key(b"credential", "example.org").expose()));
        assert!(!key.matches(sds.passkey_key(b"credentiam", "example.com").expose()));
        let next = SecurityDomainSecret::from_bytes([6; 32]);
        assert!(!key.matches(next.passkey_key(b"credential", "example.com").expose()));
    }

    #[test]
    fn the_service_key_opens_under_its_root_log_and_number_alone() {
        let mut random = Seeded::new(1);
        let (root, other) = (RootKey::random(&mut random), RootKey::random(&mut random));
        let service = ServiceKey::random(&mut random);
        let sealed = root.seal_service(&service, &LOG, 4, [7; 16]);
        assert!(root.open_service(&sealed, &LOG, 4).unwrap().matches(service.expose()));
        assert!(root.open_service(&sealed, &LOG, 5).is_err());
        assert!(root.open_service(&sealed, &ACCOUNT, 4).is_err());
        assert!(other.open_service(&sealed, &LOG, 4).is_err());
        let short =
            seal::seal(root.expose(), Label::ServiceSeal, &[&LOG, &4_u64.to_be_bytes()], b"x", [7; 16]);
        assert!(root.open_service(&short, &LOG, 4).is_err());
    }

    #[test]
    fn shards_and_logs_have_keys_of_their_own() {
        let service = ServiceKey::from_bytes(BYTES);
        assert_ne!(service.log_key(&LOG, 0).public(), service.log_key(&LOG, 1).public());
        assert_ne!(service.log_key(&LOG, 0).public(), service.log_key(&ACCOUNT, 0).public());
    }

    #[test]
    fn account_names_cannot_be_shifted_between_issuer_and_subject() {
        let key = NameKey::from_bytes(BYTES);
        assert_ne!(key.account_id(b"oidc", b"ab", b"c"), key.account_id(b"oidc", b"a", b"bc"));
        assert_ne!(key.account_id(b"oidc", b"", b"a"), key.account_id(b"local", b"", b"a"));
    }

    #[test]
    fn a_leaf_event_opens_for_its_sequence_number_and_random_bytes_alone() {
        let audit = AuditKey::from_bytes(BYTES);
        let keys = audit.leaf_keys(1, &[6; 16]);
        let sealed = keys.seal_event(&[b"tag"], &[8; 110]);
        assert_eq!(sealed.len(), 126);
        assert_eq!(keys.open_event(&[b"tag"], &sealed).unwrap().expose(), [8; 110]);
        assert!(keys.open_event(&[b"tog"], &sealed).is_err());
        assert!(audit.leaf_keys(2, &[6; 16]).open_event(&[b"tag"], &sealed).is_err());
        assert!(audit.leaf_keys(1, &[7; 16]).open_event(&[b"tag"], &sealed).is_err());
        assert!(keys.open_event(&[b"tag"], &sealed[..15]).is_err());
        assert_ne!(keys.commitment(&[b"a"]), audit.leaf_keys(1, &[7; 16]).commitment(&[b"a"]));
    }
}
