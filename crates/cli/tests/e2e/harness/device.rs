//! A device: a home folder, and the commands that its user types. Each runs in a process of its own.

use super::{PATIENCE, traces};
use serde_json::Value;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

#[derive(Clone, Debug)]
pub(crate) struct Device {
    pub(crate) home: PathBuf,
    /// File with the PIN of this device, if it has one.
    pub(crate) device_pin: Option<PathBuf>,
    /// Certificates that it believes.
    pub(crate) ca: Option<PathBuf>,
}

/// How a command ended, and what it said.
#[derive(Debug)]
pub(crate) struct Said {
    command: String,
    pub(crate) status: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) took: Duration,
}

/// The last line of stderr of a command that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: String,
    pub(crate) message: String,
    /// Name of the DOMException.
    pub(crate) name: Option<String>,
    pub(crate) left: Option<u64>,
}

impl Device {
    pub(crate) fn new(home: &Path) -> Device {
        Device { home: home.to_path_buf(), device_pin: None, ca: None }
    }

    /// Runs a command on this home, with `--json`.
    pub(crate) fn run(&self, words: &[&str]) -> Said {
        self.run_with(words, b"")
    }

    pub(crate) fn run_with(&self, words: &[&str], stdin: &[u8]) -> Said {
        let home = self.home.to_str().unwrap();
        let mut all = words.to_vec();
        all.extend(["--home", home, "--json"]);
        if let Some(ca) = &self.ca {
            all.extend(["--ca", ca.to_str().unwrap()]);
        }
        keyferry_with(&all, stdin)
    }

    /// The same, with user verification by the PIN of this device.
    pub(crate) fn run_verified(&self, words: &[&str], stdin: &[u8]) -> Said {
        let pin = self.device_pin.as_ref().expect("this device has a PIN of its own").to_str().unwrap();
        let mut all = words.to_vec();
        all.extend(["--device-pin-file", pin]);
        self.run_with(&all, stdin)
    }

    pub(crate) fn create(&self, origin: &str, options: &Value) -> Said {
        self.run_with(&["passkey", "create", "--origin", origin], options.to_string().as_bytes())
    }

    pub(crate) fn create_verified(&self, origin: &str, options: &Value) -> Said {
        self.run_verified(&["passkey", "create", "--origin", origin], options.to_string().as_bytes())
    }

    pub(crate) fn get(&self, origin: &str, options: &Value) -> Said {
        self.run_with(&["passkey", "get", "--origin", origin], options.to_string().as_bytes())
    }

    pub(crate) fn get_verified(&self, origin: &str, options: &Value) -> Said {
        self.run_verified(&["passkey", "get", "--origin", origin], options.to_string().as_bytes())
    }

    /// Ids of the passkeys in the list.
    #[track_caller]
    pub(crate) fn passkey_ids(&self) -> Vec<String> {
        let list = self.run(&["passkey", "list"]).done();
        let passkeys = list["passkeys"].as_array().expect("a list").iter();
        passkeys.map(|passkey| passkey["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Tries of the account's PIN that are left.
    #[track_caller]
    pub(crate) fn tries_left(&self) -> u64 {
        self.run(&["pin", "status"]).done()["left"].as_u64().unwrap()
    }

    /// Entries of the audit, which must be complete.
    #[track_caller]
    pub(crate) fn audit(&self) -> Vec<Value> {
        let audit = self.run(&["audit"]).done();
        assert_eq!(audit["complete"], true, "{audit}");
        audit["entries"].as_array().expect("a list").clone()
    }
}

/// Runs `keyferry` to its end.
pub(crate) fn keyferry(words: &[&str]) -> Said {
    keyferry_with(words, b"")
}

pub(crate) fn keyferry_with(words: &[&str], stdin: &[u8]) -> Said {
    let begun = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_keyferry"))
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pipe = child.stdin.take().unwrap();
    // A command that was refused before it read may have closed the pipe.
    let _ = pipe.write_all(stdin);
    drop(pipe);
    let out = read_all(child.stdout.take().unwrap());
    let err = read_all(child.stderr.take().unwrap());
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("keyferry {} did not end", words.join(" "));
        }
        std::thread::sleep(Duration::from_millis(3));
    };
    let (out, err) = (out.join().unwrap(), err.join().unwrap());
    traces::keep("command", format!("{out}{err}").as_bytes());
    Said { command: words.join(" "), status: status.code(), out, err, took: begun.elapsed() }
}

fn read_all(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Said {
    /// It was done; its one JSON document.
    #[track_caller]
    pub(crate) fn done(&self) -> Value {
        assert_eq!(self.status, Some(0), "expected to be done: {self}");
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not one JSON document: {error}: {self}"))
    }

    /// It was refused for this reason.
    #[track_caller]
    pub(crate) fn refused(&self, code: &str) -> Refusal {
        assert_eq!(self.status, Some(3), "expected the refusal {code}: {self}");
        let refusal = self.refusal();
        assert_eq!(refusal.error, code, "{self}");
        refusal
    }

    /// It was refused, for one of the reasons that DESIGN 13 lists.
    #[track_caller]
    pub(crate) fn refusal(&self) -> Refusal {
        assert_eq!(self.status, Some(3), "expected a refusal: {self}");
        assert_eq!(self.out, "", "a refusal prints nothing on stdout: {self}");
        let line = self.last_line();
        let object: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON in: {self}"));
        let text = |name: &str| object.get(name).and_then(Value::as_str).map(str::to_owned);
        let error = text("error").unwrap_or_else(|| panic!("no code: {self}"));
        assert!(CODES.contains(&error.as_str()), "an unknown code: {self}");
        let message = text("message").filter(|message| message.len() > 10);
        Refusal {
            error,
            message: message.unwrap_or_else(|| panic!("no sentence: {self}")),
            name: text("name"),
            left: object.get("left").and_then(Value::as_u64),
        }
    }

    /// Something is broken or out of reach; the sentence that says what.
    #[track_caller]
    pub(crate) fn fault(&self) -> String {
        assert_eq!(self.status, Some(1), "expected a fault: {self}");
        assert_eq!(self.out, "", "a fault prints nothing on stdout: {self}");
        assert!(!self.err.contains("panicked"), "{self}");
        let sentence = self.last_line();
        assert!(sentence.contains(' ') && sentence.len() > 20, "a sentence for people: {self}");
        sentence.to_owned()
    }

    /// It was not understood.
    #[track_caller]
    pub(crate) fn usage(&self) {
        assert_eq!(self.status, Some(2), "expected a mistake in usage: {self}");
        assert!(!self.err.trim().is_empty() && self.out.is_empty(), "{self}");
    }

    /// It was refused or failed with a sentence: anything but a success, a crash or silence.
    #[track_caller]
    pub(crate) fn failed(&self) -> String {
        if self.status == Some(1) { self.fault() } else { self.refusal().message }
    }

    fn last_line(&self) -> &str {
        self.err.trim_end().lines().last().unwrap_or_default()
    }
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Said { command, status, out, err, .. } = self;
        write!(f, "`keyferry {command}` ended with {status:?}\nstdout: {out}\nstderr: {err}")
    }
}

/// DESIGN 13.
const CODES: &[&str] = &[
    "pin_wrong",
    "pin_locked",
    "policy",
    "excluded",
    "no_credentials",
    "unknown_device",
    "revoked",
    "evidence",
    "stale",
    "uv_required",
    "origin",
    "bad_options",
    "auth",
    "exists",
    "conflict",
    "rate_limited",
    "moved",
];
