//! A service with an honest past, one lie, and what must hold of a client that was told it.

use crate::enclave::{Broker, Glassworks, Memory};
use crate::host::{Heard, Host};
use crate::lie::Lie;
use keyferry_client::flow::{Costs, FlowError};
use keyferry_client::home::{Home, Vault};
use keyferry_device::agent::{Agent, NewHome, Options};
use keyferry_device::{Password, Pin};
use keyferry_server::serve::RateLimits;
use keyferry_server::{Config, Running, serve_with};
use keyferry_sim::dice::Dice;
use keyferry_wire::Wire;
use keyferry_wire::command::Command;
use keyferry_wire::refusal::Code;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) const NAME: &str = "ada";
pub(crate) const PASSWORD: &str = "correct horse battery";
pub(crate) const PIN: &str = "7391vq";
const NEW_PIN: &str = "u4kw82";
const DEPLOYMENT: &str = "evil.test";

/// The service, the host in front of it, and the folder in which everything lies.
pub(crate) struct Stage {
    pub(crate) host: Host,
    gateway: Option<Running>,
    memory: Memory,
    pub(crate) folder: TempDir,
    options: Options,
}

/// What a user does when the host lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    CreateAccount,
    /// The first device of an account that was just made.
    Enrol,
    /// A second device.
    Join,
    AttestShow,
    PinStatus,
    PinChange,
    Devices,
    Create,
    Get,
    Rename,
    Delete,
    Sync,
    Audit,
}

/// How it ended for the user.
pub(crate) struct Ended {
    pub(crate) code: Option<Code>,
    pub(crate) sentence: String,
}

