//! Tests of the public interface: every message type that the crate declares, by what it accepts and by what it
//! refuses. `table` lists the types, and a test compares the list with the sources, so that none is forgotten.
#![allow(clippy::unwrap_used, clippy::panic)]

mod accepted;
mod cddl;
mod corpus;
mod document;
mod examples;
mod fuzz;
mod item;
mod ledger;
mod limits;
mod numbers;
mod refused;
mod relying_party;
mod sources;
mod table;
