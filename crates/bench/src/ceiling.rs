//! What this machine can do at all: each operation alone, in CPU time. Measured before and after everything else; a
//! run whose ceilings moved by more than 15 % says nothing and is void.

use crate::Fallible;
use crate::disk::Disk;
use crate::measure::{Effort, cpu_per_call, rounded};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer, EcPrivateKeyRfc5915Der};
use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    UnparsedPublicKey as Verifier,
};
use keyferry_crypto::oprf::{OprfKey, blind};
use keyferry_enclave::HardwareRandom;
use keyferry_wire::ledger::LEAF_LEN;
use serde_json::{Value, json};
use std::hint::black_box;

/// Ceilings may differ by this much between start and end of a run.
const DRIFT_MAX: f64 = 0.15;

/// Nanoseconds of CPU time per operation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ceilings {
    pub(crate) sign: f64,
    pub(crate) verify: f64,
    pub(crate) ecdh: f64,
    pub(crate) ed25519: f64,
    pub(crate) aead: f64,
    pub(crate) hkdf: f64,
    pub(crate) node: f64,
    pub(crate) oprf: f64,
    /// A private key of P-256 taken in with its public half, which the library checks.
    pub(crate) load: f64,
    /// The same AEAD with the key set up for this one message.
    pub(crate) aead_new: f64,
    pub(crate) aead_kib: f64,
    pub(crate) hmac: f64,
    pub(crate) sha_kib: f64,
    /// The least that an append to a Merkle tree hashes: the leaf, and one node.
    pub(crate) append: f64,
    /// One request over HTTP/1.1 to the stub's server: that process's time.
    pub(crate) hello: f64,
    pub(crate) disk: Disk,
}

/// The CPU-bound ceilings by name.
pub(crate) const NAMES: [&str; 17] = [
    "ECDSA P-256 sign",
    "ECDSA P-256 verify",
    "ECDH P-256",
    "Ed25519 sign",
    "AES-256-GCM 256 B",
    "HKDF-SHA256 32 B",
    "SHA-256 of a node",
    "OPRF evaluate with proof",
    "P-256 key with its point loaded",
    "AES-256-GCM 256 B, new key",
    "AES-256-GCM 1 KiB",
    "HMAC-SHA256 32 B, new key",
    "SHA-256 of 1 KiB",
    "Merkle append of a leaf",
    "HTTP/1.1 hello",
    "SQLite commit, 1 row",
    "SQLite commit, 64 rows",
];

impl Ceilings {
    /// Measures on the calling thread; `hello` and `disk` come from their own modules.
    pub(crate) fn measure(effort: Effort, hello: f64, disk: Disk) -> Fallible<Ceilings> {
        Ok(Ceilings {
            sign: sign(effort)?,
            verify: verify(effort)?,
            ecdh: ecdh(effort)?,
            ed25519: ed25519(effort)?,
            aead: aead(effort, &mut [5; 256])?,
            hkdf: hkdf(effort)?,
            node: sha(effort, &NODE),
            oprf: oprf(effort)?,
            load: load(effort)?,
            aead_new: aead_new(effort)?,
            aead_kib: aead(effort, &mut [5; KIB])?,
            hmac: hmac(effort),
            sha_kib: sha(effort, &[4; KIB]),
            append: append(effort),
            hello,
            disk,
        })
    }

    /// What figures are held against: the middle between start and end.
    pub(crate) fn mean(&self, later: &Ceilings) -> Ceilings {
        let mid = f64::midpoint;
        Ceilings {
            sign: mid(self.sign, later.sign),
            verify: mid(self.verify, later.verify),
            ecdh: mid(self.ecdh, later.ecdh),
            ed25519: mid(self.ed25519, later.ed25519),
            aead: mid(self.aead, later.aead),
            hkdf: mid(self.hkdf, later.hkdf),
            node: mid(self.node, later.node),
            oprf: mid(self.oprf, later.oprf),
            load: mid(self.load, later.load),
            aead_new: mid(self.aead_new, later.aead_new),
            aead_kib: mid(self.aead_kib, later.aead_kib),
            hmac: mid(self.hmac, later.hmac),
            sha_kib: mid(self.sha_kib, later.sha_kib),
            append: mid(self.append, later.append),
            hello: mid(self.hello, later.hello),
            disk: self.disk.mean(&later.disk),
        }
    }

    pub(crate) fn values(&self) -> [f64; 17] {
        [
            self.sign,
            self.verify,
            self.ecdh,
            self.ed25519,
            self.aead,
            self.hkdf,
            self.node,
            self.oprf,
            self.load,
            self.aead_new,
            self.aead_kib,
            self.hmac,
            self.sha_kib,
            self.append,
            self.hello,
            self.disk.commit_1.cpu_ns,
            self.disk.commit_64.cpu_ns,
        ]
    }

    /// Those that moved by more than a run can bear, with by how much.
    pub(crate) fn drift(&self, later: &Ceilings) -> Vec<(&'static str, f64)> {
        let pairs = self.values().into_iter().zip(later.values());
        let moved = pairs.map(|(before, after)| after / before - 1.0);
        // As a ratio of the larger to the smaller: a third less is as bad as half more.
        let far = |moved: &f64| {
            let ratio = moved + 1.0;
            ratio.max(ratio.recip()) > 1.0 + DRIFT_MAX || !ratio.is_finite()
        };
        NAMES.into_iter().zip(moved).filter(|(_, moved)| far(moved)).collect()
    }

