//! The enclave's half of the VOPRF for one element: RFC 9497, 3.2.1 (DeriveKeyPair), 3.3.2 (BlindEvaluate) and 2.2.1
//! (GenerateProof, ComputeCompositesFast), over `curve25519-dalek`.
//!
//! Written out because the server of `voprf` multiplies five times in constant time and without a table, where twice is
//! enough: r and d are put together as scalars, k d B is d Z, and what is public is computed in variable time. Names
//! are the RFC's: key k, blinded element B, evaluation Z = k B, composites M = d B and k M, nonce r, t2 = r G, t3 = r M.
//!
//! Secret are k, r, r d and c k, and their halves: they meet constant-time arithmetic alone, and are wiped. What that
//! arithmetic itself leaves on the stack goes when the enclave overwrites it after the message.
//!
//! Absent on purpose: batches of elements, other modes and suites, the client's half.

use aws_lc_rs::digest::{SHA512, digest};
use curve25519_dalek::{
    ristretto::{CompressedRistretto, RistrettoPoint},
    scalar::Scalar,
    traits::IsIdentity,
};
use std::{iter, sync::LazyLock};
use zeroize::Zeroizing;

use super::{BadElement, Evaluation};
use crate::{hash::array, secret::SecretVec};

// Section 3.1: "OPRFV1-", mode 1, "-", the suite's name; each use puts its own word in front.
const SEED: &[u8; 33] = b"Seed-OPRFV1-\x01-ristretto255-SHA512";
const HASH_TO_SCALAR: &[u8; 41] = b"HashToScalar-OPRFV1-\x01-ristretto255-SHA512";
const DERIVE_KEY_PAIR: &[u8; 41] = b"DeriveKeyPairOPRFV1-\x01-ristretto255-SHA512";

/// Lengths in front of an element, of [`SEED`] and of a hash: I2OSP(len, 2).
const ELEMENT_LEN: &[u8] = &[0, 32];
const SEED_LEN: &[u8] = &[0, 33];
const HASH_LEN: &[u8] = &[0, 64];

/// 1/2 modulo the group's order.
static HALF: LazyLock<Scalar> = LazyLock::new(|| Scalar::from(2_u8).invert());

/// DeriveKeyPair with an empty info.
pub(super) fn derive_key(seed: &[u8; 32]) -> Zeroizing<Scalar> {
    (0..=u8::MAX)
        .map(|counter| Zeroizing::new(hash_to_scalar(DERIVE_KEY_PAIR, &[seed, &[0, 0], &[counter]])))
        .find(|k| **k != Scalar::ZERO)
        .expect("one of 256 hashes is not zero")
}

/// A key that was stored: canonical and not zero.
pub(super) fn parse_key(bytes: &[u8; 32]) -> Result<Zeroizing<Scalar>, BadElement> {
    let k = Option::from(Scalar::from_canonical_bytes(*bytes)).map(Zeroizing::new);
    k.filter(|k| **k != Scalar::ZERO).ok_or(BadElement)
}

/// The public half of a key.
pub(super) fn public(k: &Scalar) -> [u8; 32] {
    RistrettoPoint::mul_base(k).compress().to_bytes()
}

/// The one encoding of an element. The identity is refused: every key maps it to itself.
pub(super) fn parse_element(bytes: &[u8; 32]) -> Result<RistrettoPoint, BadElement> {
    let element = CompressedRistretto(*bytes).decompress();
    element.filter(|element| !element.is_identity()).ok_or(BadElement)
}

/// BlindEvaluate with its proof. Two proofs must never share a nonce `r`: s = r - c k, so their difference gives k.
#[expect(clippy::op_ref, reason = "by value, secrets would leave copies behind")]
pub(super) fn evaluate(
    k: &Scalar,
    public: &[u8; 32],
    blinded: &[u8; 32],
    r: &Scalar,
) -> Result<Evaluation, BadElement> {
    let b = parse_element(blinded)?;
    let z = b * k;
    let element = z.compress().to_bytes();

    // Doubles can be encoded four at a time, with one inversion for all: so each scalar is halved (about 15 us less).
    let half_d = composite(public, blinded, &element) * *HALF;
    let half_r = Zeroizing::new(r * *HALF);
    let half_rd = Zeroizing::new(r * half_d);
    let halves = [
        times_public(&half_d, &b),
        times_public(&half_d, &z),
        RistrettoPoint::mul_base(&half_r),
        b * &*half_rd,
    ];
    let c = challenge(public, &RistrettoPoint::double_and_compress_batch(&halves));

    let ck = Zeroizing::new(c * k);
    let s = r - &*ck;
    Ok(Evaluation { element, proof: array(&[c.to_bytes(), s.to_bytes()].concat()) })
}

/// A multiple in a time that depends on the scalar, not on the element. Only for d: it is a hash of the public key, B
/// and Z, all of which the client has as well, so that whoever times it learns nothing that they would not tell him.
fn times_public(d: &Scalar, element: &RistrettoPoint) -> RistrettoPoint {
    RistrettoPoint::vartime_double_scalar_mul_basepoint(d, element, &Scalar::ZERO)
}

/// d: the factor of the first and only element in ComputeCompositesFast.
fn composite(public: &[u8; 32], blinded: &[u8; 32], element: &[u8; 32]) -> Scalar {
    let seed = sha512(&[ELEMENT_LEN, public, SEED_LEN, SEED]);
    let (index, word): (&[u8], _) = (&[0, 0], b"Composite");
    let parts = &[HASH_LEN, &*seed, index, ELEMENT_LEN, blinded, ELEMENT_LEN, element, word];
    hash_to_scalar(HASH_TO_SCALAR, parts)
}

/// c: the hash of public key, M, k M, t2 and t3. Whoever verifies the proof computes each of them.
fn challenge(public: &[u8; 32], elements: &[CompressedRistretto]) -> Scalar {
    let elements = iter::once(public).chain(elements.iter().map(CompressedRistretto::as_bytes));
    let mut parts: Vec<&[u8]> = elements.flat_map(|element| [ELEMENT_LEN, element]).collect();
    parts.push(b"Challenge");
    hash_to_scalar(HASH_TO_SCALAR, &parts)
}

/// Section 4.1: expand_message_xmd (RFC 9380, 5.3.1) to 64 bytes, one block, modulo the order.
fn hash_to_scalar(dst: &[u8; 41], parts: &[&[u8]]) -> Scalar {
    let (dst_len, block): (&[u8], &[u8]) = (&[41], &[1]);
    let message = SecretVec::new(parts.concat());
    let first = sha512(&[&[0; 128], message.expose(), HASH_LEN, &[0], dst, dst_len]);
    Scalar::from_bytes_mod_order_wide(&sha512(&[&*first, block, dst, dst_len]))
}

fn sha512(parts: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let whole = SecretVec::new(parts.concat());
    Zeroizing::new(array(digest(&SHA512, whole.expose()).as_ref()))
}
