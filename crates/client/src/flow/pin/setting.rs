//! Setting a PIN: the next generation is prepared, evaluated once, and exposed.

use super::attempt::Blinding;
use crate::flow::{Costs, FlowError, Pin, unexpected};
use crate::home::{FlowSeed, Home, PinKnown};
use keyferry_crypto::pin;
use keyferry_wire::AccountId;
use keyferry_wire::command::{Command, Evaluated, Expose, PinParams, Prepare};

/// A new PIN on its way to being live.
pub(in crate::flow) struct Setting {
    account: AccountId,
    salt: [u8; 16],
    params: PinParams,
    blinding: Blinding,
    known: Option<PinKnown>,
}

impl Setting {
    pub(in crate::flow) fn start(
        home: &Home,
        pin: &Pin,
        costs: &Costs,
        seed: &FlowSeed,
    ) -> Result<Setting, FlowError> {
        let (account, salt, params) = (home.account()?, seed.salt(), costs.pin_params());
        let hardened = pin.harden(account, &salt, params, costs)?;
        let blinding = Blinding::new(hardened, seed)?;
        Ok(Setting { account, salt, params, blinding, known: None })
    }

    pub(in crate::flow) fn prepare(&self) -> Command {
        Command::Prepare(Prepare { salt: self.salt, params: self.params, blinded: self.blinding.blinded })
    }

    /// Derives the client key of the generation that the enclave has prepared.
    pub(in crate::flow) fn expose(
        &mut self,
        home: &Home,
        prepared: &Evaluated,
    ) -> Result<Command, FlowError> {
        let newest = home.pin.as_ref().map_or(0, |known| known.generation);
        if prepared.generation <= newest {
            return Err(FlowError::evidence(
                "the enclave prepared a PIN generation that this device knows already",
            ));
        }
        let output = self.blinding.finalize(prepared)?;
        let generation = u64::from(prepared.generation);
        let key = pin::client_key(&output, &self.blinding.hardened, &self.account.0, generation);
        let commitment = pin::commitment(&key, &self.account.0, generation);
        self.known = Some(PinKnown { generation: prepared.generation, public: prepared.public, commitment });
        Ok(Command::Expose(Expose { generation: prepared.generation, client_key: *key.expose(), commitment }))
    }

    /// Remembers the generation that is live now.
    pub(in crate::flow) fn exposed(self, home: &mut Home) -> Result<u32, FlowError> {
        let known = self.known.ok_or_else(unexpected)?;
        let generation = known.generation;
        home.pin = Some(known);
        Ok(generation)
    }
}
