//! The client against a server that lies (SECURITY-CHECKLIST 23). Each test is one lie, told to the real agent over HTTP
//! by a host between it and the real gateway. A gateway can change what is not sealed; a false enclave, which is the
//! real engine with its memory open to the host, can say anything inside the channel as well.
//!
//! Every lie must be refused, named in a sentence, and told for nothing: no PIN, password or proof of a PIN goes to the
//! liar, no state of the home goes back, and with the honest server the same home works again.
#![allow(clippy::unwrap_used, clippy::panic)]

mod enclave;
mod evidence;
mod history;
mod host;
mod lie;
mod pin;
mod refusals;
mod replies;
mod rows;
mod stage;

use keyferry_wire::refusal::Code;
use lie::Lie;
use stage::{Errand, Stage};

/// A test for each lie: name, what the user does, the lie, the code (`fault` has none) and the words that name it.
macro_rules! lies {
    ($($(#[$doc:meta])* $name:ident: $errand:ident, $lie:expr, $code:ident, $sentence:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            $crate::is_caught($crate::stage::Errand::$errand, $lie, $crate::code!($code), $sentence);
        }
    )*};
}

macro_rules! code {
    (fault) => {
        None
    };
    ($code:ident) => {
        Some(keyferry_wire::refusal::Code::$code)
    };
}

pub(crate) use code;
pub(crate) use lies;

#[track_caller]
pub(crate) fn is_caught(errand: Errand, lie: Lie, code: Option<Code>, sentence: &str) {
    let stage = match errand {
        Errand::CreateAccount => Stage::new(),
        Errand::Enrol => Stage::with_account(),
        _ => Stage::with_member(),
    };
    stage.trial(errand, lie).is(code, sentence);
    stage.goes_on(errand);
}

#[test]
fn without_a_lie_everything_is_done() {
    let stage = Stage::new();
    stage.goes_on(Errand::CreateAccount);
    stage.goes_on(Errand::Enrol);
    stage.goes_on(Errand::Join);
    for errand in [
        Errand::AttestShow,
        Errand::PinStatus,
        Errand::Devices,
        Errand::Create,
        Errand::Rename,
        Errand::Delete,
        Errand::Sync,
        Errand::Audit,
        Errand::PinChange,
    ] {
        stage.run(errand).unwrap_or_else(|error| panic!("{errand:?}: {error}"));
    }
}
