use super::*;
use crate::desk::CACHE_BYTES;
use crate::ledger::{CHECKPOINT, MemoryFiles};
use crate::testing::{NAME, Script, StandInBroker, StandInLauncher, account, device};
use keyferry_wire::{AccountId, SessionId, ShardId};
use std::sync::mpsc::{Sender, channel};
use tokio::sync::oneshot::Receiver as Answer;

/// A pump without its thread: a test turns it by hand.
struct Hand {
    pump: Pump,
    files: Arc<MemoryFiles>,
    script: Arc<Mutex<Script>>,
    jobs: Sender<Job>,
    _folder: tempfile::TempDir,
}

impl Hand {
    fn new(commit: CommitMode) -> Hand {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path()).unwrap();
        let files = Arc::new(MemoryFiles::new());
        let reader = store.reader().unwrap();
        let desk = Desk::open(&reader, files.clone(), 1, CACHE_BYTES).unwrap();
        let launcher = StandInLauncher::default();
        let script = Arc::clone(&launcher.0);
        let parts = Parts {
            shared: Arc::new(Shared::new(desk, reader)),
            store,
            files: files.clone(),
            launcher: Box::new(launcher),
            broker: Box::new(StandInBroker),
            name: NAME.to_owned(),
            shards: 1,
            cache_bytes: CACHE_BYTES,
            commit,
            runtime: None,
            keeper: None,
        };
        let (jobs, queue) = channel();
        Hand { pump: Pump::start(parts, queue).unwrap(), files, script, jobs, _folder: folder }
    }

    fn ask(&mut self, word: &[u8], account: Option<AccountId>) -> Answer<Result<ReplyFrame, Failure>> {
        let (reply, answer) = oneshot::channel();
        let frame = RequestFrame {
            version: 1,
            suite: 1,
            session: SessionId([3; 16]),
            number: 1,
            ciphertext: word.into(),
            account,
            device: Some(device(1)),
            passkeys: Vec::new(),
            seen: None,
        };
        self.jobs.send(Job::Request(frame, reply)).unwrap();
        self.pump.drain();
        answer
    }

    fn size(&self) -> u64 {
        self.pump.parts.shared.counter().desk.log(ShardId(0)).unwrap().size()
    }
}

#[test]
fn a_reply_comes_only_in_the_turn_after_its_commit() {
    let mut hand = Hand::new(CommitMode::Group);
    // The first write of an account starts without it, so that the enclave asks for proof of absence.
    let mut reply = hand.ask(b"need", Some(account(1)));
    hand.pump.turn().unwrap();
    assert!(reply.try_recv().is_err(), "rows were asked for");
    hand.pump.turn().unwrap();
    assert_eq!(hand.size(), 4);
    assert!(reply.try_recv().is_err(), "durable, not yet said");
    hand.pump.turn().unwrap();
    assert!(reply.try_recv().unwrap().is_ok());
    assert!(hand.pump.is_idle() && hand.pump.waiting.is_empty());
}

/// Turn upon turn would keep a core from making the key that is waited for.
#[test]
fn a_request_that_is_put_off_comes_again_after_a_pause_and_others_go_on() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut other = hand.ask(b"need", Some(account(1)));
    (0..3).for_each(|_| hand.pump.turn().unwrap());
    assert!(other.try_recv().unwrap().is_ok(), "the account exists");
    hand.script.lock().unwrap().put_off = 2;
    let mut waiting = hand.ask(b"later", Some(account(1)));
    hand.pump.turn().unwrap();
    assert!(hand.pump.is_idle() && waiting.try_recv().is_err(), "it waits, and nothing else does");
    let mut other = hand.ask(b"read", Some(account(1)));
    hand.pump.turn().unwrap();
    assert!(other.try_recv().unwrap().is_ok());
    let turns = hand.script.lock().unwrap().turns;
    for _ in 0..2 {
        while hand.pump.is_idle() {
            hand.pump.wait();
            hand.pump.drain();
        }
        hand.pump.turn().unwrap();
    }
    assert!(waiting.try_recv().unwrap().is_ok());
    assert_eq!(hand.script.lock().unwrap().turns, turns + 2, "one turn for each question");
    assert!(hand.pump.put_off.is_empty() && hand.pump.waiting.is_empty());
}

