//! VOPRF(ristretto255, SHA-512), RFC 9497 mode 1: the enclave's part in turning a PIN into a key.
//!
//! The client blinds its hardened PIN; the enclave multiplies by a key that exists per account and generation and
//! proves that it used the key behind the public key the client knows; the client unblinds. The enclave learns
//! nothing about the input, the client nothing about the key.
//!
//! The enclave's half is written here (`evaluate`), the client's is the crate `voprf`: each attempt is a test of one
//! against the other.

mod evaluate;

use ::voprf::{EvaluationElement, Group, Proof, Ristretto255, VoprfClient};
use curve25519_dalek::scalar::Scalar;
use std::fmt;
use zeroize::{Zeroize, Zeroizing};

use crate::{
    hash,
    label::Label,
    random::{Random, RngAdapter},
};

crate::secret! {
    /// What the OPRF gives for an input: known to the client alone.
    pub struct OprfOutput(64);
}

/// The bytes are not a key, a blind or a group element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid OPRF value")]
pub struct BadElement;

/// The evaluation does not prove that the expected key was used: a fake enclave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the OPRF evaluation is not proved")]
pub struct BadProof;

/// What the enclave answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// Z = k * B.
    pub element: [u8; 32],
    /// Proof that the same k is behind the public key.
    pub proof: [u8; 64],
}

/// The OPRF key of one account and PIN generation.
pub struct OprfKey {
    /// Boxed, so that moving the key leaves no copy behind.
    scalar: Box<Zeroizing<Scalar>>,
    public: [u8; 32],
}

impl OprfKey {
    /// Makes a fresh key.
    pub fn generate(random: &mut dyn Random) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        random.fill(seed.as_mut());
        Self::new(evaluate::derive_key(&seed))
    }

    /// Loads a key: a canonical non-zero scalar, little-endian.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadElement> {
        evaluate::parse_key(bytes).map(Self::new)
    }

    /// Loads a key whose public half is known: a third of the time, in each PIN attempt. Halves that do not belong
    /// together give evaluations whose proof does not hold.
    pub fn from_parts(scalar: &[u8; 32], public: &[u8; 32]) -> Result<Self, BadElement> {
        evaluate::parse_element(public)?;
        Ok(Self { scalar: Box::new(evaluate::parse_key(scalar)?), public: *public })
    }

    fn new(scalar: Zeroizing<Scalar>) -> Self {
        let public = evaluate::public(&scalar);
        Self { scalar: Box::new(scalar), public }
    }

    /// The scalar: goes into the sealed record and nowhere else.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.scalar.to_bytes())
    }

    /// The public key against which evaluations are proved.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Evaluates one blinded element. The caller counts the attempt first (design, section 6.3).
    pub fn evaluate(&self, blinded: &[u8; 32], random: &mut dyn Random) -> Result<Evaluation, BadElement> {
        let nonce = hedged(self.scalar.as_bytes(), blinded, random);
        let nonce = Zeroizing::new(Scalar::from_bytes_mod_order_wide(&nonce));
        evaluate::evaluate(&self.scalar, &self.public, blinded, &nonce)
    }
}

impl fmt::Debug for OprfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OprfKey")
    }
}

/// A hedged nonce for the proof: HMAC(key, element || fresh randomness). A repeated nonce would give the key away;
/// here it takes a repeated random source *and* the same element, and then the proof is the same proof.
fn hedged(key: &[u8; 32], blinded: &[u8; 32], random: &mut dyn Random) -> Zeroizing<[u8; 64]> {
    let (mut fresh, mut nonce) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 64]));
    random.fill(fresh.as_mut());
    for (index, half) in (0_u64..).zip(nonce.chunks_mut(32)) {
        let parts: &[&[u8]] = &[blinded, fresh.as_ref(), &index.to_be_bytes()];
        half.copy_from_slice(&*Zeroizing::new(hash::hmac(key, Label::OprfNonce, parts)));
    }
    nonce
}

/// The client's state between blinding and the answer. It is kept until the attempt ends, so that a client that
/// crashed repeats the same attempt instead of using up another.
pub struct Blind(Box<VoprfClient<Ristretto255>>);

