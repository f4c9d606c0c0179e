//! Randomness of the operating system, by way of aws-lc.

use keyferry_crypto::random::Random;

/// The system's source. If it fails, the program stops rather than go on with bytes that can be guessed.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&mut self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the operating system has randomness");
    }
}
