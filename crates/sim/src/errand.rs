//! What a user wants: the client's own flows behind one face, and the flow of a stranger who guesses.

mod guess;
mod press;

use guess::Guess;
use keyferry_client::audit::Audited;
use keyferry_client::base64url;
use keyferry_client::flow::{
    Costs, Create, CreateAccount, Credentials, DeletePasskey, Enrol, Flow, FlowError, Get, Join, ListDevices,
    Password, Pin, PinChange, PinStatus, RenameDevice, RenamePasskey, Step, User,
};
use keyferry_client::home::Home;
use keyferry_client::webauthn::{ClientDataForm, CreateRequest, GetRequest};
use keyferry_crypto::random::Random;
use keyferry_wire::command::{self, Answer};
use keyferry_wire::{AccountId, CredentialId, DeviceId};
use press::Press;

/// Something that a user sets out to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// Makes the account.
    CreateAccount,
    /// Makes the first device a member and sets the PIN.
    Enrol { pin: String, label: String },
    /// Joins with the PIN that the user believes in.
    Join { pin: String, label: String },
    /// Fetches rows.
    Sync,
    /// Reads the whole ledger of the account.
    Audit,
    /// Asks how many tries are left.
    PinStatus,
    /// Sets another PIN: with `old`, or with user verification.
    PinChange { old: Option<String>, new: String },
    /// Lists devices.
    ListDevices,
    /// Gives a device another label.
    RenameDevice { device: DeviceId, label: String },
    /// Makes a passkey.
    Create { rp_id: String, user_name: String, exclude: Vec<CredentialId>, alg: i64, verified: bool },
    /// Signs in.
    Get { rp_id: String, id: CredentialId, verified: bool },
    /// Changes a passkey's names.
    RenamePasskey { id: CredentialId, user_name: String },
    /// Deletes a passkey.
    Delete { id: CredentialId },
    /// Asks for a signature although the device knows of no such passkey.
    Press { rp_id: String, id: CredentialId },
    /// Tries PINs as whoever knows the password may, without the manners of a client.
    Guess { rounds: u32 },
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// The account exists.
    Account(AccountId),
    /// The device is a member.
    Member,
    /// Rows are here.
    Synced,
    /// The ledger was read.
    Audited(Audited),
    /// The PIN's state.
    Status(command::PinStatus),
    /// A generation is in force.
    Changed(u32),
    /// A passkey was made.
    Created(CredentialId),
    /// A signature was made.
    Signed(CredentialId),
    /// Done, with nothing to tell.
    Done,
}

/// A flow of any kind.
pub trait Walk {
    /// The next step (see `Flow`).
    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Outcome>, FlowError>;
}

struct Walking<F: Flow>(F, fn(F::Output) -> Outcome);

impl<F: Flow> Walk for Walking<F> {
    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Outcome>, FlowError> {
        Ok(match self.0.next(home, random, answers)? {
            Step::Call(call) => Step::Call(call),
            Step::Done(output) => Step::Done(self.1(output)),
        })
    }
}

fn walk<F: Flow + 'static>(flow: F, outcome: fn(F::Output) -> Outcome) -> Result<Box<dyn Walk>, FlowError> {
    Ok(Box::new(Walking(flow, outcome)))
}

/// Whom an errand is done for.
pub struct Errander<'a> {
    /// The account's name.
    pub name: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Whether the device can verify its user.
    pub has_uv: bool,
}

/// Costs of hardening: none, for a simulator tries thousands of PINs.
pub const COSTS: Costs = Costs::insecure_fast_for_tests();

