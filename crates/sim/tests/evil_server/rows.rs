//! Lies about the vault: rows altered, exchanged, aged, left out. The device has seen one passkey and syncs the second.

use crate::lie::{frame, proof, sync};
use crate::lies;
use crate::stage::{Errand, Stage};
use keyferry_client::home::Vault;
use keyferry_wire::CredentialId;
use keyferry_wire::publish::{PasskeyRow, SyncPage};
use keyferry_wire::refusal::Code;

const NOT_THE_VAULT: &str = "are not the account's vault";

fn first(lie: impl Fn(&mut PasskeyRow) + Send + 'static) -> crate::lie::Lie {
    sync(move |page| page.rows.first_mut().into_iter().for_each(&lie))
}

lies! {
    // One row.
    another_id: Sync, first(|row| row.id = CredentialId([7; 16])), Evidence, NOT_THE_VAULT;
    a_higher_version: Sync, first(|row| row.version += 1), Evidence, NOT_THE_VAULT;
    a_version_of_nothing: Sync, first(|row| row.version = 0), Evidence, NOT_THE_VAULT;
    another_place_in_the_order: Sync, first(|row| row.vault_seq += 7), Evidence, NOT_THE_VAULT;
    a_place_that_was_passed: Sync, first(|row| row.vault_seq = 1), Evidence, "out of order";
    a_passkey_called_deleted: Sync, first(|row| row.deleted = true), Evidence, NOT_THE_VAULT;
    another_epoch: Sync, first(|row| row.epoch += 1), Evidence, NOT_THE_VAULT;
    an_altered_blob: Sync, first(|row| row.blob.0[7] ^= 1), Evidence, NOT_THE_VAULT;
    an_altered_description: Sync, first(|row| row.metadata.0[7] ^= 1), Evidence, NOT_THE_VAULT;
    no_blob: Sync, first(|row| row.blob.0.clear()), Evidence, NOT_THE_VAULT;
    /// Both are ciphertext; each opens in its own place only.
    blob_and_description_exchanged: Sync,
        first(|row| std::mem::swap(&mut row.blob, &mut row.metadata)), Evidence, NOT_THE_VAULT;

    // The page.
    a_row_left_out: Sync, sync(|page| page.rows.clear()), Evidence, NOT_THE_VAULT;
    a_row_twice: Sync, sync(|page| page.rows.push(page.rows[0].clone())), Evidence, "out of order";
    a_row_added: Sync, sync(|page| {
        let mut more = page.rows[0].clone();
        (more.id, more.vault_seq) = (CredentialId([7; 16]), more.vault_seq + 1);
        page.rows.push(more);
    }), Evidence, NOT_THE_VAULT;
    changes_without_proof: Sync, sync(|page| page.account = None), Evidence, "without proof";
    /// The enclave told of a change; a page that shows none is known to lie.
    nothing_new: Sync, sync(|page| {
        *page = SyncPage { rows: Vec::new(), cursor: 1, more: false, account: None };
    }), Stale, "withholds changes";
    a_page_that_leads_nowhere: Sync, sync(|page| {
        page.rows.clear();
        page.more = true;
    }), Evidence, "out of order";
    /// The same page for ever.
    a_cursor_that_loops: Sync, sync(|page| page.more = true), Evidence, "";
    a_cursor_that_jumps: Sync, sync(|page| {
        page.rows[0].vault_seq = u64::MAX;
    }), Evidence, NOT_THE_VAULT;
    // The proof.
    the_proof_of_another_place_in_the_map: Sync, proof(|p| p.map_key[0] ^= 1), Evidence, "of another account";
    a_vault_root_of_their_own: Sync, proof(|p| p.vault_root[0] ^= 1), Evidence, "not the one that the ledger seals";
    a_higher_vault_sequence: Sync, proof(|p| p.vault_seq += 1), Evidence, "not the one that the ledger seals";
    another_account_row: Sync, proof(|p| p.row[0] ^= 1), Evidence, "not the one that the ledger seals";
    another_path_in_the_map: Sync, proof(|p| p.proof.siblings.push([1; 32])), Evidence, "not the one that the ledger seals";
    a_seal_that_is_none: Sync, proof(|p| p.seal.0[60] ^= 1), Evidence, "is no seal";
    an_inclusion_of_another_leaf: Sync, proof(|p| p.inclusion.reverse()), Evidence, "is no seal";
    a_checkpoint_of_nobody: Sync, proof(|p| p.checkpoint.push('x')), Evidence, "not signed by its key";
}

/// Keeps what a page shows, for later.
fn keep(stage: &Stage, home: &str) -> SyncPage {
    let kept = std::sync::Arc::new(std::sync::Mutex::new(None));
    let to = std::sync::Arc::clone(&kept);
    stage.host.lie(Some(sync(move |page| *to.lock().unwrap() = Some(page.clone()))));
    stage.agent(home).sync().unwrap();
    stage.host.lie(None);
    kept.lock().unwrap().take().unwrap()
}

#[test]
fn descriptions_of_two_passkeys_exchanged() {
    let stage = Stage::with_member();
    stage.join("phone");
    let exchange = sync(|page| {
        let (one, two) = page.rows.split_at_mut(1);
        std::mem::swap(&mut one[0].metadata, &mut two[0].metadata);
    });
    exchanged(&stage, exchange);
}

