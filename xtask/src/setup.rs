//! Installs what the tests need and a Rust toolchain does not bring: the real peers that we test against.
//!
//! Where tests find them, from the root of the workspace: npm packages in `.peers/npm/node_modules`, a Python with
//! its packages at `.peers/venv/bin/python`, programs of Debian packages on the PATH. A test that misses its peer says
//! so by the contract in `tally.rs`. Nothing outside `.peers/` is written, except by `apt-get`.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::{Stop, process};

pub(crate) const HELP: &str = "\
cargo xtask setup: installs what the tests need; `cargo xtask test` does it too

Debian packages come through apt-get and need root; anybody else is told the exact command (exit status 2).
npm and PyPI packages, pinned in peers/, go into .peers/ and are skipped while they are up to date.
";

/// The oldest Node that the packages in `peers/package.json` run on.
const NODE_MAJOR_MIN: u32 = 20;

/// A program that tests start and that Debian packages bring.
struct Peer {
    what_for: &'static str,
    /// Each is a command line that succeeds when the program is there.
    probes: &'static [&'static [&'static str]],
    debian: &'static [&'static str],
}

/// A new peer is a new row.
const PEERS: &[Peer] = &[
    Peer {
        what_for: "C and assembly in the cryptographic library and SQLite",
        probes: &[&["cc", "--version"], &["make", "--version"]],
        debian: &["gcc", "libc6-dev", "make"],
    },
    Peer {
        what_for: "relying parties in Python",
        probes: &[&["python3", "-c", "import ensurepip, venv"]],
        debian: &["python3", "python3-venv"],
    },
    Peer {
        what_for: "relying parties in JavaScript",
        probes: &[&["node", "--version"]],
        debian: &["nodejs"],
    },
    Peer { what_for: "installing JavaScript packages", probes: &[&["npm", "--version"]], debian: &["npm"] },
];

pub(crate) fn run() -> Result<(), Stop> {
    let root = process::root()?;
    programs()?;
    python_packages(&root)?;
    node_packages(&root)?;
    Ok(())
}

fn programs() -> Result<(), Stop> {
    let missing: Vec<&Peer> = PEERS.iter().filter(|peer| !present(peer)).collect();
    if missing.is_empty() {
        println!("setup: all programs are there");
        return Ok(());
    }
    for peer in &missing {
        println!("setup: to install: {} ({})", peer.debian.join(" "), peer.what_for);
    }
    let packages: Vec<&str> = missing.iter().flat_map(|peer| peer.debian).copied().collect();
    let install = format!("apt-get install -y --no-install-recommends {}", packages.join(" "));
    if !runs(&["apt-get", "--version"]) {
        let packages = packages.join(" ");
        return Err(Stop::Usage(format!(
            "this system has no apt-get; install what Debian calls: {packages}\n\
             or go without: cargo xtask test --no-install"
        )));
    }
    if !is_root() {
        return Err(Stop::Usage(format!(
            "programs are missing; install them with\n  sudo {install}\nor go without: cargo xtask test --no-install"
        )));
    }
    process::succeed(apt_get().args(["update", "-qq"]))?;
    process::succeed(apt_get().args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages))?;
    match missing.iter().find(|peer| !present(peer)) {
        None => Ok(()),
        Some(peer) => Err(Stop::Failed(format!("{} is installed, yet does not run", peer.debian.join(" ")))),
    }
}

fn python_packages(root: &Path) -> Result<(), String> {
    let manifest = read(&root.join("peers/requirements.txt"))?;
    let version = process::output(Command::new("python3").arg("--version"))?;
    let folder = root.join(".peers/venv");
    if is_current(&folder, &[&version, &manifest]) {
        println!("setup: PyPI packages are up to date");
        return Ok(());
    }
    println!("setup: to install from PyPI into .peers/venv: {}", pinned(&manifest).join(" "));
    process::succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let install =
        ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
    let python = folder.join("bin/python");
    process::succeed(Command::new(python).args(install).arg(root.join("peers/requirements.txt")))?;
    stamp(&folder, &[&version, &manifest])
}

