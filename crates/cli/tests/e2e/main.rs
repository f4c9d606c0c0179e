//! End to end: the program `keyferry` as its users and its enemies meet it. Nothing is mocked; the service, every device
//! and every relying party are processes of their own, and whoever attacks has what the host's administrator has.
//!
//! Reading order: [`harness`] (service, device, relying party, waiting), then a module per promise.
//!
//! Each test has its own folder and its own ports. Whatever is waited for is a condition with a generous limit.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that meets something else than it expects ends"
)]

mod harness;

mod api;
mod audit;
mod backup;
mod commands;
mod conflict;
mod crash;
mod doctor;
mod memory;
mod options;
mod pages;
mod pin;
mod secrecy;
mod separation;
mod signing;
mod tls;
mod trouble;
mod units;
mod upgrade;
mod watch;
