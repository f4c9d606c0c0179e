use super::*;
use crate::testing::{Ledger, home as stranger, member};

fn vault() -> Ledger {
    let mut ledger = Ledger::new();
    ledger.put(1, "one.example", false);
    ledger.put(2, "two.example", false);
    ledger.put(3, "three.example", false);
    ledger.seal();
    ledger
}

fn sync(home: &mut Home, mut answer: impl FnMut(&Home, u64) -> SyncPage) -> Result<Synced, FlowError> {
    let mut sync = Sync::start(home)?;
    loop {
        let page = answer(home, sync.cursor());
        if let Some(synced) = sync.page(home, page)? {
            return Ok(synced);
        }
    }
}

fn honest(ledger: &Ledger, home: &mut Home) -> Synced {
    sync(home, |home, cursor| ledger.sync_page(home, cursor, 100)).unwrap()
}

/// What a sync says of a page that was changed on its way.
fn fraud(home: &mut Home, ledger: &Ledger, change: impl Fn(&mut SyncPage)) -> Refusal {
    let result = sync(home, |home, cursor| {
        let mut page = ledger.sync_page(home, cursor, 100);
        change(&mut page);
        page
    });
    match result {
        Err(FlowError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

fn altered(refusal: &Refusal) {
    assert_eq!((refusal.code, &refusal.message), (Code::Evidence, &RowFraud::Altered.to_string()));
}

#[test]
fn a_vault_arrives_whole_and_only_changes_afterwards() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    assert_eq!(honest(&ledger, &mut home), Synced { cursor: 3, changed: 3 });
    assert_eq!(honest(&ledger, &mut home), Synced { cursor: 3, changed: 0 });
    ledger.put(2, "two.example", true);
    ledger.put(4, "four.example", false);
    ledger.seal();
    assert_eq!(honest(&ledger, &mut home), Synced { cursor: 5, changed: 2 });
    let names: Vec<_> = home.passkeys().unwrap().iter().map(|p| p.metadata.rp_id.clone()).collect();
    assert_eq!(names, ["four.example", "three.example", "one.example"]);
}

#[test]
fn pages_of_one_row_lead_to_the_same_vault() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let synced = sync(&mut home, |home, cursor| ledger.sync_page(home, cursor, 1)).unwrap();
    assert_eq!((synced.changed, home.vault.rows.len()), (3, 3));
}

#[test]
fn an_interrupted_sync_goes_on_at_its_cursor() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let mut sync = Sync::start(&home).unwrap();
    let first = ledger.sync_page(&home, sync.cursor(), 2);
    assert_eq!(sync.page(&mut home, first).unwrap(), None);
    // The answer to the second is lost on its way; what is asked for again is the rest.
    let lost = ledger.sync_page(&home, sync.cursor(), 2);
    let again = ledger.sync_page(&home, sync.cursor(), 2);
    assert_eq!((&lost, again.rows.len()), (&again, 1));
    assert_eq!(sync.page(&mut home, again).unwrap(), Some(Synced { cursor: 3, changed: 3 }));
}

#[test]
fn a_sync_that_was_given_up_begins_where_the_last_verified_one_ended() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    honest(&ledger, &mut home);
    ledger.put(4, "four.example", false);
    ledger.put(5, "five.example", false);
    ledger.seal();
    let mut given_up = Sync::start(&home).unwrap();
    let page = ledger.sync_page(&home, given_up.cursor(), 1);
    assert_eq!(given_up.page(&mut home, page).unwrap(), None);
    drop(given_up);
    assert_eq!(home.vault.cursor, 3, "what no proof has shown is not taken over");
    assert_eq!(honest(&ledger, &mut home), Synced { cursor: 5, changed: 2 });
}

#[test]
fn a_withheld_row_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    altered(&fraud(&mut home, &ledger, |page| drop(page.rows.remove(1))));
    assert!(home.vault.rows.is_empty(), "nothing of it is taken over");
}

#[test]
fn an_altered_ciphertext_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    altered(&fraud(&mut home, &ledger, |page| page.rows[0].blob.0[0] ^= 1));
    altered(&fraud(&mut home, &ledger, |page| page.rows[0].metadata.0[20] ^= 1));
}

#[test]
fn a_row_that_is_marked_deleted_by_the_gateway_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    altered(&fraud(&mut home, &ledger, |page| page.rows[2].deleted = true));
}

#[test]
fn swapped_contents_of_two_rows_are_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    altered(&fraud(&mut home, &ledger, |page| {
        let first = page.rows[0].metadata.clone();
        page.rows[0].metadata = std::mem::replace(&mut page.rows[1].metadata, first);
    }));
}

#[test]
fn an_added_row_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    altered(&fraud(&mut home, &ledger, |page| {
        let mut row = page.rows[0].clone();
        (row.id, row.vault_seq) = (CredentialId([9; 16]), 4);
        page.rows.push(row);
        page.cursor = 4;
    }));
}

#[test]
fn rows_out_of_order_are_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let refusal = fraud(&mut home, &ledger, |page| page.rows.swap(0, 1));
    assert_eq!(refusal.message, RowFraud::Disordered.to_string());
}

#[test]
fn a_change_without_a_proof_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let refusal = fraud(&mut home, &ledger, |page| page.account = None);
    assert_eq!(refusal.message, RowFraud::Unproved.to_string());
}

