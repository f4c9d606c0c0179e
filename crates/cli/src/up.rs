//! `keyferry up`: all roles in one go on a data folder. The gateway runs in this process, the enclave in a process of
//! its own, and the root key comes from a software token.

use crate::args::Up;
use crate::output::Failure;
use crate::platform;
use crate::token::SoftwareToken;
use keyferry_server::serve::{RateLimits, TlsFiles};
use keyferry_server::store::{DATABASE, Read};
use keyferry_server::{Config, EnclaveCommand, Running, SqliteStore, StartError, serve};
use serde_json::{Value, json};
use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Shards of a new deployment.
const SHARDS: u16 = 16;
const NAME: &str = "localhost/keyferry";

/// A service with everything that is said of it.
pub(crate) struct Service {
    pub(crate) running: Running,
    pub(crate) stand_ins: Vec<String>,
}

/// What a service is started with.
pub(crate) struct Plan {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) tls: Option<TlsFiles>,
    pub(crate) name: Option<String>,
    pub(crate) shards: Option<u16>,
    pub(crate) rate: u32,
    pub(crate) enclave: Option<PathBuf>,
}

pub(crate) fn run(up: Up, json: bool) -> Result<(), Failure> {
    log_to_stderr();
    let tls = up.tls_cert.zip(up.tls_key).map(|(certificates, key)| TlsFiles { certificates, key });
    let plan = Plan {
        data: up.data,
        listen: up.listen,
        tls,
        name: up.name,
        shards: up.shards,
        rate: up.rate,
        enclave: up.enclave,
    };
    let service = start(plan)?;
    let signals = Signals::take()?;
    announce(&service, json)?;
    tell_manager("READY=1");
    signals.wait(&service.running);
    tell_manager("STOPPING=1");
    service.running.stop();
    Ok(())
}

/// Starts a service; returns when it serves.
pub(crate) fn start(plan: Plan) -> Result<Service, Failure> {
    for folder in ["store", "ledger", "token", "run"] {
        let path = plan.data.join(folder);
        platform::create_private_folder(&path)
            .map_err(|error| Failure::Fault(format!("cannot make the folder {}: {error}", path.display())))?;
    }
    let known = known_deployment(&plan.data)?;
    let token =
        SoftwareToken::open_or_make(&plan.data.join("token"), known.is_some()).map_err(Failure::Fault)?;
    let (name, shards) = settle(&plan, known)?;
    let (enclave, role) = enclave_command(plan.enclave)?;
    let mut stand_ins = vec!["evidence sim".to_owned(), "software token".to_owned()];
    stand_ins.extend(role);
    stand_ins.sort();
    let mut config = Config::new(plan.data, plan.listen, name);
    config.tls = plan.tls;
    config.shards = shards;
    config.rates = rates(plan.rate);
    config.stand_ins.clone_from(&stand_ins);
    let running = serve(config, enclave, Box::new(token)).map_err(|error| start_failure(&error))?;
    Ok(Service { running, stand_ins })
}

/// Sessions cost the enclave a key agreement, so they get a tenth; bursts of two seconds pass.
fn rates(per_second: u32) -> RateLimits {
    let sessions_per_second = (per_second / 10).max(1);
    RateLimits {
        per_second,
        burst: per_second.saturating_mul(2),
        sessions_per_second,
        sessions_burst: sessions_per_second.saturating_mul(2),
    }
}

fn start_failure(error: &StartError) -> Failure {
    Failure::Fault(keyferry_server::serve::chain(error))
}

/// Name and shard count of a data folder that was used before.
fn known_deployment(data: &Path) -> Result<Option<(String, u16)>, Failure> {
    let folder = data.join("store");
    if !folder.join(DATABASE).exists() {
        return Ok(None);
    }
    let fault = |error: &dyn std::error::Error| Failure::Fault(keyferry_server::serve::chain(error));
    let store = SqliteStore::open(&folder).map_err(|error| fault(&error))?;
    let service = store.service().map_err(|error| fault(&error))?;
    Ok(service.map(|row| (row.name, row.shards)))
}

