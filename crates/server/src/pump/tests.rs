use super::*;
use crate::desk::CACHE_BYTES;
use crate::ledger::{CHECKPOINT, MemoryFiles};
use crate::testing::{NAME, Script, StandInBroker, StandInLauncher, account, device};
use keyferry_wire::door::{AccountPut, DevicePut};
use keyferry_wire::{AccountId, SessionId, ShardId};
use lines::LINE_MAX;
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

    /// Turns until nothing is left to do.
    fn settle(&mut self) {
        while !self.pump.is_idle() {
            self.pump.turn().unwrap();
            self.pump.drain();
        }
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

#[test]
fn nothing_is_read_while_rows_and_proofs_stand_apart() {
    let mut hand = Hand::new(CommitMode::Group);
    let shared = Arc::clone(&hand.pump.parts.shared);
    shared.counter().apart = true;
    assert_eq!(shared.reading().err(), Some(Failure::Store));
    let _made = hand.ask(b"need", Some(account(1)));
    hand.settle();
    assert!(shared.reading().is_ok(), "both are at the newest commit");
    shared.counter().apart = true;
    hand.pump.recover(&Trouble::Answer);
    assert!(shared.reading().is_ok(), "a start looks at both");
}

#[test]
fn rows_that_the_stream_does_not_take_fail_their_own_request_alone() {
    let mut hand = Hand::new(CommitMode::Group);
    let _made = hand.ask(b"need", Some(account(1)));
    hand.settle();
    {
        let counter = &mut *hand.pump.parts.shared.counter();
        let view = counter.desk.view(&hand.pump.parts.store, &account(1), &[], &[]).unwrap();
        let row = vec![0; turn::VIEW_BYTES_MAX + 1].into();
        let put = AccountPut {
            account: account(1),
            map_key: view.map_key,
            state: view.state.unwrap(),
            devices: vec![DevicePut { device: device(1), row, access: None }],
            passkeys: Vec::new(),
            leaves: Vec::new(),
            large_blobs: Vec::new(),
        };
        counter.desk.apply(&Batch {
            shard: ShardId(0),
            number: 0,
            first_leaf: 0,
            leaves: Vec::new().into(),
            checkpoint: String::new(),
            accounts: vec![put],
        });
    }
    let mut heavy = hand.ask(b"read", Some(account(1)));
    let mut light = hand.ask(b"read", Some(account(2)));
    hand.settle();
    assert_eq!(heavy.try_recv().unwrap().err(), Some(Failure::Store));
    assert!(light.try_recv().unwrap().is_ok());
    assert_eq!(hand.script.lock().unwrap().launches, 1, "the enclave goes on");
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

fn numbered(n: u16) -> AccountId {
    let [high, low] = n.to_be_bytes();
    let mut id = [high; 32];
    id[0] = low;
    AccountId(id)
}

/// No test takes so long.
const LONG_PAUSE: Duration = Duration::from_secs(3600);

impl Hand {
    /// Requests of many accounts, for each a key that is not there yet.
    fn ask_for_keys(&mut self, accounts: u16) -> Vec<Answer<Result<ReplyFrame, Failure>>> {
        let _made: Vec<_> = (0..accounts).map(|n| self.ask(b"need", Some(numbered(n)))).collect();
        self.settle();
        self.script.lock().unwrap().put_off = u32::MAX;
        let waiting = (0..accounts).map(|n| self.ask(b"later", Some(numbered(n)))).collect();
        self.settle();
        self.pump.put_off_at = Instant::now() + LONG_PAUSE;
        waiting
    }

    /// The pause is over, and then comes another.
    fn after_the_pause(&mut self) {
        self.pump.put_off_at = Instant::now() - KEY_PAUSE;
        self.pump.drain();
        self.pump.put_off_at = Instant::now() + LONG_PAUSE;
    }
}

#[test]
fn of_many_that_wait_for_a_key_a_few_ask_again_in_their_order() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut waiting = hand.ask_for_keys(20);
    let first: Vec<u64> = hand.pump.put_off.keys().copied().take(KEYS_MAX).collect();
    for _ in 0..3 {
        // A new one, which may want a key, too, comes behind them.
        let mut other = hand.ask(b"read", Some(numbered(19)));
        hand.after_the_pause();
        hand.pump.turn().unwrap();
        let turn = hand.script.lock().unwrap().tickets.clone();
        assert_eq!((&turn[..KEYS_MAX], turn.len()), (&first[..], KEYS_MAX + 1));
        assert!(other.try_recv().unwrap().is_ok());
        assert!(hand.pump.is_idle(), "the next of them come after the pause");
    }
    hand.script.lock().unwrap().put_off = 0;
    for answered in (0..waiting.len()).step_by(KEYS_MAX) {
        let told: Vec<_> = waiting.iter_mut().map(|answer| answer.try_recv().is_ok()).collect();
        assert!(told.iter().all(|told| !told), "after {answered}");
        hand.after_the_pause();
        hand.settle();
        assert!(waiting.drain(..KEYS_MAX).all(|mut answer| matches!(answer.try_recv(), Ok(Ok(_)))));
    }
    assert!(hand.pump.put_off.is_empty() && hand.pump.waiting.is_empty());
}

#[test]
fn beyond_so_many_that_wait_for_a_key_the_last_are_told_busy_and_others_are_served() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut waiting = hand.ask_for_keys(1200);
    assert_eq!(hand.pump.put_off.len(), PUT_OFF_MAX);
    assert!(waiting.iter_mut().skip(PUT_OFF_MAX).all(is_busy));
    assert!(waiting.iter_mut().take(PUT_OFF_MAX).all(|answer| answer.try_recv().is_err()));
    assert_eq!(hand.script.lock().unwrap().held, PUT_OFF_MAX, "the enclave forgets the others");
    // Those that wait take no places.
    hand.pump.put_off_at = Instant::now() - KEY_PAUSE;
    let mut others: Vec<_> = (0..900).map(|n| hand.ask(b"read", Some(numbered(n)))).collect();
    hand.settle();
    assert!(others.iter_mut().all(|answer| matches!(answer.try_recv(), Ok(Ok(_)))));
    assert_eq!(hand.pump.put_off.len(), PUT_OFF_MAX);
}

