//! Completions and manual pages, from the same definitions as the command line itself.

use crate::args::Cli;
use crate::output::Failure;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::Write;
use std::path::Path;

const NAME: &str = "keyferry";

pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(Cli::command()), NAME, &mut script);
    print(&script)
}

pub(crate) fn man(dir: Option<&Path>) -> Result<(), Failure> {
    let command = visible(Cli::command());
    let Some(dir) = dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return print(&page);
    };
    let cannot = |error| Failure::Fault(format!("cannot write manual pages to {}: {error}", dir.display()));
    std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(command, dir)).map_err(cannot)
}

/// The command line without what users are not shown.
fn visible(command: clap::Command) -> clap::Command {
    let shown: Vec<_> = command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned().collect();
    let mut whole = clap::Command::new(NAME)
        .version(env!("CARGO_PKG_VERSION"))
        .disable_help_subcommand(true)
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(shown);
    if let Some(about) = command.get_about() {
        whole = whole.about(about.clone());
    }
    match command.get_after_help() {
        Some(text) => whole.after_help(text.clone()),
        None => whole,
    }
}

/// Whoever reads only the beginning has read enough.
fn print(bytes: &[u8]) -> Result<(), Failure> {
    match std::io::stdout().lock().write_all(bytes) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
