//! `keyferry up` as a process.

use super::{PATIENCE, traces, until};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

pub(crate) struct Service {
    child: Child,
    data: PathBuf,
    args: Vec<String>,
    pub(crate) url: String,
    /// The ready line.
    pub(crate) ready: Value,
    /// From the start of the process to the ready line.
    pub(crate) took: Duration,
}

/// A service that did not start.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: Option<i32>,
    /// What this start wrote to stderr.
    pub(crate) said: String,
}

impl Service {
    #[track_caller]
    pub(crate) fn start(data: &Path, args: &[&str]) -> Service {
        let started = Service::try_start(data, "127.0.0.1:0", args);
        // `cargo test -p keyferry-cli` leaves the enclave's program beside it as it was.
        let hint = "(an old keyferry-enclave beside it? `cargo build --workspace`)";
        started.unwrap_or_else(|refused| panic!("the service did not start {hint}: {refused:?}"))
    }

    pub(crate) fn try_start(data: &Path, listen: &str, args: &[&str]) -> Result<Service, Refused> {
        let log = log_of(data);
        let said_before = fs::metadata(&log).map_or(0, |log| log.len());
        let begun = Instant::now();
        let mut child = spawn(data, listen, args);
        let line = first_line(&mut child);
        let took = begun.elapsed();
        let Some(line) = line else {
            // It may have closed its output and hang; it is ours to end either way.
            let status = until("the end of a service that did not start", || child.try_wait().unwrap());
            let said = fs::read(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said[usize::try_from(said_before).unwrap()..]).into_owned();
            return Err(Refused { status: status.code(), said });
        };
        let ready: Value = serde_json::from_str(&line).expect("the ready line is JSON");
        assert_eq!(ready["ready"], true, "{line}");
        let url = ready["url"].as_str().expect("the ready line has the url").to_owned();
        if let Ok(token) = fs::read(data.join("token/root.key")) {
            traces::declare("root key", &token[token.len().saturating_sub(32)..]);
        }
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Ok(Service { child, data: data.to_path_buf(), args, url, ready, took })
    }

