//! Keyferry's cryptography: a type per key and its operations.
//!
//! Pure: no clock, file, socket, thread, environment or operating-system randomness. Randomness is an argument
//! ([`random::Random`]); the only exception is the ECDSA nonce, which aws-lc draws itself ([`sign`]).
//!
//! Reading order: [`label`] and [`hash`] (how every input is framed), [`secret`] (what a key is), [`kdf`] and
//! [`seal`] (how keys and sealed bytes come about), then [`tree`] (which key comes from which), and the
//! protocols [`channel`], [`oprf`], [`pin`], [`hpke`], [`sign`], [`credential`], [`cose`], [`prf`].
//!
//! Absent on purpose: any negotiation of algorithms, any parser of certificates or tokens (crate `attest`), any
//! policy (crate `engine`).

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::unwrap_used, clippy::panic)
)]

pub mod channel;
pub mod cose;
pub mod credential;
pub mod hash;
pub mod hpke;
pub mod kdf;
pub mod label;
mod mac;
pub mod oprf;
pub mod pin;
pub mod prf;
pub mod random;
pub mod release;
pub mod seal;
pub mod secret;
pub mod sign;
pub mod tree;

#[cfg(test)]
mod testing;
