//! `keyferry-sim`: runs seeds of the simulator.

use keyferry_sim::{Config, Stats, run};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "keyferry-sim --seed N [--trace] | --seeds A..B | --fresh SECS   [--steps N]";

/// Which worlds.
enum Seeds {
    Range(u64, u64),
    Fresh(u64),
}

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Some((seeds, config)) => go(&seeds, config),
        None => {
            eprintln!("{HELP}");
            ExitCode::from(2)
        }
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> Option<(Seeds, Config)> {
    let mut config = Config::default();
    let mut seeds = None;
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--trace" => config.trace = true,
            "--steps" => config.steps = args.next()?.parse().ok()?,
            "--seed" => {
                let seed: u64 = args.next()?.parse().ok()?;
                seeds = Some(Seeds::Range(seed, seed.checked_add(1)?));
            }
            "--seeds" => {
                let range = args.next()?;
                let (from, to) = range.split_once("..")?;
                seeds = Some(Seeds::Range(from.parse().ok()?, to.parse().ok()?));
            }
            "--fresh" => seeds = Some(Seeds::Fresh(args.next()?.parse().ok()?)),
            _ => return None,
        }
    }
    Some((seeds?, config))
}

fn go(seeds: &Seeds, config: Config) -> ExitCode {
    let started = Instant::now();
    let mut total = Stats::default();
    let (mut next, end, until) = match seeds {
        Seeds::Range(from, to) => (*from, *to, None),
        Seeds::Fresh(secs) => {
            let first = fresh_seed();
            println!("fresh seeds from {first}");
            (first, u64::MAX, Some(Duration::from_secs(*secs)))
        }
    };
    while next < end && until.is_none_or(|until| started.elapsed() < until) {
        match run(next, config) {
            Ok(stats) => total.add(&stats),
            Err(failure) => {
                eprintln!("{failure}");
                return ExitCode::FAILURE;
            }
        }
        next += 1;
    }
    print!("{total}");
    println!("wall time {:.1} s", started.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}

/// A first seed that nobody has chosen.
fn fresh_seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(0) >> 16
}
