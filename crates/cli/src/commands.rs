//! User commands: read the inputs, let the agent do it, print its document.

use crate::args::{
    Account, Attest, Ca, Ceremony, Command, Device, Evidence, Home, Identity, Passkey, Pin, Register, Server,
};
use crate::input::{optional_secret, options, secret};
use crate::output::{Document, Failure};
use crate::{table, watch};
use keyferry_client::flow::FlowError;
use keyferry_client::webauthn::ClientDataForm;
use keyferry_device::agent::{Edited, NewHome};
use keyferry_device::documents::{Standing, SyncDone};
use keyferry_device::{Agent, Options, Password, Pin as PinText};
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

const PASSWORD: &str = "the account's password";
const PIN: &str = "the account's PIN";
const NEW_PIN: &str = "the new PIN";
const DEVICE_PIN: &str = "this device's PIN";

impl From<FlowError> for Failure {
    fn from(error: FlowError) -> Self {
        match error {
            FlowError::Refused(refusal) => Failure::Refused(refusal),
            FlowError::Fault(sentence) => Failure::Fault(sentence),
        }
    }
}

pub(crate) fn run(command: Command, json: bool) -> Result<(), Failure> {
    let document = match command {
        Command::Account(Account::Create { server, identity, evidence }) => {
            create_account(&server, &identity, evidence)?
        }
        Command::Device(device) => device_command(device)?,
        Command::Passkey(passkey) => return passkey_command(passkey, json),
        Command::Sync(sync) if sync.follow => return watch::follow(&sync, json),
        Command::Sync(sync) => synced(&open(&sync.home)?.sync()?)?,
        Command::Watch(arguments) => return watch::run(&arguments, json),
        Command::Pin(pin) => pin_command(pin)?,
        Command::Audit(home) => {
            let done = open(&home)?.audit()?;
            let text = table::audit(&done);
            document(&done, &done.standing, text)?
        }
        Command::Attest(Attest::Show(home)) => {
            let shown = open(&home)?.attest_show()?;
            let text = table::evidence(&shown);
            document(&shown, &shown.standing, text)?
        }
        Command::Try(_)
        | Command::Up(_)
        | Command::Doctor(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Data(_)
        | Command::Completions { .. }
        | Command::Man { .. }
        | Command::Help(_)
        | Command::EnclaveStandIn => {
            return Err(Failure::Usage("this is a role, not a user command".to_owned()));
        }
    };
    document.print(json)
}

pub(crate) fn synced(done: &SyncDone) -> Result<Document, Failure> {
    let text = format!("{} rows changed; up to date and verified at {}", done.changed, done.cursor);
    document(done, &done.standing, text)
}

/// A document and its text, which says, too, what it rests on.
fn document(value: &impl Serialize, standing: &Standing, mut text: String) -> Result<Document, Failure> {
    let json = serde_json::to_value(value).map_err(|error| Failure::Fault(error.to_string()))?;
    text.push_str(&table::standing(standing));
    Ok(Document { json, text })
}

/// The document of a change that has no answer of its own.
fn done(standing: &Standing, mut json: Value, text: String) -> Result<Document, Failure> {
    json["unpinned"] = json!(standing.unpinned);
    json["stand_ins"] = json!(standing.stand_ins);
    document(&json, standing, text)
}

pub(crate) fn agent_options(ca: &Ca, evidence: Option<Evidence>) -> Options {
    let mut options = Options { ca: ca.ca.clone(), ..Options::default() };
    if let Some(evidence) = evidence {
        options.trust = evidence.trust;
        options.accept_evidence = evidence.accept_evidence;
    }
    options
}

fn open(home: &Home) -> Result<Agent, Failure> {
    Ok(Agent::open(&home.home, agent_options(&home.ca, None))?)
}

/// Opens a home; with the device's PIN its user is verified.
fn open_verified(
    home: &Home,
    device_pin_file: Option<&Path>,
    form: ClientDataForm,
) -> Result<Agent, Failure> {
    let device_pin = optional_secret(device_pin_file, DEVICE_PIN)?;
    let mut options = agent_options(&home.ca, None);
    options.client_data = form;
    let mut agent = Agent::open(&home.home, options)?;
    if let Some(pin) = device_pin {
        agent.unlock(&pin)?;
    }
    Ok(agent)
}

fn create_account(server: &Server, identity: &Identity, evidence: Evidence) -> Result<Document, Failure> {
    let password = Password::new(secret(identity.password_file.as_deref(), PASSWORD)?.as_str());
    let options = agent_options(&server.ca, Some(evidence));
    let created = Agent::create_account(&server.server, &identity.name, password, &options)?;
    let text =
        format!("account {} created; enrol its first device with \"keyferry device enrol\"", identity.name);
    document(&created, &created.standing, text)
}

fn device_command(command: Device) -> Result<Document, Failure> {
    match command {
        Device::Enrol(register) => {
            let (mut agent, password, pin, label) = registration(register)?;
            let admitted = agent.enrol(password, pin, label.as_deref())?;
            document(
                &admitted,
                &admitted.standing,
                format!("this device is the account's first member: {}", admitted.device),
            )
        }
        Device::Join(register) => {
            let (mut agent, password, pin, label) = registration(register)?;
            let admitted = agent.join(password, pin, label.as_deref())?;
            let text = format!(
                "this device joined: {}\nthe account's devices:\n{}",
                admitted.device,
                table::devices(&admitted.members)
            );
            document(&admitted, &admitted.standing, text)
        }
        Device::List(home) => {
            let list = open(&home)?.devices()?;
            let text = table::devices(&list.devices);
            document(&list, &list.standing, text)
        }
        Device::Rename { home, device, label } => {
            let mut agent = open(&home)?;
            let device = device.map_or_else(|| own_device(&mut agent), Ok)?;
            agent.rename_device(&device, &label)?;
            let text = format!("{device} is called {label} from now on");
            done(&agent.standing(), json!({"device": device, "label": label}), text)
        }
    }
}

fn own_device(agent: &mut Agent) -> Result<String, Failure> {
    let devices = agent.devices()?.devices;
    let own = devices.into_iter().find(|device| device.this);
    own.map(|device| device.device)
        .ok_or_else(|| Failure::Fault("this device is not in its account's list".to_owned()))
}

fn registration(register: Register) -> Result<(Agent, Password, PinText, Option<String>), Failure> {
    let password = Password::new(secret(register.identity.password_file.as_deref(), PASSWORD)?.as_str());
    let pin = PinText::new(secret(register.pin_file.as_deref(), PIN)?.as_str());
    let device_pin = optional_secret(register.device_pin_file.as_deref(), DEVICE_PIN)?;
    let options = agent_options(&register.server.ca, Some(register.evidence));
    let new = NewHome {
        server: &register.server.server,
        name: &register.identity.name,
        device_pin: device_pin.as_ref().map(|pin| pin.as_str()),
    };
    let agent = Agent::create(&register.home, &new, options)?;
    Ok((agent, password, pin, register.label))
}

/// Create and get print the credential itself, in both forms.
fn passkey_command(command: Passkey, json: bool) -> Result<(), Failure> {
    let document = match command {
        Passkey::Create(ceremony) => {
            let (mut agent, options) = ceremony_inputs(&ceremony)?;
            let made = agent.passkey_create(&options, &ceremony.origin)?;
            credential(&made, &agent.standing())?
        }
        Passkey::Get(ceremony) => {
            let (mut agent, options) = ceremony_inputs(&ceremony)?;
            let made = agent.passkey_get(&options, &ceremony.origin)?;
            credential(&made, &agent.standing())?
        }
        Passkey::List(home) => {
            let list = open(&home)?.list()?;
            let text = table::passkeys(&list);
            document(&list, &list.standing, text)?
        }
        Passkey::Rename { passkey, user_name, display_name } => {
            let display_name = display_name.unwrap_or_else(|| user_name.clone());
            let mut agent = open(&passkey.home)?;
            let edited = agent.rename(&passkey.id, Some(user_name.clone()), Some(display_name))?;
            let text = format!("{} is shown as {user_name} from now on", passkey.id);
            done_edit(&agent, json!({"id": passkey.id, "user_name": user_name}), text, edited)?
        }
        Passkey::Delete(passkey) => {
            let mut agent = open(&passkey.home)?;
            let edited = agent.delete(&passkey.id)?;
            let text = format!("{} is deleted on all devices; remove it at the site, too", passkey.id);
            done_edit(&agent, json!({"id": passkey.id, "deleted": true}), text, edited)?
        }
    };
    document.print(json)
}

/// An edit says, too, what another device did meanwhile.
fn done_edit(agent: &Agent, mut json: Value, mut text: String, edited: Edited) -> Result<Document, Failure> {
    if let Some(meanwhile) = edited.meanwhile {
        text.push_str(&format!("\n{}", table::printable(&meanwhile)));
        json["meanwhile"] = json!(meanwhile);
    }
    done(&agent.standing(), json, text)
}

fn ceremony_inputs(ceremony: &Ceremony) -> Result<(Agent, Vec<u8>), Failure> {
    let form = if ceremony.hash_only { ClientDataForm::HashOnly } else { ClientDataForm::WithJson };
    let agent = open_verified(&ceremony.home, ceremony.device_pin_file.as_deref(), form)?;
    Ok((agent, options(ceremony.options.as_deref())?))
}

/// A credential has the standard's shape and no room for more: what it rests on is said on stderr.
fn credential(value: &impl Serialize, standing: &Standing) -> Result<Document, Failure> {
    let json: Value = serde_json::to_value(value).map_err(|error| Failure::Fault(error.to_string()))?;
    let text = json.to_string();
    eprintln!("{}", table::standing(standing).trim_start());
    Ok(Document { json, text })
}

fn pin_command(command: Pin) -> Result<Document, Failure> {
    match command {
        Pin::Status(home) => {
            let state = open(&home)?.pin_status()?;
            let text = if state.locked {
                "the PIN is locked; set a new one with \"keyferry pin change\" and this device's PIN"
                    .to_owned()
            } else {
                format!("{} tries are left", state.left)
            };
            document(&state, &state.standing, text)
        }
        Pin::Change { home, pin_file, new_pin_file, device_pin_file } => {
            let old = optional_secret(pin_file.as_deref(), PIN)?;
            let new = secret(new_pin_file.as_deref(), NEW_PIN)?;
            let mut agent = open_verified(&home, device_pin_file.as_deref(), ClientDataForm::default())?;
            let old = old.map(|pin| PinText::new(pin.as_str()));
            let changed = agent.pin_change(old, PinText::new(new.as_str()))?;
            document(
                &changed,
                &changed.standing,
                format!("the new PIN is in force (generation {})", changed.generation),
            )
        }
    }
}
