//! `keyferry`: every role and every user command as a subcommand.

mod args;
mod commands;
mod doctor;
mod help;
mod input;
mod output;
mod pages;
mod platform;
mod story;
mod table;
mod token;
mod up;
mod upkeep;
mod watch;

use args::{Cli, Command, Data};
use clap::Parser;
use output::Failure;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Whatever the command is: before a PIN, a password or a key is in memory.
    if let Err(error) = keyferry_enclave::platform::refuse_dumps() {
        return Failure::Fault(format!("core dumps cannot be switched off: {error}")).report();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // clap prints help and version on stdout with status 0, and mistakes on stderr with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let json = cli.json;
    match cli.command {
        Command::Try(arguments) => story::run(arguments, json),
        Command::Up(up) => up::run(up, json),
        Command::Doctor(doctor) => doctor::run(&doctor, json),
        Command::Backup(backup) => upkeep::backup(&backup, json),
        Command::Restore(restore) => upkeep::restore(&restore, json),
        Command::Data(Data::Upgrade { data, check }) => upkeep::upgrade(&data, check, json),
        Command::Completions { shell } => pages::completions(shell),
        Command::Man { dir } => pages::man(dir.as_deref()),
        Command::Help(help) => help::run(&help),
        Command::EnclaveStandIn => {
            keyferry_enclave::sim::serve_on_stdin().map_err(|error| Failure::Fault(error.to_string()))
        }
        other => commands::run(other, json),
    }
}
