use super::*;
use crate::proof::Fraud;
use crate::testing::{Ledger, member};

fn history() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.event(Kind::Enrol, None);
    ledger.event(Kind::Prepare, None);
    ledger.seal();
    ledger.put(1, "one.example", false);
    ledger.event(Kind::Attempt, None);
    ledger.event(Kind::Result, None);
    ledger.seal();
    ledger
}

fn audit(home: &mut Home, mut answer: impl FnMut(&Home, u64) -> AuditPage) -> Result<Audited, FlowError> {
    let mut audit = Audit::start(home)?;
    loop {
        let page = answer(home, audit.next());
        if let Some(audited) = audit.page(home, &page)? {
            return Ok(audited);
        }
    }
}

fn fraud(home: &mut Home, ledger: &Ledger, change: impl Fn(&mut AuditPage)) -> String {
    let result = audit(home, |home, first| {
        let mut page = ledger.audit_page(home, first, 100);
        change(&mut page);
        page
    });
    match result {
        Err(FlowError::Refused(refusal)) => refusal.message,
        other => panic!("{other:?}"),
    }
}

fn noticed(change: impl Fn(&mut AuditPage), expected: &AuditFraud) {
    let (ledger, mut home) = (history(), member(&history()));
    assert_eq!(fraud(&mut home, &ledger, change), expected.to_string());
}

#[test]
fn a_whole_history_is_read_with_its_names() {
    let (ledger, mut home) = (history(), member(&history()));
    home.vault.rows = ledger.rows.values().cloned().collect();
    let audited = audit(&mut home, |home, first| ledger.audit_page(home, first, 100)).unwrap();
    let kinds: Vec<_> = audited.entries.iter().map(|entry| (entry.seq, entry.kind)).collect();
    let expected = [Kind::Enrol, Kind::Prepare, Kind::CreatePasskey, Kind::Attempt, Kind::Result];
    assert_eq!(kinds, (1..).zip(expected).collect::<Vec<_>>());
    assert_eq!(audited.entries[2].rp_id.as_deref(), Some("one.example"));
    assert_eq!(audited.entries[0].device.as_deref(), Some("laptop"));
    assert_eq!(audited.size, ledger.size());
}

#[test]
fn pages_of_one_entry_lead_to_the_same_history() {
    let (ledger, mut home) = (history(), member(&history()));
    let audited = audit(&mut home, |home, first| ledger.audit_page(home, first, 1)).unwrap();
    assert_eq!(audited.entries.len(), 5);
}

#[test]
fn a_missing_last_entry_is_noticed() {
    noticed(|page| drop(page.entries.pop()), &AuditFraud::Missing { wanted: 5, found: 4 });
}

#[test]
fn a_missing_entry_in_the_middle_is_noticed() {
    noticed(|page| drop(page.entries.remove(2)), &AuditFraud::Foreign(3));
}

#[test]
fn an_empty_history_is_noticed() {
    noticed(|page| page.entries.clear(), &AuditFraud::Missing { wanted: 5, found: 0 });
}

#[test]
fn an_altered_entry_is_noticed() {
    noticed(|page| page.entries[1].leaf.0[100] ^= 1, &AuditFraud::NotInTree(2));
}

#[test]
fn reordered_entries_are_noticed() {
    noticed(|page| page.entries.swap(0, 1), &AuditFraud::Foreign(1));
}

#[test]
fn a_repeated_entry_is_noticed() {
    noticed(|page| page.entries.insert(1, page.entries[0].clone()), &AuditFraud::Foreign(2));
}

#[test]
fn an_extra_entry_is_noticed() {
    noticed(|page| page.entries.push(page.entries[0].clone()), &AuditFraud::Extra(6));
}

#[test]
fn an_entry_at_another_place_of_the_tree_is_noticed() {
    noticed(|page| page.entries[0].index += 1, &AuditFraud::NotInTree(1));
}

#[test]
fn a_page_that_starts_elsewhere_is_noticed() {
    noticed(|page| page.first = 2, &AuditFraud::Page { wanted: 1, found: 2 });
}

/// The log itself holds what the owner cannot have written: a dishonest enclave, or a stolen log key.
fn noticed_in_the_log(change: impl Fn(&mut Leaf), expected: &AuditFraud) {
    let mut ledger = history();
    let honest = ledger.audit_page(&member(&ledger), 1, 100);
    let mut leaf = Leaf::from_bytes(&honest.entries[0].leaf).unwrap();
    change(&mut leaf);
    ledger.append_own(leaf.to_bytes().to_vec());
    ledger.seal();
    let mut home = member(&ledger);
    assert_eq!(fraud(&mut home, &ledger, |_| ()), expected.to_string());
}

#[test]
fn a_copy_of_an_old_entry_in_the_log_is_noticed() {
    noticed_in_the_log(|_| (), &AuditFraud::Foreign(6));
}

