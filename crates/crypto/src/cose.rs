//! Public keys as COSE_Key (RFC 9053, RFC 8230): the one canonical form that WebAuthn 6.5.1 wants.
//!
//! Absent: a CBOR parser. The canonical form has fixed bytes around the numbers, so it is compared, not parsed; any
//! other encoding of the same key is refused.

use crate::credential::PublicKey;

/// Length of the encoding.
pub const ES256_LEN: usize = 77;

/// {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: bytes(32) ...
const HEAD: [u8; 10] = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
/// ... -3: bytes(32)
const MIDDLE: [u8; 3] = [0x22, 0x58, 0x20];

/// {1: 1 (OKP), 3: -8 (EdDSA), -1: 6 (Ed25519), -2: bytes(32)}
const ED_DSA: [u8; 10] = [0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 0x20];
/// {1: 2 (EC2), 3: -35 (ES384), -1: 2 (P-384), -2: bytes(48) ...
const ES384: [u8; 11] = [0xa5, 0x01, 0x02, 0x03, 0x38, 0x22, 0x20, 0x02, 0x21, 0x58, 0x30];
/// ... -3: bytes(48)}
const ES384_MIDDLE: [u8; 3] = [0x22, 0x58, 0x30];
/// {1: 3 (RSA), 3: -257 (RS256), -1: bytes(n of 256 bytes or more) ...
const RS256: [u8; 9] = [0xa4, 0x01, 0x03, 0x03, 0x39, 0x01, 0x00, 0x20, 0x59];
/// ... -2: bytes(3), 65,537}
const RS256_TAIL: [u8; 5] = [0x21, 0x43, 0x01, 0x00, 0x01];

/// The bytes are not the canonical COSE_Key of a key that is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical COSE_Key of a known algorithm")]
pub struct BadCoseKey;

/// Encodes an uncompressed point (0x04 || x || y).
pub fn es256_public_key(public: &[u8; 65]) -> Vec<u8> {
    let (_, point) = public.split_at(1);
    let (x, y) = point.split_at(32);
    [&HEAD, x, &MIDDLE, y].concat()
}

/// Decodes exactly what [`es256_public_key`] makes, and checks that the point is on the curve.
pub fn parse_es256_public_key(bytes: &[u8]) -> Result<crate::sign::PublicKey, BadCoseKey> {
    let rest = bytes.strip_prefix(&HEAD).ok_or(BadCoseKey)?;
    let (x, rest) = rest.split_first_chunk::<32>().ok_or(BadCoseKey)?;
    let y = rest.strip_prefix(&MIDDLE).ok_or(BadCoseKey)?;
    crate::sign::PublicKey::parse(&[&[4], x.as_slice(), y].concat()).map_err(|_| BadCoseKey)
}

/// Encodes a public key of any algorithm. An RSA key must have at least 2048 bits and the exponent 65,537, as all that
/// are made here.
pub fn public_key(key: &PublicKey) -> Vec<u8> {
    match key {
        PublicKey::Es256(point) => es256_public_key(point),
        PublicKey::EdDsa(key) => [ED_DSA.as_slice(), key].concat(),
        PublicKey::Es384(point) => {
            let (_, point) = point.split_at(1);
            let (x, y) = point.split_at(48);
            [&ES384, x, &ES384_MIDDLE, y].concat()
        }
        PublicKey::Rs256 { modulus, .. } => {
            let len = u16::try_from(modulus.len()).expect("a modulus has at most 1,024 bytes");
            [&RS256, len.to_be_bytes().as_slice(), modulus, &RS256_TAIL].concat()
        }
    }
}

/// Decodes exactly what [`public_key`] makes, and checks that it is a key.
pub fn parse_public_key(bytes: &[u8]) -> Result<PublicKey, BadCoseKey> {
    let key = if let Some(rest) = bytes.strip_prefix(&HEAD) {
        PublicKey::Es256(point(rest, &MIDDLE, 32)?)
    } else if let Some(rest) = bytes.strip_prefix(&ED_DSA) {
        PublicKey::EdDsa(rest.try_into().map_err(|_| BadCoseKey)?)
    } else if let Some(rest) = bytes.strip_prefix(&ES384) {
        PublicKey::Es384(point(rest, &ES384_MIDDLE, 48)?)
    } else {
        let rest = bytes.strip_prefix(&RS256).ok_or(BadCoseKey)?;
        let (len, rest) = rest.split_first_chunk::<2>().ok_or(BadCoseKey)?;
        let modulus = rest.strip_suffix(&RS256_TAIL).ok_or(BadCoseKey)?;
        if modulus.len() != usize::from(u16::from_be_bytes(*len)) {
            return Err(BadCoseKey);
        }
        PublicKey::Rs256 { modulus: modulus.to_vec(), exponent: vec![1, 0, 1] }
    };
    if key.is_valid() { Ok(key) } else { Err(BadCoseKey) }
}

/// An uncompressed point from two coordinates with what stands between them.
fn point<const N: usize>(rest: &[u8], middle: &[u8], len: usize) -> Result<[u8; N], BadCoseKey> {
    let (x, rest) = rest.split_at_checked(len).ok_or(BadCoseKey)?;
    let y = rest.strip_prefix(middle).ok_or(BadCoseKey)?;
    [&[4], x, y].concat().try_into().map_err(|_| BadCoseKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    // Base point of P-256 (SEC 2, 2.4.2).
    const X: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296";
    const Y: &str = "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

    fn point() -> [u8; 65] {
        hex(&format!("04{X}{Y}")).try_into().unwrap()
    }

    #[test]
    fn the_encoding_is_the_fixed_canonical_one() {
        let expected = hex(&format!("a5010203262001215820{X}225820{Y}"));
        assert_eq!(es256_public_key(&point()), expected);
        assert_eq!(expected.len(), ES256_LEN);
    }

    #[test]
    fn the_canonical_form_parses_back() {
        assert_eq!(parse_es256_public_key(&es256_public_key(&point())).unwrap().as_bytes(), &point());
    }

    #[test]
    fn every_other_encoding_is_refused() {
        let good = es256_public_key(&point());
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_es256_public_key(&bad).is_err(), "bit {bit}");
        }
        assert!(parse_es256_public_key(&good[..76]).is_err());
        assert!(parse_es256_public_key(&[good.as_slice(), &[0]].concat()).is_err());
        assert!(parse_es256_public_key(&[]).is_err());
    }
}