#[test]
fn one_account_has_one_place_in_a_turn() {
    let mut hand = Hand::new(CommitMode::Group);
    let _first = hand.ask(b"need", Some(account(1)));
    let _other = hand.ask(b"need", Some(account(2)));
    let _second = hand.ask(b"need", Some(account(1)));
    let turn = hand.pump.gather();
    assert_eq!(turn.work.iter().map(|work| work.ticket).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(hand.pump.gather().work.iter().map(|work| work.ticket).collect::<Vec<_>>(), [3]);
}

#[test]
fn one_commit_per_operation_is_there_to_be_measured_against() {
    let mut hand = Hand::new(CommitMode::Each);
    let _answers = [1, 2, 3].map(|n| hand.ask(b"need", Some(account(n))));
    assert_eq!(hand.pump.gather().work.len(), 1);
}

#[test]
fn a_full_disk_is_told_to_everyone_and_the_service_is_back_when_there_is_room() {
    let mut hand = Hand::new(CommitMode::Group);
    let before = hand.size();
    let mut reply = hand.ask(b"need", Some(account(1)));
    hand.pump.turn().unwrap();
    let mut bystander = hand.ask(b"need", Some(account(2)));
    let pages = hand.pump.parts.store.pages();
    hand.pump.parts.store.limit_pages(1);
    // SQLite takes the present size as the least: fill what is left of it.
    let trouble = loop {
        match hand.pump.turn() {
            Ok(()) => drop(hand.ask(b"need", None)),
            Err(trouble) => break trouble,
        }
        assert!(hand.pump.parts.store.pages() <= pages);
    };
    assert!(matches!(trouble, Trouble::Commit(CommitError::Full)), "{trouble:?}");
    let kept = hand.size();
    let mut last = hand.ask(b"need", Some(account(3)));
    hand.pump.recover(&trouble);
    assert_eq!(last.try_recv().unwrap(), Err(Failure::DiskFull));
    assert!(hand.pump.waiting.is_empty());
    let _ = (reply.try_recv(), bystander.try_recv());

    hand.pump.parts.store.limit_pages(1 << 20);
    hand.pump.retry_at = Instant::now();
    hand.pump.restart_if_due();
    assert!(hand.pump.enclave.is_some());
    assert!(hand.pump.parts.shared.published().is_some());
    assert!(hand.size() >= kept.max(before) + 2, "what was durable, and BOOT");
    let mut reply = hand.ask(b"need", Some(account(3)));
    for _ in 0..3 {
        hand.pump.turn().unwrap();
    }
    assert!(reply.try_recv().unwrap().is_ok());
}

#[test]
fn while_the_enclave_is_away_everyone_is_told_at_once() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut killer = hand.ask(b"die", Some(account(1)));
    let mut waiting = hand.ask(b"need", Some(account(2)));
    hand.script.lock().unwrap().refuse_launches = 1;
    let trouble = hand.pump.turn().unwrap_err();
    hand.pump.recover(&trouble);
    assert_eq!(killer.try_recv().unwrap(), Err(Failure::Enclave));
    assert_eq!(waiting.try_recv().unwrap(), Err(Failure::Enclave));
    assert!(hand.pump.parts.shared.published().is_none());
    assert_eq!(hand.ask(b"need", None).try_recv().unwrap(), Err(Failure::Enclave));
    hand.pump.retry_at = Instant::now();
    hand.pump.restart_if_due();
    assert!(hand.pump.parts.shared.published().is_some());
    assert_eq!(hand.size(), 4, "two starts");
}