impl Stage {
    /// An empty service.
    pub(crate) fn new() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        let gateway = serve(&folder.path().join("data"), &memory, 1);
        let host = Host::open(gateway.address, memory.clone());
        let options = Options {
            accept_evidence: vec!["sim".to_owned()],
            costs: Costs::insecure_fast_for_tests(),
            ..Options::default()
        };
        Stage { host, gateway: Some(gateway), memory, folder, options }
    }

    /// With an account that has no device.
    pub(crate) fn with_account() -> Stage {
        let stage = Stage::new();
        stage.make_account(NAME);
        stage
    }

    /// With a member that has two passkeys and knows the rows of one: of the other the enclave has told it.
    pub(crate) fn with_member() -> Stage {
        let stage = Stage::with_account();
        stage.enrol("laptop", NAME);
        let mut agent = stage.agent("laptop");
        create(&mut agent, "one.example").unwrap();
        let vault = stage.home("laptop").unwrap().vault;
        create(&mut agent, "two.example").unwrap();
        drop(agent);
        stage.set_vault("laptop", vault);
        stage
    }

    /// A home with the rows of another time.
    pub(crate) fn set_vault(&self, home: &str, vault: Vault) {
        let changed = Home { vault, ..self.home(home).unwrap() };
        std::fs::write(self.path(home).join("state"), changed.save()).unwrap();
    }

    pub(crate) fn make_account(&self, name: &str) {
        Agent::create_account(&self.host.url, name, Password::new(PASSWORD), &self.options).unwrap();
    }

    pub(crate) fn enrol(&self, home: &str, name: &str) {
        let mut agent = self.new_agent(home, name).unwrap();
        agent.enrol(Password::new(PASSWORD), Pin::new(PIN), Some(home)).unwrap();
    }

    pub(crate) fn join(&self, home: &str) {
        let mut agent = self.new_agent(home, NAME).unwrap();
        agent.join(Password::new(PASSWORD), Pin::new(PIN), Some(home)).unwrap();
    }

    /// The home of a member.
    pub(crate) fn agent(&self, home: &str) -> Agent {
        self.opened(home).unwrap()
    }

    /// The same; a home that was told a lie before looks first whether it is told again.
    pub(crate) fn opened(&self, home: &str) -> Result<Agent, FlowError> {
        Agent::open(&self.path(home), self.options.clone())
    }

    fn new_agent(&self, home: &str, name: &str) -> Result<Agent, FlowError> {
        let new = NewHome { server: &self.host.url, name, device_pin: None };
        Agent::create(&self.path(home), &new, self.options.clone())
    }

    pub(crate) fn path(&self, home: &str) -> PathBuf {
        self.folder.path().join(home)
    }

    /// What a device has stored.
    pub(crate) fn home(&self, home: &str) -> Option<Home> {
        let bytes = std::fs::read(self.path(home).join("state")).ok()?;
        Some(Home::load(&bytes).unwrap())
    }

    /// Homes are made with this trust file from now on.
    pub(crate) fn trust_file(&mut self, json: &str) {
        let file = self.folder.path().join("trust.json");
        std::fs::write(&file, json).unwrap();
        self.options.trust = Some(file);
    }

    /// No stand-in is trusted by name from now on.
    pub(crate) fn without_stand_ins(&mut self) {
        self.options.accept_evidence.clear();
    }

    /// A second enclave on a copy of everything that the host has; both go on.
    pub(crate) fn fork(&mut self) -> Running {
        let (data, copy) = (self.folder.path().join("data"), self.folder.path().join("copy"));
        self.gateway.take().unwrap().stop();
        copy_folder(&data, &copy);
        let gateway = serve(&data, &self.memory, 2);
        self.host.route(gateway.address);
        self.gateway = Some(gateway);
        serve(&copy, &self.memory, 3)
    }

    /// Back to the gateway that it began with.
    pub(crate) fn route_back(&self) {
        self.host.route(self.gateway.as_ref().unwrap().address);
    }

    /// Does an errand on the device that fits it.
    pub(crate) fn run(&self, errand: Errand) -> Result<(), FlowError> {
        let member = || self.opened("laptop");
        match errand {
            Errand::CreateAccount => {
                let password = Password::new(PASSWORD);
                Agent::create_account(&self.host.url, NAME, password, &self.options).map(drop)
            }
            Errand::Enrol => {
                let mut agent = self.new_agent("laptop", NAME)?;
                agent.enrol(Password::new(PASSWORD), Pin::new(PIN), Some("laptop")).map(drop)
            }
            Errand::Join => {
                let mut agent = self.new_agent("phone", NAME)?;
                agent.join(Password::new(PASSWORD), Pin::new(PIN), Some("phone")).map(drop)
            }
            Errand::AttestShow => member()?.attest_show().map(drop),
            Errand::PinStatus => member()?.pin_status().map(drop),
            Errand::PinChange => member()?.pin_change(Some(Pin::new(PIN)), Pin::new(NEW_PIN)).map(drop),
            Errand::Devices => member()?.devices().map(drop),
            Errand::Create => create(&mut member()?, "three.example"),
            Errand::Get => get(&mut member()?, "one.example"),
            Errand::Rename => member()?.rename(&self.passkey(), Some("other".to_owned()), None).map(drop),
            Errand::Delete => member()?.delete(&self.passkey()).map(drop),
            Errand::Sync => member()?.sync().map(drop),
            Errand::Audit => member()?.audit().map(drop),
        }
    }

    /// Id of the passkey that the device knows.
    fn passkey(&self) -> String {
        let home = self.home("laptop").unwrap();
        keyferry_client::base64url::encode(&home.vault.rows[0].id.0)
    }

    /// The whole trial: an errand under a lie ends badly, says so, tells the liar nothing, and leaves a home that is
    /// neither behind nor broken.
    pub(crate) fn trial(&self, errand: Errand, lie: Lie) -> Ended {
        let whose = if errand == Errand::Join { "phone" } else { "laptop" };
        let before = self.home(whose);
        self.host.lie(Some(lie));
        let ended = Ended::of(self.run(errand), errand);
        let (told, heard) = self.host.overheard();
        assert!(told > 0, "the lie was never told; it ended with: {}", ended.sentence);
        self.assert_secret(&heard);
        if let (Some(before), Some(after)) = (before, self.home(whose)) {
            assert_not_behind(&before, &after);
        }
        self.host.lie(None);
        ended
    }

    /// Afterwards the honest server finds a home that works.
    pub(crate) fn goes_on(&self, errand: Errand) {
        match errand {
            // What was refused under the lie works without it.
            Errand::CreateAccount | Errand::Enrol | Errand::Join => self.run(errand).unwrap(),
            _ => {}
        }
        if errand == Errand::CreateAccount {
            return;
        }
        let mut agent = self.agent(if errand == Errand::Join { "phone" } else { "laptop" });
        create(&mut agent, "after.example").unwrap();
        agent.sync().unwrap();
        get(&mut agent, "after.example").unwrap();
        assert!(!agent.audit().unwrap().entries.is_empty());
        // A try that was begun and given up under the lie may count as one.
        assert!(agent.pin_status().unwrap().left >= 9);
    }

    /// Nothing that a client said, before or after the lie, shows a password or a PIN; and after it nothing was proved
    /// that depends on the PIN.
    fn assert_secret(&self, heard: &[Heard]) {
        for said in heard {
            for secret in [PIN, NEW_PIN, PASSWORD] {
                let hit = said.bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
                assert!(!hit, "a secret was sent in the clear: {:?}", said.commands);
            }
        }
        let before = heard.iter().filter(|said| said.told == 0).map(|said| said.id).collect::<Vec<_>>();
        let after = heard.iter().filter(|said| said.told > 0 && !before.contains(&said.id));
        for said in after {
            for command in &said.commands {
                let derived = match command {
                    Command::Expose(_) => true,
                    Command::Finish(finish) => self.proves_the_pin(finish.value),
                    _ => false,
                };
                assert!(!derived, "after the lie the client proved the PIN: {:?}", said.commands);
            }
        }
    }

    /// Whether this value is the key whose commitment the account's devices know.
    fn proves_the_pin(&self, value: [u8; 32]) -> bool {
        let Some(home) = self.home("laptop") else { return false };
        let (Some(pin), Some(account)) = (home.pin, home.account) else { return false };
        let key = keyferry_crypto::pin::ClientKey::from_bytes(value);
        keyferry_crypto::pin::commitment(&key, &account.0, u64::from(pin.generation)) == pin.commitment
    }
}

