//! A passkey's secret part, and the authenticator data that it signs (WebAuthn L3 sections 6.1 and 6.5).

use crate::record::Held;
use keyferry_crypto::credential::{Algorithm, CredentialKey};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::label::Label;
use keyferry_crypto::prf;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::seal::{self, SealError};
use keyferry_crypto::secret::SecretVec;
use keyferry_crypto::tree::SecurityDomainSecret;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{CredProtect, Metadata, PrfOutputs, PrfSalts};
use keyferry_wire::relying_party::RpId;
use keyferry_wire::{AccountId, CredentialId, Wire, Writer, message};

/// COSE algorithm ECDSA with P-256 and SHA-256 (RFC 9053).
pub(crate) const ES256: i64 = -7;

/// A private key of any algorithm inside a blob: a scalar or a seed, which encode as the fixed 32 bytes of ES256 always
/// did, or PKCS#8. Wiped when dropped, shown by no `Debug`.
pub(crate) struct HeldKey(SecretVec);

impl Wire for HeldKey {
    fn encode(&self, w: &mut Writer) {
        w.byte_string(self.0.expose());
    }
    fn decode(r: &mut keyferry_wire::Reader<'_>) -> Result<Self, keyferry_wire::DecodeError> {
        r.byte_string().map(|bytes| HeldKey(SecretVec::new(bytes.to_vec())))
    }
}

