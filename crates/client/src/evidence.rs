//! Appraisal: from evidence that anybody may have written to [`VerifiedEvidence`], which comes out of [`appraise`]
//! alone. No handshake can be made without one, so nothing is said to an enclave that was not looked at first.
//!
//! This is the seam that the crate `attest` fills: today it knows the stand-in `sim` and refuses every other kind.

mod trust_file;

use crate::base64url;
use keyferry_crypto::hash::{ct_eq, sha256};
use keyferry_crypto::sign::PublicKey;
use keyferry_wire::evidence::{Evidence, KEY_BROKER, SIM, SimReport};
use keyferry_wire::frame::Head;
use keyferry_wire::limits::{EVIDENCE_LIFE_MS, VERSION};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{Hash, InstanceId, Wire, message};
use serde_json::Value;
pub use trust_file::TrustFileError;

message! {
    /// A log and the key that signs its checkpoints (C2SP verifier key).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LogPin {
        1 => pub origin: String,
        2 => pub key: String,
    }
}

message! {
    /// What a home believes in, and what it has seen and will not go behind.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Trust {
        /// Evidence kinds without hardware that this home was told to trust by name.
        1 => pub stand_ins: Vec<String>,
        /// Name of the deployment; pinned at the first appraisal.
        2 => pub aud: Option<String>,
        /// Measurements of a trust file; none means any.
        3 => pub measurements: Vec<Hash>,
        /// Logs of a trust file; none means that the first one seen is pinned.
        4 => pub logs: Vec<LogPin>,
        /// The account's log.
        5 => pub log: Option<LogPin>,
        /// The largest head of that log that was verified.
        6 => pub seen: Option<Head>,
        /// Fewest ledger entries that evidence made from now on can name.
        7 => pub evidence_floor: u64,
        /// Heads that will raise the floor once no honest evidence can be older than they are.
        8 => pub marks: Vec<Mark>,
    }
}

message! {
    /// By this device's clock the ledger had `size` entries at `at_ms`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Mark {
        1 => pub at_ms: u64,
        2 => pub size: u64,
    }
}

/// Evidence is made anew every hour and believed for two, so it may lag behind a head that was seen an hour ago, but
/// not behind one that is older than this.
const EVIDENCE_AGE_MAX_MS: u64 = 2 * EVIDENCE_LIFE_MS;

impl Trust {
    /// Whether a trust file named the logs; otherwise they were believed at first use, which every output says.
    pub fn is_pinned(&self) -> bool {
        !self.logs.is_empty()
    }

    /// The fewest ledger entries that honest evidence names now.
    fn floor(&self, now_ms: u64) -> u64 {
        let ripe = self.marks.iter().filter(|mark| mark.is_ripe(now_ms)).map(|mark| mark.size);
        ripe.fold(self.evidence_floor, u64::max)
    }

    /// Pins the deployment to which the first appraised evidence belongs, and remembers how new this evidence was:
    /// yesterday's is refused from now on.
    pub(crate) fn believe(&mut self, evidence: &VerifiedEvidence) {
        let now_ms = evidence.appraised_ms;
        let statement = &evidence.statement;
        self.aud.get_or_insert_with(|| statement.aud.clone());
        self.evidence_floor = self.floor(now_ms).max(statement.size_of(self).unwrap_or(0));
        self.marks.retain(|mark| !mark.is_ripe(now_ms));
        let young = |mark: &Mark| now_ms.saturating_sub(mark.at_ms) < EVIDENCE_LIFE_MS;
        if let Some(seen) = self.seen.filter(|_| !self.marks.last().is_some_and(young)) {
            self.marks.push(Mark { at_ms: now_ms, size: seen.size });
        }
    }
}

impl Mark {
    fn is_ripe(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.at_ms) >= EVIDENCE_AGE_MAX_MS
    }
}

/// Evidence that passed: the keys in it belong to the enclave that it describes.
#[derive(Clone, Debug)]
pub struct VerifiedEvidence {
    kind: String,
    measurement: Hash,
    stand_in: bool,
    channel_key: PublicKey,
    hash: Hash,
    appraised_ms: u64,
    statement: Statement,
}

impl VerifiedEvidence {
    pub fn kind(&self) -> &str {
        &self.kind
    }

    pub fn measurement(&self) -> &Hash {
        &self.measurement
    }

    /// Whether nothing but a program vouches for it.
    pub fn is_stand_in(&self) -> bool {
        self.stand_in
    }

    /// k_inst: with whom the channel is opened.
    pub fn channel_key(&self) -> &[u8; 65] {
        self.channel_key.as_bytes()
    }

    pub fn hpke_key(&self) -> &[u8; 32] {
        &self.statement.hpke
    }

