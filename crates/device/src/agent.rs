//! The agent: what each user command does, by driving the client's flows over HTTP and keeping the home.
//!
//! The home is stored before each call of a flow that can be resumed, and after each answer, so that a crash at any
//! point leaves a home that goes on.

mod link;
mod passkeys;
mod reading;
mod watch;

use crate::documents::{
    AccountCreated, Attested, Device, DeviceAdmitted, DeviceList, PinChanged, PinState, Standing,
};
use crate::folder::Folder;
use crate::http::Gateway;
use crate::keystore::Keystore;
use crate::random::SystemRandom;
use keyferry_client::base64url;
use keyferry_client::evidence::Trust;
use keyferry_client::flow::{
    Costs, CreateAccount, Credentials, Enrol, Enrolled, Flow, FlowError, Join, ListDevices, Password, Pin,
    PinChange, PinStatus, RenameDevice, User, drive,
};
use keyferry_client::home::Home;
use keyferry_client::webauthn::ClientDataForm;
use keyferry_crypto::hash::sha256;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{DeviceId, Hash};
use link::Link;
pub use passkeys::Edited;
use std::path::{Path, PathBuf};
pub use watch::{News, Since, Watch};

const STATE_FILE: &str = "state";
/// Label of a device that was given none.
const DEFAULT_LABEL: &str = "device";

/// How an agent goes about its work.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// PEM file of the certificates that are trusted in place of the public roots.
    pub ca: Option<PathBuf>,
    /// Trust file, pinned when the home is made.
    pub trust: Option<PathBuf>,
    /// Stand-ins that this home trusts by name from now on.
    pub accept_evidence: Vec<String>,
    pub costs: Costs,
    pub client_data: ClientDataForm,
}

/// What a new home is made for.
#[derive(Clone, Debug)]
pub struct NewHome<'a> {
    pub server: &'a str,
    /// The account's local name.
    pub name: &'a str,
    /// Guards the device's `uv` key; without it the device has none.
    pub device_pin: Option<&'a str>,
}

/// A device at work: its home, locked, and the way to its server.
pub struct Agent {
    state: State,
    home: Home,
    link: Link,
    options: Options,
}

impl Agent {
    /// Opens a home that is a member of an account. While its gateway withholds or rolls back, it is refused.
    pub fn open(path: &Path, options: Options) -> Result<Agent, FlowError> {
        let missing = || -> FlowError {
            let sentence = format!("there is no home at {}: enrol or join first", path.display());
            Refusal::new(Code::UnknownDevice, sentence).into()
        };
        let folder = Folder::open(path)?.ok_or_else(missing)?;
        let home = load(&folder)?.ok_or_else(missing)?;
        let keys = Keystore::open(&folder)?.ok_or_else(missing)?;
        let stored = home_hash(&home);
        let mut agent = Agent::new(folder, home, keys, options)?;
        agent.state.stored = Some(stored);
        agent.resolve()?;
        Ok(agent)
    }

    /// Opens a home in which this device is to become a member, or makes one. One that a failed join left behind is
    /// used again; one that is a member is refused, unless its enrolment has not ended.
    pub fn create(path: &Path, new: &NewHome<'_>, options: Options) -> Result<Agent, FlowError> {
        let folder = Folder::create(path)?;
        match reusable(&folder, new, options.trust.is_some())? {
            Some((home, keys)) => Agent::new(folder, home, keys, options),
            None => {
                let keys = Keystore::create(&folder, new.device_pin, options.costs.pin)?;
                let home = new_home(new, &keys, &options)?;
                let mut agent = Agent::new(folder, home, keys, options)?;
                agent.save()?;
                Ok(agent)
            }
        }
    }

    fn new(folder: Folder, mut home: Home, keys: Keystore, options: Options) -> Result<Agent, FlowError> {
        accept(&mut home.trust, &options.accept_evidence);
        let gateway = Gateway::new(&home.server, options.ca.as_deref())?;
        let state = State { folder, stored: None };
        Ok(Agent { state, home, link: Link::new(gateway, keys), options })
    }

