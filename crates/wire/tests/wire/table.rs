//! Every type that has an encoding of its own, with its examples and the limits under which it is read.

use crate::examples::Examples;
use crate::sources::{Shape, declaration, declarations};
use keyferry_wire::cbor::{DecodeError, Limits};
use keyferry_wire::{Wire, command, door, evidence, frame, publish, refusal};
use std::collections::BTreeSet;
use std::fmt::Debug;

/// One type, with the type itself hidden behind functions.
pub(crate) struct Case {
    pub(crate) module: &'static str,
    pub(crate) name: &'static str,
    /// The first has every optional field.
    pub(crate) examples: Vec<Vec<u8>>,
    /// Decodes and encodes again.
    pub(crate) again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Whether each example decodes to the value that it was made of.
    pub(crate) round_trips: fn() -> bool,
}

impl Case {
    pub(crate) fn full(&self) -> String {
        format!("{}::{}", self.module, self.name)
    }
}

/// Types of the stream between gateway and enclave are read under its wider limits.
fn limits(module: &str) -> Limits {
    if module == "door" { Limits::DOOR } else { Limits::MESSAGE }
}

fn case<T: Examples + Debug + PartialEq>(
    module: &'static str,
    name: &'static str,
    again: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
) -> Case {
    Case {
        module,
        name,
        examples: T::all().iter().map(Wire::to_bytes).collect(),
        again,
        round_trips: || {
            T::all()
                .iter()
                .all(|value| T::from_bytes_within(&value.to_bytes(), Limits::DOOR).as_ref() == Ok(value))
        },
    }
}

macro_rules! types {
    ($($module:ident { $($name:ident)* })*) => {
        pub(crate) fn cases() -> Vec<Case> {
            vec![$($(case::<$module::$name>(stringify!($module), stringify!($name), |bytes| {
                $module::$name::from_bytes_within(bytes, limits(stringify!($module)))
                    .map(|value| value.to_bytes())
            })),*),*]
        }
    };
}

types! {
    command {
        Command Answer IdentityKind Authenticate Account Registration Storage Member MemberSecrets DeviceState
        DeviceInfo Devices RenameDevice PinParams PinStatus Begin Evaluated Finish Prepare Expose
        UserVerification CredProtect PrfSalts PrfOutputs LargeBlobUse LargeBlobWrite LargeBlobAnswer
        CreatePasskey Created Assert Asserted RenamePasskey DeletePasskey Edited Metadata
    }
    door {
        ToEnclave FromEnclave Hello Release Load ServiceRow Tail Loaded Refresh BatchRef Turn Open Work AccountView
        AccountState DeviceRow PasskeyView Turned Out OutBody Sealed Need Drop Batch AccountPut DevicePut
        LargeBlobPut
    }
    evidence { Evidence SimReport }
    frame {
        SessionOpen SessionOpened RequestFrame ReplyFrame Level Signature Head Request AccountHead Reply
    }
    publish { Terminal MapEntry MapProof PasskeyRow AccountProof SyncPage AuditEntry AuditPage Route }
    refusal { Refusal Code }
}

/// Numbers that stand in ledger entries, which have a layout of their own (`tests/wire/ledger.rs`), and types whose
/// codec is written out by hand.
const ELSEWHERE: &[&str] = &["ledger::Class", "ledger::Kind", "ledger::Outcome"];
const BY_HAND: &[&str] = &["refusal::Code"];

#[test]
fn the_table_has_every_declared_type() {
    let declared: BTreeSet<_> =
        declarations().iter().map(|it| format!("{}::{}", it.module, it.name)).collect();
    let tabled: BTreeSet<_> = cases().iter().map(Case::full).collect();
    let known = tabled.iter().filter(|name| !BY_HAND.contains(&name.as_str())).cloned();
    let known: BTreeSet<_> = known.chain(ELSEWHERE.iter().map(|name| (*name).to_owned())).collect();
    assert_eq!(known, declared);
}

#[test]
fn the_first_example_of_a_message_has_every_field_and_the_last_only_those_that_must_be() {
    for case in cases() {
        let Some(declared) = declaration(case.module, case.name) else { continue };
        if declared.shape == Shape::Message {
            let fields = |bytes: &[u8]| usize::from(bytes[0] - 0xa0);
            let required = declared.rows.iter().filter(|row| !row.optional).count();
            assert_eq!(fields(&case.examples[0]), declared.rows.len(), "{}", case.full());
            assert_eq!(fields(case.examples.last().unwrap()), required, "{}", case.full());
        }
    }
}

#[test]
fn the_examples_of_a_choice_have_every_variant() {
    for case in cases() {
        let Some(declared) = declaration(case.module, case.name) else { continue };
        let at = match declared.shape {
            Shape::Message => continue,
            Shape::Choice => 1,
            Shape::Number => 0,
        };
        let shown: BTreeSet<_> = case.examples.iter().map(|bytes| bytes[at]).collect();
        let rows: BTreeSet<_> = declared.rows.iter().map(|row| row.key).collect();
        assert_eq!(shown, rows, "{}", case.full());
    }
}