#[test]
fn one_account_has_a_line_of_those_that_wait_for_a_key() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut own = hand.ask_for_keys(1);
    own.extend((0..LINE_MAX).map(|_| hand.ask(b"later", Some(numbered(0)))));
    hand.settle();
    assert!(own.iter_mut().take(LINE_MAX).all(|answer| answer.try_recv().is_err()));
    assert!(own.iter_mut().skip(LINE_MAX).all(is_busy));
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

fn tickets(turn: &keyferry_wire::door::Turn) -> Vec<u64> {
    turn.work.iter().map(|work| work.ticket).collect()
}

fn is_busy(answer: &mut Answer<Result<ReplyFrame, Failure>>) -> bool {
    answer.try_recv() == Ok(Err(Failure::Busy))
}

#[test]
fn one_account_that_floods_takes_no_places_from_the_others() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut flood: Vec<_> = (0..2000).map(|_| hand.ask(b"need", Some(account(1)))).collect();
    for _ in 0..3 {
        let _others: Vec<_> = (2..=250).map(|n| hand.ask(b"need", Some(account(n)))).collect();
        assert_eq!(hand.pump.gather().work.len(), 250, "one of the flood, and all others");
    }
    assert_eq!(flood.iter_mut().filter_map(|answer| answer.try_recv().ok()).count(), 2000 - 1 - LINE_MAX);
    assert!(flood.iter_mut().take(1 + LINE_MAX).all(|answer| answer.try_recv().is_err()));
}

#[test]
fn what_waits_in_line_is_answered_in_its_order_and_beyond_it_busy() {
    let mut hand = Hand::new(CommitMode::Group);
    let mut line: Vec<_> = (0..1 + LINE_MAX).map(|_| hand.ask(b"need", Some(account(1)))).collect();
    let mut beyond = hand.ask(b"need", Some(account(1)));
    assert!(is_busy(&mut beyond));
    let mut answered = 0;
    while !hand.pump.is_idle() {
        hand.pump.turn().unwrap();
        while line.get_mut(answered).is_some_and(|answer| matches!(answer.try_recv(), Ok(Ok(_)))) {
            answered += 1;
        }
        assert!(line.iter_mut().skip(answered).all(|answer| answer.try_recv().is_err()), "after {answered}");
    }
    assert_eq!(answered, line.len());
    assert!(hand.pump.waiting.is_empty());
    // The line is empty again.
    let mut next = hand.ask(b"read", Some(account(1)));
    hand.settle();
    assert!(next.try_recv().unwrap().is_ok());
}

