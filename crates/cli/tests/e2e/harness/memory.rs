//! The memory of a process, as root on its host reads it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

/// A range that the process can write to.
pub(crate) struct Region {
    /// Its line in the list of mappings.
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// Whether this user may read the memory of that process: it does not let others of its user.
pub(crate) fn is_readable(pid: u32) -> bool {
    File::open(format!("/proc/{pid}/mem")).is_ok()
}

/// Every writable range of a process that is not all zeros.
pub(crate) fn regions(pid: u32) -> Vec<Region> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut regions = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else { continue };
        if !rights.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (start, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(end - start).unwrap()];
        // A range may be gone again, or be the kernel's.
        if memory.read_exact_at(&mut bytes, start).is_ok() && bytes.iter().any(|byte| *byte != 0) {
            regions.push(Region { name: line.to_owned(), bytes });
        }
    }
    regions
}
