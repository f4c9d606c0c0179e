//! What tests break on purpose, to show that an oracle bites.

/// One thing that is wrong with the host or the program. Some are done by the gateway or the devices, the others by the
/// test itself; either way the judge then does not take the host for a fair one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The enclave is told that a batch is durable before it is.
    SpeakBeforeCommit,
    /// After each wrong PIN the host puts the disk of before back.
    ForgetTheCount,
    /// A restart brings back a disk that lacks the last acknowledged writes.
    LoseAWrite,
    /// A PIN is written beside the rows.
    LeakAPin,
    /// Devices believe the gateway, which shows yesterday's rows.
    BelieveStaleRows,
}
