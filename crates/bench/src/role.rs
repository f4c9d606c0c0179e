//! The measured processes: this program again, in a hidden role. A role serves until its standard input ends, so that
//! no process outlives the bench.

use crate::calls::{self, CountingPlatform, Tally};
use crate::carrier::Peer;
use crate::host::{self, Process};
use crate::token::BenchToken;
use crate::{Fallible, platform, stub};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use clap::{Args, Subcommand};
use keyferry_server::serve::RateLimits;
use keyferry_server::{CommitMode, Config, EnclaveCommand, serve};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Roles of the measured processes; not for people.
#[derive(Subcommand, Clone)]
pub(crate) enum Role {
    /// The real gateway, which starts the real enclave.
    #[command(name = "role-gateway", hide = true)]
    Gateway(Gateway),
    /// The enclave, started by the gateway.
    #[command(name = "role-enclave", hide = true)]
    Enclave(Enclave),
    /// The stub path and the HTTP hello.
    #[command(name = "role-stub", hide = true)]
    Stub(Stub),
}

#[derive(Args, Clone)]
pub(crate) struct Gateway {
    /// Data folder.
    #[arg(long)]
    folder: PathBuf,
    /// Number of shards.
    #[arg(long)]
    shards: u16,
    /// Core to run on; both where it is left out.
    #[arg(long)]
    core: Option<usize>,
    /// One operation per commit.
    #[arg(long)]
    each: bool,
    /// Bytes of rows that are kept at hand; the gateway's default where it is left out.
    #[arg(long)]
    cache: Option<usize>,
}

#[derive(Args, Clone)]
pub(crate) struct Enclave {
    /// Where calls to the attestation hardware are counted.
    #[arg(long)]
    calls: PathBuf,
}

#[derive(Args, Clone)]
pub(crate) struct Stub {
    /// Core to run on.
    #[arg(long)]
    core: usize,
}

/// Name of the deployment that is measured.
pub(crate) const NAME: &str = "bench.example";

impl Role {
    pub(crate) fn run(self) -> Fallible<()> {
        match self {
            Role::Gateway(gateway) => gateway.run(),
            Role::Enclave(enclave) => enclave.run(),
            Role::Stub(stub) => stub.run(),
        }
    }
}

impl Gateway {
    fn run(self) -> Fallible<()> {
        if let Some(core) = self.core {
            host::pin(core)?;
        }
        let mut config = Config::new(self.folder, ([127, 0, 0, 1], 0).into(), NAME);
        config.shards = self.shards;
        config.rates = UNLIMITED;
        config.commit = if self.each { CommitMode::Each } else { CommitMode::Group };
        config.cache_bytes = self.cache.unwrap_or(config.cache_bytes);
        std::fs::create_dir_all(&config.data)?;
        let calls = calls::attestation_file(&config.data);
        let args = vec!["role-enclave".into(), "--calls".into(), calls.into()];
        let enclave = EnclaveCommand { program: std::env::current_exe()?, args };
        let token = BenchToken::counting(&config.data)?;
        let running = serve(config, enclave, Box::new(token))?;
        let enclave = running.enclave_pid().ok_or("the enclave has no process")?;
        announce(&json!({ "address": running.address.to_string(), "pids": [std::process::id(), enclave] }))?;
        wait_for_end();
        running.stop();
        Ok(())
    }
}

impl Enclave {
    fn run(self) -> Fallible<()> {
        let mut stream = platform::stdin_stream()?;
        let mut platform = CountingPlatform::new(Tally::open(&self.calls)?);
        Ok(keyferry_enclave::serve(&mut stream, &mut platform)?)
    }
}

/// The load comes from one address: its limits would be measured, not the service.
const UNLIMITED: RateLimits = RateLimits {
    per_second: u32::MAX,
    burst: u32::MAX,
    sessions_per_second: u32::MAX,
    sessions_burst: u32::MAX,
};

impl Stub {
    fn run(self) -> Fallible<()> {
        host::pin(self.core)?;
        // A thread for each core that it may use, as the gateway.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let (address, peer) = stub::start(&runtime)?;
        announce(&json!({
            "address": address.to_string(),
            "pids": [std::process::id()],
            "channel": BASE64.encode(peer.public),
        }))?;
        wait_for_end();
        runtime.shutdown_background();
        Ok(())
    }
}

fn announce(ready: &Value) -> Fallible<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{ready}")?;
    Ok(out.flush()?)
}

fn wait_for_end() {
    // Whether the other end closed the pipe or died, this is the end.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
}

/// A measured service: its processes, and where it is reached.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) processes: Vec<Process>,
    ready: Value,
}

/// How a gateway is to be started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GatewayPlan<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) shards: u16,
    pub(crate) core: Option<usize>,
    pub(crate) commit: CommitMode,
    pub(crate) cache: Option<usize>,
}

impl Service {
    pub(crate) fn gateway(plan: GatewayPlan<'_>) -> Fallible<Service> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("role-gateway").arg("--folder").arg(plan.folder);
        command.args(["--shards", &plan.shards.to_string()]);
        if let Some(core) = plan.core {
            command.args(["--core", &core.to_string()]);
        }
        if plan.commit == CommitMode::Each {
            command.arg("--each");
        }
        if let Some(bytes) = plan.cache {
            command.args(["--cache", &bytes.to_string()]);
        }
        Service::start(command)
    }

    pub(crate) fn stub(core: usize) -> Fallible<Service> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["role-stub", "--core", &core.to_string()]);
        Service::start(command)
    }

    fn start(mut command: Command) -> Fallible<Service> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let out = child.stdout.take().ok_or("a child without standard output")?;
        let mut line = String::new();
        BufReader::new(out).read_line(&mut line)?;
        let ready: Value = serde_json::from_str(&line)
            .map_err(|_| "a measured process did not start: see its words above")?;
        let address = ready.get("address").and_then(Value::as_str).ok_or("no address")?.parse()?;
        let pids = ready.get("pids").and_then(Value::as_array).ok_or("no pids")?;
        let pids = pids.iter().filter_map(|pid| u32::try_from(pid.as_u64()?).ok());
        Ok(Service { child, address, processes: pids.map(|pid| Process { pid }).collect(), ready })
    }

    /// Whom the stub's channels are opened with.
    pub(crate) fn stub_peer(&self) -> Fallible<Peer> {
        let text = self.ready.get("channel").and_then(Value::as_str).ok_or("not a stub")?;
        let public = BASE64.decode(text)?.try_into().map_err(|_| "not a point")?;
        Ok(Peer { evidence: stub::NO_EVIDENCE, public })
    }

    /// CPU time of each process so far.
    pub(crate) fn cpu_ns(&self) -> Fallible<Vec<u64>> {
        self.processes.iter().map(|process| process.cpu_ns()).collect()
    }

    /// Ends it as an operator does: cleanly.
    pub(crate) fn stop(mut self) -> Fallible<()> {
        drop(self.child.stdin.take());
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("a measured process ended with {status}").into()) }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
