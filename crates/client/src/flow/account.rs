//! Creating an account.

use super::{Call, Credentials, Flow, FlowError, Sender, Step, granted, unexpected};
use crate::home::Home;
use keyferry_crypto::random::Random;
use keyferry_wire::AccountId;
use keyferry_wire::command::{Answer, Command};

/// Creates the account of the home's name. No device takes part: the first one enrols afterwards.
#[derive(Debug)]
pub struct CreateAccount(Credentials);

impl CreateAccount {
    pub fn new(credentials: Credentials) -> CreateAccount {
        CreateAccount(credentials)
    }
}

impl Flow for CreateAccount {
    type Output = AccountId;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<AccountId>, FlowError> {
        if answers.is_none() {
            let create = Command::CreateAccount(self.0.authenticate(home)?);
            return Ok(Step::Call(Call::fresh(Sender::Nobody, vec![create], random)));
        }
        match granted(answers)?.as_slice() {
            [Answer::Account(account)] => Ok(Step::Done(account.account)),
            _ => Err(unexpected()),
        }
    }
}