message! {
    /// Opens in the enclave only.
    pub(crate) struct Passkey {
        1 => pub(crate) alg: i64,
        2 => pub(crate) private: HeldKey,
        /// The public half, as `PublicKey::to_stored` gives it.
        3 => pub(crate) public: Bytes,
        4 => pub(crate) user_id: Bytes,
        /// hmac-secret's CredRandomWithUV and CredRandomWithoutUV.
        5 => pub(crate) prf_verified: Held<32>,
        6 => pub(crate) prf_unverified: Held<32>,
        /// Absent where the relying party did not ask for a level: the first applies.
        7 => pub(crate) cred_protect: Option<CredProtect>,
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
    pub(crate) fn new(
        key: &CredentialKey,
        user_id: Bytes,
        cred_protect: Option<CredProtect>,
        random: &mut dyn Random,
    ) -> Passkey {
        Passkey {
            alg: key.algorithm().cose(),
            private: HeldKey(SecretVec::new(key.private().to_vec())),
            public: key.public().to_stored().into(),
            user_id,
            prf_verified: Held::random(random),
            prf_unverified: Held::random(random),
            cred_protect,
        }
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

    pub(crate) fn signing_key(&self) -> Option<CredentialKey> {
        let algorithm = Algorithm::of_cose(self.alg)?;
        CredentialKey::load(algorithm, self.private.0.expose(), &self.public).ok()
    }

    /// Evaluates the PRF. With user verification and without are two functions that tell nothing of each other.
    pub(crate) fn evaluate(&self, salts: &PrfSalts, verified: bool) -> PrfOutputs {
        let secret = if verified { &self.prf_verified } else { &self.prf_unverified };
        PrfOutputs {
            first: prf::evaluate(&secret.0, &salts.first),
            second: salts.second.map(|salt| prf::evaluate(&secret.0, &salt)),
        }
    }
}

/// Seals a large blob under the key of its passkey, apart from it: a sign-in does not carry it.
pub(crate) fn seal_large_blob(
    sds: &SecurityDomainSecret,
    place: &Place<'_>,
    rp_id: &RpId,
    blob: &[u8],
    random: &mut dyn Random,
) -> Vec<u8> {
    let key = sds.passkey_key(&place.credential.0, rp_id.as_str());
    let aad = place.aad(rp_id.as_str());
    let salt = random::bytes(random);
    seal::seal_padded(key.expose(), Label::LargeBlob, &aad.each(), blob, salt, BLOB_PADDING)
}

/// Opens a large blob.
pub(crate) fn open_large_blob(
    sds: &SecurityDomainSecret,
    place: &Place<'_>,
    rp_id: &RpId,
    sealed: &[u8],
) -> Result<SecretVec, SealError> {
    let key = sds.passkey_key(&place.credential.0, rp_id.as_str());
    seal::open_padded(key.expose(), Label::LargeBlob, &place.aad(rp_id.as_str()).each(), sealed)
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
const FLAG_ED: u8 = 0x80;

/// Authenticator data of an assertion: the passkey is backed up and eligible to be (BE, BS), its counter is 0.
pub(crate) fn assertion_data(rp_id: &RpId, verified: bool) -> Vec<u8> {
    let uv = if verified { FLAG_UV } else { 0 };
    let mut data = Vec::with_capacity(37);
    data.extend_from_slice(&sha256(&[rp_id.as_str().as_bytes()]));
    data.push(FLAG_UP | FLAG_BE | FLAG_BS | uv);
    data.extend_from_slice(&[0; 4]);
    data
}

/// Authenticator data of a new credential, with its attested credential data, and the extension output of credProtect
/// where a level was asked for.
pub(crate) fn registration_data(
    rp_id: &RpId,
    verified: bool,
    aaguid: &[u8; 16],
    credential: &CredentialId,
    cose_key: &[u8],
    cred_protect: Option<CredProtect>,
) -> Vec<u8> {
    let mut data = assertion_data(rp_id, verified);
    let extensions = if cred_protect.is_some() { FLAG_ED } else { 0 };
    if let Some(flags) = data.get_mut(32) {
        *flags |= FLAG_AT | extensions;
    }
    data.extend_from_slice(aaguid);
    data.extend_from_slice(&[0, 16]);
    data.extend_from_slice(&credential.0);
    data.extend_from_slice(cose_key);
    if let Some(level) = cred_protect {
        let mut w = Writer::default();
        w.map(1);
        w.text("credProtect");
        w.uint(u64::from(level.number()));
        data.extend_from_slice(&w.into_bytes());
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_crypto::hash;

    struct Seeded(u64);

    impl Random for Seeded {
        fn fill(&mut self, out: &mut [u8]) {
            for chunk in out.chunks_mut(32) {
                self.0 += 1;
                chunk.copy_from_slice(&hash::sha256(&[&self.0.to_be_bytes()])[..chunk.len()]);
            }
        }
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    }

    /// What the first version sealed: six fields, the scalar as a byte string of 32. Written out from its own encoding.
    #[test]
    fn a_passkey_of_the_first_version_still_opens_and_encodes_to_itself() {
        let scalar = format!("{}01", "00".repeat(31));
        let point = concat!(
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        );
        let (verified, unverified) = ("a5".repeat(32), "5a".repeat(32));
        let literal = format!("a60126025820{scalar}035841{point}0442abcd055820{verified}065820{unverified}");
        let passkey = Passkey::from_bytes(&hex(&literal)).unwrap();
        assert_eq!((passkey.alg, passkey.cred_protect), (ES256, None));
        assert_eq!(passkey.to_bytes(), hex(&literal));
        let key = passkey.signing_key().unwrap();
        assert_eq!(key.public().to_stored(), hex(point));
        assert!(key.public().verify(b"m", &key.sign(b"m")));
        assert!(passkey.prf_verified.0 == [0xa5; 32] && passkey.prf_unverified.0 == [0x5a; 32]);
    }

    #[test]
    fn a_passkey_of_each_algorithm_comes_back_from_its_encoding() {
        let random = &mut Seeded(1);
        let keys =
            [CredentialKey::es256(random), CredentialKey::ed_dsa(random), CredentialKey::es384(random)];
        for key in keys {
            let passkey = Passkey::new(&key, vec![1].into(), Some(CredProtect::Required), random);
            let again = Passkey::from_bytes(&passkey.to_bytes()).unwrap();
            assert_eq!(again.to_bytes(), passkey.to_bytes());
            let signature = again.signing_key().unwrap().sign(b"m");
            assert!(key.public().verify(b"m", &signature), "{:?}", key.algorithm());
        }
    }
}
