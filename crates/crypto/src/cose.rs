//! ES256 public keys as COSE_Key (RFC 9053): the one canonical form that WebAuthn 6.5.1 wants, 77 bytes.
//!
//! Absent: a CBOR parser. The canonical form has fixed bytes around the two coordinates, so it is compared, not
//! parsed; any other encoding of the same key is refused.

/// Length of the encoding.
pub const ES256_LEN: usize = 77;

/// {1: 2 (EC2), 3: -7 (ES256), -1: 1 (P-256), -2: bytes(32) ...
const HEAD: [u8; 10] = [0xa5, 0x01, 0x02, 0x03, 0x26, 0x20, 0x01, 0x21, 0x58, 0x20];
/// ... -3: bytes(32)
const MIDDLE: [u8; 3] = [0x22, 0x58, 0x20];

/// The bytes are not the canonical COSE_Key of a P-256 point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a canonical ES256 COSE_Key")]
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
