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
    /// Starts of which the median counts.
    pub(crate) starts: usize,
    /// Passkeys of a full sync, and requests of a round of either kind.
    pub(crate) synced: usize,
    pub(crate) syncs: usize,
    pub(crate) full_syncs: usize,
    /// Changes of a round that other devices see.
    pub(crate) changes: usize,
    /// Vaults and deployments of growing size.
    pub(crate) vaults: &'static [usize],
    pub(crate) deployments: &'static [usize],
    /// Assertions of a round in each deployment.
    pub(crate) growth_round: usize,
    /// Accounts in the authenticated map of the ledger measurement, and leaves of a round.
    pub(crate) mapped: usize,
    pub(crate) leaves: usize,
    pub(crate) cpu: measure::Effort,
    pub(crate) disk: disk::Effort,
}

impl Settings {
    pub(crate) fn full(cores: Cores, folder: PathBuf, shards: u16) -> Settings {
        Settings {
            quick: false,
            cores,
            folder,
            shards,
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
            starts: 5,
            synced: 100,
            syncs: 20_000,
            full_syncs: 2_000,
            changes: 60,
            vaults: &[10, 100, 1_000, 10_000],
            deployments: &[1_000, 10_000, 100_000, 1_000_000],
            growth_round: 1_200,
            mapped: 1_000_000,
            leaves: 100_000,
            cpu: measure::Effort::LONG,
            disk: disk::Effort::LONG,
        }
    }

    pub(crate) fn quick(cores: Cores, folder: PathBuf, shards: u16) -> Settings {
        Settings {
            quick: true,
            accounts: 500,
            fresh: 100,
            // A device signs in 120 times a minute at most: 500 accounts bear no longer rounds.
            round: 1_500,
            each_round: 300,
            attempts: 200,
            many_accounts: 2_000,
            many_assertions: 2_000,
            syncs: 1_500,
            full_syncs: 200,
            changes: 10,
            vaults: &[10, 100],
            deployments: &[200, 1_000, 5_000],
            growth_round: 250,
            mapped: 20_000,
            leaves: 10_000,
            cpu: measure::Effort::SHORT,
            disk: disk::Effort::SHORT,
            ..Settings::full(cores, folder, shards)
        }
    }

    /// How a gateway of this run is started.
    pub(crate) fn gateway<'a>(
        &self,
        folder: &'a Path,
        core: Option<usize>,
        commit: CommitMode,
    ) -> GatewayPlan<'a> {
        GatewayPlan { folder, shards: self.shards, core, commit, cache: None }
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

    /// Says of a figure of another size than asked for that it is not judged.
    pub(crate) fn judged_at_full_size(&self, row: Row) -> Row {
        if self.quick { row.unjudged("not measured at full size") } else { row }
    }

    /// HTTP requests of one slice of the hello.
    pub(crate) fn hellos(&self) -> usize {
        if self.quick { 4_000 } else { 10_000 }
    }
}
