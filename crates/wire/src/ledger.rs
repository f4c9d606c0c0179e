//! Ledger leaves: fixed size, so that the public learns how many events a batch had and nothing about them.

use crate::{Hash, number};

/// Bytes of a leaf.
pub const LEAF_LEN: usize = 224;
/// Bytes of an event before sealing.
pub const EVENT_LEN: usize = 110;
/// Bytes of a sealed event: AES-256-GCM adds its tag.
pub const SEALED_EVENT_LEN: usize = EVENT_LEN + 16;

number! {
    /// What a leaf is for.
    pub enum Class {
        /// Something happened in an account; `tag` finds it, `sealed` tells its owner.
        1 => Event,
        /// Ends a batch; `tag` is the map root.
        2 => Seal,
        /// A start of the enclave; `tag` is random, `commitment` is the hash of the root key's release.
        3 => Boot,
        4 => Move,
        5 => Witness,
    }
}

/// One leaf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub class: Class,
    pub batch: u64,
    /// Public time in whole seconds since 1970.
    pub time_secs: u64,
    pub tag: Hash,
    pub salt: [u8; 16],
    pub commitment: Hash,
    pub sealed: [u8; SEALED_EVENT_LEN],
}

const LEAF_VERSION: u8 = 1;

impl Leaf {
    /// The layout of PROTOCOL, section 12.
    pub fn to_bytes(&self) -> [u8; LEAF_LEN] {
        let mut out = [0; LEAF_LEN];
        let parts: [&[u8]; 8] = [
            &[LEAF_VERSION],
            &[self.class.number()],
            &self.batch.to_be_bytes(),
            &self.time_secs.to_be_bytes(),
            &self.tag,
            &self.salt,
            &self.commitment,
            &self.sealed,
        ];
        fill(&mut out, &parts);
        out
    }

    /// `None` for another length, version or class.
    pub fn from_bytes(bytes: &[u8]) -> Option<Leaf> {
        let mut cut = Cut(bytes);
        if bytes.len() != LEAF_LEN || cut.array::<1>()? != [LEAF_VERSION] {
            return None;
        }
        let [class] = cut.array::<1>()?;
        Some(Leaf {
            class: Class::from_number(class)?,
            batch: cut.u64()?,
            time_secs: cut.u64()?,
            tag: cut.array()?,
            salt: cut.array()?,
            commitment: cut.array()?,
            sealed: cut.array()?,
        })
    }
}

number! {
    /// What happened.
    pub enum Kind {
        1 => CreateAccount,
        2 => Authenticate,
        3 => Enrol,
        4 => Join,
        5 => Attempt,
        6 => Result,
        7 => Lock,
        8 => Prepare,
        9 => Expose,
        10 => RenameDevice,
        11 => CreatePasskey,
        12 => Assert,
        13 => RenamePasskey,
        14 => DeletePasskey,
        15 => WriteLargeBlob,
    }
}

impl Kind {
    /// The word that outputs show.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::CreateAccount => "create-account",
            Kind::Authenticate => "authenticate",
            Kind::Enrol => "enrol",
            Kind::Join => "join",
            Kind::Attempt => "attempt",
            Kind::Result => "result",
            Kind::Lock => "lock",
            Kind::Prepare => "prepare",
            Kind::Expose => "expose",
            Kind::RenameDevice => "rename-device",
            Kind::CreatePasskey => "create-passkey",
            Kind::Assert => "assert",
            Kind::RenamePasskey => "rename-passkey",
            Kind::DeletePasskey => "delete-passkey",
            Kind::WriteLargeBlob => "write-large-blob",
        }
    }
}

number! {
    /// How it ended.
    pub enum Outcome {
        1 => Done,
        2 => Refused,
        /// The same PIN attempt asked again; not counted.
        3 => Again,
    }
}

impl Outcome {
    /// The word that outputs show.
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Refused => "refused",
            Outcome::Again => "again",
        }
    }
}

/// An account's event, as its owner reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub kind: Kind,
    pub outcome: Outcome,
    pub seq: u64,
    pub time_ms: u64,
    /// Index of the device; `NO_DEVICE` for one that is not a member.
    pub device: u16,
    /// First half of the operation's hash.
    pub operation: [u8; 16],
    /// First half of SHA-256 of the credential id, or zero.
    pub credential: [u8; 16],
    /// PIN generation, or zero.
    pub generation: u32,
    /// PIN tries left.
    pub left: u8,
    /// SHA-256 of a detail (a label, a row), or zero.
    pub detail: Hash,
    /// UV was shown.
    pub verified: bool,
}

/// Device index of an event that no member caused.
pub const NO_DEVICE: u16 = u16::MAX;

impl Event {
    /// The layout of PROTOCOL, section 12.
    pub fn to_bytes(&self) -> [u8; EVENT_LEN] {
        let mut out = [0; EVENT_LEN];
        let parts: [&[u8]; 11] = [
            &[self.kind.number()],
            &[self.outcome.number()],
            &self.seq.to_be_bytes(),
            &self.time_ms.to_be_bytes(),
            &self.device.to_be_bytes(),
            &self.operation,
            &self.credential,
            &self.generation.to_be_bytes(),
            &[self.left],
            &self.detail,
            &[u8::from(self.verified)],
        ];
        fill(&mut out, &parts);
        out
    }

    /// `None` for another length, an unknown number or padding that is not zero.
    pub fn from_bytes(bytes: &[u8]) -> Option<Event> {
        if bytes.len() != EVENT_LEN {
            return None;
        }
        let mut cut = Cut(bytes);
        let [kind] = cut.array()?;
        let [outcome] = cut.array()?;
        let event = Event {
            kind: Kind::from_number(kind)?,
            outcome: Outcome::from_number(outcome)?,
            seq: cut.u64()?,
            time_ms: cut.u64()?,
            device: u16::from_be_bytes(cut.array()?),
            operation: cut.array()?,
            credential: cut.array()?,
            generation: u32::from_be_bytes(cut.array()?),
            left: u8::from_be_bytes(cut.array()?),
            detail: cut.array()?,
            verified: match cut.array()? {
                [0] => false,
                [1] => true,
                _ => return None,
            },
        };
        cut.0.iter().all(|byte| *byte == 0).then_some(event)
    }
}

/// Writes the parts one after the other, as far as there is room.
fn fill(mut out: &mut [u8], parts: &[&[u8]]) {
    for part in parts {
        let (slot, rest) = out.split_at_mut(part.len().min(out.len()));
        slot.iter_mut().zip(*part).for_each(|(slot, byte)| *slot = *byte);
        out = rest;
    }
}

struct Cut<'a>(&'a [u8]);

impl Cut<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}