/// Name and shards are fixed when a deployment is made; a different wish later is a mistake, not a change.
fn settle(plan: &Plan, known: Option<(String, u16)>) -> Result<(String, u16), Failure> {
    let Some((name, shards)) = known else {
        return Ok((plan.name.clone().unwrap_or_else(|| NAME.to_owned()), plan.shards.unwrap_or(SHARDS)));
    };
    if plan.name.as_ref().is_some_and(|wished| *wished != name) {
        return Err(Failure::Usage(format!(
            "this data folder belongs to \"{name}\"; a name is never changed"
        )));
    }
    if plan.shards.is_some_and(|wished| wished != shards) {
        return Err(Failure::Usage(format!(
            "this data folder has {shards} shards; their number is never changed"
        )));
    }
    Ok((name, shards))
}

/// The enclave's program: the one named, else the one beside this program, else this program in its stand-in role.
pub(crate) fn enclave_command(named: Option<PathBuf>) -> Result<(EnclaveCommand, Option<String>), Failure> {
    if let Some(program) = named {
        return Ok((EnclaveCommand { program, args: Vec::new() }, None));
    }
    let own = std::env::current_exe()?;
    let beside = own.with_file_name("keyferry-enclave");
    if beside.is_file() {
        return Ok((EnclaveCommand { program: beside, args: Vec::new() }, None));
    }
    let role = "enclave as a role of the keyferry program".to_owned();
    Ok((EnclaveCommand { program: own, args: vec!["enclave-stand-in".into()] }, Some(role)))
}

fn announce(service: &Service, json: bool) -> Result<(), Failure> {
    let document = ready(service);
    let mut out = std::io::stdout().lock();
    if json {
        writeln!(out, "{document}")?;
    } else {
        writeln!(out, "Keyferry serves at {}", service.running.url)?;
        writeln!(
            out,
            "profile try, anchor level 0, custody level 0: for development, protects nothing from this host"
        )?;
        for stand_in in &service.stand_ins {
            writeln!(out, "stand-in: {stand_in}")?;
        }
        writeln!(out, "{document}")?;
    }
    Ok(out.flush()?)
}

fn ready(service: &Service) -> Value {
    let running = &service.running;
    let locked = running.enclave_pid().is_some_and(crate::platform::is_memory_locked);
    json!({
        "ready": true,
        "url": running.url,
        "pids": {"gateway": running.gateway_pid(), "enclave": running.enclave_pid()},
        "profile": "try",
        "anchor_level": 0,
        "custody_level": 0,
        "stand_ins": service.stand_ins,
        "memory": {"core_dumps": false, "enclave_locked": locked},
    })
}

/// Tells the service manager, if one waits for it.
fn tell_manager(state: &str) {
    if let Err(error) = platform::notify_service_manager(state) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}

/// The signals that end or reload the service. They are taken before anybody is told that it serves: whoever heard so
/// may end it at once.
struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn take() -> std::io::Result<Signals> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (terminate, interrupt, hangup) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        Ok(Signals { runtime, terminate, interrupt, hangup })
    }

    /// Serves until a signal ends it. SIGHUP has it look at its TLS files; from a terminal that goes away it means the
    /// end.
    fn wait(self, running: &Running) {
        let Signals { runtime, mut terminate, mut interrupt, mut hangup } = self;
        let in_terminal = std::io::stdin().is_terminal();
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    _ = hangup.recv() => {
                        if in_terminal {
                            return;
                        }
                        if !running.reload() {
                            tracing::info!("nothing to reload: there are no TLS files");
                        }
                    }
                }
            }
        });
    }
}

/// Structured logs without user data on stderr; `KEYFERRY_LOG` sets the level.
fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("KEYFERRY_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    // A second subscriber in one process is refused; the first one stays.
    // A log that cannot be written must not stop the service: what fails there is lost, not reported to itself.
    let log = tracing_subscriber::fmt().json().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = log.log_internal_errors(false).try_init();
}