#[test]
fn yesterdays_vault_is_noticed_after_a_sync() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    let yesterday = ledger.clone();
    ledger.put(1, "one.example", true);
    ledger.seal();
    honest(&ledger, &mut home);
    let refusal = fraud(&mut home, &yesterday, |_| ());
    let (seen, shown) = (ledger.size(), yesterday.size());
    let rolled_back = crate::proof::Fraud::RolledBack { seen, shown }.to_string();
    assert_eq!((refusal.code, refusal.message), (Code::Stale, rolled_back.clone()));
    assert_eq!(home.alarm, Some(rolled_back), "it is remembered");
}

#[test]
fn changes_that_an_enclave_told_of_cannot_be_withheld() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    honest(&ledger, &mut home);
    let silent = ledger.clone();
    ledger.put(1, "one.example", true);
    ledger.seal();
    home.advance(account_head(&ledger.proof(&home))).unwrap();
    let refusal = fraud(&mut home, &silent, |_| ());
    let withheld = RowFraud::Withheld { seen: 4, shown: 3 }.to_string();
    assert_eq!((refusal.code, refusal.message), (Code::Stale, withheld.clone()));
    assert_eq!(home.alarm, Some(withheld), "it is remembered");
}

#[test]
fn an_older_version_of_a_row_is_noticed() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    ledger.put(1, "one.example", false);
    ledger.seal();
    honest(&ledger, &mut home);
    ledger.put(2, "two.example", false);
    ledger.seal();
    let refusal = fraud(&mut home, &ledger, |page| page.rows[0].version = 1);
    assert_eq!((refusal.code, refusal.message), (Code::Stale, RowFraud::RolledBack.to_string()));
}

#[test]
fn a_proof_by_another_log_key_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let foreign = ledger.clone().with_other_key();
    let refusal = fraud(&mut home, &foreign, |_| ());
    assert_eq!(refusal.message, crate::proof::Fraud::Checkpoint.to_string());
}

#[test]
fn a_ledger_that_forked_is_noticed() {
    let (mut ledger, mut home) = (vault(), member(&vault()));
    let mut fork = ledger.clone();
    ledger.put(4, "four.example", false);
    ledger.seal();
    honest(&ledger, &mut home);
    for id in 5..9 {
        fork.put(id, "fork.example", false);
    }
    fork.seal();
    let refusal = fraud(&mut home, &fork, |_| ());
    assert_eq!(refusal.message, crate::proof::Fraud::Forked.to_string());
}

#[test]
fn a_proof_of_other_fields_or_another_account_is_noticed() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let wrong_root = fraud(&mut home, &ledger, |page| page.account.as_mut().unwrap().vault_root[0] ^= 1);
    assert_eq!(wrong_root.message, crate::proof::Fraud::Map.to_string());
    let other = fraud(&mut home, &ledger, |page| page.account.as_mut().unwrap().map_key[0] ^= 1);
    assert_eq!(other.message, crate::proof::Fraud::OtherAccount.to_string());
    let seal = fraud(&mut home, &ledger, |page| page.account.as_mut().unwrap().seal.0[50] ^= 1);
    assert_eq!(seal.message, crate::proof::Fraud::Seal.to_string());
}

#[test]
fn a_gateway_that_always_has_more_is_refused() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let refusal = fraud(&mut home, &ledger, |page| {
        page.rows.clear();
        page.more = true;
    });
    assert_eq!(refusal.code, Code::Evidence);
}

#[test]
fn a_home_that_is_no_member_does_not_sync() {
    let Err(FlowError::Refused(refusal)) = Sync::start(&stranger(&vault())) else { panic!() };
    assert_eq!(refusal.code, Code::UnknownDevice);
}

#[test]
fn rows_that_never_end_are_given_up() {
    let (ledger, mut home) = (vault(), member(&vault()));
    let template = ledger.rows.values().next().unwrap().clone();
    let mut next = 0;
    let result = sync(&mut home, |_, _| {
        next += 1;
        let id = CredentialId(u128::from(next).to_be_bytes());
        let row = PasskeyRow { id, vault_seq: next, blob: vec![0; 1 << 20].into(), ..template.clone() };
        SyncPage { rows: vec![row], cursor: next, more: true, account: None }
    });
    let endless = FlowError::from(RowFraud::Endless);
    assert_eq!(result.unwrap_err(), endless);
    assert!(next <= 129 && home.vault.rows.is_empty());
}

#[test]
fn empty_rows_that_never_end_are_given_up() {
    const EACH: u64 = 10_000;
    let (ledger, mut home) = (vault(), member(&vault()));
    let template = ledger.rows.values().next().unwrap().clone();
    let mut next = 0;
    let result = sync(&mut home, |_, _| {
        let rows = (next + 1..=next + EACH).map(|number| PasskeyRow {
            id: CredentialId(u128::from(number).to_be_bytes()),
            vault_seq: number,
            blob: Vec::new().into(),
            metadata: Vec::new().into(),
            ..template.clone()
        });
        let rows = rows.collect();
        next += EACH;
        SyncPage { rows, cursor: next, more: true, account: None }
    });
    assert_eq!(result.unwrap_err(), FlowError::from(RowFraud::Endless));
    assert!(next <= 530_000 && home.vault.rows.is_empty());
}
