//! `keyferry try`: the whole story in a terminal, on the real service with every stand-in there is.

mod host;
mod relying_party;

use crate::args::Try;
use crate::output::Failure;
use crate::up::{Plan, Service, start};
use keyferry_device::agent::NewHome;
use keyferry_device::documents::AuditDone;
use keyferry_device::{Agent, FlowError, Options, Password, Pin};
use keyferry_wire::refusal::Code;
use relying_party::RelyingParty;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

const NAME: &str = "ada.lovelace";
const PASSWORD: &str = "correct horse battery staple";
const PIN: &str = "739182";
const DEVICE_PIN: &str = "4711";
const ORIGIN: &str = "https://shop.example.org";
const RP_ID: &str = "example.org";

/// A step that was told.
struct Step {
    name: &'static str,
    ok: bool,
    ms: u64,
}

/// The teller: runs steps, says them as they come, and keeps their times.
struct Story {
    json: bool,
    steps: Vec<Step>,
}

/// Where everything of one telling lies.
struct Stage {
    folder: PathBuf,
    url: String,
}

pub(crate) fn run(arguments: Try, json: bool) -> Result<(), Failure> {
    let temporary = tempfile::Builder::new().prefix("keyferry-try-").tempdir()?;
    let folder = arguments.keep.clone().unwrap_or_else(|| temporary.path().to_path_buf());
    let mut story = Story { json, steps: Vec::new() };
    let service = story.step("start", "Start the service on an embedded store", || {
        let service = start_service(&folder, arguments.enclave)?;
        let said = format!("it serves at {}; its enclave is a process of its own", service.running.url);
        Ok((service, said))
    })?;
    let stand_ins = service.stand_ins.clone();
    let stage = Stage { folder, url: service.running.url.clone() };
    let told = tell(&mut story, &stage);
    service.running.stop();
    let host_saw = told.and_then(|audit| story.host(&stage, &audit));
    story.end(host_saw, &stand_ins)
}

fn start_service(folder: &Path, enclave: Option<PathBuf>) -> Result<Service, Failure> {
    start(Plan {
        data: folder.join("data"),
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], 0)),
        tls: None,
        name: None,
        shards: None,
        rate: 500,
        enclave,
    })
}

fn tell(story: &mut Story, stage: &Stage) -> Result<AuditDone, Failure> {
    let mut site = RelyingParty::new(RP_ID, ORIGIN);
    story.step("account", "Create the account \"ada.lovelace\" with a password", || {
        let created = Agent::create_account(&stage.url, NAME, Password::new(PASSWORD), &options())?;
        Ok(((), format!("account {}", created.account)))
    })?;
    let mut laptop = story.step("enrol", "Enrol the laptop and set the account's PIN", || {
        let mut laptop = stage.home("laptop")?;
        let admitted = laptop.enrol(Password::new(PASSWORD), Pin::new(PIN), Some("laptop"))?;
        Ok((laptop, format!("device {}; the PIN itself never left it", admitted.device)))
    })?;
    story.step("create", "Create a passkey at a site, on the laptop", || {
        laptop.unlock(DEVICE_PIN)?;
        let credential = laptop.passkey_create(site.creation_options().as_bytes(), ORIGIN)?;
        let id = site.register(&to_json(&credential)?)?;
        Ok(((), format!("the site verified and keeps credential {id}")))
    })?;
    let mut phone = story.step("join", "Join the phone with the PIN alone", || {
        let mut phone = stage.home("phone")?;
        let admitted = phone.join(Password::new(PASSWORD), Pin::new(PIN), Some("phone"))?;
        Ok((phone, format!("the account has {} devices now", admitted.members.len())))
    })?;
    story.step("sign-in", "Sign in from the phone with the passkey that the laptop made", || {
        phone.unlock(DEVICE_PIN)?;
        let said = sign_in(&mut phone, &site)?;
        Ok(((), said))
    })?;
    story.step("lock", "A thief who knows the password tries ten PINs", || {
        let said = ten_wrong_pins(stage)?;
        Ok(((), said))
    })?;
    story.step("goes-on", "The laptop goes on, although the PIN is locked", || {
        let said = sign_in(&mut laptop, &site)?;
        Ok(((), said))
    })?;
    story.step("audit", "Verify the account's ledger, entry by entry", || {
        let audit = laptop.audit()?;
        let said = format!(
            "{} entries: complete, in order, in the signed tree of {}",
            audit.entries.len(),
            audit.size
        );
        Ok((audit, said))
    })
}

