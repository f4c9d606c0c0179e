//! Cosignatures of witnesses (c2sp.org/tlog-cosignature, type 0x04) and what a quorum of them is worth.

use std::collections::BTreeSet;

use crate::note::{KeyAlg, Note, NoteSignature, VerifierKey, VerifyError, key_id, verify_ed25519};

/// Largest time in a cosignature: 2^63 - 1 (c2sp.org/tlog-cosignature).
const TIME_MAX: u64 = u64::MAX >> 1;

/// The bytes that a witness signs: header, time in seconds since the epoch, then the note text.
pub fn cosigned_message(time_secs: u64, note_text: &str) -> Vec<u8> {
    format!("cosignature/v1\ntime {time_secs}\n{note_text}").into_bytes()
}

/// Makes a witness's line for a note text; the closure gets the message and gives the signature.
///
/// # Panics
/// On a name that no key may have, and on a time above 2^63 - 1.
pub fn cosign(
    note_text: &str,
    name: &str,
    public: &[u8; 32],
    time_secs: u64,
    sign: impl FnOnce(&[u8]) -> [u8; 64],
) -> NoteSignature {
    assert!(time_secs <= TIME_MAX, "a cosignature says no time above 2^63 - 1");
    let signature = sign(&cosigned_message(time_secs, note_text));
    let id = key_id(name, KeyAlg::CosignatureV1, public);
    NoteSignature::new(name, id, encode_timestamped(time_secs, &signature).to_vec())
}

/// Bytes of a `timestamped_signature`: time, big-endian, then the Ed25519 signature.
pub fn encode_timestamped(time_secs: u64, signature: &[u8; 64]) -> [u8; 72] {
    let mut bytes = [0u8; 72];
    bytes[..8].copy_from_slice(&time_secs.to_be_bytes());
    bytes[8..].copy_from_slice(signature);
    bytes
}

/// Splits a `timestamped_signature` into time and Ed25519 signature; `None` if it has another length or an
/// impossible time.
pub fn parse_timestamped(bytes: &[u8]) -> Option<(u64, [u8; 64])> {
    let (time, signature) = bytes.split_first_chunk::<8>()?;
    let time = u64::from_be_bytes(*time);
    let signature = signature.try_into().ok()?;
    (time <= TIME_MAX).then_some((time, signature))
}

/// Accepts the note if every cosignature that claims this witness key verifies, and gives the latest of their times.
pub fn verify_cosignature(note: &Note, witness: &VerifierKey) -> Result<u64, VerifyError> {
    if witness.alg() != KeyAlg::CosignatureV1 {
        return Err(VerifyError::KeyKind);
    }
    let mut latest = Err(VerifyError::NoSignature);
    for bytes in note.signatures_of(witness) {
        let (time, signature) = parse_timestamped(bytes).ok_or(VerifyError::BadSignature)?;
        verify_ed25519(witness, &cosigned_message(time, note.text()), &signature)?;
        latest = Ok(latest.unwrap_or(time).max(time));
    }
    latest
}

/// How many witnesses must have cosigned: `n` are known, `f` may be bad, `q` must have signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    n: u32,
    f: u32,
    q: u32,
}

/// Bounds of the true time at which a checkpoint was cosigned, if at most `f` witnesses are bad; the host's clock
/// has no part in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerTime {
    /// The (f+1)-th smallest time, in seconds since the epoch: an honest witness had seen it or a later one.
    pub lower_secs: u64,
    /// The (f+1)-th largest time, in seconds since the epoch: an honest witness had seen it or an earlier one.
    pub upper_secs: u64,
}

/// Why there is no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    /// Two quorums could meet in bad witnesses alone (2q > n + f), or the bad ones could set the time (q >= 2f + 1).
    #[error("a quorum of {q} out of {n} witnesses does not stand {f} bad ones")]
    Unsafe {
        /// Known witnesses.
        n: u32,
        /// Bad ones that are to be stood.
        f: u32,
        /// Cosignatures that are asked for.
        q: u32,
    },
    /// The witness set is not `n` witness keys that differ in name and in key: one witness would count twice.
    #[error("the witness set does not fit the quorum")]
    Witnesses,
    /// Fewer than `q` witnesses have cosigned.
    #[error("{found} witnesses cosigned, {q} are needed")]
    TooFew {
        /// Valid cosignatures of different witnesses.
        found: usize,
        /// Cosignatures that are needed.
        q: u32,
    },
}

impl Quorum {
    /// A quorum that keeps its promise: `2q > n + f`, `q >= 2f + 1`, `q <= n`.
    pub fn new(n: u32, f: u32, q: u32) -> Result<Self, QuorumError> {
        let [wide_n, wide_f, wide_q] = [n, f, q].map(u64::from);
        let safe = 2 * wide_q > wide_n + wide_f && wide_q > 2 * wide_f && q <= n;
        if safe { Ok(Self { n, f, q }) } else { Err(QuorumError::Unsafe { n, f, q }) }
    }

    /// Known witnesses.
    pub fn n(&self) -> u32 {
        self.n
    }

    /// Bad witnesses that the quorum stands.
    pub fn f(&self) -> u32 {
        self.f
    }

    /// Cosignatures that are needed.
    pub fn q(&self) -> u32 {
        self.q
    }

    /// Whether `f` silent witnesses stop the ledger (q > n - f), which an operator is to be told.
    pub fn warns(&self) -> bool {
        self.q > self.n.saturating_sub(self.f)
    }

    /// Accepts a note that at least `q` of these witnesses have cosigned. A bad line costs its witness the vote,
    /// not the others theirs: the host may add what it likes.
    pub fn check(&self, note: &Note, witnesses: &[VerifierKey]) -> Result<LedgerTime, QuorumError> {
        if !self.is_witness_set(witnesses) {
            return Err(QuorumError::Witnesses);
        }
        let times: Vec<u64> = witnesses.iter().filter_map(|key| verify_cosignature(note, key).ok()).collect();
        self.ledger_time(&times)
    }

    /// Bounds of the time, from the verified times of different witnesses.
    pub fn ledger_time(&self, times_secs: &[u64]) -> Result<LedgerTime, QuorumError> {
        let found = times_secs.len();
        if u32::try_from(found).is_ok_and(|found| found < self.q) {
            return Err(QuorumError::TooFew { found, q: self.q });
        }
        let mut sorted = times_secs.to_vec();
        sorted.sort_unstable();
        let f = usize::try_from(self.f).expect("fits an address");
        let lower = sorted.get(f);
        let upper = sorted.iter().rev().nth(f);
        let (Some(&lower_secs), Some(&upper_secs)) = (lower, upper) else {
            return Err(QuorumError::TooFew { found, q: self.q });
        };
        Ok(LedgerTime { lower_secs, upper_secs })
    }

    /// The signed message does not name the witness, so the same key under two names would vote twice.
    fn is_witness_set(&self, keys: &[VerifierKey]) -> bool {
        let publics: BTreeSet<&[u8; 32]> = keys.iter().map(VerifierKey::public).collect();
        let names: BTreeSet<&str> = keys.iter().map(VerifierKey::name).collect();
        u32::try_from(keys.len()) == Ok(self.n)
            && publics.len() == keys.len()
            && names.len() == keys.len()
            && keys.iter().all(|key| key.alg() == KeyAlg::CosignatureV1)
    }
}