fn node_packages(root: &Path) -> Result<(), String> {
    let version = process::output(Command::new("node").arg("--version"))?;
    if node_major(&version).is_none_or(|major| major < NODE_MAJOR_MIN) {
        println!(
            "setup: node {} is older than {NODE_MAJOR_MIN}: no npm packages, so tests with relying parties in \
             JavaScript will be skipped",
            version.trim()
        );
        return Ok(());
    }
    let manifest = read(&root.join("peers/package.json"))?;
    let lock = read(&root.join("peers/package-lock.json"))?;
    let folder = root.join(".peers/npm");
    if is_current(&folder, &[&version, &manifest, &lock]) {
        println!("setup: npm packages are up to date");
        return Ok(());
    }
    println!(
        "setup: to install from npm into .peers/npm, with what they need: {}",
        direct(&manifest)?.join(" ")
    );
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    write(&folder.join("package.json"), &manifest)?;
    write(&folder.join("package-lock.json"), &lock)?;
    // No package may run a program of its own while it is installed.
    let install = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    process::succeed(Command::new("npm").args(install).current_dir(&folder))?;
    stamp(&folder, &[&version, &manifest, &lock])
}

fn present(peer: &Peer) -> bool {
    peer.probes.iter().all(|probe| runs(probe))
}

fn runs(words: &[&str]) -> bool {
    words
        .split_first()
        .is_some_and(|(program, args)| process::output(Command::new(program).args(args)).is_ok())
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// `v20.11.1` -> 20.
fn node_major(version: &str) -> Option<u32> {
    version.trim().trim_start_matches('v').split('.').next()?.parse().ok()
}

/// `name==version` of each line of a requirements file.
fn pinned(manifest: &str) -> Vec<&str> {
    manifest
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.contains("=="))
        .collect()
}

fn direct(manifest: &str) -> Result<Vec<String>, String> {
    let manifest: serde_json::Value =
        serde_json::from_str(manifest).map_err(|error| format!("peers/package.json: {error}"))?;
    let named = manifest["dependencies"].as_object().into_iter().flatten();
    Ok(named.map(|(name, version)| format!("{name}@{}", version.as_str().unwrap_or("?"))).collect())
}

/// A stamp holds the very manifests that a folder was made from. It is written last, so that a broken-off
/// installation is not taken for a whole one.
fn is_current(folder: &Path, made_from: &[&str]) -> bool {
    fs::read_to_string(folder.join("stamp")).is_ok_and(|stamp| stamp == made_from.concat())
}

fn stamp(folder: &Path, made_from: &[&str]) -> Result<(), String> {
    write(&folder.join("stamp"), &made_from.concat())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_version_is_read_with_and_without_its_letter() {
        assert_eq!(node_major("v20.11.1\n"), Some(20));
        assert_eq!(node_major("18.0.0"), Some(18));
        assert_eq!(node_major("nonsense"), None);
    }

    #[test]
    fn plan_names_pinned_packages_without_hashes() {
        let manifest = "# of others\nwebauthn==3.0.1 \\\n    --hash=sha256:00\ncbor2==6.3.0 \\\n";
        assert_eq!(pinned(manifest), ["webauthn==3.0.1", "cbor2==6.3.0"]);
    }

    #[test]
    fn repository_pins_both_package_sets() {
        let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../peers");
        let requirements = read(&peers.join("requirements.txt")).unwrap();
        assert!(pinned(&requirements).iter().any(|pin| pin.starts_with("webauthn==3.")));
        let manifest = read(&peers.join("package.json")).unwrap();
        assert!(direct(&manifest).unwrap().iter().any(|pin| pin.starts_with("@simplewebauthn/server@14.")));
    }
}
