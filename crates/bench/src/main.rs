//! `keyferry-bench`: what this machine can do, what the service does on it, and where the time goes; in one run, so
//! that both are of the same minute.
//!
//! Absent here on purpose: figures of other runs. Whatever is printed was measured just before.

mod assertion;
mod carrier;
mod ceiling;
mod commit;
mod disk;
mod engine;
mod host;
mod http;
mod load;
mod local;
mod measure;
mod member;
mod memory;
mod parts;
mod pin;
mod populate;
mod profile;
mod report;
mod role;
mod run;
mod settings;
mod stub;
mod stub_member;
mod token;

use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// Errors of a bench end it: the sentence is for whoever runs it.
type Fault = Box<dyn std::error::Error + Send + Sync>;
type Fallible<T> = Result<T, Fault>;

#[derive(Parser)]
#[command(
    name = "keyferry-bench",
    about = "Ceilings of this machine and figures of Keyferry, in one run",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    role: Option<role::Role>,
    /// Print one JSON object on stdout.
    #[arg(long)]
    json: bool,
    /// Small data and short rounds, for a first look; every figure that suffers says so.
    #[arg(long)]
    quick: bool,
    /// Run these alone (B1, B1s, B1a, B2, B3, B4, B8, B9, B10, B14, profile); ceilings are always measured.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Where to make the stores that are measured; the folder of this program if left out.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of shards; what `keyferry up` makes is 16.
    #[arg(long, value_name = "N", default_value_t = 16)]
    shards: u16,
    /// Threads for connections, of the gateway and of the stub; the gateway's default is 2.
    #[arg(long, value_name = "N", default_value_t = 2)]
    threads: usize,
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyferry-bench: {}", keyferry_server::serve::chain(&*error));
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Fallible<()> {
    if let Some(role) = cli.role {
        return role.run();
    }
    let wanted = run::Wanted::parse(&cli.only)?;
    let beside = std::env::current_exe()?.parent().map(PathBuf::from).unwrap_or_default();
    let folder = tempfile::Builder::new().prefix("bench-data-").tempdir_in(cli.data.unwrap_or(beside))?;
    let cores = host::Cores::pick()?;
    let make = if cli.quick { settings::Settings::quick } else { settings::Settings::full };
    let settings = make(cores, folder.path().to_path_buf(), cli.shards, cli.threads);
    let report = run::run(&settings, &wanted)?;
    if cli.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text());
    }
    Ok(())
}
