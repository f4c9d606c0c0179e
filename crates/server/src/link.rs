//! The seams to the enclave and to the key broker, and the frames between.

use keyferry_wire::cbor::Limits;
use keyferry_wire::door::{FromEnclave, Release, ToEnclave};
use keyferry_wire::evidence::Evidence;
use keyferry_wire::limits::DOOR_FRAME_MAX;
use keyferry_wire::{DecodeError, Wire};
use std::io::{self, Read, Write};

/// An enclave: one answer to each message.
pub trait Enclave: Send {
    /// Asks and waits. After an error the enclave is of no use any more.
    fn exchange(&mut self, message: ToEnclave) -> Result<FromEnclave, LinkError>;

    /// The process that it runs in, if it has one of its own.
    fn pid(&self) -> Option<u32> {
        None
    }
}

/// Starts enclaves, one after the other: a dead one is replaced.
pub trait Launcher: Send {
    /// Starts one.
    fn launch(&mut self) -> io::Result<Box<dyn Enclave>>;
}

/// Releases the root key to an enclave whose evidence it accepts. The software token stands behind this seam in
/// development, a broker beside an HSM in production.
pub trait KeyBroker: Send {
    /// A challenge for the enclave's evidence, used once.
    fn challenge(&mut self) -> [u8; 32];

    /// The root key, sealed to the evidence's `hpke` key for this challenge; or a sentence why not.
    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Result<Release, String>;

    /// 0 software token; 1 PKCS#11; 2 Managed HSM or two brokers; 3 both.
    fn custody_level(&self) -> u16;
}

/// The link broke; the enclave has to be started again.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The stream ended or failed.
    #[error("the stream to the enclave broke")]
    Stream(#[from] io::Error),
    /// A frame is longer than both sides agreed on.
    #[error("a frame of {0} bytes is longer than {max}", max = DOOR_FRAME_MAX)]
    TooLong(usize),
    /// The enclave's answer makes no sense.
    #[error("the enclave's answer does not decode: {0}")]
    Malformed(DecodeError),
}

/// An enclave at the other end of a byte stream: frames of a 4-byte big-endian length and a CBOR body.
pub struct StreamEnclave<S> {
    stream: S,
    frame: Vec<u8>,
}

/// A frame buffer larger than this is given back after use.
const FRAME_KEPT: usize = 1 << 20;

impl<S: Read + Write + Send> StreamEnclave<S> {
    /// Speaks over a stream on which nothing has been said yet.
    pub fn new(stream: S) -> StreamEnclave<S> {
        StreamEnclave { stream, frame: Vec::new() }
    }

    fn send(&mut self, message: &ToEnclave) -> Result<(), LinkError> {
        let body = message.to_bytes();
        if body.len() > DOOR_FRAME_MAX {
            return Err(LinkError::TooLong(body.len()));
        }
        let len = u32::try_from(body.len()).map_err(|_| LinkError::TooLong(body.len()))?;
        self.frame.clear();
        self.frame.extend_from_slice(&len.to_be_bytes());
        self.frame.extend_from_slice(&body);
        self.stream.write_all(&self.frame)?;
        Ok(self.stream.flush()?)
    }

    fn receive(&mut self) -> Result<FromEnclave, LinkError> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let len = u32::from_be_bytes(len);
        let size = usize::try_from(len).unwrap_or(usize::MAX);
        if size > DOOR_FRAME_MAX {
            return Err(LinkError::TooLong(size));
        }
        self.frame.clear();
        if (&mut self.stream).take(u64::from(len)).read_to_end(&mut self.frame)? < size {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        let answer = FromEnclave::from_bytes_within(&self.frame, Limits::DOOR);
        if self.frame.capacity() > FRAME_KEPT {
            self.frame = Vec::new();
        }
        answer.map_err(LinkError::Malformed)
    }
}

impl<S: Read + Write + Send> Enclave for StreamEnclave<S> {
    fn exchange(&mut self, message: ToEnclave) -> Result<FromEnclave, LinkError> {
        self.send(&message)?;
        self.receive()
    }
}
