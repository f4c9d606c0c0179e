//! The gateway.
pub mod desk;
pub mod ledger;
pub mod store;
