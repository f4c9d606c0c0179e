//! Files of the ledger that are made again from the store: the walk over the leaves is done without the desk, so that no
//! writer waits for it.

use super::Desk;
use crate::ledger::{Repair, RepairError};

impl Desk {
    /// What has to be made again before anything else is published, shard by shard.
    pub fn repairs(&self) -> Vec<Repair> {
        self.shards.iter().filter_map(|shard| shard.log.repair()).collect()
    }

    /// Takes note of what became of a repair. One that failed otherwise than by changed leaves is tried again.
    pub fn repaired(&mut self, repair: &Repair, outcome: &Result<(), RepairError>) {
        let Some(shard) = self.shards.get_mut(usize::from(repair.shard.0)) else { return };
        match outcome {
            Ok(()) => shard.log.repaired(repair),
            Err(RepairError::Damaged(_)) => shard.log.beyond_repair(),
            Err(RepairError::Store(_) | RepairError::Files(_) | RepairError::BrokenOff) => {}
        }
    }
}
