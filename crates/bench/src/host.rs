//! The machine: cores, CPU clocks of processes, resident memory, and what to write down about it.
//!
//! CPU time of a process is its POSIX CPU clock (`clock_getcpuclockid`): user and system time of all of its threads,
//! those that have ended included, in nanoseconds from the scheduler. `/proc/PID/schedstat` has the first thread alone.

use crate::Fallible;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::statfs::{EXT4_SUPER_MAGIC, TMPFS_MAGIC, statfs};
use nix::time::{ClockId, clock_getcpuclockid, clock_gettime};
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where this process and the measured ones run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cores {
    pub(crate) load: usize,
    pub(crate) server: usize,
}

impl Cores {
    /// The first and the last core that this process may use; one and the same where there is one alone.
    pub(crate) fn pick() -> Fallible<Cores> {
        let allowed = sched_getaffinity(Pid::from_raw(0))?;
        let cores: Vec<_> =
            (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false)).collect();
        match (cores.first(), cores.last()) {
            (Some(load), Some(server)) => Ok(Cores { load: *load, server: *server }),
            _ => Err("no core to run on".into()),
        }
    }

    /// Gives this thread both cores: while data is made, nothing is measured.
    pub(crate) fn use_both(self) -> Fallible<()> {
        let mut set = CpuSet::new();
        set.set(self.load)?;
        set.set(self.server)?;
        Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
    }
}

/// Binds this thread, and those that it will start, to one core.
pub(crate) fn pin(core: usize) -> Fallible<()> {
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// CPU time of this thread.
pub(crate) fn thread_cpu_ns() -> u64 {
    clock_ns(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap_or(0)
}

fn clock_ns(clock: ClockId) -> Fallible<u64> {
    let time = clock_gettime(clock)?;
    Ok(u64::try_from(time.tv_sec())? * 1_000_000_000 + u64::try_from(time.tv_nsec())?)
}

/// CPU time of another process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
}

impl Process {
    pub(crate) fn cpu_ns(self) -> Fallible<u64> {
        clock_ns(clock_getcpuclockid(Pid::from_raw(i32::try_from(self.pid)?))?)
    }

    /// Resident memory in KiB: all of it, and the part that is the process's own (no file behind it).
    pub(crate) fn resident_kib(self) -> Fallible<(u64, u64)> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        field("VmRSS:").zip(field("RssAnon:")).ok_or_else(|| "no VmRSS in /proc/PID/status".into())
    }
}

/// What the figures were measured on.
pub(crate) fn machine(data: &Path, cores: Cores) -> Value {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory.lines().next().and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "cpu": model.trim_start_matches([' ', '\t', ':']),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "load_core": cores.load,
        "server_core": cores.server,
        "kernel": kernel.trim(),
        "memory_mib": memory.map(|kib| kib / 1024),
        "load_average_at_start": load.split_whitespace().next(),
        "file_system": file_system(data),
    })
}

/// Whether a folder needs no disk.
pub(crate) fn is_in_memory(folder: &Path) -> bool {
    statfs(folder).is_ok_and(|found| found.filesystem_type() == TMPFS_MAGIC)
}

/// Bytes that may be written there.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let found = statfs(folder).ok()?;
    Some(found.blocks_available() * u64::try_from(found.block_size()).ok()?)
}

fn file_system(folder: &Path) -> String {
    match statfs(folder).map(|found| found.filesystem_type()) {
        Ok(TMPFS_MAGIC) => "tmpfs: no disk, so figures with a sync mean nothing".to_owned(),
        Ok(EXT4_SUPER_MAGIC) => "ext4".to_owned(),
        Ok(other) => format!("{other:?}"),
        Err(error) => error.to_string(),
    }
}

/// The present time in RFC 3339, in UTC.
pub(crate) fn now_rfc3339() -> String {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (secs / 86_400, secs % 86_400);
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days from the 1st of March of year 0.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_date_has_the_form_of_rfc_3339() {
        let now = super::now_rfc3339();
        assert_eq!(now.len(), 20);
        assert!(now.starts_with("20") && now.ends_with('Z'), "{now}");
    }
}
