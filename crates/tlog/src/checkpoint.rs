//! Checkpoints (c2sp.org/tlog-checkpoint): origin, size and root of a log, as the text of a signed note.

use std::ops::Deref;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::Hash;
use crate::note::{Note, VerifierKey, VerifyError, is_line, is_note_text, sign_note};

/// What a log says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Unique name of the log.
    pub origin: String,
    /// Number of leaves.
    pub size: u64,
    /// Root of the tree of that size (RFC 9162, 2.1.1).
    pub root: Hash,
    /// Further lines, opaque and not auditable; Keyferry writes none.
    pub extensions: Vec<String>,
}

/// Why a note is no checkpoint of the log that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The text is not origin, size, root and non-empty lines.
    #[error("the note text is no checkpoint")]
    Malformed,
    /// The checkpoint is of another log: a right signature is not taken from one log to the other.
    #[error("the checkpoint is of another log")]
    Origin,
    /// The key does not accept the note.
    #[error("the checkpoint is not signed by the log")]
    Signature(#[from] VerifyError),
}

/// A checkpoint that its log has signed; comes out of `open` alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedCheckpoint {
    checkpoint: Checkpoint,
    note: Note,
}

impl Checkpoint {
    /// A checkpoint without extension lines.
    pub fn new(origin: impl Into<String>, size: u64, root: Hash) -> Self {
        Self { origin: origin.into(), size, root, extensions: Vec::new() }
    }

    /// Reads the text of a note; every spelling but that of `body` is refused.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        if !is_note_text(text) {
            return Err(CheckpointError::Malformed);
        }
        Self::from_lines(text).ok_or(CheckpointError::Malformed)
    }

    fn from_lines(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let extensions: Vec<String> = lines.map(str::to_owned).collect();
        if origin.is_empty() || extensions.iter().any(String::is_empty) {
            return None;
        }
        let root = STANDARD.decode(root).ok()?.try_into().ok()?;
        Some(Self { origin: origin.to_owned(), size: parse_size(size)?, root, extensions })
    }

    /// The text of the note.
    ///
    /// # Panics
    /// On an origin or extension line that is empty or has a control character: another checkpoint could hide in it.
    pub fn body(&self) -> String {
        let mut lines = std::iter::once(&self.origin).chain(&self.extensions);
        assert!(lines.all(|line| is_line(line)), "the lines of a checkpoint are not empty and one line each");
        let root = STANDARD.encode(self.root);
        let mut text = format!("{}\n{}\n{root}\n", self.origin, self.size);
        for line in &self.extensions {
            text.push_str(line);
            text.push('\n');
        }
        text
    }

    /// Signs the checkpoint as a note under the origin as key name; the closure gets the message.
    ///
    /// # Panics
    /// As `body`, and on an origin that cannot be a key name.
    pub fn sign(&self, public: &[u8; 32], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
        sign_note(&self.body(), &self.origin, public, sign)
    }
}

impl SignedCheckpoint {
    /// Accepts a note that `log_key` signed and that is a checkpoint of the log `expected_origin`.
    pub fn open(note: &Note, log_key: &VerifierKey, expected_origin: &str) -> Result<Self, CheckpointError> {
        note.verify(log_key)?;
        let checkpoint = Checkpoint::parse(note.text())?;
        if checkpoint.origin != expected_origin {
            return Err(CheckpointError::Origin);
        }
        Ok(Self { checkpoint, note: note.clone() })
    }

    /// The note that was opened, with the cosignatures that it carries.
    pub fn note(&self) -> &Note {
        &self.note
    }

    /// The checkpoint alone.
    pub fn into_checkpoint(self) -> Checkpoint {
        self.checkpoint
    }
}

impl Deref for SignedCheckpoint {
    type Target = Checkpoint;

    fn deref(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// Decimal without sign or leading zeros.
fn parse_size(text: &str) -> Option<u64> {
    let size = text.parse::<u64>().ok()?;
    (size.to_string() == text).then_some(size)
}
