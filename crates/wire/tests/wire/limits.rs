//! How much input may ask for: depth, elements, and claims that the input does not keep.

use crate::item::{head, hex};
use crate::table::cases;
use keyferry_wire::cbor::{Bytes, DecodeError, Fault, Limits, Reader};
use keyferry_wire::command::{Answer, Command};
use keyferry_wire::door::{BatchRef, Turn, Work};
use keyferry_wire::{ShardId, Wire};

fn nested(depth: usize) -> Vec<u8> {
    [vec![0x81; depth], vec![0x80]].concat()
}

/// How many arrays lie in each other.
fn depth_of(r: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let inner = r.array(depth_of)?;
    Ok(inner.first().map_or(1, |depth| depth + 1))
}

#[test]
fn nesting_ends_at_the_limit() {
    for limits in [Limits::MESSAGE, Limits::DOOR] {
        let deepest = usize::from(limits.depth);
        let read = |bytes: &[u8]| depth_of(&mut Reader::new(bytes, limits)).map_err(|error| error.fault);
        assert_eq!(read(&nested(deepest - 1)), Ok(deepest));
        assert_eq!(read(&nested(deepest)), Err(Fault::TooDeep));
        assert_eq!(read(&vec![0x81; 1 << 20]), Err(Fault::TooDeep), "the stack is not the limit");
    }
}

#[test]
fn depth_is_given_back_when_an_array_ends() {
    let bytes = [vec![0x98, 100], [nested(5)].concat().repeat(100)].concat();
    let mut reader = Reader::new(&bytes, Limits::MESSAGE);
    assert_eq!(reader.array(depth_of).map(|depths| depths.len()), Ok(100));
}

#[test]
fn elements_end_at_the_limit() {
    let array = |len: usize| [head(4, len as u64), vec![0; len]].concat();
    let read = |len, limits| {
        Vec::<u32>::from_bytes_within(&array(len), limits).map(|all| all.len()).map_err(|error| error.fault)
    };
    assert_eq!(read(4096, Limits::MESSAGE), Ok(4096));
    assert_eq!(read(4097, Limits::MESSAGE), Err(Fault::TooMany));
    assert_eq!(read(1 << 20, Limits::DOOR), Ok(1 << 20));
    assert_eq!(read((1 << 20) + 1, Limits::DOOR), Err(Fault::TooMany));
}

#[test]
fn pairs_of_a_map_count_as_elements() {
    let map = [head(5, 4097), vec![0; 8194]].concat();
    let read = Reader::new(&map, Limits::MESSAGE).fields(|_| Ok(())).map_err(|error| error.fault);
    assert_eq!(read, Err(Fault::TooMany));
}

/// Claims of 2^40 elements and of everything that an address can count: refused before one element is looked at,
/// so nothing is set aside for them.
#[test]
fn a_claim_that_the_input_does_not_keep_is_refused_unread() {
    for claim in [1 << 16, 1 << 32, 1 << 40, u64::MAX >> 1, u64::MAX] {
        for tail in [0, 1, 1000] {
            let input = |major| [head(major, claim), vec![0; tail]].concat();
            let mut called = false;
            let array = input(4);
            let read = Reader::new(&array, Limits::DOOR).array(|_| {
                called = true;
                Ok(())
            });
            assert_eq!(read.map_err(|error| error.fault), Err(Fault::Truncated));
            let map = input(5);
            let read = Reader::new(&map, Limits::DOOR).fields(|_| {
                called = true;
                Ok(())
            });
            assert_eq!(read.map_err(|error| error.fault), Err(Fault::Truncated));
            assert!(!called);
            let truncated = |result: Result<(), DecodeError>| result.unwrap_err().fault == Fault::Truncated;
            assert!(truncated(Bytes::from_bytes(&input(2)).map(|_| ())));
            assert!(truncated(String::from_bytes(&input(3)).map(|_| ())));
            assert!(truncated(Vec::<Command>::from_bytes(&input(4)).map(|_| ())));
        }
    }
}

#[test]
fn every_type_refuses_heads_that_claim_too_much() {
    for case in cases() {
        for major in 2..=5 {
            for claim in [1 << 20, 1 << 40, u64::MAX] {
                let bytes = head(major, claim);
                assert!((case.again)(&bytes).is_err(), "{} takes {}", case.full(), hex(&bytes));
            }
        }
    }
}

#[test]
fn the_shortest_commands_and_answers_fit_a_request_as_often_as_the_limit_says() {
    let many = |item: &[u8], len: usize| [head(4, len as u64), item.repeat(len)].concat();
    let commands = many(&Command::ListDevices.to_bytes(), 4096);
    assert_eq!(Vec::<Command>::from_bytes(&commands).map(|all| all.len()), Ok(4096));
    let answers = many(&Answer::PinRight.to_bytes(), 4097);
    assert_eq!(Vec::<Answer>::from_bytes(&answers).map_err(|error| error.fault), Err(Fault::TooMany));
}

#[test]
fn a_turn_of_a_whole_batch_needs_the_limits_of_the_door() {
    let committed = vec![BatchRef { shard: ShardId(1), number: 1 }; 5000];
    let turn = Turn { now_ms: 1, committed, opens: Vec::new(), work: Vec::new() };
    let bytes = turn.to_bytes();
    assert_eq!(Turn::from_bytes_within(&bytes, Limits::DOOR).as_ref(), Ok(&turn));
    let error = Turn::from_bytes(&bytes).unwrap_err();
    assert_eq!(error.to_string(), "committed has too many elements");
}

#[test]
fn an_element_takes_at_most_some_160_bytes_of_memory_for_each_of_its_input() {
    let times = |memory: usize, bytes: Vec<u8>| memory / bytes.len();
    let work = Work { ticket: 0, frame: None, view: None };
    for (what, factor) in [
        ("Work", times(size_of::<Work>(), work.to_bytes())),
        ("Command", times(size_of::<Command>(), Command::ListDevices.to_bytes())),
        ("Answer", times(size_of::<Answer>(), Answer::PinRight.to_bytes())),
    ] {
        assert!(factor <= 160, "{what}: {factor}");
    }
}
