//! The user's machine: where a home's files and software keys lie, HTTP to the gateway, and the agent that carries the
//! client's flows. What is said and believed is decided in `keyferry-client`; here it is made to happen.
//!
//! Reading order: [`agent`] (what commands call), [`documents`] (what they get), [`keystore`], [`folder`], [`http`].

pub mod agent;
pub mod clock;
pub mod documents;
pub mod folder;
pub mod http;
pub mod keystore;
pub mod live;
mod platform;
pub mod random;

pub use agent::{Agent, Options};
pub use keyferry_client::flow::{FlowError, Password, Pin};
