//! How large a run is.

use crate::host::Cores;
use crate::report::Row;
use crate::role::GatewayPlan;
use crate::{disk, measure};
use keyferry_server::CommitMode;
use std::path::{Path, PathBuf};

pub(crate) struct Settings {
    pub(crate) quick: bool,
    pub(crate) cores: Cores,
    /// Where stores are made, on the disk that is measured.
    pub(crate) folder: PathBuf,
    pub(crate) shards: u16,
    pub(crate) threads: usize,
    pub(crate) connections: usize,
    pub(crate) accounts: usize,
    pub(crate) passkeys: usize,
    /// Accounts besides, whose devices did nothing but create passkeys.
    pub(crate) fresh: usize,
    /// Interleaved rounds, and operations in each.
    pub(crate) rounds: usize,
    pub(crate) round: usize,
    /// Operations of a round with one commit each, and PIN attempts of a round.
    pub(crate) each_round: usize,
    pub(crate) attempts: usize,
    /// Accounts of the memory measurement, and assertions before it.
    pub(crate) many_accounts: usize,
    pub(crate) many_assertions: usize,
    pub(crate) cpu: measure::Effort,
    pub(crate) disk: disk::Effort,
}

impl Settings {
    pub(crate) fn full(cores: Cores, folder: PathBuf, shards: u16, threads: usize) -> Settings {
        Settings {
            quick: false,
            cores,
            folder,
            shards,
            threads,
            connections: 64,
            accounts: 10_000,
            passkeys: 10,
            fresh: 500,
            rounds: 5,
            round: 10_000,
            each_round: 1_500,
            attempts: 1_000,
            many_accounts: 100_000,
            many_assertions: 10_000,
            cpu: measure::Effort::LONG,
            disk: disk::Effort::LONG,
        }
    }

    pub(crate) fn quick(cores: Cores, folder: PathBuf, shards: u16, threads: usize) -> Settings {
        Settings {
            quick: true,
            accounts: 500,
            fresh: 100,
            // A device signs in 120 times a minute at most: 500 accounts bear no longer rounds.
            round: 1_500,
            each_round: 300,
            attempts: 200,
            many_accounts: 5_000,
            many_assertions: 2_000,
            cpu: measure::Effort::SHORT,
            disk: disk::Effort::SHORT,
            ..Settings::full(cores, folder, shards, threads)
        }
    }

    /// How a gateway of this run is started.
    pub(crate) fn gateway<'a>(
        &self,
        folder: &'a Path,
        core: Option<usize>,
        commit: CommitMode,
    ) -> GatewayPlan<'a> {
        GatewayPlan { folder, shards: self.shards, threads: self.threads, core, commit }
    }

    /// Says with a figure that its data was small.
    pub(crate) fn small_note(&self, row: Row) -> Row {
        if self.quick {
            let accounts = self.accounts;
            row.note(format!("--quick: {accounts} accounts instead of 10000, short rounds"))
        } else {
            row
        }
    }

    /// HTTP requests of one slice of the hello.
    pub(crate) fn hellos(&self) -> usize {
        if self.quick { 4_000 } else { 10_000 }
    }
}