    /// Starts again on the same folder and address, after it was stopped or killed.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.try_start_again()
            .unwrap_or_else(|refused| panic!("the service did not start again: {refused:?}"));
    }

    /// The same, for a folder that somebody has been at.
    pub(crate) fn try_start_again(&mut self) -> Result<(), Refused> {
        self.try_start_on(&self.data.clone())
    }

    /// The same address, another folder.
    pub(crate) fn try_start_on(&mut self, data: &Path) -> Result<(), Refused> {
        let address = self.address().to_owned();
        let args = self.args.clone();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        // Somebody's outgoing connection may have our port for a moment.
        *self = until("our address", || match Service::try_start(data, &address, &args) {
            Err(refused) if refused.said.to_lowercase().contains("address already in use") => None,
            other => Some(other),
        })?;
        Ok(())
    }

    /// Stops it as a service manager does; it must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.keep_what_it_shows();
        signal(self.pid(), "TERM");
        let status = self.ended();
        assert_eq!(status.code(), Some(0), "SIGTERM stops it cleanly; it said:\n{}", self.log());
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        signal(self.pid(), "KILL");
        self.ended();
    }

    /// Starts again, after it was stopped or killed, and is killed once more before it can be ready.
    pub(crate) fn start_again_and_kill(&self, after: Duration) {
        let args: Vec<_> = self.args.iter().map(String::as_str).collect();
        let mut child = spawn(&self.data, self.address(), &args);
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        until("the end of the service", || self.child.try_wait().unwrap())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The enclave that runs now; it has another id after each restart.
    #[track_caller]
    pub(crate) fn enclave_pid(&self) -> u32 {
        until("an enclave", || children(self.pid()).first().copied())
    }

    /// HOST:PORT.
    pub(crate) fn address(&self) -> &str {
        self.url.split_once("://").map_or(self.url.as_str(), |(_, rest)| rest).trim_end_matches('/')
    }

    pub(crate) fn data(&self) -> &Path {
        &self.data
    }

    /// Everything that it ever wrote to stderr.
    pub(crate) fn log(&self) -> String {
        let log = log_of(&self.data);
        // Not of a device file, which has no end.
        let bytes = fs::metadata(&log).is_ok_and(|log| log.is_file()).then(|| fs::read(&log).ok()).flatten();
        String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned()
    }

    pub(crate) fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.url.trim_end_matches('/'));
        ureq::get(&url).call().unwrap().body_mut().read_to_string().unwrap()
    }

    /// Its pages without an owner, and what it answers to nonsense, for the search at the end of all tests.
    fn keep_what_it_shows(&self) {
        // Tests have no certificates to believe.
        if !traces::are_kept() || !self.url.starts_with("http://") {
            return;
        }
        let agent = ureq::Agent::config_builder().http_status_as_error(false);
        // Whatever hangs is not what this is about.
        let agent = agent.timeout_global(Some(Duration::from_secs(2))).build().new_agent();
        let url = |path: &str| format!("{}{path}", self.url.trim_end_matches('/'));
        let nonsense: &[u8] = b"\xa1\x01canary";
        let asked = ["/metrics", "/v1/status", "/v1/evidence", "/v1/nothing", "/v1/requests"]
            .map(|path| agent.get(url(path)).call());
        let told = ["/v1/requests", "/v1/sessions"].map(|path| agent.post(url(path)).send(nonsense));
        for mut answer in asked.into_iter().chain(told).flatten() {
            let status = answer.status().as_u16();
            let body = answer.body_mut().read_to_string().unwrap_or_default();
            traces::keep("http", format!("{status} {body}\n").as_bytes());
        }
    }

    /// A counter without labels.
    #[track_caller]
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no metric {name} in\n{text}"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if !std::thread::panicking() && matches!(self.child.try_wait(), Ok(None)) {
            self.keep_what_it_shows();
        }
        // The enclave ends by itself when its stream does.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- stderr of the service on {}\n{}---", self.data.display(), self.log());
        }
    }
}

fn spawn(data: &Path, listen: &str, args: &[&str]) -> Child {
    let log = OpenOptions::new().create(true).append(true).open(log_of(data)).unwrap();
    Command::new(env!("CARGO_BIN_EXE_keyferry"))
        .args(["up", "--rate", "100000", "--json", "--listen", listen, "--data"])
        .arg(data)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log_of(data: &Path) -> PathBuf {
    data.with_extension("stderr.log")
}

fn first_line(child: &mut Child) -> Option<String> {
    let out = child.stdout.take().expect("stdout is a pipe");
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut lines = BufReader::new(out).lines();
        let _ = sender.send(lines.next());
        // Whatever else it says must not block it.
        lines.for_each(drop);
    });
    receiver.recv_timeout(PATIENCE).ok().flatten().and_then(Result::ok)
}

pub(crate) fn signal(pid: u32, name: &str) {
    // It may have ended meanwhile; whoever cares waits for its end.
    let kill = Command::new("sh").args(["-c", &format!("kill -{name} {pid}")]).stderr(Stdio::null()).status();
    kill.unwrap();
}

pub(crate) fn is_alive(pid: u32) -> bool {
    status_field(pid, "State:").is_some_and(|state| !state.starts_with('Z'))
}

/// Processes that this one started and that still run.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parent = parent.to_string();
    pids.filter(|pid| is_alive(*pid) && status_field(*pid, "PPid:").as_deref() == Some(&parent)).collect()
}

fn status_field(pid: u32, name: &str) -> Option<String> {
    let file = File::open(format!("/proc/{pid}/status")).ok()?;
    let mut lines = BufReader::new(file).lines().map_while(Result::ok);
    lines.find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
}