    /// Makes an account. Nothing is kept: its first device makes a home when it enrols.
    pub fn create_account(
        server: &str,
        name: &str,
        password: Password,
        options: &Options,
    ) -> Result<AccountCreated, FlowError> {
        let random = &mut SystemRandom;
        // Nobody signs an account's creation; the key only fills a home that is thrown away.
        let throwaway = keyferry_crypto::sign::SigningKey::generate(random).public();
        let mut home = Home::new(server, name, throwaway, None, random);
        home.trust = trust(options)?;
        let mut link = Link::without_keys(Gateway::new(server, options.ca.as_deref())?);
        link.meet(&mut home)?;
        let mut flow = CreateAccount::new(Credentials { password, costs: options.costs });
        let account =
            drive(&mut flow, &mut home, random, |home, random, call| link.carry(home, random, call))?;
        Ok(AccountCreated::new(account, Standing::of(&home.trust)))
    }

    /// Opens the `uv` key with the device PIN; the steps that follow are verified ones.
    pub fn unlock(&mut self, device_pin: &str) -> Result<(), FlowError> {
        self.link.keys()?.unlock(&self.state.folder, device_pin)
    }

    /// Makes this device the account's first member and sets the account's PIN.
    pub fn enrol(
        &mut self,
        password: Password,
        pin: Pin,
        label: Option<&str>,
    ) -> Result<DeviceAdmitted, FlowError> {
        let credentials = Credentials { password, costs: self.options.costs };
        let enrolled = self.run(Enrol::new(credentials, pin, label.unwrap_or(DEFAULT_LABEL)))?;
        Ok(self.admitted(&enrolled))
    }

    /// Makes this device a further member, by the account's PIN.
    pub fn join(
        &mut self,
        password: Password,
        pin: Pin,
        label: Option<&str>,
    ) -> Result<DeviceAdmitted, FlowError> {
        let credentials = Credentials { password, costs: self.options.costs };
        let enrolled = self.run(Join::new(credentials, pin, label.unwrap_or(DEFAULT_LABEL)))?;
        Ok(self.admitted(&enrolled))
    }

    pub fn pin_status(&mut self) -> Result<PinState, FlowError> {
        let status = self.run(PinStatus)?;
        Ok(PinState::new(&status, self.standing()))
    }

    /// Sets another PIN. Without user verification `old` is needed.
    pub fn pin_change(&mut self, old: Option<Pin>, new: Pin) -> Result<PinChanged, FlowError> {
        let (user, costs) = (self.user(), self.options.costs);
        let generation = self.run(PinChange::new(old, new, user, costs))?;
        Ok(PinChanged { generation, standing: self.standing() })
    }

    pub fn devices(&mut self) -> Result<DeviceList, FlowError> {
        let devices = self.run(ListDevices)?;
        let this = self.home.device_id();
        let devices = devices.iter().map(|info| Device::new(info, info.device == this)).collect();
        Ok(DeviceList { devices, standing: self.standing() })
    }

    /// `device` as it is printed.
    pub fn rename_device(&mut self, device: &str, label: &str) -> Result<(), FlowError> {
        let id = base64url::decode(device).and_then(|bytes| DeviceId::try_from(bytes.as_slice()).ok());
        let id = id.ok_or_else(|| Refusal::new(Code::UnknownDevice, "this is not the id of a device"))?;
        self.run(RenameDevice::new(id, label))
    }

    /// Appraises the server's evidence anew and shows what it says.
    pub fn attest_show(&mut self) -> Result<Attested, FlowError> {
        self.link.forget();
        self.link.meet(&mut self.home)?;
        self.save()?;
        let evidence = self.link.evidence()?;
        Ok(Attested::new(evidence, self.standing()))
    }

    /// What this home believes without proof.
    pub fn standing(&self) -> Standing {
        Standing::of(&self.home.trust)
    }

    fn user(&self) -> User {
        if self.link.is_unlocked() { User::Verified } else { User::Unverified }
    }