/// Blinds `input` (at most 65,535 bytes); returns what the enclave gets.
pub fn blind(input: &[u8], random: &mut dyn Random) -> Result<(Blind, [u8; 32]), BadElement> {
    // RFC 9497, 1.2; the library finds out only when it finalises, after the attempt was counted.
    if input.len() > usize::from(u16::MAX) {
        return Err(BadElement);
    }
    let result = VoprfClient::blind(input, &mut RngAdapter(random)).map_err(|_| BadElement)?;
    let blinded = result.message.serialize().into();
    Ok((Blind(Box::new(result.state)), blinded))
}

impl Blind {
    /// The state as secret bytes (blind || blinded element), to be stored by the client.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 64]> {
        let mut bytes = self.0.serialize();
        let out = Zeroizing::new(hash::array(&bytes));
        bytes.as_mut_slice().zeroize();
        out
    }

    /// Resumes from [`Blind::to_bytes`].
    pub fn from_bytes(bytes: &[u8; 64]) -> Result<Self, BadElement> {
        Ok(Self(Box::new(VoprfClient::deserialize(bytes).map_err(|_| BadElement)?)))
    }

    /// Checks the proof against `public` and unblinds. `input` is the same as at [`blind`].
    pub fn finalize(
        &self,
        input: &[u8],
        evaluation: &Evaluation,
        public: &[u8; 32],
    ) -> Result<OprfOutput, BadProof> {
        let public = Ristretto255::deserialize_elem(public).map_err(|_| BadProof)?;
        let element = EvaluationElement::deserialize(&evaluation.element).map_err(|_| BadProof)?;
        let proof = Proof::deserialize(&evaluation.proof).map_err(|_| BadProof)?;
        let mut output = self.0.finalize(input, &element, &proof, public).map_err(|_| BadProof)?;
        let secret = OprfOutput::make(|cell| cell.copy_from_slice(&output));
        output.as_mut_slice().zeroize();
        Ok(secret)
    }
}