    pub fn instance(&self) -> InstanceId {
        self.statement.instance
    }

    /// What the evidence was made over: a checkpoint's hash, or a key broker's challenge.
    pub fn nonce(&self) -> &[u8; 32] {
        &self.statement.nonce
    }

    /// Name of the deployment.
    pub fn aud(&self) -> &str {
        &self.statement.aud
    }

    pub fn anchor_level(&self) -> u16 {
        self.statement.anchor_level
    }

    pub fn custody_level(&self) -> u16 {
        self.statement.custody_level
    }

    /// SHA-256 of the evidence's bytes: what the handshake binds.
    pub fn hash(&self) -> &Hash {
        &self.hash
    }

    /// Evidence is made anew every hour; a client that has held on to it for longer looks again.
    pub fn is_due(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.appraised_ms) >= EVIDENCE_LIFE_MS || now_ms < self.appraised_ms
    }
}

/// Why evidence was refused: the sentence names the attack or the mistake that it stops.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the evidence has version {0}, which this program does not know")]
    Version(u16),
    #[error("the evidence is of kind \"{0}\", which this program cannot verify")]
    Kind(String),
    #[error(
        "the evidence is the stand-in \"{0}\": no hardware vouches for this enclave, and this home was not told to \
         trust it by name (--accept-evidence {0})"
    )]
    StandIn(String),
    #[error("the attestation report is malformed")]
    Report,
    #[error("the enclave runs in debug mode, in which its host can read its memory")]
    Debug,
    #[error("the report does not vouch for the keys that came with it")]
    Binding,
    #[error("the evidence's runtime data is malformed: {0}")]
    RuntimeData(&'static str),
    #[error("the evidence is of the deployment \"{found}\", but this home belongs to \"{pinned}\"")]
    Audience { pinned: String, found: String },
    #[error("the evidence is not over this challenge")]
    Challenge,
    #[error("the enclave's measurement is not in this home's trust file")]
    Measurement,
    #[error(
        "the evidence is older than what this home has seen: its ledger has {found} entries, {seen} were seen"
    )]
    Stale { found: u64, seen: u64 },
}

impl From<Reason> for Refusal {
    fn from(reason: Reason) -> Refusal {
        let code = match reason {
            Reason::Stale { .. } => Code::Stale,
            _ => Code::Evidence,
        };
        Refusal::new(code, reason.to_string())
    }
}

/// Judges evidence against what a home trusts. At anchor level 0 its age is unknown; `now_ms` starts its hour.
pub fn appraise(evidence: &Evidence, trust: &Trust, now_ms: u64) -> Result<VerifiedEvidence, Reason> {
    if evidence.version != VERSION {
        return Err(Reason::Version(evidence.version));
    }
    let measurement = match evidence.kind.as_str() {
        SIM => appraise_sim(evidence, trust)?,
        other => return Err(Reason::Kind(other.chars().filter(char::is_ascii_graphic).take(16).collect())),
    };
    let statement = Statement::parse(&evidence.runtime_data).map_err(Reason::RuntimeData)?;
    statement.check(trust, now_ms)?;
    if !trust.measurements.is_empty() && !trust.measurements.contains(&measurement) {
        return Err(Reason::Measurement);
    }
    Ok(VerifiedEvidence {
        kind: evidence.kind.clone(),
        measurement,
        stand_in: evidence.kind == SIM,
        channel_key: statement.channel_key,
        hash: sha256(&[&evidence.to_bytes()]),
        appraised_ms: now_ms,
        statement,
    })
}

/// Judges evidence as a key broker: it must be over the broker's own challenge, and made for brokers. `stand_ins` are
/// those that the broker was told to trust by name.
pub fn appraise_for_release(
    evidence: &Evidence,
    challenge: &[u8; 32],
    stand_ins: &[&str],
) -> Result<VerifiedEvidence, Reason> {
    let stand_ins = stand_ins.iter().map(|name| (*name).to_owned()).collect();
    let trust = Trust { stand_ins, aud: Some(KEY_BROKER.to_owned()), ..Trust::default() };
    let verified = appraise(evidence, &trust, 0)?;
    if verified.nonce() == challenge { Ok(verified) } else { Err(Reason::Challenge) }
}

/// The stand-in is bound to its keys like real evidence, but signed by nobody.
fn appraise_sim(evidence: &Evidence, trust: &Trust) -> Result<Hash, Reason> {
    if !trust.stand_ins.iter().any(|name| name == SIM) {
        return Err(Reason::StandIn(SIM.to_owned()));
    }
    let report = SimReport::from_bytes(&evidence.report).map_err(|_| Reason::Report)?;
    if report.debug {
        return Err(Reason::Debug);
    }
    let expected = [sha256(&[&evidence.runtime_data]), [0; 32]].concat();
    if !ct_eq(&expected, &report.report_data) {
        return Err(Reason::Binding);
    }
    Ok(report.measurement)
}

