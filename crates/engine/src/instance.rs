//! The keys of one life of the enclave, and the evidence that vouches for them. They are made here and never stored.

use crate::{ANCHOR_LEVEL, Platform};
use keyferry_crypto::channel::ChannelKey;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::random::{self};
use keyferry_crypto::sign::SigningKey;
use keyferry_tlog::Checkpoint;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::{Hash, InstanceId, Wire, limits};

/// What the evidence says besides the keys.
pub(crate) struct Statement<'a> {
    pub(crate) nonce: [u8; 32],
    pub(crate) audience: &'a str,
    pub(crate) custody_level: u16,
    pub(crate) checkpoint: Option<&'a Checkpoint>,
}

/// Keys of this boot that outlive an hour.
pub(crate) struct BootKeys {
    pub(crate) instance: InstanceId,
    pub(crate) signing: SigningKey,
    pub(crate) hpke: BoxKey,
}

impl BootKeys {
    pub(crate) fn generate(platform: &mut dyn Platform) -> BootKeys {
        let random = platform.random();
        BootKeys {
            instance: InstanceId(random::bytes(random)),
            signing: SigningKey::generate(random),
            hpke: BoxKey::generate(random),
        }
    }

    /// Makes a channel key and evidence for it.
    pub(crate) fn attest(
        &self,
        platform: &mut dyn Platform,
        statement: &Statement<'_>,
        now_ms: u64,
    ) -> (Channel, Evidence) {
        let key = ChannelKey::generate(platform.random());
        let runtime_data = self.runtime_data(&key, statement);
        let evidence = platform.evidence(runtime_data.into_bytes());
        let hash = sha256(&[&evidence.to_bytes()]);
        (Channel { key, evidence: hash, retired_ms: None, born_ms: now_ms }, evidence)
    }

    /// The JSON object that report data binds; byte for byte what the reader hashes.
    fn runtime_data(&self, channel: &ChannelKey, statement: &Statement<'_>) -> String {
        let ledger = statement.checkpoint.map_or_else(
            || "null".to_owned(),
            |checkpoint| {
                format!(
                    r#"{{"origin":{},"size":{},"root":"{}"}}"#,
                    quoted(&checkpoint.origin),
                    checkpoint.size,
                    base64url(&checkpoint.root)
                )
            },
        );
        format!(
            concat!(
                r#"{{"v":1,"nonce":"{nonce}","aud":{aud},"instance":"{instance}","keys":[{chan},{sig},"#,
                r#"{{"kid":"hpke","kty":"OKP","crv":"X25519","x":"{hpke}"}}],"build":"keyferry {build}","#,
                r#""manifest":"","anchor_level":{anchor},"custody_level":{custody},"ledger":{ledger}}}"#
            ),
            nonce = base64url(&statement.nonce),
            aud = quoted(statement.audience),
            instance = base64url(&self.instance.0),
            chan = p256_jwk("chan", &channel.public()),
            sig = p256_jwk("sig", &self.signing.public()),
            hpke = base64url(&self.hpke.public()),
            build = env!("CARGO_PKG_VERSION"),
            anchor = ANCHOR_LEVEL,
            custody = statement.custody_level,
            ledger = ledger,
        )
    }
}

/// A channel key and the evidence to which handshakes refer.
pub(crate) struct Channel {
    pub(crate) key: ChannelKey,
    pub(crate) evidence: Hash,
    born_ms: u64,
    retired_ms: Option<u64>,
}

/// This boot's keys with the channel keys that are still served.
pub(crate) struct Instances {
    pub(crate) boot: BootKeys,
    channels: Vec<Channel>,
}

impl Instances {
    pub(crate) fn new(boot: BootKeys, channel: Channel) -> Instances {
        Instances { boot, channels: vec![channel] }
    }

    /// Puts a new channel key in force; the others serve a while longer.
    pub(crate) fn replace(&mut self, channel: Channel, now_ms: u64) {
        for old in &mut self.channels {
            old.retired_ms.get_or_insert(now_ms);
        }
        self.channels.retain(|old| !old.over(now_ms));
        self.channels.push(channel);
    }

    /// The channel key of this evidence, if it is still served.
    pub(crate) fn channel(&self, evidence: &Hash, now_ms: u64) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.evidence == *evidence && !channel.over(now_ms))
    }
}

impl Channel {
    fn over(&self, now_ms: u64) -> bool {
        let retired = self.retired_ms.is_some_and(|at| now_ms > at.saturating_add(limits::SESSION_IDLE_MS));
        retired || now_ms > self.born_ms.saturating_add(2 * limits::EVIDENCE_LIFE_MS)
    }
}

fn p256_jwk(kid: &str, public: &[u8; 65]) -> String {
    let (_, point) = public.split_at(1);
    let (x, y) = point.split_at(32);
    format!(r#"{{"kid":"{kid}","kty":"EC","crv":"P-256","x":"{}","y":"{}"}}"#, base64url(x), base64url(y))
}

/// A JSON string; the deployment's name is the only text from outside.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
