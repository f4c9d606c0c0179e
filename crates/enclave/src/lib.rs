//! The edge inside the TEE: one byte stream, randomness, a hardware report; nothing else.
//!
//! Absent here on purpose: network, files, environment, threads but for the one that makes RSA keys ahead ([`rsa`]), any
//! decision. The binary of this crate is thin, and
//! `keyferry` can start the same code as a stand-in role of its own binary.

pub mod platform;
pub mod rsa;
#[cfg(feature = "sim")]
pub mod sim;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use keyferry_crypto::random::Random;
use keyferry_engine::{Engine, Platform};
use keyferry_wire::cbor::Limits;
use keyferry_wire::door::{FromEnclave, ToEnclave};
use keyferry_wire::{Wire, Writer, limits};
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
    let (mut taken, mut given) = (Vec::new(), Vec::new());
    while let Some(frame) = read_frame(stream, &mut taken)? {
        let message = ToEnclave::from_bytes_within(frame, Limits::DOOR).map_err(ServeError::Malformed)?;
        let answer = engine.handle(platform, message);
        given = write_frame(stream, &answer, given)?;
        wipe_stack();
        if matches!(answer, FromEnclave::Fault(_)) {
            return Ok(());
        }
        shrink(&mut taken);
        shrink(&mut given);
    }
    Ok(())
}

/// Deeper than a message goes in an unoptimised build, which a test watches; 4.5 us each time.
const STACK_WIPED: usize = 128 * 1024;

/// Overwrites what the functions of a message left on the stack below their caller: secrets that were moved, and
/// those that libraries keep in local variables. What is on the heap is wiped as it is freed (`main`).
#[inline(never)]
fn wipe_stack() {
    let zeros = [0_u8; STACK_WIPED];
    std::hint::black_box(&zeros);
}

/// Buffers are kept from frame to frame up to this size; a turn of a hundred requests has a third of it. What they hold
/// is ciphertext, as everything that passes the door.
const BUFFER_KEPT: usize = 1 << 20;
/// Room is made in steps of this size, as bytes arrive: a length alone takes no memory.
const STEP: usize = 1 << 20;

fn shrink(buffer: &mut Vec<u8>) {
    if buffer.capacity() > BUFFER_KEPT {
        buffer.truncate(BUFFER_KEPT);
        buffer.shrink_to_fit();
    }
}

/// `None` at the end of the stream between two frames.
fn read_frame<'b>(stream: &mut impl Read, buffer: &'b mut Vec<u8>) -> Result<Option<&'b [u8]>, ServeError> {
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
    let mut start = 0;
    while start < len {
        let end = len.min(start + STEP);
        if buffer.len() < end {
            buffer.resize(end, 0);
        }
        stream.read_exact(buffer.get_mut(start..end).unwrap_or_default())?;
        start = end;
    }
    Ok(buffer.get(..len))
}

/// Writes an answer as one frame, through a buffer that it hands back.
fn write_frame(
    stream: &mut impl Write,
    answer: &FromEnclave,
    mut buffer: Vec<u8>,
) -> Result<Vec<u8>, ServeError> {
    buffer.clear();
    buffer.extend_from_slice(&[0; 4]);
    let mut w = Writer::from(buffer);
    answer.encode(&mut w);
    let mut frame = w.into_bytes();
    let len = frame.len() - 4;
    let head = u32::try_from(len).map_err(|_| ServeError::TooLong(len))?.to_be_bytes();
    frame.iter_mut().zip(head).for_each(|(to, from)| *to = from);
    stream.write_all(&frame)?;
    stream.flush()?;
    Ok(frame)
}
