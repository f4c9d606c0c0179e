//! The trusted state machine against an honest, a forgetful and an evil host, and against clients of all kinds.
//! Host and client are written here from the protocol alone; they share no code with the real ones.
#![allow(clippy::unwrap_used, clippy::panic)]

mod account;
mod algorithms;
mod channel;
mod client;
mod extensions;
mod host;
mod lying_store;
mod operations;
mod passkey;
mod pin;
mod pin_limit;
mod pin_set;
mod platform;
mod shards;
mod start;
mod world;
