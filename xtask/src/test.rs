//! Every check and every test in one run; those that fail cheaply come first.
//!
//! Tests that start the programs of other packages find them in the folder above their own executable's
//! (`target/debug/deps/TEST` -> `target/debug/keyferry`), which holds wherever `CARGO_TARGET_DIR` points.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::tally::Tally;
use crate::{Stop, hygiene, process, setup, tidy};

pub(crate) const HELP: &str = "\
cargo xtask test [--no-install] [--deny-skips] [ARGS]: set-up, every check, every test

Runs, in this order: set-up (see cargo xtask setup --help) · cargo fmt --check, cargo xtask tidy, cargo clippy ·
the build of all programs · the check that all commands are documented · all tests · hygiene: the search for secrets
in whatever was said in them. It stops after the first of these groups that fails. The last line of stdout is `N passed, N failed, N skipped`; a failed check counts as one failure.

  --no-install   no set-up: tests whose peers are missing are skipped and named
  --deny-skips   a skipped test makes the run fail; the environment variable CI=true does the same
  ARGS           go to `cargo test`, as in `cargo xtask test -p keyferry-wire ids`; then there are no checks,
                 only set-up, build and tests

A test that cannot run here says `skipped: TEST: REASON`; the contract is in xtask/src/tally.rs.
";

struct Options {
    install: bool,
    deny_skips: bool,
    cargo_args: Vec<String>,
}

pub(crate) fn run(args: &[String]) -> Result<(), Stop> {
    let options = Options::parse(args);
    let root = process::root()?;
    let mut run = Run::default();
    if options.install {
        let mut missing = None;
        run.stage("setup", || {
            setup::run().map_err(|stop| match stop {
                Stop::Failed(why) => why,
                Stop::Usage(why) => {
                    missing = Some(why);
                    "programs are missing".to_owned()
                }
            })
        });
        if let Some(why) = missing {
            return Err(Stop::Usage(why));
        }
    }
    if options.cargo_args.is_empty() && run.is_well() {
        checks(&mut run, &root);
    }
    if run.is_well() {
        run.stage("build", || process::succeed(process::cargo(&root).args(BUILD)));
    }
    if options.cargo_args.is_empty() && run.is_well() {
        run.stage("commands", || tidy::check_commands(&root));
    }
    if run.is_well() {
        let (tally, traces) = run.tests(&root, &options);
        // After tests that failed as well: what they said is searched all the same.
        if let Some(traces) = traces {
            run.stage("hygiene", || hygiene::check(&traces, options.cargo_args.is_empty()));
        }
        return run.close(tally);
    }
    run.close(Tally::default())
}

fn checks(run: &mut Run, root: &Path) {
    run.stage("fmt", || process::succeed(process::cargo(root).args(["fmt", "--all", "--check"])));
    run.stage("tidy", || tidy::check_sources(root));
    run.stage("clippy", || process::succeed(process::cargo(root).args(CLIPPY)));
}

