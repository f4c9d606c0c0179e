//! A member that asks for a signature of any id, whatever its vault says.

use keyferry_client::flow::{Call, Flow, FlowError, Sender, Step};
use keyferry_client::home::Home;
use keyferry_crypto::random::{self, Random};
use keyferry_wire::command::{Answer, Assert, Command, UserVerification};
use keyferry_wire::frame::Level;
use keyferry_wire::{CredentialId, RequestId};

pub(super) struct Press(pub(super) String, pub(super) CredentialId);

impl Flow for Press {
    type Output = ();

    fn next(
        &mut self,
        _: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<()>, FlowError> {
        match answers.unwrap_or_default().pop() {
            Some(Answer::Refused(refusal)) => Err(refusal.into()),
            Some(_) => Ok(Step::Done(())),
            None => {
                let assert = Assert {
                    id: self.1,
                    rp_id: self.0.clone(),
                    client_data_hash: random::bytes(random),
                    client_data_json: None,
                    user_verification: UserVerification::Discouraged,
                    listed: true,
                    prf: None,
                    large_blob: None,
                };
                Ok(Step::Call(Call {
                    id: RequestId(random::bytes(random)),
                    commands: vec![Command::Assert(assert)],
                    sender: Sender::Member,
                    levels: vec![Level::Hw],
                    wrapped: true,
                    passkeys: vec![self.1],
                }))
            }
        }
    }
}