    fn admitted(&self, enrolled: &Enrolled) -> DeviceAdmitted {
        let (storage, devices) = (self.home.keys.storage, &self.home.devices);
        DeviceAdmitted::new(enrolled, storage, devices, self.standing())
    }

    /// Drives a flow to its end. Whatever the end is, the home is stored: a refusal, too, may have taught it something.
    fn run<F: Flow>(&mut self, mut flow: F) -> Result<F::Output, FlowError> {
        let Agent { state, home, link, .. } = self;
        link.meet(home)?;
        let result = drive(&mut flow, home, &mut SystemRandom, |home, random, call| {
            state.store(home)?;
            let answers = link.carry(home, random, call)?;
            state.store(home)?;
            Ok(answers)
        });
        state.store(home)?;
        result
    }

    fn save(&mut self) -> Result<(), FlowError> {
        self.state.store(&self.home)
    }
}

/// The home's place on disk, and the hash of what lies there: a write costs a flush, so it is made for a change only.
struct State {
    folder: Folder,
    stored: Option<Hash>,
}

impl State {
    fn store(&mut self, home: &Home) -> Result<(), FlowError> {
        let bytes = home.save();
        let hash = sha256(&[&bytes]);
        if self.stored != Some(hash) {
            self.folder.write(STATE_FILE, &bytes)?;
            self.stored = Some(hash);
        }
        Ok(())
    }
}

fn home_hash(home: &Home) -> Hash {
    sha256(&[&home.save()])
}

fn load(folder: &Folder) -> Result<Option<Home>, FlowError> {
    folder.read(STATE_FILE)?.map(|bytes| Home::load(&bytes)).transpose()
}

/// The home that is there, if it is for this account and server, with the same kind of keys.
/// A trust file is for a new one: what was believed without it is not kept.
fn reusable(
    folder: &Folder,
    new: &NewHome<'_>,
    with_trust_file: bool,
) -> Result<Option<(Home, Keystore)>, FlowError> {
    let (Some(home), Some(mut keys)) = (load(folder)?, Keystore::open(folder)?) else {
        return Ok(None);
    };
    let begun = home.membership.is_some() || home.pending.as_ref().is_some_and(|pending| pending.committed);
    let same = home.server == new.server && home.name == new.name && home.keys.hw == keys.hw_public();
    let unlocked = match (new.device_pin, keys.uv_public()) {
        (Some(pin), Some(_)) => keys.unlock(folder, pin),
        (None, None) => Ok(()),
        _ => Err(FlowError::fault("this home was begun with another choice of device PIN")),
    };
    if !begun && with_trust_file {
        return Ok(None);
    }
    match (begun, same, unlocked) {
        (_, true, Ok(())) => Ok(Some((home, keys))),
        // Keys that an account may know already are not thrown away.
        (true, true, Err(error)) => Err(error),
        (true, false, _) => {
            Err(Refusal::new(Code::Exists, "this home belongs to another account or server").into())
        }
        (false, ..) => Ok(None),
    }
}

fn new_home(new: &NewHome<'_>, keys: &Keystore, options: &Options) -> Result<Home, FlowError> {
    let (hw, uv) = (keys.hw_public(), keys.uv_public());
    let mut home = Home::new(new.server, new.name, hw, uv, &mut SystemRandom);
    home.trust = trust(options)?;
    Ok(home)
}

fn trust(options: &Options) -> Result<Trust, FlowError> {
    let mut trust = match &options.trust {
        None => Trust::default(),
        Some(path) => {
            let cannot = |why: String| FlowError::fault(format!("{}: {why}", path.display()));
            let json = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
            Trust::from_file(&json).map_err(|error| cannot(error.to_string()))?
        }
    };
    accept(&mut trust, &options.accept_evidence);
    Ok(trust)
}

fn accept(trust: &mut Trust, stand_ins: &[String]) {
    for name in stand_ins {
        if !trust.stand_ins.contains(name) {
            trust.stand_ins.push(name.clone());
        }
    }
}

#[cfg(test)]
mod tests;
