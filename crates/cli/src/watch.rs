//! `keyferry watch`: an account's ledger entries as they come, in plain words or as JSON lines; and `sync --follow`.
//!
//! Entries go to stdout; what concerns the connection goes to stderr.

mod words;

use crate::args::{Home, Sync, Watch as Arguments};
use crate::commands::{agent_options, synced};
use crate::output::Failure;
use crate::table;
use keyferry_client::audit::Entry;
use keyferry_device::agent::{News, Since, Watch};
use keyferry_device::documents::AuditLine;
use std::io::{ErrorKind, IsTerminal, Write};
use std::time::{Duration, Instant};
use words::Style;

/// The longest wait at a time; nothing depends on it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the end waits for a line that is being written.
const END_WAIT: Duration = Duration::from_secs(1);

/// How much is waited for.
struct Goal {
    /// Of entries or changes.
    left: Option<u64>,
    until: Option<Instant>,
}

pub(crate) fn run(arguments: &Arguments, json: bool) -> Result<(), Failure> {
    end_on_signal()?;
    let since = match (arguments.from_start, arguments.since) {
        (true, _) => Since::Entry(0),
        (false, Some(seq)) => Since::Entry(seq),
        (false, None) => Since::Now,
    };
    let style = if json { Style::Json } else { words::style_of(std::io::stdout().is_terminal()) };
    let mut goal = Goal {
        left: arguments.count,
        until: arguments.timeout.map(|secs| Instant::now() + Duration::from_secs(secs)),
    };
    let Home { home, ca } = &arguments.home;
    let mut watch = Watch::entries(home, agent_options(ca, None), since)?;
    follow_news(&mut watch, &mut goal, |news, goal| match news {
        News::Entries(entries) => entries.iter().try_for_each(|entry| goal.show(&line(entry, style)?)),
        News::Synced(_) | News::Lost(_) | News::Found => Ok(()),
    })
}

/// `keyferry sync --follow`.
pub(crate) fn follow(arguments: &Sync, json: bool) -> Result<(), Failure> {
    end_on_signal()?;
    let Home { home, ca } = &arguments.home;
    let mut watch = Watch::vault(home, agent_options(ca, None))?;
    let mut goal = Goal { left: arguments.count, until: None };
    follow_news(&mut watch, &mut goal, |news, goal| match news {
        News::Synced(done) => {
            let document = synced(done)?;
            let first_line = document.text.lines().next().unwrap_or_default().to_owned();
            goal.show(&if json { document.json.to_string() } else { first_line })
        }
        News::Entries(_) | News::Lost(_) | News::Found => Ok(()),
    })
}

/// Tells news until there was enough of them.
fn follow_news(
    watch: &mut Watch,
    goal: &mut Goal,
    mut tell: impl FnMut(&News, &mut Goal) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut announced = false;
    for line in table::standing(watch.standing()).lines().filter(|line| !line.is_empty()) {
        note(line);
    }
    loop {
        if !announced && watch.is_connected() {
            announced = true;
            note(&format!("watching, from entry {} on", watch.seq()));
        }
        match watch.next(goal.patience())? {
            Some(News::Lost(why)) => note(&format!("the connection is lost and sought again: {why}")),
            Some(News::Found) => note("the connection is back: what was missed follows"),
            Some(news) => tell(&news, goal)?,
            None => {}
        }
        if goal.is_reached() {
            return Ok(());
        }
        if goal.is_late() {
            return goal.missed();
        }
    }
}

impl Goal {
    fn patience(&self) -> Duration {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        left.unwrap_or(PATIENCE).min(PATIENCE)
    }

    /// Prints a line, unless there were enough.
    fn show(&mut self, line: &str) -> Result<(), Failure> {
        if self.is_reached() {
            return Ok(());
        }
        let mut out = std::io::stdout().lock();
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // Whoever read has gone: nothing more is wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.left = Some(0),
            other => {
                other?;
                self.left = self.left.map(|left| left.saturating_sub(1));
            }
        }
        Ok(())
    }

    fn is_reached(&self) -> bool {
        self.left == Some(0)
    }

    fn is_late(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() >= until)
    }

    fn missed(&self) -> Result<(), Failure> {
        match self.left {
            None => Ok(()),
            Some(left) => Err(Failure::Fault(format!("{left} more entries were waited for in vain"))),
        }
    }
}

/// One entry, one line.
fn line(entry: &Entry, style: Style) -> Result<String, Failure> {
    match style {
        Style::Json => {
            serde_json::to_string(&AuditLine::from(entry)).map_err(|error| Failure::Fault(error.to_string()))
        }
        Style::Plain | Style::Colour => Ok(words::line(entry, style)),
    }
}

/// What concerns the watch itself. Nobody is left to tell when stderr is closed.
fn note(sentence: &str) {
    let _ = writeln!(std::io::stderr().lock(), "keyferry: {}", table::printable(sentence));
}

/// SIGINT and SIGTERM end it well, between two lines: files of the home are written whole or not at all.
fn end_on_signal() -> Result<(), Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        until_between_lines();
        std::process::exit(0)
    });
    Ok(())
}

/// Waits until no line is half written, unless whoever should read it does not.
fn until_between_lines() {
    let (free, wait) = std::sync::mpsc::channel::<()>();
    std::thread::spawn(move || {
        let _between_lines = std::io::stdout().lock();
        drop(free);
        std::thread::park();
    });
    // Either way it ends.
    let _ = wait.recv_timeout(END_WAIT);
}
