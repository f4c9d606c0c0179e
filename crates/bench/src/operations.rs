//! B2: every cryptographic operation that an assertion needs, counted from the code of `engine`, `tlog` and `server`,
//! each at its ceiling of the same run. What an assertion costs beyond their sum is work beyond cryptography.
//!
//! Counted is what the protocol needs once. Where the code does the same thing again (the blinded account id, say),
//! the second time is work beyond cryptography, too; so are copies, encodings and allocations around an operation.

use crate::Fallible;
use crate::ceiling::Ceilings;
use crate::engine::{frames, open_sessions};
use crate::local::Local;
use crate::measure::{Spread, rounded};
use crate::member::Member;
use keyferry_tlog::Terminal;
use keyferry_wire::Wire;
use keyferry_wire::command::Command;
use keyferry_wire::door::AccountView;
use keyferry_wire::ledger::EVENT_LEN;
use keyferry_wire::publish::MapProof;
use serde_json::{Value, json};

/// Sizes and depths of one assertion, as they are in this run's store.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    account_row: usize,
    device_row: usize,
    passkey_blob: usize,
    passkey_row: usize,
    commands: usize,
    client_data: usize,
    /// Padded, as they go through the channel.
    request: usize,
    reply: usize,
    map_depth: f64,
    vault_depth: f64,
}

/// Members whose depths are averaged.
const SAMPLE: usize = 16;

impl Shape {
    /// Signs in once with some members, within this thread.
    pub(crate) fn of(local: &mut Local, members: &mut [Member]) -> Fallible<Shape> {
        let start = members.len().saturating_sub(SAMPLE);
        let sample = members.get_mut(start..).unwrap_or_default();
        open_sessions(local, sample)?;
        let command = sample.first().ok_or("no account")?.assert(0)?.0;
        let frames = frames(sample, 0)?;
        let request = frames.first().map_or(0, |frame| frame.ciphertext.len());
        let replies = local.requests(frames)?;
        let reply = replies.first().ok_or("no reply")?.ciphertext.len();
        let views = sample.iter().map(|member| local.view(member)).collect::<Fallible<Vec<_>>>()?;
        let sizes = |size: fn(&AccountView) -> Option<usize>| -> Fallible<Vec<f64>> {
            let sizes = views.iter().map(|view| Some(size(view)? as f64));
            sizes.collect::<Option<_>>().ok_or_else(|| "a row is missing".into())
        };
        // Few accounts have a PIN here, which makes their rows longer: the median is of one without.
        let median = |size| Ok::<_, crate::Fault>(Spread::of(&sizes(size)?).median as usize);
        let mean = |size| Ok::<_, crate::Fault>(sizes(size)?.iter().sum::<f64>() / views.len() as f64);
        let Command::Assert(assert) = &command else { return Err("a sign-in that is none".into()) };
        Ok(Shape {
            account_row: median(|view| Some(view.state.as_ref()?.row.len()))?,
            device_row: median(|view| Some(view.devices.first()?.row.len()))?,
            passkey_blob: median(|view| Some(view.passkeys.first()?.row.as_ref()?.blob.len()))?,
            passkey_row: median(|view| Some(view.passkeys.first()?.row.as_ref()?.to_bytes().len()))?,
            client_data: assert.client_data_json.as_ref().map_or(0, |json| json.len()),
            commands: vec![command].to_bytes().len(),
            request,
            reply,
            map_depth: mean(|view| Some(levels(&view.proof)))?,
            vault_depth: mean(|view| Some(levels(&view.passkeys.first()?.proof)))?,
        })
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "account_row": self.account_row, "device_row": self.device_row, "passkey_blob": self.passkey_blob,
            "passkey_row": self.passkey_row, "commands": self.commands, "client_data": self.client_data,
            "request": self.request, "reply": self.reply,
            "map_depth": rounded(self.map_depth), "vault_depth": rounded(self.vault_depth),
        })
    }
}

/// Hashes from a proof's end to the root.
fn levels(proof: &MapProof) -> usize {
    proof.siblings.len() + usize::from(matches!(proof.terminal, Terminal::Leaf(_)))
}

/// One kind of operation with how often an assertion needs it and what one costs at its ceiling.
struct Operation {
    name: &'static str,
    count: f64,
    ns: f64,
}

/// All operations of one assertion.
pub(crate) struct Operations {
    list: Vec<Operation>,
}

/// The ceilings as functions of the length.
struct Prices<'a>(&'a Ceilings);

impl Prices<'_> {
    /// SHA-256 works in blocks of 64 bytes, of which 9 bytes are its own.
    fn sha(&self, len: usize) -> f64 {
        let blocks = |len: usize| (len + 9).div_ceil(64) as f64;
        let block = (self.0.sha_kib - self.0.node) / (blocks(1024) - blocks(65));
        self.0.node + (blocks(len) - blocks(65)) * block
    }

    fn aead(&self, len: usize) -> f64 {
        let byte = (self.0.aead_kib - self.0.aead) / 768.0;
        self.0.aead + (len as f64 - 256.0) * byte
    }

    /// Under a key that is used once.
    fn sealed(&self, len: usize) -> f64 {
        self.aead(len) + self.0.aead_new - self.0.aead
    }
}

/// Inner nodes that `keys` random paths of `depth` levels have together, per path: the upper ones are shared.
fn nodes_per_path(depth: f64, keys: f64) -> f64 {
    let levels = 0..depth.round().max(0.0) as i32;
    let nodes: f64 = levels
        .map(|level| {
            let places = 2f64.powi(level);
            places * (1.0 - (1.0 - 1.0 / places).powf(keys))
        })
        .sum();
    nodes / keys
}

