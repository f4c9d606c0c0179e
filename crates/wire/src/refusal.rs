//! Refusals: answers, not faults. Each has a code that scripts rely on.

use crate::cbor::{DecodeError, Fault, Reader, Wire, Writer};
use crate::message;

macro_rules! codes {
    ($($(#[$meta:meta])* $variant:ident = $text:literal),* $(,)?) => {
        /// Why a command was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$meta])* $variant),*
        }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$variant),*];

            /// The word on the wire and in outputs.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $text),* }
            }
        }
    };
}

codes! {
    /// The PIN was wrong; `left` says how many tries remain.
    PinWrong = "pin_wrong",
    /// No try is left, or too many failures lie in the window.
    PinLocked = "pin_locked",
    /// The policy in force does not allow it.
    Policy = "policy",
    /// A credential of excludeCredentials exists.
    Excluded = "excluded",
    /// No passkey fits the request.
    NoCredentials = "no_credentials",
    /// The device is not a member of the account.
    UnknownDevice = "unknown_device",
    /// The device was removed.
    Revoked = "revoked",
    /// The enclave's evidence, or what follows from it, does not hold.
    Evidence = "evidence",
    /// A row, a head or a generation is not the current one.
    Stale = "stale",
    /// The step needs user verification.
    UvRequired = "uv_required",
    /// The origin may not use this relying party id.
    Origin = "origin",
    /// The relying party's options, or the request itself, are malformed.
    BadOptions = "bad_options",
    /// The proof of the account is wrong, or a signature is.
    Auth = "auth",
    /// It exists already.
    Exists = "exists",
    /// A known request id came with other commands, or two edits crossed.
    Conflict = "conflict",
    /// Too many in a time.
    RateLimited = "rate_limited",
    /// Another instance or shard serves this account.
    Moved = "moved",
}

impl Code {
    /// The code of a word, or nothing if it is not known here.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == text)
    }
}

impl Wire for Code {
    fn encode(&self, w: &mut Writer) {
        w.text(self.as_str());
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Code::parse(r.text()?).ok_or(Fault::UnknownVariant.into())
    }
}

message! {
    /// A refusal as the enclave says it: a code, a sentence for people, and where they apply the
    /// DOMException name of WebAuthn and the tries that are left.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Refusal {
        1 => pub code: Code,
        2 => pub message: String,
        3 => pub name: Option<String>,
        4 => pub left: Option<u16>,
    }
}

impl Refusal {
    /// A refusal with the DOMException name that goes with its code.
    pub fn new(code: Code, message: impl Into<String>) -> Refusal {
        let name = match code {
            Code::Excluded => Some("InvalidStateError"),
            Code::NoCredentials | Code::UvRequired | Code::Policy => Some("NotAllowedError"),
            Code::Origin => Some("SecurityError"),
            Code::BadOptions => Some("TypeError"),
            _ => None,
        };
        Refusal { code, message: message.into(), name: name.map(str::to_owned), left: None }
    }

    /// Says how many tries are left.
    #[must_use]
    pub fn with_left(mut self, left: u8) -> Refusal {
        self.left = Some(u16::from(left));
        self
    }

    /// Gives another DOMException name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Refusal {
        self.name = Some(name.to_owned());
        self
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)
    }
}

impl std::error::Error for Refusal {}
