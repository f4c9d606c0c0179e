//! Lies about the ledger: what an audit is shown, and two ledgers shown at different times.

use crate::lie::{Lie, Told, audit, proof, told};
use crate::lies;
use crate::stage::{Errand, Stage, create};
use keyferry_wire::publish::AuditPage;
use keyferry_wire::refusal::Code;
use std::sync::{Arc, Mutex};

const FOREIGN: &str = "it was exchanged, moved or added";

lies! {
    a_missing_entry: Audit, audit(|page| drop(page.entries.remove(2))), Evidence, FOREIGN;
    a_missing_first_entry: Audit, audit(|page| drop(page.entries.remove(0))), Evidence, FOREIGN;
    a_missing_last_entry: Audit, audit(|page| drop(page.entries.pop())), Evidence, "entries are missing";
    no_entries: Audit, audit(|page| page.entries.clear()), Evidence, "entries are missing";
    no_entries_and_more_to_come: Audit, audit(|page| {
        page.entries.clear();
        page.more = true;
    }), Evidence, "entries are missing";
    a_doubled_entry: Audit, audit(|page| page.entries.insert(2, page.entries[1].clone())), Evidence, FOREIGN;
    an_entry_doubled_at_the_end: Audit, audit(|page| {
        page.entries.push(page.entries[0].clone());
    }), Evidence, "more than the ledger says";
    swapped_entries: Audit, audit(|page| page.entries.swap(1, 2)), Evidence, FOREIGN;
    entries_in_another_order: Audit, audit(|page| page.entries.reverse()), Evidence, FOREIGN;
    an_altered_entry: Audit, audit(|page| page.entries[1].leaf.0[100] ^= 1), Evidence, "not in the tree";
    an_entry_at_another_place: Audit, audit(|page| page.entries[1].index += 1), Evidence, "not in the tree";
    an_inclusion_for_another_leaf: Audit, audit(|page| {
        page.entries[1].inclusion = page.entries[2].inclusion.clone();
    }), Evidence, "not in the tree";
    a_page_that_starts_elsewhere: Audit, audit(|page| page.first = 3), Evidence, "instead of 1";
    pages_for_ever: Audit, {
        let mut first: Option<AuditPage> = None;
        audit(move |page| {
            *page = first.get_or_insert_with(|| page.clone()).clone();
            page.more = true;
        })
    }, Evidence, "starts at entry 1 instead of";
    fewer_entries_than_there_are: Audit, audit(|page| {
        page.account.seq -= 1;
        page.entries.pop();
    }), Evidence, "not the one that the ledger seals";
    another_head: Audit, audit(|page| page.account.head[0] ^= 1), Evidence, "not the one that the ledger seals";
    an_older_map_root: Audit, proof(|p| p.seal.0[30] ^= 1), Evidence, "";
}

/// The page of an audit as somebody saw it.
fn keep(stage: &Stage, home: &str) -> AuditPage {
    let kept = Arc::new(Mutex::new(None));
    let to = Arc::clone(&kept);
    stage.host.lie(Some(audit(move |page| *to.lock().unwrap() = Some(page.clone()))));
    stage.agent(home).audit().unwrap();
    stage.host.lie(None);
    kept.lock().unwrap().take().unwrap()
}

#[test]
fn entries_of_another_account() {
    let stage = Stage::with_member();
    stage.make_account("bob");
    stage.enrol("bobs", "bob");
    let theirs = keep(&stage, "bobs");
    let one = theirs.entries[1].clone();
    stage
        .trial(Errand::Audit, audit(move |page| page.entries[1] = one.clone()))
        .is(Some(Code::Evidence), "entry 2");
    stage
        .trial(Errand::Audit, audit(move |page| *page = theirs.clone()))
        .is(Some(Code::Evidence), "the proof is of another account");
    stage.goes_on(Errand::Audit);
}

#[test]
fn yesterdays_history() {
    let stage = Stage::with_member();
    let yesterday = keep(&stage, "laptop");
    stage.run(Errand::Create).unwrap();
    stage
        .trial(Errand::Audit, audit(move |page| *page = yesterday.clone()))
        .is(Some(Code::Stale), "it was rolled back");
    stage.goes_on(Errand::Audit);
}

/// Two enclaves on copies of one disk, each with an honest-looking ledger of its own: a device that has seen the one is
/// sent to the other. Both checkpoints are signed by the log's real key.
#[test]
fn a_split_view_is_noticed_by_whoever_has_seen_the_other_side() {
    let mut stage = Stage::with_member();
    stage.join("phone");
    let fork = stage.fork();
    stage.run(Errand::Create).unwrap();
    let seen = stage.home("laptop").unwrap();
    // On the other side the phone does more, so that its ledger is the larger one.
    stage.host.route(fork.address);
    for number in 0..3 {
        create(&mut stage.agent("phone"), &format!("{number}.example")).unwrap();
    }
    for errand in [Errand::Create, Errand::Get, Errand::Sync, Errand::Audit] {
        let refused = stage.run(errand).unwrap_err();
        let sentence = refused.to_string();
        let named = ["two ledgers", "two different histories", "rolled back"];
        assert!(named.iter().any(|words| sentence.contains(words)), "{errand:?}: {sentence}");
        assert_eq!(stage.home("laptop").unwrap().trust.seen, seen.trust.seen, "{errand:?}");
    }
    stage.route_back();
    stage.goes_on(Errand::Sync);
    fork.stop();
}

/// A disk of before under the same enclave: what the device has seen is not there any more.
#[test]
fn a_smaller_ledger_is_noticed_by_whoever_has_seen_a_larger_one() {
    let mut stage = Stage::with_member();
    let behind = stage.fork();
    stage.run(Errand::Create).unwrap();
    stage.host.route(behind.address);
    for errand in [Errand::PinStatus, Errand::Sync, Errand::Audit, Errand::Get] {
        let refused = stage.run(errand).unwrap_err();
        let sentence = refused.to_string();
        let named = ["two ledgers", "withholds", "rolled back"];
        assert!(named.iter().any(|words| sentence.contains(words)), "{errand:?}: {sentence}");
    }
    stage.route_back();
    stage.goes_on(Errand::Sync);
    behind.stop();
}

/// Nothing that is shown is both: an honest page with the proof of another moment.
#[test]
fn rows_of_now_with_the_proof_of_before() {
    let stage = Stage::with_member();
    let before = keep(&stage, "laptop").account;
    stage.run(Errand::Rename).unwrap();
    let lie: Lie = told(move |told| {
        if let Told::Audit(page) = told {
            page.account = before.clone();
        }
    });
    stage.trial(Errand::Audit, lie).is(Some(Code::Stale), "it was rolled back");
    stage.goes_on(Errand::Audit);
}