/// Bytes that go into hashes of fixed length (`tlog::state`, `engine::request`).
const MAP_VALUE_LEN: usize = 21 + 32 + 8 + 32 + 8 + 32;
const ACCOUNT_HEAD_LEN: usize = 24 + 64;
const OPERATION_LEN: usize = 18 + 36 + 20 + 20 + 36;
const SDS_HASH_LEN: usize = 30 + 36 + 12 + 36;
const RP_ID_LEN: usize = 17;
const ID_LEN: usize = 16;

impl Operations {
    /// `together`: assertions in one batch of a shard, which share SEAL, checkpoint and upper nodes of the map.
    pub(crate) fn of(shape: &Shape, together: f64, ceilings: &Ceilings) -> Operations {
        let prices = Prices(ceilings);
        let row = |name, count: f64, ns: f64| Operation { name, count, ns };
        let path = nodes_per_path(shape.map_depth - 1.0, together);
        let share = 1.0 / together;
        let list = vec![
            row("enclave: device signature verified", 1.0, ceilings.verify),
            row("enclave: passkey's key loaded, its point checked", 1.0, ceilings.load),
            row("enclave: assertion signed", 1.0, ceilings.sign),
            row("enclave: AEAD of the channel, request", 1.0, prices.aead(shape.request)),
            row("enclave: AEAD of the channel, reply", 1.0, prices.aead(shape.reply)),
            row("enclave: AEAD of the account row, opened and sealed", 2.0, prices.sealed(shape.account_row)),
            row("enclave: AEAD of the device row, opened and sealed", 2.0, prices.sealed(shape.device_row)),
            row("enclave: AEAD of the device's half, opened", 1.0, prices.sealed(32)),
            row("enclave: AEAD of the passkey, opened", 1.0, prices.sealed(shape.passkey_blob)),
            row("enclave: AEAD of the leaf's event", 1.0, prices.sealed(EVENT_LEN)),
            row("enclave: HKDF: account, 2 rows twice, half, passkey twice, leaf twice", 10.0, ceilings.hkdf),
            row("enclave: HMAC: blinded account, leaf's tag, commitment", 3.0, ceilings.hmac),
            row("enclave: SHA-256 of the request", 1.0, prices.sha(shape.request)),
            row("enclave: SHA-256 of the commands", 1.0, prices.sha(shape.commands)),
            row("enclave: SHA-256 of the operation", 1.0, prices.sha(OPERATION_LEN)),
            row("enclave: SHA-256 of the client data", 1.0, prices.sha(shape.client_data)),
            row("enclave: SHA-256 of the RP ID, in key and authenticator data", 2.0, prices.sha(RP_ID_LEN)),
            row("enclave: SHA-256 of the credential id", 1.0, prices.sha(ID_LEN)),
            row("enclave: SHA-256 of the security domain secret", 1.0, prices.sha(SDS_HASH_LEN)),
            row("enclave: SHA-256 of the account row, before and after", 2.0, prices.sha(shape.account_row)),
            row("enclave: SHA-256 of the device row, before and after", 2.0, prices.sha(shape.device_row)),
            row("enclave: SHA-256 of the map value, before and after", 2.0, prices.sha(MAP_VALUE_LEN)),
            row("enclave: map leaf and path, before and after", 2.0 * (1.0 + path), ceilings.node),
            row(
                "enclave: SHA-256 of the vault's key and row",
                1.0,
                prices.sha(37) + prices.sha(shape.passkey_row),
            ),
            row("enclave: vault leaf and path", shape.vault_depth, ceilings.node),
            row("enclave: Merkle append of the leaf", 1.0, ceilings.append),
            row("enclave: SHA-256 of the account's head", 1.0, prices.sha(ACCOUNT_HEAD_LEN)),
            row("enclave: Merkle append of SEAL, shared", share, ceilings.append),
            row("enclave: Ed25519 signature of the checkpoint, shared", share, ceilings.ed25519),
            row("gateway: Merkle append of the leaf", 1.0, ceilings.append),
            row("gateway: Merkle append of SEAL, shared", share, ceilings.append),
            row("gateway: SHA-256 of the account row", 1.0, prices.sha(shape.account_row)),
            row("gateway: SHA-256 of the map value", 1.0, prices.sha(MAP_VALUE_LEN)),
            row("gateway: map leaf and path", 1.0 + path, ceilings.node),
        ];
        Operations { list }
    }

    /// Microseconds of all of them.
    pub(crate) fn us(&self) -> f64 {
        self.list.iter().map(|operation| operation.count * operation.ns).sum::<f64>() / 1000.0
    }

    pub(crate) fn json(&self) -> Value {
        let each = |operation: &Operation| {
            json!({
                "operation": operation.name,
                "count": rounded(operation.count),
                "us": rounded(operation.count * operation.ns / 1000.0),
            })
        };
        self.list.iter().map(each).collect()
    }

    /// For people: what weighs most.
    pub(crate) fn largest(&self, count: usize) -> String {
        let mut sorted: Vec<_> = self.list.iter().collect();
        sorted.sort_by(|a, b| (b.count * b.ns).total_cmp(&(a.count * a.ns)));
        let each = |operation: &&Operation| {
            format!("{} {:.1}", operation.name, operation.count * operation.ns / 1000.0)
        };
        sorted.iter().take(count).map(each).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::nodes_per_path;

    #[test]
    fn one_path_has_all_of_its_nodes_and_many_share_the_upper_ones() {
        assert!((nodes_per_path(10.0, 1.0) - 10.0).abs() < 1e-9);
        let shared = nodes_per_path(10.0, 16.0);
        assert!(shared > 6.0 && shared < 7.5, "{shared}");
        assert_eq!(nodes_per_path(-1.0, 4.0), 0.0);
    }
}
