//! Starting other programs, and where the workspace is.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// The root of the workspace: cargo names this package's folder when it runs it.
pub(crate) fn root() -> Result<PathBuf, String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("run it as `cargo xtask`")?;
    let package = PathBuf::from(package);
    package.parent().map(Path::to_path_buf).ok_or_else(|| "xtask is not inside a workspace".to_owned())
}

/// The cargo that started us, at the root of the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Set by cargo for us alone: a child that inherits them could take our package for its own.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command.current_dir(root);
    command
}

/// Runs a command whose output the person shall see.
pub(crate) fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("{}: {error}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", shown(command))) }
}

/// Runs a command and returns what it wrote to stdout; its stderr stands in the error.
pub(crate) fn output(command: &mut Command) -> Result<String, String> {
    let done =
        command.stdin(Stdio::null()).output().map_err(|error| format!("{}: {error}", shown(command)))?;
    if done.status.success() {
        return String::from_utf8(done.stdout)
            .map_err(|_| format!("`{}` did not print UTF-8", shown(command)));
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(format!("`{}` failed: {}\n{}", shown(command), done.status, said.trim_end()))
}

/// What `cargo metadata` says; `args` are added to it.
pub(crate) fn metadata(root: &Path, args: &[&str]) -> Result<Value, String> {
    let text = output(cargo(root).args(["metadata", "--format-version", "1"]).args(args))?;
    serde_json::from_str(&text).map_err(|error| format!("cargo metadata: {error}"))
}

/// Where cargo builds: it follows `CARGO_TARGET_DIR` and configuration files.
pub(crate) fn target_directory(root: &Path) -> Result<PathBuf, String> {
    let metadata = metadata(root, &["--no-deps"])?;
    let path = metadata["target_directory"].as_str().ok_or("cargo metadata names no target_directory")?;
    Ok(PathBuf::from(path))
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