impl Ended {
    #[track_caller]
    fn of(result: Result<(), FlowError>, errand: Errand) -> Ended {
        match result {
            Ok(()) => panic!("nobody noticed: {errand:?} was done"),
            Err(FlowError::Refused(refusal)) => Ended { code: Some(refusal.code), sentence: refusal.message },
            Err(FlowError::Fault(sentence)) => Ended { code: None, sentence },
        }
    }

    /// The sentence that names the lie, under this code; `None` is a fault.
    #[track_caller]
    pub(crate) fn is(&self, code: Option<Code>, sentence: &str) {
        assert_eq!(self.code, code, "{}", self.sentence);
        assert!(self.sentence.contains(sentence), "not named: {}", self.sentence);
    }
}

/// A client never goes back, whatever it is told.
#[track_caller]
fn assert_not_behind(before: &Home, after: &Home) {
    assert_eq!(before.keys.hw, after.keys.hw, "the device's keys");
    assert!(before.account.is_none() || before.account == after.account, "the account");
    assert!(before.trust.aud.is_none() || before.trust.aud == after.trust.aud, "the deployment");
    assert!(before.trust.log.is_none() || before.trust.log == after.trust.log, "the log");
    assert_eq!(before.trust.stand_ins, after.trust.stand_ins, "stand-ins");
    assert!(after.trust.evidence_floor >= before.trust.evidence_floor, "the floor of evidence");
    let size = |home: &Home| home.trust.seen.map_or(0, |head| head.size);
    assert!(size(after) >= size(before), "the ledger's head");
    let seqs = |home: &Home| home.head.map_or((0, 0), |head| (head.seq, head.vault_seq));
    assert!(seqs(after).0 >= seqs(before).0 && seqs(after).1 >= seqs(before).1, "the account's head");
    assert!(before.pin.is_none() || before.pin == after.pin, "what is known of the PIN");
    assert!(after.vault.cursor >= before.vault.cursor, "the cursor");
    if let (Some(old), Some(new)) = (&before.membership, &after.membership) {
        assert_eq!(old.to_bytes(), new.to_bytes(), "the membership");
    }
    assert!(before.membership.is_none() || after.membership.is_some(), "the membership is gone");
}

pub(crate) fn create(agent: &mut Agent, rp_id: &str) -> Result<(), FlowError> {
    let options = format!(
        r#"{{"rp":{{"name":"r","id":"{rp_id}"}},"user":{{"id":"AQID","name":"n","displayName":"d"}},
            "challenge":"AAECAwQFBgcICQoLDA0ODw","pubKeyCredParams":[{{"type":"public-key","alg":-7}}]}}"#
    );
    agent.passkey_create(options.as_bytes(), &format!("https://{rp_id}")).map(drop)
}

pub(crate) fn get(agent: &mut Agent, rp_id: &str) -> Result<(), FlowError> {
    let options = format!(r#"{{"rpId":"{rp_id}","challenge":"AAECAwQFBgcICQoLDA0ODw"}}"#);
    agent.passkey_get(options.as_bytes(), &format!("https://{rp_id}")).map(drop)
}

fn serve(data: &Path, memory: &Memory, life: u64) -> Running {
    let mut config = Config::new(data, "127.0.0.1:0".parse().unwrap(), DEPLOYMENT);
    let rate = 100_000;
    config.rates =
        RateLimits { per_second: rate, burst: rate, sessions_per_second: rate, sessions_burst: rate };
    let glass = Glassworks { memory: memory.clone(), dice: Dice::new(life, 0) };
    serve_with(config, Box::new(glass), Box::new(Broker(Dice::new(life, 2)))).unwrap()
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy_folder(&from, &to);
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}