#[test]
fn blobs_of_two_passkeys_exchanged() {
    let stage = Stage::with_member();
    stage.join("phone");
    exchanged(
        &stage,
        sync(|page| {
            let (one, two) = page.rows.split_at_mut(1);
            std::mem::swap(&mut one[0].blob, &mut two[0].blob);
        }),
    );
}

#[test]
fn ids_of_two_passkeys_exchanged() {
    let stage = Stage::with_member();
    stage.join("phone");
    exchanged(
        &stage,
        sync(|page| {
            let (one, two) = page.rows.split_at_mut(1);
            std::mem::swap(&mut one[0].id, &mut two[0].id);
        }),
    );
}

#[track_caller]
fn exchanged(stage: &Stage, lie: crate::lie::Lie) {
    stage.host.lie(Some(lie));
    let refused = stage.agent("phone").sync().unwrap_err();
    assert!(refused.to_string().contains(NOT_THE_VAULT), "{refused}");
    assert!(stage.home("phone").unwrap().vault.rows.is_empty());
    stage.host.lie(None);
    assert_eq!(stage.agent("phone").sync().unwrap().changed, 2);
}

#[test]
fn rows_and_proof_of_another_account() {
    let stage = Stage::with_member();
    stage.make_account("bob");
    stage.enrol("bobs", "bob");
    crate::stage::create(&mut stage.agent("bobs"), "one.example").unwrap();
    stage.set_vault("bobs", Vault::default());
    let theirs = keep(&stage, "bobs");
    let proof_too = theirs.clone();
    stage
        .trial(Errand::Sync, sync(move |page| *page = proof_too.clone()))
        .is(Some(Code::Evidence), "out of order");
    let rows = theirs.rows.clone();
    stage
        .trial(
            Errand::Sync,
            sync(move |page| {
                page.rows[0].blob = rows[0].blob.clone();
            }),
        )
        .is(Some(Code::Evidence), NOT_THE_VAULT);
    let account = theirs.account.clone();
    stage
        .trial(Errand::Sync, sync(move |page| page.account.clone_from(&account)))
        .is(Some(Code::Evidence), "the proof is of another account");
    stage.goes_on(Errand::Sync);
}

#[test]
fn yesterdays_rows_and_a_deletion_undone() {
    let stage = Stage::with_member();
    stage.join("phone");
    let yesterday = keep(&stage, "phone");
    stage.run(Errand::Delete).unwrap();
    // The phone has been told by the enclave that there is more, and asks again.
    stage.agent("phone").pin_status().unwrap();
    let told_again = || stage.opened("phone").and_then(|mut phone| phone.sync()).unwrap_err();
    let old = yesterday.clone();
    stage.host.lie(Some(sync(move |page| page.account.clone_from(&old.account))));
    let refused = told_again().to_string();
    assert!(refused.contains("it was rolled back"), "{refused}");
    stage.host.lie(Some(sync(|page| {
        for row in &mut page.rows {
            row.deleted = false;
        }
    })));
    let refused = told_again().to_string();
    assert!(refused.contains(NOT_THE_VAULT), "{refused}");
    let row = yesterday.rows[0].clone();
    stage.host.lie(Some(sync(move |page| {
        let seq = page.rows[0].vault_seq;
        page.rows[0] = PasskeyRow { vault_seq: seq, ..row.clone() };
    })));
    let refused = told_again().to_string();
    assert!(refused.contains("an older version of a passkey"), "{refused}");
    stage.host.lie(None);
    assert_eq!(stage.agent("phone").list().unwrap().passkeys.len(), 1);
}

/// A passkey that is in no ledger: a false enclave, with a receipt that the host has kept from before.
#[test]
fn a_passkey_that_no_ledger_holds_is_not_handed_to_the_site() {
    let stage = Stage::with_member();
    // The vault of the ledger never has it: the host shows the one from before.
    let refused = stage.trial(
        Errand::Create,
        sync(|page| {
            *page = SyncPage { rows: Vec::new(), cursor: 1, more: false, account: None };
        }),
    );
    refused.is(Some(Code::Stale), "withholds changes");
    stage.goes_on(Errand::Create);
}

#[test]
fn a_passkey_of_another_id_than_the_ledgers_is_not_handed_to_the_site() {
    use crate::lie::Told;
    let stage = Stage::with_member();
    let lie = crate::lie::told(|told| {
        if let Told::Reply(_, reply, _) = told {
            for answer in &mut reply.answers {
                if let keyferry_wire::command::Answer::Created(created) = answer {
                    rename_credential(created);
                }
            }
        }
    });
    let ended = stage.trial(Errand::Create, lie);
    ended.is(Some(Code::Evidence), "is not the one that the ledger holds");
    stage.goes_on(Errand::Create);
}

/// Another id in every place that the client compares.
fn rename_credential(created: &mut keyferry_wire::command::Created) {
    let old = created.id.0;
    let new = old.map(|byte| byte ^ 0x55);
    created.id = CredentialId(new);
    for bytes in [&mut created.authenticator_data.0, &mut created.attestation_object.0] {
        while let Some(at) = bytes.windows(16).position(|window| window == old) {
            bytes[at..at + 16].copy_from_slice(&new);
        }
    }
}

#[test]
fn proofs_that_do_not_fit_are_refused_in_replies_too() {
    let stage = Stage::with_member();
    let ended = stage.trial(Errand::Rename, frame(|frame| frame.consistency = vec![[0; 32]; 3]));
    ended.is(Some(Code::Evidence), "two ledgers");
    stage.goes_on(Errand::Rename);
}
