//! Starting and stopping a gateway.

use crate::desk::{CACHE_BYTES, Desk, OpenDeskError};
use crate::http::{self, Edge, TlsError, TlsKeeper};
pub use crate::http::{RateLimits, TlsFiles};
use crate::ledger::{DiskFiles, LedgerFiles};
use crate::link::{KeyBroker, Launcher};
pub use crate::live::LiveLimits;
use crate::platform::EnclaveCommand;
use crate::pump::{BootError, Job, Keeper, Parts, Pump, Shared};
use crate::store::{OpenError, ReadError, SqliteStore};
use keyferry_wire::ShardId;
use std::error::Error;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// How much goes into one commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CommitMode {
    /// Whatever waits.
    #[default]
    Group,
    /// One request: what group commit is measured against.
    Each,
}

/// Everything that a gateway is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder with `store/` and `ledger/`.
    pub data: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificate and key. Without them only a loopback address is served.
    pub tls: Option<TlsFiles>,
    /// Name of the deployment, which its logs carry.
    pub name: String,
    /// Number of shards, fixed when the deployment is made.
    pub shards: u16,
    /// Requests per peer address.
    pub rates: RateLimits,
    /// Connections at a time.
    pub connections_max: usize,
    /// Those who listen, beside these connections.
    pub live: LiveLimits,
    /// Requests that may wait for the enclave.
    pub queue_max: usize,
    /// How much goes into one commit.
    pub commit: CommitMode,
    /// Threads for connections; by default one for each core that this process may use.
    pub worker_threads: usize,
    /// Bytes of rows that are kept at hand.
    pub cache_bytes: usize,
    /// Freshness anchor of the enclave's build: 0 to 3.
    pub anchor_level: u16,
    /// Stand-ins that the caller put in place, beside those that evidence and custody level show.
    pub stand_ins: Vec<String>,
}

impl Config {
    /// Defaults for a folder, an address and a name.
    pub fn new(data: impl Into<PathBuf>, listen: SocketAddr, name: impl Into<String>) -> Config {
        Config {
            data: data.into(),
            listen,
            tls: None,
            name: name.into(),
            shards: 1,
            rates: RateLimits::default(),
            connections_max: 4096,
            live: LiveLimits::default(),
            queue_max: 4096,
            commit: CommitMode::Group,
            worker_threads: thread::available_parallelism().map_or(2, usize::from),
            cache_bytes: CACHE_BYTES,
            anchor_level: 0,
            stand_ins: Vec::new(),
        }
    }
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Without TLS nobody else may listen.
    #[error("{0} is not a loopback address: give a TLS certificate and key, or listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// TLS.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Reading it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is in it.
    #[error(transparent)]
    Desk(#[from] OpenDeskError),
    /// Another deployment's folder.
    #[error("the data folder belongs to the deployment {found}, not to {asked}")]
    Name {
        /// In the store.
        found: String,
        /// In the configuration.
        asked: String,
    },
    /// Rows were damaged or exchanged.
    #[error("shard {}: the store's rows do not lead to the root in its ledger: restore it from a good copy", .0.0)]
    Rows(ShardId),
    /// The enclave.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The address.
    #[error("listening on {0}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Threads.
    #[error("starting the gateway's threads")]
    Threads(#[source] io::Error),
}

/// A gateway that serves. Dropping it stops it.
pub struct Running {
    /// Where it is reached.
    pub url: String,
    /// The address that it listens on.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    stop: watch::Sender<bool>,
    pump: Option<JoinHandle<()>>,
    runtime: Option<Runtime>,
    serving: Option<tokio::task::JoinHandle<()>>,
    /// Asks for a look at the TLS files; its end ends their keeper.
    tls: Option<Sender<()>>,
}

/// Requests on the way get so long when the gateway stops.
const STOP_GRACE: Duration = Duration::from_secs(4);

/// Starts a gateway with an enclave in a process of its own.
pub fn serve(
    config: Config,
    enclave: EnclaveCommand,
    broker: Box<dyn KeyBroker>,
) -> Result<Running, StartError> {
    serve_with(config, Box::new(enclave), broker)
}

/// Starts a gateway with any kind of enclave. Returns when it serves.
pub fn serve_with(
    config: Config,
    launcher: Box<dyn Launcher>,
    broker: Box<dyn KeyBroker>,
) -> Result<Running, StartError> {
    let tls = match &config.tls {
        Some(files) => Some((files.clone(), http::load_tls(files)?)),
        None if config.listen.ip().is_loopback() => None,
        None => return Err(StartError::NotLoopback(config.listen)),
    };
    let custody_level = broker.custody_level();
    let store = SqliteStore::open(&config.data.join("store"))?;
    let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(&config.data.join("ledger")));
    let shared = Arc::new(open(&config, &store, Arc::clone(&files))?);
    let trails = store.reader()?;
    let keeper = Keeper::start(Arc::clone(&shared), store.reader()?, Arc::clone(&files), store.mover()?)
        .map_err(StartError::Threads)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.worker_threads.max(1))
        .enable_all()
        .thread_name("keyferry-http")
        .build()
        .map_err(StartError::Threads)?;
    let (jobs, queue) = sync_channel(config.queue_max);
    let parts = Parts {
        shared: Arc::clone(&shared),
        store,
        files: Arc::clone(&files),
        launcher,
        broker,
        name: config.name.clone(),
        shards: config.shards,
        cache_bytes: config.cache_bytes,
        commit: config.commit,
        runtime: Some(runtime.handle().clone()),
        keeper: Some(keeper),
    };
    let pump = Pump::start(parts, queue)?;
    let listener = runtime
        .block_on(TcpListener::bind(config.listen))
        .map_err(|error| StartError::Listen(config.listen, error))?;
    let address = listener.local_addr().map_err(|error| StartError::Listen(config.listen, error))?;
    let pump = thread::Builder::new()
        .name("keyferry-pump".to_owned())
        .spawn(move || pump.run())
        .map_err(StartError::Threads)?;
    let url = format!("{}://{address}", if tls.is_some() { "https" } else { "http" });
    let (tls, acceptor) = match tls {
        Some((files, pair)) => {
            let (keeper, acceptor) = TlsKeeper::start(files, &pair, Arc::clone(&shared.metrics));
            (Some(keep_tls(keeper)?), Some(acceptor))
        }
        None => (None, None),
    };
    let edge = Edge::new(&config, custody_level, Arc::clone(&shared), jobs.clone(), files, trails);
    let (stop, stopped) = watch::channel(false);
    let serving = runtime.spawn(http::accept(listener, acceptor, edge, config.connections_max, stopped));
    Ok(Running {
        url,
        address,
        shared,
        jobs,
        stop,
        pump: Some(pump),
        runtime: Some(runtime),
        serving: Some(serving),
        tls,
    })
}

