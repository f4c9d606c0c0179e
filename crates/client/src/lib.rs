//! The user's side of Keyferry as state machines: enrol, join, PIN, create, assert, sync, audit.
//!
//! Reading order: [`evidence`] (whom to believe), [`session`] and [`exchange`] (how a request travels and what of a
//! reply is believed), [`home`] (what a device keeps), [`flow`] (what is said in which order), [`proof`], [`sync`],
//! [`audit`] and [`live`] (how the gateway's data is checked, and its hints), [`webauthn`] (options in, credentials out).
//!
//! Absent here on purpose: clock, files, sockets, threads, environment, randomness of the operating system, async.
//! Time and randomness are arguments; whoever drives a [`flow::Flow`] carries its calls, by HTTP or in a simulator.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::unwrap_used, clippy::panic)
)]

pub mod audit;
pub mod base64url;
pub mod evidence;
pub mod exchange;
pub mod flow;
pub mod home;
pub mod live;
pub mod proof;
pub mod session;
pub mod sync;
pub mod webauthn;

#[cfg(test)]
mod testing;