fn sign_in(device: &mut Agent, site: &RelyingParty) -> Result<String, Failure> {
    let (options, challenge) = site.request_options();
    let assertion = device.passkey_get(options.as_bytes(), ORIGIN)?;
    let verified = site.authenticate(&to_json(&assertion)?, &challenge)?;
    Ok(format!("the site verified the signature; user verified: {}", if verified { "yes" } else { "no" }))
}

/// Every guess costs the account one of ten tries, whichever device makes it.
fn ten_wrong_pins(stage: &Stage) -> Result<String, Failure> {
    let mut left = Vec::new();
    for guess in 0..10_u32 {
        let mut thief = stage.home(&format!("thief-{guess}"))?;
        let pin = Pin::new(format!("{}", 804_621 + guess * 7_919));
        match thief.join(Password::new(PASSWORD), pin, Some("thief")) {
            Err(FlowError::Refused(refusal)) if matches!(refusal.code, Code::PinWrong | Code::PinLocked) => {
                left.push(refusal.left.unwrap_or_default().to_string());
                if refusal.code == Code::PinLocked {
                    return Ok(format!("tries left: {}; locked after {}", left.join(" "), guess + 1));
                }
            }
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Failure::Fault("a wrong PIN let a device in".to_owned())),
        }
    }
    Err(Failure::Fault("ten wrong PINs did not lock the account's PIN".to_owned()))
}

fn options() -> Options {
    Options { accept_evidence: vec!["sim".to_owned()], ..Options::default() }
}

fn to_json(credential: &impl serde::Serialize) -> Result<Value, Failure> {
    serde_json::to_value(credential).map_err(|error| Failure::Fault(error.to_string()))
}

impl Stage {
    fn home(&self, name: &str) -> Result<Agent, Failure> {
        let new = NewHome { server: &self.url, name: NAME, device_pin: Some(DEVICE_PIN) };
        Ok(Agent::create(&self.folder.join(name), &new, options())?)
    }
}

impl Story {
    /// Tells one step: what is done, then what came of it.
    fn step<T>(
        &mut self,
        name: &'static str,
        title: &str,
        act: impl FnOnce() -> Result<(T, String), Failure>,
    ) -> Result<T, Failure> {
        if !self.json {
            println!("{:>2}. {title} ...", self.steps.len() + 1);
        }
        let began = Instant::now();
        let result = act();
        let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.steps.push(Step { name, ok: result.is_ok(), ms });
        if !self.json {
            match &result {
                Ok((_, said)) => println!("    {said} [{ms} ms]"),
                Err(_) => println!("    this did not work [{ms} ms]"),
            }
        }
        result.map(|(value, _)| value)
    }

    /// What the host has after all this, read from its own disk.
    fn host(&mut self, stage: &Stage, audit: &AuditDone) -> Result<Value, Failure> {
        if !self.json {
            println!("\nThe account's ledger, as its owner reads it:\n{}\n", crate::table::audit(audit));
        }
        self.step("host", "Look at everything that the host stored", || {
            let saw = host::look(&stage.folder.join("data"))?;
            let found = host::search(&stage.folder.join("data"), &[PIN, PASSWORD, RP_ID, NAME, "laptop"])?;
            if let Some(found) = found {
                return Err(Failure::Fault(format!("the host's files contain {found}")));
            }
            let said = "the PIN, the password, the site's name, the account's and the device's name: nowhere"
                .to_owned();
            Ok((saw, said))
        })
    }

    fn end(self, host_saw: Result<Value, Failure>, stand_ins: &[String]) -> Result<(), Failure> {
        let ok = host_saw.is_ok() && self.steps.iter().all(|step| step.ok);
        let (saw, failure) = match host_saw {
            Ok(saw) => (saw, None),
            Err(failure) => (Value::Null, Some(failure)),
        };
        if self.json {
            let steps: Vec<Value> = self
                .steps
                .iter()
                .map(|step| json!({"name": step.name, "ok": step.ok, "ms": step.ms}))
                .collect();
            println!("{}", json!({"ok": ok, "steps": steps, "host_saw": saw, "stand_ins": stand_ins}));
        } else if ok {
            println!("\nWhat the host saw:\n{}", host::text(&saw));
            println!("\nStand-ins in this story (nothing here is protected from this machine):");
            for stand_in in stand_ins {
                println!("  {stand_in}");
            }
            println!("  freshness: anchor level 0, no witness");
            println!(
                "\nNext: \"keyferry up --data DIR\" runs the service; \"keyferry help\" lists the commands."
            );
        }
        failure.map_or(Ok(()), Err)
    }
}
