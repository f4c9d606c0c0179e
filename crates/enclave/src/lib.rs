//! The edge inside the TEE: one byte stream, randomness, a hardware report; nothing else.
//!
//! Absent here on purpose: network, files, environment, threads but for the one that makes RSA keys ahead ([`rsa`]), any
//! decision. The binary of this crate is thin, and
//! `keyferry` can start the same code as a stand-in role of its own binary.

#[cfg(feature = "sim")]
mod platform;
pub mod rsa;
#[cfg(feature = "sim")]
pub mod sim;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keyferry_crypto::random::Random;
use keyferry_engine::{Engine, Platform};
use keyferry_wire::cbor::Limits;
use keyferry_wire::door::{FromEnclave, ToEnclave};
use keyferry_wire::{Wire, limits};
use std::io::{self, Read, Write};

/// Why the enclave stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("the stream to the gateway failed")]
    Stream(#[from] io::Error),
    #[error("the gateway sent a frame of {0} bytes; at most {max} are taken", max = limits::DOOR_FRAME_MAX)]
    TooLong(usize),
    #[error("the gateway sent a frame that does not decode: {0}")]
    Malformed(keyferry_wire::DecodeError),
}

/// The operating system's randomness, which in a TEE is the processor's.
#[derive(Default)]
pub struct HardwareRandom(SystemRandom);

impl Random for HardwareRandom {
    fn fill(&mut self, out: &mut [u8]) {
        self.0.fill(out).expect("without randomness nothing may go on");
    }
}

/// Serves the gateway until it closes the stream or breaks its rules.
pub fn serve(stream: &mut (impl Read + Write), platform: &mut dyn Platform) -> Result<(), ServeError> {
    let mut engine = Engine::default();
    while let Some(frame) = read_frame(stream)? {
        let message = ToEnclave::from_bytes_within(&frame, Limits::DOOR).map_err(ServeError::Malformed)?;
        let answer = engine.handle(platform, message);
        write_frame(stream, &answer)?;
        if matches!(answer, FromEnclave::Fault(_)) {
            return Ok(());
        }
    }
    Ok(())
}

/// `None` at the end of the stream between two frames.
fn read_frame(stream: &mut impl Read) -> Result<Option<Vec<u8>>, ServeError> {
    let mut head = [0; 4];
    let mut filled = 0;
    while filled < head.len() {
        match stream.read(head.get_mut(filled..).unwrap_or_default())? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
            count => filled += count,
        }
    }
    let len = usize::try_from(u32::from_be_bytes(head)).unwrap_or(usize::MAX);
    if len > limits::DOOR_FRAME_MAX {
        return Err(ServeError::TooLong(len));
    }
    let mut frame = Vec::new();
    let taken = stream.take(u64::from(u32::from_be_bytes(head))).read_to_end(&mut frame)?;
    if taken < len {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok(Some(frame))
}

fn write_frame(stream: &mut impl Write, answer: &FromEnclave) -> Result<(), ServeError> {
    let body = answer.to_bytes();
    let len = u32::try_from(body.len()).map_err(|_| ServeError::TooLong(body.len()))?;
    let mut frame = Vec::with_capacity(body.len() + 4);
    frame.extend_from_slice(&len.to_be_bytes());
    frame.extend_from_slice(&body);
    stream.write_all(&frame)?;
    stream.flush()?;
    Ok(())
}