#[test]
fn a_commit_that_was_kept_although_it_failed_is_caught_up_with() {
    let mut hand = Hand::new(CommitMode::Group);
    let _reply = hand.ask(b"need", Some(account(1)));
    hand.pump.turn().unwrap();
    // The desk forgets what the store has, as if the commit's success had never been reported.
    let stale = {
        let counter = hand.pump.parts.shared.counter();
        Desk::open(&counter.reader, hand.files.clone(), 1, CACHE_BYTES).unwrap()
    };
    hand.pump.turn().unwrap();
    hand.pump.parts.shared.counter().desk = stale;
    hand.pump.recover(&Trouble::Answer);
    assert!(hand.pump.enclave.is_some());
    assert_eq!(hand.size(), 6);
}

#[test]
fn fresh_evidence_replaces_the_old() {
    let mut hand = Hand::new(CommitMode::Group);
    let before = hand.pump.parts.shared.published().unwrap();
    hand.pump.refresh_evidence().unwrap();
    let after = hand.pump.parts.shared.published().unwrap();
    assert!(!Arc::ptr_eq(&before, &after));
    assert_eq!(before.instance, after.instance);
}

#[test]
fn files_follow_when_they_are_asked_to() {
    use crate::ledger::LedgerFiles;
    let mut hand = Hand::new(CommitMode::Group);
    assert_eq!(hand.files.read(ShardId(0), CHECKPOINT).unwrap(), None);
    hand.pump.publish_files();
    assert!(hand.files.read(ShardId(0), CHECKPOINT).unwrap().is_some());
    assert!(hand.pump.parts.shared.counter().desk.publications().is_empty());
}

#[test]
fn a_lost_file_is_made_again_with_the_next_publication() {
    use crate::ledger::LedgerFiles;
    let mut hand = Hand::new(CommitMode::Group);
    while hand.size() < 256 {
        let mut reply = hand.ask(b"need", Some(account(1)));
        while reply.try_recv().is_err() {
            hand.pump.turn().unwrap();
        }
    }
    hand.pump.publish_files();
    let path = "tile/0/000";
    let whole = hand.files.read(ShardId(0), path).unwrap();
    hand.files.remove(ShardId(0), path).unwrap();
    let shared = Arc::clone(&hand.pump.parts.shared);
    shared.counter().desk.log(ShardId(0)).unwrap().missed(path);
    hand.pump.publish_files();
    assert!(whole.is_some() && hand.files.read(ShardId(0), path).unwrap() == whole);
    let text = shared.metrics.text();
    assert!(text.contains("\nkeyferry_ledger_repairs_total 1\n"), "{text}");
    assert!(text.contains("\nkeyferry_ledger_files_waiting 0\n"), "{text}");
}

#[test]
fn the_keeper_writes_the_files_and_moves_the_log_beside_the_turns() {
    use crate::ledger::LedgerFiles;
    let mut hand = Hand::new(CommitMode::Group);
    let (shared, mover) = (Arc::clone(&hand.pump.parts.shared), hand.pump.parts.store.mover().unwrap());
    let reader = hand.pump.parts.store.reader().unwrap();
    let mut keeper = Keeper::start(shared, reader, hand.files.clone(), mover).unwrap();
    assert!(!keeper.moved_log() && keeper.is_moving_log(), "asked for, not done yet");
    let patience = Instant::now() + Duration::from_secs(20);
    while !keeper.moved_log() {
        assert!(Instant::now() < patience, "nothing is heard of the log");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(!keeper.is_moving_log(), "what is left is the pump's");
    hand.pump.parts.keeper = Some(keeper);
    hand.pump.publish_files();
    // Its end waits for what it has begun.
    hand.pump.parts.keeper = None;
    assert!(hand.files.read(ShardId(0), CHECKPOINT).unwrap().is_some());
    assert!(hand.pump.parts.shared.counter().desk.publications().is_empty());
}

#[test]
fn a_calm_pump_moves_the_log_before_it_is_long() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut most = 0;
    for _ in 0..CALM_PAGES {
        let mut reply = hand.ask(b"need", Some(account(1)));
        while reply.try_recv().is_err() {
            hand.pump.turn().unwrap();
        }
        let pages = hand.pump.parts.store.logged_pages();
        if pages < most {
            return assert!((CALM_PAGES - 8..2 * CALM_PAGES).contains(&most), "moved after {most} pages");
        }
        most = pages;
    }
    panic!("{most} pages were never moved");
}