const CLIPPY: &[&str] = &["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
/// All targets, since then dependencies get the features that the tests want and are compiled once.
const BUILD: &[&str] = &["build", "--quiet", "--workspace", "--all-targets"];

impl Options {
    fn parse(args: &[String]) -> Self {
        let mut options = Self { install: true, deny_skips: false, cargo_args: Vec::new() };
        // What follows `--` belongs to the test programs.
        let (ours, theirs) = args.split_at(args.iter().position(|arg| arg == "--").unwrap_or(args.len()));
        for arg in ours {
            match arg.as_str() {
                "--no-install" => options.install = false,
                "--deny-skips" => options.deny_skips = true,
                _ => options.cargo_args.push(arg.clone()),
            }
        }
        options.cargo_args.extend_from_slice(theirs);
        options.deny_skips |= std::env::var_os("CI").is_some_and(|ci| ci == "true");
        options
    }

    fn names_packages(&self) -> bool {
        let own = self.cargo_args.iter().take_while(|arg| *arg != "--");
        own.into_iter().any(|arg| arg.starts_with("-p") || arg.starts_with("--package"))
    }
}

/// The stages so far.
#[derive(Default)]
struct Run {
    times: Vec<(&'static str, Duration)>,
    failed: Vec<&'static str>,
}

impl Run {
    fn is_well(&self) -> bool {
        self.failed.is_empty()
    }

    fn stage(&mut self, name: &'static str, body: impl FnOnce() -> Result<(), String>) {
        println!("== {name}");
        let start = Instant::now();
        let outcome = body();
        let took = start.elapsed();
        self.times.push((name, took));
        match outcome {
            Ok(()) => println!("== {name}: ok in {:.1} s", took.as_secs_f64()),
            Err(why) => {
                self.failed.push(name);
                println!("{why}\n== {name}: FAILED in {:.1} s", took.as_secs_f64());
            }
        }
    }

    /// The sum, and the folder with what the tests said.
    fn tests(&mut self, root: &Path, options: &Options) -> (Tally, Option<PathBuf>) {
        let mut tally = Tally::default();
        let mut traces = None;
        self.stage("tests", || {
            let target = process::target_directory(root)?;
            let folder = traces.insert(hygiene::prepare(&target)?);
            run_tests(root, options, &target, folder, &mut tally)?;
            match (tally.failed, tally.passed) {
                (0, 0) => Err("no test ran".to_owned()),
                (0, _) if options.deny_skips && !tally.skipped.is_empty() => {
                    Err("tests were skipped, and skips are denied".to_owned())
                }
                (0, _) => Ok(()),
                (failed, _) => Err(format!("{failed} failed")),
            }
        });
        (tally, traces)
    }

    /// The summary. What failed before any test did counts in the last line too.
    fn close(&self, mut tally: Tally) -> Result<(), Stop> {
        println!();
        let times: Vec<String> =
            self.times.iter().map(|(name, took)| format!("{name} {:.1} s", took.as_secs_f64())).collect();
        println!("times: {}", times.join(", "));
        for (name, reason) in &tally.skipped {
            println!("skipped: {name}: {reason}");
        }
        for name in &tally.failures {
            println!("failed: {name}");
        }
        let checks: Vec<&str> = self.failed.iter().copied().filter(|name| *name != "tests").collect();
        tally.failed += checks.len() as u64;
        if !checks.is_empty() {
            println!("failed besides the tests: {}", checks.join(", "));
        }
        println!("{}", tally.line());
        if self.is_well() { Ok(()) } else { Err(Stop::Failed(format!("failed: {}", self.failed.join(", ")))) }
    }
}

/// Runs `cargo test`, shows its output as it comes, reads it and keeps it with what else is said.
fn run_tests(
    root: &Path,
    options: &Options,
    target: &Path,
    traces: &Path,
    tally: &mut Tally,
) -> Result<(), String> {
    let skips = target.join(format!("skips-{}.txt", std::process::id()));
    // One left by a run that was killed, whose process id we have now.
    let _ = std::fs::remove_file(&skips);
    let mut command = process::cargo(root);
    command.args(["test", "--no-fail-fast"]);
    if !options.names_packages() {
        command.arg("--workspace");
    }
    command.args(&options.cargo_args).env("KEYFERRY_SKIPS", &skips).env(hygiene::VARIABLE, traces);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("cargo test: {error}"))?;
    let stdout = child.stdout.take().ok_or("cargo test has no stdout")?;
    let stderr = child.stderr.take().ok_or("cargo test has no stderr")?;
    let errors = traces.join("cargo-test.stderr");
    let errors = std::thread::spawn(move || pass_on(stderr, &mut std::io::stderr(), &errors, |_| ()));
    pass_on(stdout, &mut std::io::stdout(), &traces.join("cargo-test.stdout"), |line| tally.read(line))?;
    errors.join().map_err(|_| "the reader of stderr ended".to_owned())??;
    let status = child.wait().map_err(|error| format!("cargo test: {error}"))?;
    if let Ok(file) = std::fs::read(&skips) {
        tally.read_skips(&String::from_utf8_lossy(&file));
        let _ = std::fs::remove_file(&skips);
    }
    tally.close(status.success());
    Ok(())
}

/// Shows each line as it comes, and keeps it in a file. Bytes, since tests may print anything.
fn pass_on(
    from: impl Read,
    to: &mut impl Write,
    file: &Path,
    mut each: impl FnMut(&str),
) -> Result<(), String> {
    let fault = |error: std::io::Error| format!("cargo test: {error}");
    let mut kept = File::create(file).map_err(fault)?;
    let mut lines = BufReader::new(from);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).map_err(fault)? > 0 {
        to.write_all(&line).and_then(|()| kept.write_all(&line)).map_err(fault)?;
        each(String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Options {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn own_flags_are_taken_and_the_rest_goes_to_cargo() {
        let options = parse("--no-install -p keyferry-wire ids -- --no-install");
        assert!(!options.install);
        assert_eq!(options.cargo_args, ["-p", "keyferry-wire", "ids", "--", "--no-install"]);
        assert!(options.names_packages());
    }

    #[test]
    fn package_flag_of_a_test_program_narrows_nothing() {
        assert!(!parse("ids -- -p").names_packages());
    }
}
