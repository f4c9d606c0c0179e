//! The trust file: what a home pins when it is made, in place of trust on first use.
//!
//! ```json
//! {"aud": "ferry.example",
//!  "logs": [{"origin": "ferry.example/0", "key": "ferry.example/0+1234abcd+base64"}],
//!  "measurements": ["base64url of 32 bytes"]}
//! ```
//! `logs` is needed; without `measurements` any is accepted. Members that are not known are an error: a misspelt pin
//! would pin nothing.

use super::{LogPin, Trust};
use crate::base64url;
use keyferry_tlog::VerifierKey;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    aud: Option<String>,
    logs: Vec<LogEntry>,
    #[serde(default)]
    measurements: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogEntry {
    origin: String,
    key: String,
}

/// Why a trust file is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustFileError {
    #[error("the trust file is not of its form")]
    Form(#[from] serde_json::Error),
    #[error("the trust file names no log")]
    NoLog,
    #[error("the trust file's key of the log \"{0}\" is not a C2SP verifier key of that name")]
    Key(String),
    #[error("a measurement in the trust file is not base64url of 32 bytes")]
    Measurement,
}

impl Trust {
    /// Reads a trust file.
    pub fn from_file(json: &[u8]) -> Result<Trust, TrustFileError> {
        let file: TrustFile = serde_json::from_slice(json)?;
        if file.logs.is_empty() {
            return Err(TrustFileError::NoLog);
        }
        let measurement =
            |text: &String| base64url::decode_either::<32>(text).ok_or(TrustFileError::Measurement);
        Ok(Trust {
            aud: file.aud,
            measurements: file.measurements.iter().map(measurement).collect::<Result<_, _>>()?,
            logs: file.logs.into_iter().map(LogEntry::pin).collect::<Result<_, _>>()?,
            ..Trust::default()
        })
    }
}

impl LogEntry {
    fn pin(self) -> Result<LogPin, TrustFileError> {
        match VerifierKey::parse(&self.key) {
            Ok(key) if key.name() == self.origin => Ok(LogPin { origin: self.origin, key: self.key }),
            _ => Err(TrustFileError::Key(self.origin)),
        }
    }
}
