//! Relying parties that others wrote, as processes (`peers/`), and the contract for tests that cannot run.

use super::origin;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A relying party with one user; it remembers what a relying party stores.
pub(crate) struct RelyingParty {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) id: String,
    pub(crate) origin: String,
    /// What it takes; without a choice, what its library takes.
    algorithms: Option<Vec<i64>>,
}

impl RelyingParty {
    /// SimpleWebAuthn, if it is installed.
    pub(crate) fn simple_webauthn(id: &str) -> Option<RelyingParty> {
        let package = workspace().join(".peers/npm/node_modules/@simplewebauthn/server/package.json");
        if !package.exists() {
            return None;
        }
        let mut node = Command::new("node");
        node.arg(workspace().join("peers/rp.mjs"));
        Some(RelyingParty::start(node, id))
    }

    /// py_webauthn, if it is installed.
    pub(crate) fn py_webauthn(id: &str) -> Option<RelyingParty> {
        let python = workspace().join(".peers/venv/bin/python");
        if !python.exists() {
            return None;
        }
        let mut python = Command::new(python);
        python.arg(workspace().join("peers/rp.py"));
        Some(RelyingParty::start(python, id))
    }

    /// Both, each with an id of its own; `None` after the skip was noted.
    pub(crate) fn both() -> Option<[RelyingParty; 2]> {
        match (
            RelyingParty::simple_webauthn("shop.example.org"),
            RelyingParty::py_webauthn("bank.example.com"),
        ) {
            (Some(node), Some(python)) => Some([node, python]),
            (None, _) => skip("no SimpleWebAuthn: run `cargo xtask setup`"),
            (_, None) => skip("no py_webauthn: run `cargo xtask setup`"),
        }
    }

    fn start(mut command: Command, id: &str) -> RelyingParty {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (ask, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        RelyingParty { child, ask, answers, id: id.to_owned(), origin: origin(id), algorithms: None }
    }

    /// What the library said.
    #[track_caller]
    pub(crate) fn ask(&mut self, command: &str, mut about: Value) -> Value {
        about["do"] = json!(command);
        about["rp_id"] = json!(self.id);
        about["origin"] = json!(self.origin);
        writeln!(self.ask, "{about}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("{command}: the relying party said {line:?}"))
    }

    #[track_caller]
    pub(crate) fn creation(&mut self, verification: &str, exclude: &[&str]) -> Value {
        let user = json!({
            "rp_name": "Shop", "user_id": "dXNlci0x", "user_name": "ada@example.org", "display_name": "Ada",
            "user_verification": verification, "exclude": exclude, "algorithms": self.algorithms,
        });
        self.ask("registration-options", user)["options"].clone()
    }

    /// Options of a relying party that takes these algorithms alone, in this order.
    #[track_caller]
    pub(crate) fn creation_of(&mut self, algorithms: &[i64]) -> Value {
        self.algorithms = Some(algorithms.to_vec());
        self.creation("preferred", &[])
    }

    #[track_caller]
    pub(crate) fn request(&mut self, verification: &str, allow: Option<&[&str]>) -> Value {
        let about = json!({"user_verification": verification, "allow": allow});
        self.ask("authentication-options", about)["options"].clone()
    }

    /// What the library makes of a new credential: what a relying party stores, or an error.
    #[track_caller]
    pub(crate) fn register(
        &mut self,
        options: &Value,
        response: &Value,
        require_verification: bool,
    ) -> Value {
        let about = json!({
            "response": response, "challenge": options["challenge"],
            "require_user_verification": require_verification, "algorithms": self.algorithms,
        });
        self.ask("verify-registration", about)
    }

    /// What the library makes of an assertion for a credential that was registered.
    #[track_caller]
    pub(crate) fn authenticate(
        &mut self,
        options: &Value,
        response: &Value,
        registered: &Value,
        require_verification: bool,
    ) -> Value {
        let about = json!({
            "response": response, "challenge": options["challenge"],
            "id": registered["id"], "public_key": registered["public_key"], "counter": registered["counter"],
            "require_user_verification": require_verification,
        });
        self.ask("verify-authentication", about)
    }
}

impl Drop for RelyingParty {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn workspace() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Notes that this test cannot run here, by the contract in `xtask/src/tally.rs`.
pub(crate) fn skip<T>(reason: &str) -> Option<T> {
    let thread = std::thread::current();
    let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("unnamed"));
    print!("{line}");
    if let Some(path) = std::env::var_os("KEYFERRY_SKIPS") {
        let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
        file.and_then(|mut file| file.write_all(line.as_bytes()))
            .expect("a skip that is not counted would pass");
    }
    None
}
