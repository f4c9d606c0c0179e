//! A stranger with the password: begins tries at will, repeats them, leaves them open, and closes them with noise.

use super::COSTS;
use keyferry_client::flow::{Call, Flow, FlowError, Sender, Step};
use keyferry_client::home::Home;
use keyferry_crypto::oprf;
use keyferry_crypto::pin::password_proof;
use keyferry_crypto::random::{self, Random};
use keyferry_wire::command::{Answer, Authenticate, Begin, Command, Finish, IdentityKind};
use keyferry_wire::frame::Level;
use keyferry_wire::{AttemptId, RequestId};

pub(super) struct Guess {
    name: String,
    password: String,
    rounds: u32,
    last: Option<Begin>,
}

impl Guess {
    pub(super) fn new(name: &str, password: &str, rounds: u32) -> Guess {
        Guess { name: name.to_owned(), password: password.to_owned(), rounds, last: None }
    }

    fn proof(&self, home: &Home) -> Result<Command, FlowError> {
        let aud = home.trust.aud.clone().unwrap_or_default();
        let proof =
            password_proof(&self.password, aud.as_bytes(), self.name.as_bytes(), COSTS.password, COSTS.floor)
                .map_err(|error| FlowError::fault(error.to_string()))?;
        Ok(Command::Authenticate(Authenticate {
            kind: IdentityKind::Local,
            name: self.name.clone(),
            proof: *proof.expose(),
        }))
    }

    fn another(&mut self, generation: u32, random: &mut dyn Random) -> Result<Command, FlowError> {
        let guess: [u8; 32] = random::bytes(random);
        let (_, blinded) =
            oprf::blind(&guess, random).map_err(|error| FlowError::fault(error.to_string()))?;
        let begin = Begin { generation, attempt: AttemptId(random::bytes(random)), blinded };
        self.last = Some(begin.clone());
        Ok(Command::Begin(begin))
    }

    fn go_on(&mut self, generation: u32, random: &mut dyn Random) -> Result<Command, FlowError> {
        let [die] = random::bytes(random);
        match (die % 8, self.last.clone()) {
            (0, Some(begin)) => Ok(Command::Begin(begin)),
            // The same attempt with another guess in it: a stranger's try for a second answer.
            (1, Some(begin)) => {
                let Command::Begin(mut other) = self.another(generation, random)? else {
                    return Err(FlowError::fault("a guess begins"));
                };
                other.attempt = begin.attempt;
                Ok(Command::Begin(other))
            }
            (2..5, Some(begin)) => {
                Ok(Command::Finish(Finish { attempt: begin.attempt, value: random::bytes(random) }))
            }
            _ => self.another(generation, random),
        }
    }
}

impl Flow for Guess {
    type Output = ();

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<()>, FlowError> {
        let asked = answers.unwrap_or_default();
        let status = asked.iter().find_map(|answer| match answer {
            Answer::PinStatus(status) => Some(status.generation),
            _ => None,
        });
        let generation = status.or(self.last.as_ref().map(|begin| begin.generation));
        let command = match generation {
            _ if self.rounds == 0 => return Ok(Step::Done(())),
            Some(0) => return Ok(Step::Done(())),
            None if !asked.is_empty() => return Ok(Step::Done(())),
            None => Command::PinStatus,
            Some(generation) => self.go_on(generation, random)?,
        };
        self.rounds -= 1;
        Ok(Step::Call(Call {
            id: RequestId(random::bytes(random)),
            commands: vec![self.proof(home)?, command],
            sender: Sender::Stranger,
            levels: vec![Level::Hw],
            wrapped: false,
            passkeys: Vec::new(),
        }))
    }
}