/// Looks after the TLS files in a thread of its own, since reading them may wait for a disk.
fn keep_tls(keeper: TlsKeeper) -> Result<Sender<()>, StartError> {
    let (ask, asked) = channel();
    thread::Builder::new()
        .name("keyferry-tls".to_owned())
        .spawn(move || keeper.run(&asked))
        .map_err(StartError::Threads)?;
    Ok(ask)
}

/// Reads the store and checks that it belongs here and fits together.
fn open(config: &Config, store: &SqliteStore, files: Arc<dyn LedgerFiles>) -> Result<Shared, StartError> {
    let reader = store.reader()?;
    reader.refresh()?;
    let mut desk = Desk::open(&reader, files, config.shards, config.cache_bytes)?;
    if let Some(service) = desk.service().filter(|service| service.name != config.name) {
        return Err(StartError::Name { found: service.name.clone(), asked: config.name.clone() });
    }
    if let Some(shard) = desk.shards_with_wrong_rows().first() {
        return Err(StartError::Rows(*shard));
    }
    Ok(Shared::new(desk, reader).with_live(config.live))
}

impl Running {
    /// The process of the gateway.
    pub fn gateway_pid(&self) -> u32 {
        std::process::id()
    }

    /// The enclave's process, if it has one and serves.
    pub fn enclave_pid(&self) -> Option<u32> {
        self.shared.published().and_then(|published| published.pid)
    }

    /// Looks at the TLS files now; whether there are any.
    pub fn reload(&self) -> bool {
        self.tls.as_ref().is_some_and(|ask| ask.send(()).is_ok())
    }

    /// Waits until the gateway ends by itself, which it does only when something in it broke.
    pub fn wait(&mut self) {
        if let Some(pump) = self.pump.take() {
            // A panic was printed by its own thread.
            let _ = pump.join();
        }
    }

    /// Stops listening, finishes what is on the way, closes the store and ends the enclave; within five seconds.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.stop.send(true);
        self.shared.live.close();
        if let (Some(runtime), Some(serving)) = (&self.runtime, self.serving.take()) {
            let live = Arc::clone(&self.shared.live);
            let ended = async {
                // A panic of the accept loop was printed by its own thread.
                let _ = serving.await;
                live.ended().await;
            };
            let _ = runtime.block_on(async { tokio::time::timeout(STOP_GRACE, ended).await });
        }
        // A full queue is emptied by the pump, which then sees this.
        let _ = self.jobs.send(Job::Stop);
        self.wait();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_millis(500));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// An error with all of its causes, for the operator.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