#[test]
fn whoever_has_gone_away_takes_no_place_and_what_the_enclave_holds_for_him_is_forgotten() {
    let mut hand = Hand::new(CommitMode::Group);
    let gone = hand.ask(b"need", Some(account(1)));
    let _next = hand.ask(b"need", Some(account(1)));
    drop(gone);
    assert_eq!(tickets(&hand.pump.gather()), [2]);
    let held = hand.ask(b"need", Some(account(2)));
    hand.pump.turn().unwrap();
    assert_eq!(hand.script.lock().unwrap().held, 1);
    drop(held);
    hand.settle();
    assert_eq!(hand.script.lock().unwrap().held, 0);
    assert_eq!(hand.size(), 2, "nothing was written for it");
}

#[test]
fn whoever_waits_in_line_is_told_when_the_enclave_is_gone() {
    let mut hand = Hand::new(CommitMode::Group);
    let _killer = hand.ask(b"die", Some(account(1)));
    let mut line = hand.ask(b"need", Some(account(1)));
    let trouble = hand.pump.turn().unwrap_err();
    hand.pump.recover(&trouble);
    assert_eq!(line.try_recv().unwrap(), Err(Failure::Enclave));
    assert!(hand.pump.is_idle());
    let mut next = hand.ask(b"need", Some(account(1)));
    hand.settle();
    assert!(next.try_recv().unwrap().is_ok());
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
    let mut others = Vec::new();
    let trouble = loop {
        match hand.pump.turn() {
            Ok(()) => others.push(hand.ask(b"need", None)),
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

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let patience = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < patience, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Hand {
    fn keeper(&self) -> Keeper {
        let (shared, mover) = (Arc::clone(&self.pump.parts.shared), self.pump.parts.store.mover().unwrap());
        let reader = self.pump.parts.store.reader().unwrap();
        Keeper::start(shared, reader, self.files.clone(), mover).unwrap()
    }

    /// One entry more in the store, and so some pages in its log.
    fn write(&mut self) {
        let mut reply = self.ask(b"need", Some(account(1)));
        while reply.try_recv().is_err() {
            self.pump.turn().unwrap();
        }
    }
}

/// As long as the log of a store that was written to under load.
const LONG: usize = 10_000;

#[test]
fn a_calm_pump_leaves_a_long_log_to_the_keeper() {
    let mut hand = Hand::new(CommitMode::Group);
    hand.pump.parts.keeper = Some(hand.keeper());
    hand.write();
    let logged = hand.pump.parts.store.logged_pages();
    hand.pump.parts.store.count_logged(LONG);
    hand.pump.move_log();
    assert!(hand.pump.parts.keeper.as_ref().is_some_and(Keeper::is_moving_log));
    assert_eq!(hand.pump.parts.store.logged_pages(), logged + LONG, "not moved here");
    until("the rest is moved", || {
        hand.pump.move_log();
        hand.pump.parts.store.logged_pages() == 0
    });
    assert!(!hand.pump.parts.keeper.as_ref().is_some_and(Keeper::is_moving_log));
    assert!(hand.pump.parts.shared.metrics.text().contains("keyferry_store_log_pages 0\n"));
}

#[test]
fn a_log_that_a_reader_keeps_is_tried_again_after_a_pause_and_stays_counted() {
    let mut hand = Hand::new(CommitMode::Group);
    let back_up = hand.pump.parts.store.reader().unwrap();
    back_up.refresh().unwrap();
    hand.pump.parts.store.count_logged(LONG);
    let mut before = 0;
    for _ in 0..3 {
        (0..CALM_PAGES).for_each(|_| hand.write());
        let now = Instant::now();
        hand.pump.move_log_at = now;
        hand.pump.move_log();
        let pages = hand.pump.parts.store.logged_pages();
        assert!((before + CALM_PAGES..LONG).contains(&pages), "{pages} after {before}");
        assert!(hand.pump.move_log_at > now, "not at each commit");
        before = pages;
    }
    drop(back_up);
    hand.pump.move_log_at = Instant::now();
    hand.pump.move_log();
    assert_eq!(hand.pump.parts.store.logged_pages(), 0);
}

#[test]
fn a_log_is_moved_although_the_ledgers_files_keep_the_keeper_busy() {
    let hand = Hand::new(CommitMode::Group);
    let mut keeper = hand.keeper();
    let shared = Arc::clone(&hand.pump.parts.shared);
    // Its files come from the desk, which somebody holds.
    let desk = shared.counter();
    assert!(keeper.publish() && keeper.publish() && keeper.publish());
    until("the log is moved", || keeper.move_log() == Move::Done);
    drop(desk);
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
    let mut keeper = hand.keeper();
    assert_eq!(keeper.move_log(), Move::Runs, "asked for, not done yet");
    assert!(keeper.is_moving_log());
    until("the log is moved", || keeper.move_log() == Move::Done);
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