impl fmt::Debug for Blind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Blind")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, Seeded, hex};
    use ::voprf::{BlindedElement, VoprfServer};

    fn fixed<const N: usize>(text: &str) -> [u8; N] {
        hex(text).try_into().unwrap()
    }

    // RFC 9497, A.1.2 (ristretto255-SHA512, VOPRF mode); the shared vectors are for P256, not our suite.
    const SK: &str = "e6f73f344b79b379f1a0dd37e07ff62e38d9f71345ce62ae3a9bc60b04ccd909";
    const PK: &str = "c803e2cc6b05fc15064549b5920659ca4a77b2cca6f04f6b357009335476ad4e";
    const BLIND: &str = "64d37aed22a27f5191de1c1d69fadb899d8862b58eb4220029e036ec4c1f6706";
    /// The proofs' nonce.
    const NONCE: &str = "222a5e897cf59db8145db8d16e597e8facb80ae7d4e26d9881aa6f61d645fc0e";
    /// Input, blinded element, evaluation element, proof, output.
    const RFC: [[&str; 5]; 2] = [
        [
            "00",
            "863f330cc1a1259ed5a5998a23acfd37fb4351a793a5b3c090b642ddc439b945",
            "aa8fa048764d5623868679402ff6108d2521884fa138cd7f9c7669a9a014267e",
            concat!(
                "ddef93772692e535d1a53903db24367355cc2cc78de93b3be5a8ffcc6985dd06",
                "6d4346421d17bf5117a2a1ff0fcb2a759f58a539dfbe857a40bce4cf49ec600d"
            ),
            concat!(
                "b58cfbe118e0cb94d79b5fd6a6dafb98764dff49c14e1770b566e42402da1a7d",
                "a4d8527693914139caee5bd03903af43a491351d23b430948dd50cde10d32b3c"
            ),
        ],
        [
            "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
            "cc0b2a350101881d8a4cba4c80241d74fb7dcbfde4a61fde2f91443c2bf9ef0c",
            "60a59a57208d48aca71e9e850d22674b611f752bed48b36f7a91b372bd7ad468",
            concat!(
                "401a0da6264f8cf45bb2f5264bc31e109155600babb3cd4e5af7d181a2c9dc0a",
                "67154fabf031fd936051dec80b0b6ae29c9503493dde7393b722eafdf5a50b02"
            ),
            concat!(
                "8a9a2f3c7f085b65933594309041fc1898d42d0858e59f90814ae90571a6df60",
                "356f4610bf816f27afdd84f47719e480906d27ecd994985890e5f539e7ea74b6"
            ),
        ],
    ];

    #[test]
    fn a_key_loaded_with_its_public_half_is_the_same_key() {
        let key = OprfKey::generate(&mut Seeded::new(5));
        let loaded = OprfKey::from_parts(&key.to_bytes(), &key.public()).unwrap();
        assert_eq!(OprfKey::from_bytes(&key.to_bytes()).unwrap().public(), key.public());
        assert_eq!((loaded.to_bytes(), loaded.public()), (key.to_bytes(), key.public()));
        let (state, blinded) = blind(b"input", &mut Seeded::new(6)).unwrap();
        let evaluation = loaded.evaluate(&blinded, &mut Seeded::new(7)).unwrap();
        assert_eq!(evaluation, key.evaluate(&blinded, &mut Seeded::new(7)).unwrap());
        assert!(state.finalize(b"input", &evaluation, &key.public()).is_ok());
        let other = OprfKey::generate(&mut Seeded::new(8)).public();
        let mixed = OprfKey::from_parts(&key.to_bytes(), &other).unwrap();
        let evaluation = mixed.evaluate(&blinded, &mut Seeded::new(7)).unwrap();
        assert!(state.finalize(b"input", &evaluation, &other).is_err());
        assert!(OprfKey::from_parts(&[0; 32], &key.public()).is_err());
        assert!(OprfKey::from_parts(&key.to_bytes(), &[0; 32]).is_err());
    }

    #[test]
    fn blinding_evaluation_proof_and_output_are_those_of_rfc_9497() {
        let key = OprfKey::from_bytes(&fixed(SK)).unwrap();
        assert_eq!(key.public().to_vec(), hex(PK));
        for [input, blinded, element, proof, output] in RFC {
            let input = hex(input);
            // The scalar is drawn as 64 bytes modulo the order, so the blind followed by zeros is the blind.
            let (state, message) = blind(&input, &mut Script(hex(BLIND))).unwrap();
            assert_eq!(message.to_vec(), hex(blinded));
            assert_eq!(state.to_bytes().to_vec(), hex(&format!("{BLIND}{blinded}")));
            assert_eq!(key.evaluate(&message, &mut Seeded::new(1)).unwrap().element.to_vec(), hex(element));
            // A key's own nonces are hedged and so not the RFC's.
            let nonce = evaluate::parse_key(&fixed(NONCE)).unwrap();
            let evaluation = evaluate::evaluate(&key.scalar, &key.public, &message, &nonce).unwrap();
            assert_eq!(evaluation, Evaluation { element: fixed(element), proof: fixed(proof) });
            let result = state.finalize(&input, &evaluation, &key.public()).unwrap();
            assert!(result.matches(&hex(output)));
        }
        println!("rfc9497: {} vectors", RFC.len());
    }

    #[test]
    fn keys_evaluations_and_proofs_are_those_of_voprfs_server() {
        for seed in 0..64 {
            let key = OprfKey::generate(&mut Seeded::new(seed));
            let server = VoprfServer::<Ristretto255>::new(&mut RngAdapter(&mut Seeded::new(seed))).unwrap();
            assert_eq!(server.serialize().to_vec(), [*key.to_bytes(), key.public()].concat());

            let input = seed.to_be_bytes();
            let (state, message) = blind(&input, &mut Seeded::new(seed + 100)).unwrap();
            let ours = key.evaluate(&message, &mut Seeded::new(seed + 200)).unwrap();
            let nonce = hedged(&key.to_bytes(), &message, &mut Seeded::new(seed + 200));
            let blinded = BlindedElement::deserialize(&message).unwrap();
            let theirs = server.blind_evaluate(&mut RngAdapter(&mut Script(nonce.to_vec())), &blinded);
            assert_eq!(ours.element.to_vec(), theirs.message.serialize().to_vec());
            assert_eq!(ours.proof.to_vec(), theirs.proof.serialize().to_vec());
            assert!(state.finalize(&input, &ours, &key.public()).is_ok());
        }
    }

    #[test]
    fn two_blindings_of_one_input_give_one_output() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        let run = |seed| {
            let (state, message) = blind(b"input", &mut Seeded::new(seed)).unwrap();
            let evaluation = key.evaluate(&message, &mut Seeded::new(seed + 100)).unwrap();
            (message, state.finalize(b"input", &evaluation, &key.public()).unwrap())
        };
        let ((m1, o1), (m2, o2)) = (run(2), run(3));
        assert_ne!(m1, m2);
        assert!(o1.matches(o2.expose()));
    }

    #[test]
    fn evaluation_by_another_key_is_refused() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        let fake = OprfKey::generate(&mut Seeded::new(2));
        let (state, message) = blind(b"input", &mut Seeded::new(3)).unwrap();
        let evaluation = fake.evaluate(&message, &mut Seeded::new(4)).unwrap();
        assert_eq!(state.finalize(b"input", &evaluation, &key.public()).unwrap_err(), BadProof);
    }

    #[test]
    fn every_bit_flip_of_an_evaluation_is_refused() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        let (state, message) = blind(b"input", &mut Seeded::new(3)).unwrap();
        let good = key.evaluate(&message, &mut Seeded::new(4)).unwrap();
        for bit in 0..96 * 8 {
            let mut bad = good.clone();
            match bit / 8 {
                byte @ 0..32 => bad.element[byte] ^= 1 << (bit % 8),
                byte => bad.proof[byte - 32] ^= 1 << (bit % 8),
            }
            assert!(state.finalize(b"input", &bad, &key.public()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_client_resumes_from_stored_bytes() {
        let key = OprfKey::from_bytes(&OprfKey::generate(&mut Seeded::new(1)).to_bytes()).unwrap();
        let (state, message) = blind(b"input", &mut Seeded::new(3)).unwrap();
        let resumed = Blind::from_bytes(&state.to_bytes()).unwrap();
        let evaluation = key.evaluate(&message, &mut Seeded::new(4)).unwrap();
        let first = state.finalize(b"input", &evaluation, &key.public()).unwrap();
        assert!(resumed.finalize(b"input", &evaluation, &key.public()).unwrap().matches(first.expose()));
    }

    #[test]
    fn a_broken_random_source_never_shares_a_proof_nonce_between_elements() {
        // The proof is c || s with s = r - c*k: equal nonces for two elements would give k away.
        let key = OprfKey::generate(&mut Seeded::new(1));
        let nonce = |element: &[u8; 32]| *hedged(&key.to_bytes(), element, &mut Script(Vec::new()));
        assert_ne!(nonce(&[1; 32]), nonce(&[2; 32]));
        assert_eq!(nonce(&[1; 32]), nonce(&[1; 32]));
        assert_ne!(nonce(&[1; 32])[..32], nonce(&[1; 32])[32..]);
    }

    #[test]
    fn nonsense_is_refused() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        for bytes in [[0; 32], [0xff; 32]] {
            assert!(OprfKey::from_bytes(&bytes).is_err());
            assert_eq!(key.evaluate(&bytes, &mut Seeded::new(2)).unwrap_err(), BadElement);
        }
        assert!(Blind::from_bytes(&[0; 64]).is_err());
        assert!(blind(&[1; 65_536], &mut Seeded::new(3)).is_err());
    }

    #[test]
    fn a_scalar_has_one_encoding_and_is_not_zero() {
        let order = "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010";
        for (first, canonical) in [("ec", true), ("ed", false), ("ee", false)] {
            let bytes = fixed(&format!("{first}{}", &order[2..]));
            assert_eq!(OprfKey::from_bytes(&bytes).is_ok(), canonical, "{first}");
        }
    }

    #[test]
    fn an_element_has_one_encoding_and_is_not_the_identity() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        // RFC 9496, A.2: not below p; negative; no square; negative x y; y = 0. Before them the identity.
        for bytes in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "00ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "f3ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "01ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "26948d35ca62e643e26a83177332e6b6afeb9d08e4268b650f1f5bbd8d81d371",
            "3eb858e78f5a7254d8c9731174a94f76755fd3941c0ac93735c07ba14579630e",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ] {
            let bytes = fixed(bytes);
            assert_eq!(key.evaluate(&bytes, &mut Seeded::new(2)).unwrap_err(), BadElement);
            assert_eq!(OprfKey::from_parts(&key.to_bytes(), &bytes).unwrap_err(), BadElement);
        }
    }

    #[test]
    fn debug_of_oprf_secrets_shows_their_name_alone() {
        assert_eq!(format!("{:?}", OprfKey::generate(&mut Seeded::new(1))), "OprfKey");
        assert_eq!(format!("{:?}", blind(b"x", &mut Seeded::new(1)).unwrap().0), "Blind");
    }
}
