//! What a user types, and what it costs to try it.

use crate::flow::FlowError;
use crate::home::Home;
use keyferry_crypto::pin::{HardenError, Hardened, Params, check_new, harden, password_proof};
use keyferry_wire::AccountId;
use keyferry_wire::command::{Authenticate, IdentityKind, PinParams};
use keyferry_wire::refusal::Code;
use std::fmt;
use zeroize::Zeroizing;

macro_rules! typed {
    ($($(#[$meta:meta])* $name:ident)*) => {$(
        $(#[$meta])*
        pub struct $name(Zeroizing<String>);

        impl $name {
            pub fn new(text: impl Into<String>) -> Self {
                $name(Zeroizing::new(text.into()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
typed! {
    /// The account's PIN: a factor of the key, never sent, never stored.
    Pin
    /// The account's local password; a proof of it is sent.
    Password
}

/// Argon2id costs: for a new PIN, for the password, and the least that is accepted of a PIN that others set.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    pub pin: Params,
    pub password: Params,
    pub floor: Params,
}

impl Default for Costs {
    fn default() -> Self {
        Costs { pin: Params::DEFAULT, password: Params::DEFAULT, floor: Params::FLOOR }
    }
}

impl Costs {
    /// Hardens nothing. Tests only.
    pub const fn insecure_fast_for_tests() -> Costs {
        let fast = Params::insecure_fast_for_tests();
        Costs { pin: fast, password: fast, floor: fast }
    }

    pub(super) fn pin_params(&self) -> PinParams {
        PinParams { memory_kib: self.pin.memory_kib, passes: self.pin.passes, lanes: self.pin.lanes }
    }
}

/// A local name's password, with what it costs to try it.
#[derive(Debug)]
pub struct Credentials {
    pub password: Password,
    pub costs: Costs,
}

impl Credentials {
    /// Proof of the account for this deployment and name. Deliberately slow.
    pub(super) fn authenticate(&self, home: &Home) -> Result<Authenticate, FlowError> {
        let (issuer, name, cost) = (home.aud()?.as_bytes(), home.name.as_bytes(), self.costs.password);
        let proof = password_proof(&self.password.0, issuer, name, cost, self.costs.floor).map_err(weak)?;
        Ok(Authenticate { kind: IdentityKind::Local, name: home.name.clone(), proof: *proof.expose() })
    }
}

impl Pin {
    /// Refuses a new PIN that is among the first to be tried.
    pub(super) fn check_new(&self) -> Result<(), FlowError> {
        check_new(&self.0).map_err(|weakness| FlowError::refused(Code::Policy, weakness.to_string()))
    }

    /// Argon2id with the parameters of a generation, refused below this device's floor. Deliberately slow.
    pub(super) fn harden(
        &self,
        account: AccountId,
        salt: &[u8; 16],
        params: PinParams,
        costs: &Costs,
    ) -> Result<Hardened, FlowError> {
        let params = Params { memory_kib: params.memory_kib, passes: params.passes, lanes: params.lanes };
        harden(&self.0, &account.0, salt, params, costs.floor).map_err(weak)
    }
}

/// Lowered parameters are an attack on the PIN, not a mistake of the user.
fn weak(error: HardenError) -> FlowError {
    FlowError::refused(Code::Evidence, error.to_string())
}