/// What the runtime data says; members that are not known here are left to later readers.
#[derive(Clone, Debug)]
struct Statement {
    nonce: [u8; 32],
    aud: String,
    instance: InstanceId,
    channel_key: PublicKey,
    hpke: [u8; 32],
    anchor_level: u16,
    custody_level: u16,
    /// Origin and size of the checkpoint that the evidence is as young as; absent before the first.
    ledger: Option<(String, u64)>,
}

impl Statement {
    fn parse(bytes: &[u8]) -> Result<Statement, &'static str> {
        let json: Value = serde_json::from_slice(bytes).map_err(|_| "not JSON")?;
        if json.get("v").and_then(Value::as_u64) != Some(1) {
            return Err("another version");
        }
        key_p256(&json, "sig").ok_or("key \"sig\"")?;
        Ok(Statement {
            nonce: text(&json, "nonce").and_then(base64url::decode_either::<32>).ok_or("nonce")?,
            aud: text(&json, "aud").filter(|aud| !aud.is_empty()).ok_or("aud")?.to_owned(),
            instance: text(&json, "instance")
                .and_then(base64url::decode_either)
                .map(InstanceId)
                .ok_or("instance")?,
            channel_key: key_p256(&json, "chan").ok_or("key \"chan\"")?,
            hpke: key_x25519(&json, "hpke").ok_or("key \"hpke\"")?,
            anchor_level: level(&json, "anchor_level").ok_or("anchor_level")?,
            custody_level: level(&json, "custody_level").ok_or("custody_level")?,
            ledger: ledger(&json).ok_or("ledger")?,
        })
    }

    fn check(&self, trust: &Trust, now_ms: u64) -> Result<(), Reason> {
        // Evidence for a key broker is no evidence for a client, whose first sight of a name pins it.
        if trust.aud.is_none() && self.aud == KEY_BROKER {
            return Err(Reason::RuntimeData("aud"));
        }
        if let Some(pinned) = trust.aud.as_ref().filter(|pinned| **pinned != self.aud) {
            return Err(Reason::Audience { pinned: pinned.clone(), found: self.aud.clone() });
        }
        match (self.size_of(trust), trust.floor(now_ms)) {
            (Some(found), seen) if found < seen => Err(Reason::Stale { found, seen }),
            _ => Ok(()),
        }
    }

    /// Size of the pinned log as the evidence names it, if it names that log.
    fn size_of(&self, trust: &Trust) -> Option<u64> {
        let (origin, size) = self.ledger.as_ref()?;
        (*origin == trust.log.as_ref()?.origin).then_some(*size)
    }
}

fn text<'a>(json: &'a Value, name: &str) -> Option<&'a str> {
    json.get(name)?.as_str()
}

/// Levels go from 0 to 3.
fn level(json: &Value, name: &str) -> Option<u16> {
    json.get(name)?.as_u64().filter(|level| *level <= 3).and_then(|level| u16::try_from(level).ok())
}

/// `Some(None)` where the evidence says that there is no checkpoint yet.
fn ledger(json: &Value) -> Option<Option<(String, u64)>> {
    let ledger = json.get("ledger")?;
    if ledger.is_null() {
        return Some(None);
    }
    text(ledger, "root").and_then(base64url::decode_either::<32>)?;
    Some(Some((text(ledger, "origin")?.to_owned(), ledger.get("size")?.as_u64()?)))
}

/// The one JWK of this name: with two, another reader might take the other.
fn jwk<'a>(json: &'a Value, kid: &str, kty: &str, crv: &str) -> Option<&'a Value> {
    let mut found = json.get("keys")?.as_array()?.iter().filter(|key| text(key, "kid") == Some(kid));
    let key = found.next()?;
    let fits = text(key, "kty") == Some(kty) && text(key, "crv") == Some(crv);
    (fits && found.next().is_none()).then_some(key)
}

fn key_p256(json: &Value, kid: &str) -> Option<PublicKey> {
    let key = jwk(json, kid, "EC", "P-256")?;
    let x: [u8; 32] = base64url::decode(text(key, "x")?)?.try_into().ok()?;
    let y: [u8; 32] = base64url::decode(text(key, "y")?)?.try_into().ok()?;
    PublicKey::parse(&[&[4], x.as_slice(), &y].concat()).ok()
}

fn key_x25519(json: &Value, kid: &str) -> Option<[u8; 32]> {
    let key = jwk(json, kid, "OKP", "X25519")?;
    base64url::decode(text(key, "x")?)?.try_into().ok()
}

#[cfg(test)]
mod tests;
