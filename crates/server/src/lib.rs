//! The gateway: untrusted by design. It keeps sealed rows, publishes the ledger, carries frames between clients and
//! the enclave, and answers readers with rows and proofs that they check themselves.
//!
//! Reading order: [`store`] (what is durable), [`ledger`] (static files and proofs), [`desk`] (rows with proofs),
//! [`link`] (the seams to enclave and key broker), [`pump`] (the one writer), [`http`], and [`serve()`].
//!
//! Absent here on purpose: every secret. This crate cannot even name one: it depends on `tlog` and `wire` alone.

pub mod backup;
pub mod certificate;
pub mod desk;
pub mod http;
pub mod ledger;
pub mod link;
pub mod live;
pub mod metrics;
pub mod platform;
pub mod pump;
pub mod serve;
pub mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use desk::Desk;
pub use http::RateLimits;
pub use link::{Enclave, KeyBroker, Launcher, LinkError};
pub use platform::EnclaveCommand;
pub use serve::{CommitMode, Config, Running, StartError, TlsFiles, serve, serve_with};
pub use store::{MemoryStore, SqliteStore, Store};
