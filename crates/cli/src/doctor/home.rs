//! A device's home: its files, for their owner alone, and in a form that this program reads.

use super::{Check, private};
use keyferry_client::home::Home;
use std::fs;
use std::path::Path;
use zeroize::Zeroizing;

/// Files of a home that hold secrets, if they are there.
const SECRETS: [&str; 3] = ["state", "hw.key", "uv.key"];

/// The checks, and the home if it can be read.
pub(super) fn checks(folder: &Path) -> (Vec<Check>, Option<Home>) {
    if !folder.is_dir() {
        let found = format!("there is no home at {}", folder.display());
        return (vec![Check::bad("home", found, "enrol or join first, or name the right folder")], None);
    }
    let mut checks = vec![private("home-folder", folder, "the home")];
    let files = SECRETS.iter().map(|name| folder.join(name)).filter(|path| path.exists());
    let open: Vec<_> = files
        .map(|path| private("home-files", &path, "a file of the home"))
        .filter(|it| it.to_do.is_some())
        .collect();
    if open.is_empty() {
        checks.push(Check::ok("home-files", "its files are for their owner alone"));
    }
    checks.extend(open);
    let (state, home) = state(folder);
    checks.push(state);
    if let Some(home) = &home {
        checks.push(keys(folder, home));
        checks.push(pinned(home));
    }
    (checks, home)
}

fn state(folder: &Path) -> (Check, Option<Home>) {
    const NAME: &str = "home-state";
    let bytes = match fs::read(folder.join("state")) {
        Ok(bytes) => Zeroizing::new(bytes),
        Err(error) => {
            let found = format!("its state cannot be read: {error}");
            return (Check::bad(NAME, found, "enrol or join again with this folder"), None);
        }
    };
    match Home::load(&bytes) {
        Ok(home) if home.pending.is_some() => {
            let found = "a command was interrupted half-way";
            (Check::warn(NAME, found, "give the same command again: it goes on where it was"), Some(home))
        }
        Ok(home) if home.membership.is_none() => {
            let found = format!("this device is no member of {}'s account yet", home.name);
            (Check::warn(NAME, found, "enrol it, or let it join"), Some(home))
        }
        Ok(home) => {
            let found = format!("member of {}'s account at {}", home.name, home.server);
            (Check::ok(NAME, found), Some(home))
        }
        Err(error) => {
            let to_do =
                "use a keyferry that is as new as the one that wrote it, or join again in a new folder";
            (Check::bad(NAME, error.to_string(), to_do), None)
        }
    }
}

fn keys(folder: &Path, home: &Home) -> Check {
    const NAME: &str = "home-keys";
    let missing = |name: &str| !folder.join(name).is_file();
    if missing("hw.key") || (home.keys.uv.is_some() && missing("uv.key")) {
        let to_do = "bring the home back from a copy, or join again in a new folder and remove this device";
        return Check::bad(NAME, "a key of this device is gone", to_do);
    }
    match home.keys.uv {
        Some(_) => Check::ok(NAME, "device key and key for user verification are there"),
        None => Check::warn(
            NAME,
            "this device has no key for user verification: sites that demand it refuse it",
            "join again in a new folder with --device-pin-file",
        ),
    }
}

fn pinned(home: &Home) -> Check {
    const NAME: &str = "home-trust";
    let mut beliefs: Vec<_> =
        home.trust.stand_ins.iter().map(|kind| format!("stand-in evidence {kind}")).collect();
    if !home.trust.is_pinned() {
        beliefs.push("a log key that was believed at first use".to_owned());
    }
    if beliefs.is_empty() {
        return Check::ok(NAME, "log key and measurements come from a trust file");
    }
    let found = format!("this home trusts {}", beliefs.join(" and "));
    Check::warn(NAME, found, "fine for development; else join with --trust and without --accept-evidence")
}
