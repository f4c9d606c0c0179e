//! Signed notes (c2sp.org/signed-note): text with signature lines, read strictly and verified with one key.
//!
//! Absent: private keys. Whoever signs passes a closure.

mod key;

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine;
use base64::alphabet;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use key::is_key_name;
pub(crate) use key::key_id;
pub use key::{KeyAlg, KeyError, VerifierKey};

/// Longest note that is read: room for 16 post-quantum signatures of 5 kB, which every verifier must accept.
pub const NOTE_BYTES_MAX: usize = 256 * 1024;

/// Most signature lines that are read in one note (c2sp.org/signed-note demands at least 16).
pub const SIGNATURES_MAX: usize = 64;

/// Standard base64 that overlooks non-zero spare bits: the reference implementations do, and a damaged signature
/// is to be answered as one that does not verify (403 in tlog-witness), not as a malformed note.
const SIGNATURE_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Why bytes are no signed note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than `NOTE_BYTES_MAX`, or with more than `SIGNATURES_MAX` signatures.
    #[error("the note is too large")]
    TooLarge,
    /// Not UTF-8, or with a control character other than newline.
    #[error("the note is not plain text")]
    Encoding,
    /// No blank line between the text and the signatures.
    #[error("the note has no blank line before its signatures")]
    NoBlankLine,
    /// A signature line is malformed, or there is none.
    #[error("a signature line of the note is malformed")]
    SignatureLine,
}

/// Why a note is not accepted under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No signature of this key name and id.
    #[error("the note has no signature of this key")]
    NoSignature,
    /// A signature that claims this key does not verify.
    #[error("a signature of this key does not verify")]
    BadSignature,
    /// The key is of the other kind: a witness key cannot open a note, a log key cannot cosign.
    #[error("the key is of another kind")]
    KeyKind,
}

/// One signature line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoteSignature {
    name: String,
    key_id: u32,
    bytes: Vec<u8>,
}

/// A note in the right form; nothing in it is to be believed before `verify`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<NoteSignature>,
}

impl Note {
    /// Reads a note; unknown signatures are kept, malformed ones refuse the note.
    pub fn parse(note: impl AsRef<[u8]>) -> Result<Self, NoteError> {
        let note = plain_text(note.as_ref())?;
        let blank = note.rfind("\n\n").ok_or(NoteError::NoBlankLine)?;
        let (text, rest) = note.split_at(blank.saturating_add(1));
        let lines = rest.strip_prefix('\n').ok_or(NoteError::NoBlankLine)?;
        Ok(Self { text: text.to_owned(), signatures: signature_lines(lines)? })
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// All signatures, in the order of their lines.
    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Accepts the note if every signature that claims this Ed25519 key verifies, and there is one.
    pub fn verify(&self, key: &VerifierKey) -> Result<(), VerifyError> {
        if key.alg() != KeyAlg::Ed25519 {
            return Err(VerifyError::KeyKind);
        }
        let mut verdict = Err(VerifyError::NoSignature);
        for signature in self.signatures_of(key) {
            verify_ed25519(key, self.text.as_bytes(), signature)?;
            verdict = Ok(());
        }
        verdict
    }

    /// Adds lines that others signed (a witness reply); the caller has verified them.
    pub fn add_signatures(&mut self, more: impl IntoIterator<Item = NoteSignature>) -> Result<(), NoteError> {
        for signature in more {
            if self.signatures.len() >= SIGNATURES_MAX {
                return Err(NoteError::TooLarge);
            }
            self.signatures.push(signature);
        }
        Ok(())
    }

    /// Bytes of the signatures that claim this key by name and id; one or the other alone is another key.
    pub(crate) fn signatures_of<'a>(&'a self, key: &'a VerifierKey) -> impl Iterator<Item = &'a [u8]> {
        let claims =
            |signature: &&NoteSignature| signature.key_id == key.key_id() && signature.name == key.name();
        self.signatures.iter().filter(claims).map(|signature| signature.bytes.as_slice())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|signature| signature.fmt(f))
    }
}

impl NoteSignature {
    /// Name of the key that is said to have signed.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Id of the key that is said to have signed.
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// What the key made of the text, without the key id.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A line for a signature that the caller has made.
    ///
    /// # Panics
    /// On a name that no key may have, or an empty signature: both would make the note malformed.
    pub(crate) fn new(name: &str, key_id: u32, bytes: Vec<u8>) -> Self {
        assert!(is_key_name(name), "a key name is not empty and has no space or plus");
        assert!(!bytes.is_empty(), "a signature has bytes");
        Self { name: name.to_owned(), key_id, bytes }
    }

    /// Reads signature lines alone, as a witness answers them (c2sp.org/tlog-witness).
    pub fn parse_lines(lines: impl AsRef<[u8]>) -> Result<Vec<Self>, NoteError> {
        signature_lines(plain_text(lines.as_ref())?)
    }

    fn parse(line: &str) -> Option<Self> {
        let (name, base64) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
        let signature = SIGNATURE_BASE64.decode(base64).ok()?;
        let (key_id, bytes) = signature.split_first_chunk::<4>()?;
        (is_key_name(name) && !bytes.is_empty()).then(|| Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*key_id),
            bytes: bytes.to_vec(),
        })
    }
}

/// The line with its newline, ready to be appended to a note.
impl fmt::Display for NoteSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signature = [self.key_id.to_be_bytes().as_slice(), &self.bytes].concat();
        writeln!(f, "\u{2014} {} {}", self.name, SIGNATURE_BASE64.encode(signature))
    }
}

/// Signs `text` as an Ed25519 note; the closure gets the message and gives the signature.
///
/// # Panics
/// On a name that no key may have, and on text that is no note text (not ending in newline, control characters):
/// both are ours, so they stop us.
pub fn sign_note(text: &str, name: &str, public: &[u8; 32], sign: impl FnOnce(&[u8]) -> [u8; 64]) -> String {
    assert!(is_note_text(text), "a note text ends in newline and has no other control characters");
    let id = key_id(name, KeyAlg::Ed25519, public);
    let signature = NoteSignature::new(name, id, sign(text.as_bytes()).to_vec());
    format!("{text}\n{signature}")
}

/// Checks a plain Ed25519 signature (RFC 8032).
pub(crate) fn verify_ed25519(key: &VerifierKey, message: &[u8], signature: &[u8]) -> Result<(), VerifyError> {
    UnparsedPublicKey::new(&ED25519, key.public())
        .verify(message, signature)
        .map_err(|_| VerifyError::BadSignature)
}

/// Whether a text is one line of a note's text, without its newline.
pub(crate) fn is_line(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte >= 0x20)
}

pub(crate) fn is_note_text(text: &str) -> bool {
    text.ends_with('\n') && !has_control(text)
}

fn has_control(text: &str) -> bool {
    text.bytes().any(|byte| byte < 0x20 && byte != b'\n')
}

fn plain_text(bytes: &[u8]) -> Result<&str, NoteError> {
    if bytes.len() > NOTE_BYTES_MAX {
        return Err(NoteError::TooLarge);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| NoteError::Encoding)?;
    if has_control(text) { Err(NoteError::Encoding) } else { Ok(text) }
}

/// One signature or more, each line closed by a newline.
fn signature_lines(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::SignatureLine)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() >= SIGNATURES_MAX {
            return Err(NoteError::TooLarge);
        }
        signatures.push(NoteSignature::parse(line).ok_or(NoteError::SignatureLine)?);
    }
    Ok(signatures)
}
