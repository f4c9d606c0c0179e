//! `keyferry-bench`: what this machine can do, what the service does on it, and where the time goes; in one run, so
//! that both are of the same minute.
//!
//! Absent here on purpose: figures of other runs. Whatever is printed was measured just before.

mod assertion;
mod calls;
mod carrier;
mod ceiling;
mod commit;
mod disk;
mod engine;
mod filler;
mod growth;
mod host;
mod http;
mod latency;
mod ledger;
mod live;
mod load;
mod local;
mod measure;
mod member;
mod memory;
mod operations;
mod parts;
mod pin;
mod platform;
mod populate;
mod profile;
mod readme;
mod report;
mod role;
mod run;
mod settings;
mod start;
mod stub;
mod stub_member;
mod svg;
mod sync;
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
    /// Print the README's block on stdout.
    #[arg(long, conflicts_with = "json")]
    markdown: bool,
    /// Put that block into this document, between its marks.
    #[arg(long, value_name = "FILE")]
    readme: Option<PathBuf>,
    /// Draw the growth curves of this run (B1a, B6) into this file.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Run these alone (B1, B1s, B1a, B2 to B10, B12, B14, B16, profile); ceilings are always measured.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Where to make the stores that are measured; the folder of this program if left out.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Number of shards; what `keyferry up` makes is 16.
    #[arg(long, value_name = "N", default_value_t = 16)]
    shards: u16,
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
    let settings = make(cores, folder.path().to_path_buf(), cli.shards);
    let report = run::run(&settings, &wanted)?;
    if cli.json {
        println!("{}", report.json());
    } else if cli.markdown {
        print!("{}", report.markdown());
    } else {
        print!("{}", report.text());
    }
    // What was printed is not lost if a file cannot be written.
    if let Some(path) = cli.svg {
        std::fs::write(path, report.svg()?)?;
    }
    if let Some(path) = cli.readme {
        readme::replace(&path, &report.markdown())?;
    }
    Ok(())
}
