//! Worlds by the dice.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_sim::{Config, Stats, run, run_with_story};
use std::time::{Duration, Instant};

fn must(seed: u64) -> Stats {
    match run(seed, Config::default()) {
        Ok(stats) => stats,
        Err(failure) => panic!("{failure}"),
    }
}

#[test]
fn fixed_seeds_hold() {
    let mut total = Stats::default();
    (0..50).for_each(|seed| total.add(&must(seed)));
    print!("{total}");
    assert!(total.crashes.len() >= 7, "every place of a crash is visited");
    assert!(total.evaluations > 100 && total.locks > 0);
}

#[test]
fn fresh_seeds_hold() {
    use std::hash::{BuildHasher, RandomState};
    let first = RandomState::new().hash_one(0) >> 16;
    println!("fresh seeds from {first}");
    let (started, mut total) = (Instant::now(), Stats::default());
    for seed in first.. {
        if started.elapsed() > Duration::from_secs(30) {
            break;
        }
        total.add(&must(seed));
    }
    print!("{total}");
}

#[test]
fn one_seed_tells_one_story() {
    for seed in [3, 4] {
        let stories =
            [0, 1].map(|_| run_with_story(seed, Config::default()).map_err(|failure| failure.to_string()));
        assert_eq!(stories[0], stories[1]);
    }
}