    pub(crate) fn json(&self) -> Value {
        let mut all: serde_json::Map<String, Value> = NAMES
            .into_iter()
            .zip(self.values())
            .map(|(name, ns)| {
                (name.to_owned(), json!({ "cpu_ns": rounded(ns), "per_second": rounded(1e9 / ns) }))
            })
            .collect();
        all.insert("disk".to_owned(), self.disk.json());
        Value::Object(all)
    }
}

fn pair() -> Fallible<EcdsaKeyPair> {
    Ok(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING)?)
}

/// Length of what a device or a passkey signs, roughly.
const MESSAGE: [u8; 96] = [7; 96];

pub(crate) fn sign(effort: Effort) -> Fallible<f64> {
    let (pair, random) = (pair()?, SystemRandom::new());
    Ok(cpu_per_call(effort, || {
        black_box(pair.sign(&random, black_box(&MESSAGE)).is_ok());
    }))
}

pub(crate) fn verify(effort: Effort) -> Fallible<f64> {
    let pair = pair()?;
    let signature = pair.sign(&SystemRandom::new(), &MESSAGE)?;
    let public = pair.public_key().as_ref().to_vec();
    Ok(cpu_per_call(effort, || {
        let verifier = Verifier::new(&ECDSA_P256_SHA256_ASN1, black_box(&public));
        black_box(verifier.verify(&MESSAGE, signature.as_ref()).is_ok());
    }))
}

fn ecdh(effort: Effort) -> Fallible<f64> {
    let own = PrivateKey::generate(&ECDH_P256)?;
    let peer = PrivateKey::generate(&ECDH_P256)?.compute_public_key()?;
    Ok(cpu_per_call(effort, || {
        let peer = UnparsedPublicKey::new(&ECDH_P256, black_box(peer.as_ref()));
        let shared =
            agreement::agree(&own, peer, aws_lc_rs::error::Unspecified, |secret| Ok(secret.first().copied()));
        black_box(shared.is_ok());
    }))
}

fn ed25519(effort: Effort) -> Fallible<f64> {
    let pair = Ed25519KeyPair::generate()?;
    Ok(cpu_per_call(effort, || {
        black_box(pair.sign(black_box(&MESSAGE)));
    }))
}

const KIB: usize = 1024;

fn aead(effort: Effort, text: &mut [u8]) -> Fallible<f64> {
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[3; 32])?);
    let mut number = 0u64;
    Ok(cpu_per_call(effort, || {
        number += 1;
        let mut nonce = [0; 12];
        nonce[..8].copy_from_slice(&number.to_be_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), text).is_ok());
    }))
}

/// Sealed records have a key of their own each.
fn aead_new(effort: Effort) -> Fallible<f64> {
    UnboundKey::new(&AES_256_GCM, &[3; 32])?;
    let mut text = [5; 256];
    let mut bytes = [3u8; 32];
    Ok(cpu_per_call(effort, || {
        bytes[0] = bytes[0].wrapping_add(1);
        let sealed = UnboundKey::new(&AES_256_GCM, black_box(&bytes)).map(LessSafeKey::new).map(|key| {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut text).is_ok()
        });
        black_box(sealed.is_ok());
    }))
}

fn hmac(effort: Effort) -> f64 {
    cpu_per_call(effort, || {
        let key = hmac::Key::new(hmac::HMAC_SHA256, black_box(&[1; 32]));
        black_box(hmac::sign(&key, black_box(&[2; 32])));
    })
}

fn load(effort: Effort) -> Fallible<f64> {
    let pair = pair()?;
    // With its public half in it, as passkeys are kept.
    let der: EcPrivateKeyRfc5915Der<'_> = pair.private_key().as_der()?;
    let parse =
        || EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, black_box(der.as_ref()));
    parse()?;
    Ok(cpu_per_call(effort, || {
        black_box(parse().is_ok());
    }))
}

fn hkdf(effort: Effort) -> Fallible<f64> {
    let info = [9; 48];
    let mut out = [0; 32];
    Ok(cpu_per_call(effort, || {
        let key = Salt::new(HKDF_SHA256, &[]).extract(black_box(&[1; 32]));
        let info = [info.as_slice()];
        let filled = key.expand(&info, HKDF_SHA256).and_then(|okm| okm.fill(&mut out));
        black_box((filled.is_ok(), &out));
    }))
}

/// An inner node of a Merkle tree: a tag and two hashes.
const NODE: [u8; 65] = [4; 65];

fn sha(effort: Effort, input: &[u8]) -> f64 {
    cpu_per_call(effort, || {
        black_box(digest(&SHA256, black_box(input)));
    })
}

/// A tree of n leaves has n - 1 inner nodes, so an append hashes one on average.
pub(crate) fn append(effort: Effort) -> f64 {
    let leaf = [4; 1 + LEAF_LEN];
    cpu_per_call(effort, || {
        black_box((digest(&SHA256, black_box(&leaf)), digest(&SHA256, black_box(&NODE))));
    })
}

pub(crate) fn oprf(effort: Effort) -> Fallible<f64> {
    let mut random = HardwareRandom::default();
    let key = OprfKey::generate(&mut random);
    let (_, blinded) = blind(&[1; 32], &mut random)?;
    Ok(cpu_per_call(effort, || {
        black_box(key.evaluate(black_box(&blinded), &mut random).is_ok());
    }))
}