#[test]
fn an_entry_in_the_log_that_does_not_open_is_noticed() {
    let tag = AuditKey::from_bytes([0xad; 32]).tag(6);
    noticed_in_the_log(|leaf| leaf.tag = tag, &AuditFraud::Altered(6));
}

#[test]
fn an_event_with_another_number_or_time_is_noticed() {
    let mut ledger = history();
    let mut event = Event {
        kind: Kind::Assert,
        outcome: Outcome::Done,
        seq: 6,
        time_ms: 6000,
        device: 0,
        operation: [0; 16],
        credential: [0; 16],
        generation: 0,
        left: 0,
        detail: [0; 32],
        verified: false,
    };
    ledger.append_event(&event);
    event.seq = 8;
    ledger.append_event(&event);
    ledger.seal();
    let mut home = member(&ledger);
    assert_eq!(fraud(&mut home, &ledger, |_| ()), AuditFraud::Foreign(7).to_string());
}

#[test]
fn a_head_that_the_entries_do_not_lead_to_is_noticed() {
    let (ledger, mut home) = (history(), member(&history()));
    let message = fraud(&mut home, &ledger, |page| page.account.head[0] ^= 1);
    assert_eq!(message, Fraud::Map.to_string());
}

#[test]
fn a_history_of_another_log_key_is_noticed() {
    let (ledger, mut home) = (history(), member(&history()));
    let foreign = ledger.with_other_key();
    assert_eq!(fraud(&mut home, &foreign, |_| ()), Fraud::Checkpoint.to_string());
}

#[test]
fn a_history_that_was_rolled_back_is_noticed() {
    let (mut ledger, mut home) = (history(), member(&history()));
    let yesterday = ledger.clone();
    ledger.event(Kind::Attempt, None);
    ledger.seal();
    audit(&mut home, |home, first| ledger.audit_page(home, first, 100)).unwrap();
    let (seen, shown) = (ledger.size(), yesterday.size());
    let rolled_back = Fraud::RolledBack { seen, shown }.to_string();
    assert_eq!(fraud(&mut home, &yesterday, |_| ()), rolled_back);
    assert_eq!(home.alarm, Some(rolled_back), "it is remembered");
}

#[test]
fn a_history_behind_what_an_enclave_told_of_is_noticed() {
    let (mut ledger, mut home) = (history(), member(&history()));
    let behind = ledger.clone();
    ledger.event(Kind::Attempt, None);
    ledger.seal();
    home.advance(account_head(&ledger.proof(&home))).unwrap();
    let result = audit(&mut home, |home, first| behind.audit_page(home, first, 100));
    assert!(matches!(result, Err(FlowError::Refused(refusal)) if refusal.code == Code::Stale));
}

#[test]
fn a_history_is_followed_from_what_was_seen_and_only_what_came_after_is_told() {
    let (mut ledger, mut home) = (history(), member(&history()));
    let read = |audit: &mut Audit, home: &mut Home, ledger: &Ledger| {
        let mut seen = Vec::new();
        loop {
            let page = ledger.audit_page(home, audit.next(), 2);
            if let Some((_, events)) = audit.events(home, &page).unwrap() {
                seen.extend(events.iter().map(|event| event.seq));
                return seen;
            }
        }
    };
    let mut whole = Audit::start(&home).unwrap();
    let all = read(&mut whole, &mut home, &ledger);
    let mut after = Audit::resume(&home).unwrap();
    assert_eq!(read(&mut after, &mut home, &ledger), Vec::<u64>::new());
    ledger.event(Kind::Attempt, None);
    ledger.event(Kind::Result, None);
    ledger.event(Kind::Attempt, None);
    ledger.seal();
    let next = all.last().unwrap() + 1;
    assert_eq!(read(&mut whole, &mut home, &ledger), [next, next + 1, next + 2]);
    assert_eq!(read(&mut after, &mut home, &ledger), [next, next + 1, next + 2]);
    assert_eq!(read(&mut after, &mut home, &ledger), Vec::<u64>::new());
}

#[test]
fn a_followed_history_that_does_not_go_on_from_what_was_seen_is_noticed() {
    let (mut ledger, mut home) = (history(), member(&history()));
    audit(&mut home, |home, first| ledger.audit_page(home, first, 100)).unwrap();
    let mut after = Audit::resume(&home).unwrap();
    ledger.event(Kind::Attempt, None);
    ledger.event(Kind::Result, None);
    ledger.seal();
    let mut page = ledger.audit_page(&home, after.next(), 100);
    // The first of the two is kept back, and the second one is shown in its place.
    page.entries.remove(0);
    let refused = after.events(&mut home, &page);
    assert!(matches!(refused, Err(FlowError::Refused(refusal)) if refusal.code == Code::Evidence));
}
