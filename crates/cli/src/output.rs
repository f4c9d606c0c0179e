//! What a command says: a JSON document or text on stdout; a refusal or a fault on stderr with its exit status.

use keyferry_wire::refusal::Refusal;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// How a command ends when it is not done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The service or the client said no: exit status 3.
    Refused(Refusal),
    /// `doctor` found what must be mended: exit status 3, and a refusal whose code no service has.
    Unfit(String),
    /// Something is broken or out of reach: exit status 1 and a sentence that says what to do.
    Fault(String),
    /// The command was not understood: exit status 2.
    Usage(String),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::Fault(error.to_string())
    }
}

/// A finished command: its document, and the same for people.
pub(crate) struct Document {
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl Document {
    pub(crate) fn print(&self, json: bool) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        let written =
            if json { writeln!(out, "{}", self.json) } else { writeln!(out, "{}", self.text.trim_end()) };
        match written {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

impl Failure {
    /// Says it, and gives the exit status.
    pub(crate) fn report(&self) -> ExitCode {
        let mut err = std::io::stderr().lock();
        let (status, line) = match self {
            Failure::Refused(refusal) => (3, refusal_json(refusal).to_string()),
            Failure::Unfit(sentence) => (3, json!({"error": "unfit", "message": sentence}).to_string()),
            Failure::Fault(sentence) => (1, format!("keyferry: {sentence}")),
            Failure::Usage(sentence) => (2, format!("keyferry: {sentence}")),
        };
        // Nobody is left to tell when stderr is closed.
        let _ = writeln!(err, "{line}");
        ExitCode::from(status)
    }
}

pub(crate) fn refusal_json(refusal: &Refusal) -> Value {
    let mut object = json!({"error": refusal.code.as_str(), "message": refusal.message});
    if let Some(name) = &refusal.name {
        object["name"] = json!(name);
    }
    if let Some(left) = refusal.left {
        object["left"] = json!(left);
    }
    object
}
