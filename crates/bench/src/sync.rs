//! B5: what a device costs the service that asks what has changed: nothing, or a whole vault.

use crate::Fallible;
use crate::assertion::outcome_json;
use crate::http::Http;
use crate::load::{Fleet, Outcome, Pace, Worker};
use crate::measure::Spread;
use crate::member::Member;
use crate::populate::{self, APART};
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use keyferry_wire::Wire;
use keyferry_wire::publish::SyncPage;
use serde_json::{Value, json};

/// vaultwarden's figures as BENCH gives them; it does not run here.
const PEER_UNCHANGED_US: f64 = 488.0;
const PEER_FULL_US: f64 = 4900.0;

/// Every so many pages one is decoded and looked at.
const CHECK_EVERY: u64 = 64;

/// Ours, and a plain answer of the same length from the stub's server.
struct Pair {
    ours: Outcome,
    plain: Outcome,
}

pub(crate) struct Syncs {
    unchanged: Vec<Pair>,
    full: Vec<Pair>,
    /// Bytes of a page.
    page_len: usize,
    passkeys: usize,
}

/// One page of a member's vault from `cursor` on.
pub(crate) fn page(http: &mut Http, member: &Member, cursor: u64) -> Fallible<Vec<u8>> {
    let account = BASE64.encode(member.account.0);
    let seen = member.seen.map_or(0, |head| head.size);
    http.get_as(&format!("/v1/accounts/{account}/sync?cursor={cursor}&seen={seen}"), &member.access)
}

/// Makes an account for each connection, with as many passkeys as a full sync has, and reads.
pub(crate) fn measure(settings: &Settings, service: &Service, stub: &Service) -> Fallible<Syncs> {
    let numbers = APART..APART + settings.connections;
    let members = populate::accounts(service, numbers, settings.synced)?;
    let mut fleet = Fleet::connect(service, settings.connections)?;
    fleet.deal(members);
    let first = fleet.workers.first_mut().ok_or("no connection")?;
    let page_len = page(&mut first.http, first.members.first().ok_or("no account")?, 0)?.len();
    let mut plain = Fleet::with(stub, stub.stub_peer()?, settings.connections)?;
    let path = format!("/bytes/{page_len}");
    let (mut unchanged, mut full) = (Vec::new(), Vec::new());
    // The first round fills caches.
    for round in 0..=settings.rounds {
        let nothing = Pair {
            ours: fleet.run(service, settings.syncs, Pace::Closed, |worker| ask(worker, Asked::News, 0))?,
            plain: plain
                .run(stub, settings.syncs, Pace::Closed, |worker| worker.http.get("/hello").map(drop))?,
        };
        let everything = Pair {
            ours: fleet.run(service, settings.full_syncs, Pace::Closed, |worker| {
                ask(worker, Asked::Everything, settings.synced)
            })?,
            plain: plain
                .run(stub, settings.full_syncs, Pace::Closed, |worker| worker.http.get(&path).map(drop))?,
        };
        if round > 0 {
            unchanged.push(nothing);
            full.push(everything);
        }
    }
    Ok(Syncs { unchanged, full, page_len, passkeys: settings.synced })
}

#[derive(Clone, Copy, PartialEq)]
enum Asked {
    News,
    Everything,
}

/// Asks once, and looks at some of the answers.
fn ask(worker: &mut Worker, asked: Asked, rows: usize) -> Fallible<()> {
    worker.turn += 1;
    let member = worker.members.first().ok_or("a connection without an account")?;
    let at = member.stood.ok_or("an account that stands nowhere")?.vault_seq;
    let cursor = if asked == Asked::News { at } else { 0 };
    let bytes = page(&mut worker.http, member, cursor)?;
    if !worker.turn.is_multiple_of(CHECK_EVERY) {
        return Ok(());
    }
    let page = SyncPage::from_bytes(&bytes)?;
    let whole = page.rows.len() == rows && page.cursor == at && !page.more;
    // A page with rows carries the proof that the device checks them by.
    if whole && page.account.is_some() == (rows > 0) { Ok(()) } else { Err("a page of another vault".into()) }
}

fn spread(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> Spread {
    Spread::of(&pairs.iter().map(value).collect::<Vec<_>>())
}

fn details(pairs: &[Pair]) -> Value {
    let each = |pair: &Pair| json!({ "ours": outcome_json(&pair.ours), "plain": outcome_json(&pair.plain) });
    pairs.iter().map(each).collect()
}

impl Syncs {
    pub(crate) fn rows(&self, settings: &Settings) -> Vec<Row> {
        let row = |what: String, pairs: &[Pair], goal, peer: f64, plain: &str| {
            let ours = spread(pairs, |pair| pair.ours.cpu_us());
            let least = spread(pairs, |pair| pair.plain.cpu_us()).median;
            Row::new("B5", what, ours.median, "us CPU")
                .against(least)
                .ratio(spread(pairs, |pair| pair.plain.cpu_us() / pair.ours.cpu_us()))
                .goal_of_value(goal)
                .note(format!(
                    "spread {:.1}..{:.1} us; beside it {plain}: {least:.1} us; vaultwarden takes {peer:.0} us (BENCH, not run here)",
                    ours.low, ours.high
                ))
                .because(format!(
                    "HTTP alone takes {least:.1} us; token, account and page take {:.1} us more",
                    ours.median - least
                ))
                .details(details(pairs))
        };
        let unchanged = row(
            "sync, nothing changed".to_owned(),
            &self.unchanged,
            Goal::AtMost { reach: 15.0, floor: Some(40.0) },
            PEER_UNCHANGED_US,
            "a hello of the stub's server",
        );
        let plain = format!("{} bytes from the stub's server", self.page_len);
        let full = row(
            format!("full sync of {} passkeys, {} bytes, with proofs", self.passkeys, self.page_len),
            &self.full,
            Goal::AtMost { reach: 125.0, floor: Some(250.0) },
            PEER_FULL_US,
            &plain,
        );
        [unchanged, full].map(|row| settings.small_note(row)).into()
    }
}
