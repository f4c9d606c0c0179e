//! `keyferry help [COMMAND..]`, and the list of all commands and flags that the document check reads.

use crate::args::{Cli, Help};
use crate::output::Failure;
use clap::CommandFactory;
use std::io::Write;

pub(crate) fn run(help: &Help) -> Result<(), Failure> {
    let mut root = Cli::command();
    root.build();
    if help.tree {
        let mut out = std::io::stdout().lock();
        return tree(&root, "", &mut out).map_err(Failure::from);
    }
    let mut command = &mut root;
    for name in &help.path {
        command = command
            .find_subcommand_mut(name)
            .ok_or_else(|| Failure::Usage(format!("there is no command \"{}\"", help.path.join(" "))))?;
    }
    command.print_long_help().map_err(Failure::from)
}

/// One command path or flag a line; hidden ones are left out.
fn tree(command: &clap::Command, path: &str, out: &mut impl Write) -> std::io::Result<()> {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        if let Some(long) = argument.get_long().filter(|long| !matches!(*long, "help" | "version" | "json")) {
            writeln!(out, "{path} --{long}")?;
        }
    }
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
        let path = format!("{path} {}", sub.get_name());
        writeln!(out, "{}", path.trim_start())?;
        tree(sub, path.trim_start(), out)?;
    }
    Ok(())
}