impl Errand {
    /// One word for traces and numbers.
    pub fn word(&self) -> &'static str {
        match self {
            Errand::CreateAccount => "create-account",
            Errand::Enrol { .. } => "enrol",
            Errand::Join { .. } => "join",
            Errand::Sync => "sync",
            Errand::Audit => "audit",
            Errand::PinStatus => "pin-status",
            Errand::PinChange { .. } => "pin-change",
            Errand::ListDevices => "list-devices",
            Errand::RenameDevice { .. } => "rename-device",
            Errand::Create { .. } => "create",
            Errand::Get { .. } => "get",
            Errand::RenamePasskey { .. } => "rename-passkey",
            Errand::Delete { .. } => "delete",
            Errand::Press { .. } => "press",
            Errand::Guess { .. } => "guess",
        }
    }

    /// The PIN that is proved.
    pub fn typed(&self) -> Option<String> {
        match self {
            Errand::Join { pin, .. } => Some(pin.clone()),
            Errand::PinChange { old, .. } => old.clone(),
            _ => None,
        }
    }

    /// The PIN that is set.
    pub fn sets(&self) -> Option<String> {
        match self {
            Errand::Enrol { pin, .. } => Some(pin.clone()),
            Errand::PinChange { new, .. } => Some(new.clone()),
            _ => None,
        }
    }

    /// The flow that does it; what needs no enclave has none.
    pub fn begin(&self, who: &Errander<'_>, random: &mut dyn Random) -> Result<Box<dyn Walk>, FlowError> {
        let credentials = || Credentials { password: Password::new(who.password), costs: COSTS };
        let user = |verified: bool| if verified && who.has_uv { User::Verified } else { User::Unverified };
        match self {
            Errand::CreateAccount => walk(CreateAccount::new(credentials()), Outcome::Account),
            Errand::Enrol { pin, label } => {
                walk(Enrol::new(credentials(), Pin::new(pin), label), |_| Outcome::Member)
            }
            Errand::Join { pin, label } => {
                walk(Join::new(credentials(), Pin::new(pin), label), |_| Outcome::Member)
            }
            Errand::PinStatus => walk(PinStatus, Outcome::Status),
            Errand::PinChange { old, new } => {
                let user = user(old.is_none());
                walk(PinChange::new(old.as_ref().map(Pin::new), Pin::new(new), user, COSTS), Outcome::Changed)
            }
            Errand::ListDevices => walk(ListDevices, |_| Outcome::Done),
            Errand::RenameDevice { device, label } => {
                walk(RenameDevice::new(*device, label), |()| Outcome::Done)
            }
            Errand::Create { rp_id, user_name, exclude, alg, verified } => {
                let request = creation(rp_id, user_name, exclude, *alg, random)?;
                walk(Create::new(request, user(*verified), form(random)), |made| {
                    Outcome::Created(credential_id(&made.id))
                })
            }
            Errand::Get { rp_id, id, verified } => {
                let request = request(rp_id, id, random)?;
                walk(Get::new(request, user(*verified), form(random)), |made| {
                    Outcome::Signed(credential_id(&made.id))
                })
            }
            Errand::RenamePasskey { id, user_name } => {
                walk(RenamePasskey::new(*id, Some(user_name.clone()), None), |_| Outcome::Done)
            }
            Errand::Delete { id } => walk(DeletePasskey::new(*id, User::Unverified), |_| Outcome::Done),
            Errand::Press { rp_id, id } => walk(Press(rp_id.clone(), *id), |()| Outcome::Done),
            Errand::Guess { rounds } => walk(Guess::new(who.name, who.password, *rounds), |()| Outcome::Done),
            Errand::Sync | Errand::Audit => Err(FlowError::fault("reading is not a flow")),
        }
    }
}

fn form(random: &mut dyn Random) -> ClientDataForm {
    let [coin] = keyferry_crypto::random::bytes(random);
    if coin % 2 == 0 { ClientDataForm::HashOnly } else { ClientDataForm::WithJson }
}

fn challenge(random: &mut dyn Random) -> String {
    base64url::encode(&keyferry_crypto::random::bytes::<16>(random))
}

fn creation(
    rp_id: &str,
    user_name: &str,
    exclude: &[CredentialId],
    alg: i64,
    random: &mut dyn Random,
) -> Result<CreateRequest, FlowError> {
    let exclude: Vec<_> = exclude
        .iter()
        .map(|id| format!(r#"{{"type":"public-key","id":"{}"}}"#, base64url::encode(&id.0)))
        .collect();
    let json = format!(
        concat!(
            r#"{{"rp":{{"name":"r","id":"{}"}},"user":{{"id":"{}","name":"{}","displayName":"{}"}},"#,
            r#""challenge":"{}","pubKeyCredParams":[{{"type":"public-key","alg":{}}}],"excludeCredentials":[{}]}}"#
        ),
        rp_id,
        challenge(random),
        user_name,
        user_name,
        challenge(random),
        alg,
        exclude.join(",")
    );
    Ok(CreateRequest::parse(json.as_bytes(), &format!("https://{rp_id}"))?)
}

fn request(rp_id: &str, id: &CredentialId, random: &mut dyn Random) -> Result<GetRequest, FlowError> {
    // One of few inputs, so that devices come to evaluate the same.
    let [input] = keyferry_crypto::random::bytes(random);
    let json = format!(
        concat!(
            r#"{{"rpId":"{}","challenge":"{}","allowCredentials":[{{"type":"public-key","id":"{}"}}],"#,
            r#""extensions":{{"prf":{{"eval":{{"first":"{}"}}}}}}}}"#
        ),
        rp_id,
        challenge(random),
        base64url::encode(&id.0),
        base64url::encode(&[input % 2])
    );
    Ok(GetRequest::parse(json.as_bytes(), &format!("https://{rp_id}"))?)
}

fn credential_id(text: &str) -> CredentialId {
    let bytes = base64url::decode(text).unwrap_or_default();
    CredentialId::try_from(bytes.as_slice()).unwrap_or(CredentialId([0; 16]))
}
