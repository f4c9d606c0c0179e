//! Enums that travel as a number, and error codes that travel as a word.

use crate::item::head;
use keyferry_wire::Wire;
use keyferry_wire::cbor::Fault;
use keyferry_wire::command::{DeviceState, IdentityKind, Storage, UserVerification};
use keyferry_wire::door::Drop;
use keyferry_wire::frame::Level;
use keyferry_wire::ledger::{Class, Kind, Outcome};
use keyferry_wire::refusal::{Code, Refusal};
use std::collections::BTreeSet;

macro_rules! each_number {
    ($check:ident: $($name:ident)*) => { $($check!($name);)* };
}

macro_rules! only_known_numbers {
    ($name:ident) => {
        let known: Vec<u8> = $name::ALL.iter().map(|value| value.number()).collect();
        for number in 0..=u8::MAX {
            let decoded = $name::from_bytes(&head(0, u64::from(number)));
            assert_eq!(decoded.is_ok(), known.contains(&number), "{} {number}", stringify!($name));
            assert_eq!($name::from_number(number), decoded.as_ref().ok().copied());
            assert!(decoded.is_ok() || decoded.unwrap_err().fault == Fault::UnknownVariant);
        }
        // 257 is not 1.
        for beyond in [256, 257, 0x1_0001, 1 << 32 | 1, u64::MAX] {
            assert_eq!($name::from_bytes(&head(0, beyond)).unwrap_err().fault, Fault::UnknownVariant);
        }
        assert_eq!($name::from_bytes(&head(1, 0)).unwrap_err().fault, Fault::WrongType);
        let distinct: BTreeSet<_> = known.iter().collect();
        assert_eq!(distinct.len(), known.len());
    };
}

#[test]
fn only_known_numbers_are_taken() {
    each_number!(only_known_numbers:
        IdentityKind Storage DeviceState UserVerification Level Drop Class Kind Outcome);
}

#[test]
fn words_for_people_differ() {
    let kinds: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    assert_eq!(kinds.len(), Kind::ALL.len());
    let outcomes: BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.as_str()).collect();
    assert_eq!(outcomes.len(), Outcome::ALL.len());
    assert_ne!(Storage::Software.as_str(), Storage::Tpm.as_str());
    assert_ne!(DeviceState::Member.as_str(), DeviceState::Revoked.as_str());
}

/// Scripts depend on these words: one may be added, none may change.
#[test]
fn error_codes_are_the_published_ones() {
    let words: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let published = [
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
    assert_eq!(words, published);
    for code in Code::ALL {
        assert_eq!(Code::parse(code.as_str()), Some(*code));
    }
    for unknown in ["", "PIN_WRONG", "pin_wrong ", "pin-wrong", "pin"] {
        assert_eq!(Code::parse(unknown), None);
    }
}

#[test]
fn refusals_carry_the_names_of_the_webauthn_standard() {
    for (code, name) in [
        (Code::Excluded, Some("InvalidStateError")),
        (Code::NoCredentials, Some("NotAllowedError")),
        (Code::UvRequired, Some("NotAllowedError")),
        (Code::Policy, Some("NotAllowedError")),
        (Code::Origin, Some("SecurityError")),
        (Code::BadOptions, Some("TypeError")),
        (Code::PinWrong, None),
        (Code::Auth, None),
    ] {
        assert_eq!(Refusal::new(code, "sentence").name.as_deref(), name, "{}", code.as_str());
    }
    let named = Refusal::new(Code::BadOptions, "sentence").named("NotSupportedError").with_left(3);
    assert_eq!((named.name.as_deref(), named.left), (Some("NotSupportedError"), Some(3)));
    assert_eq!(named.to_string(), "bad_options: sentence");
}
