//! A command that stays and prints a line at a time.

use super::device::Device;
use super::{PATIENCE, signal, until};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

pub(crate) struct Watching {
    child: Mutex<Child>,
    lines: Mutex<Receiver<String>>,
    err: Arc<Mutex<String>>,
}

impl Watching {
    /// Starts a command on a device's home, with `--json`.
    pub(crate) fn start(device: &Device, words: &[&str]) -> Watching {
        let mut words = words.to_vec();
        words.push("--json");
        Watching::start_plain(device, &words)
    }

    pub(crate) fn start_plain(device: &Device, words: &[&str]) -> Watching {
        let mut command = Command::new(env!("CARGO_BIN_EXE_keyferry"));
        command.args(words).arg("--home").arg(&device.home);
        if let Some(ca) = &device.ca {
            command.arg("--ca").arg(ca);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let err = Arc::new(Mutex::new(String::new()));
        let (mut pipe, said) = (child.stderr.take().unwrap(), Arc::clone(&err));
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = pipe.read(&mut bytes) {
                said.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
            }
        });
        Watching { child: Mutex::new(child), lines: Mutex::new(lines), err }
    }

    /// What it said on stderr so far.
    pub(crate) fn said(&self) -> String {
        self.err.lock().unwrap().clone()
    }

    /// Waits until it has said this on stderr.
    #[track_caller]
    pub(crate) fn until_said(&self, words: &str) {
        until(words, || self.said().contains(words).then_some(()));
    }

    /// Waits until it is told of changes.
    #[track_caller]
    pub(crate) fn until_connected(&self) {
        self.until_said("watching, from entry");
    }

    /// The next line.
    #[track_caller]
    pub(crate) fn line(&self) -> String {
        let line = self.lines.lock().unwrap().recv_timeout(PATIENCE);
        line.unwrap_or_else(|_| panic!("no line came; it said: {}", self.said()))
    }

    /// The next line, which is JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let line = self.line();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }

    /// Lines up to the first that fits, it included.
    #[track_caller]
    pub(crate) fn json_until(&self, fits: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut lines = Vec::new();
        while !lines.last().is_some_and(&fits) {
            lines.push(self.json());
        }
        lines
    }

    /// Ends it as a user does; its status.
    #[track_caller]
    pub(crate) fn signalled(&self, name: &str) -> Option<i32> {
        signal(self.child.lock().unwrap().id(), name);
        self.ended().0
    }

    /// Waits for its end: its status, and the lines that nobody has taken.
    #[track_caller]
    pub(crate) fn ended(&self) -> (Option<i32>, Vec<String>) {
        let status = until("its end", || self.child.lock().unwrap().try_wait().unwrap());
        (status.code(), self.lines.lock().unwrap().iter().collect())
    }

    /// Waits for its end, which must be a refusal: the last line of stderr.
    #[track_caller]
    pub(crate) fn refused(&self) -> Value {
        let (status, _) = self.ended();
        assert_eq!(status, Some(3), "{}", self.said());
        let refusal = |said: String| serde_json::from_str(said.trim_end().lines().last()?).ok();
        until("the refusal", || refusal(self.said()))
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
