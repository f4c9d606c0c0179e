//! `cargo xtask`: the one command for set-up, tests and house rules. It needs nothing but a Rust toolchain.
//!
//! Exit status: 0 done, 1 something failed, 2 wrong usage or a missing program that only root can install.

mod hygiene;
mod process;
mod setup;
mod tally;
mod test;
mod tidy;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask: set-up, tests and house rules of Keyferry

  cargo xtask test [--no-install] [--deny-skips] [ARGS]   set up, then run every check and every test
  cargo xtask setup                                       only install what the tests need
  cargo xtask tidy                                        only check the house rules

`cargo xtask COMMAND --help` says more.
";

/// Why a command stopped before it had an answer.
pub(crate) enum Stop {
    /// The command line, or a program that is not there: exit status 2.
    Usage(String),
    /// A check or a step failed: exit status 1.
    Failed(String),
}

impl From<String> for Stop {
    fn from(why: String) -> Self {
        Self::Failed(why)
    }
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => ("help", &[][..]),
    };
    let help_wanted = rest.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--help" || arg == "-h");
    let outcome = match command {
        "test" if help_wanted => help(test::HELP),
        "setup" if help_wanted => help(setup::HELP),
        "tidy" if help_wanted => help(tidy::HELP),
        "test" => test::run(rest),
        "setup" => no_arguments(command, rest).and_then(|()| setup::run()),
        "tidy" => no_arguments(command, rest).and_then(|()| tidy::run()),
        "help" | "--help" | "-h" => help(HELP),
        other => Err(Stop::Usage(format!("no command `{other}`\n\n{HELP}"))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Usage(why)) => stop(&why, 2),
        Err(Stop::Failed(why)) => stop(&why, 1),
    }
}

fn help(text: &str) -> Result<(), Stop> {
    print!("{text}");
    Ok(())
}

fn no_arguments(command: &str, rest: &[String]) -> Result<(), Stop> {
    match rest.first() {
        None => Ok(()),
        Some(arg) => {
            Err(Stop::Usage(format!("`{arg}` is no argument of {command}: see cargo xtask {command} --help")))
        }
    }
}

fn stop(why: &str, status: u8) -> ExitCode {
    eprintln!("xtask: {}", why.trim_end());
    ExitCode::from(status)
}
