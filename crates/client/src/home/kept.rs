//! A secret that a home stores.

use keyferry_crypto::random::Random;
use keyferry_wire::{DecodeError, Reader, Wire, Writer};
use std::fmt;
use zeroize::Zeroize;

/// Secret bytes in a heap cell of their own: no Clone, no `==`, wiped on drop, and shown by name alone. The one way
/// out besides [`Kept::expose`] is the home's own encoding.
pub struct Kept<const N: usize>(Box<[u8; N]>);

impl<const N: usize> Kept<N> {
    /// Takes the bytes over and wipes the argument.
    pub fn new(mut bytes: [u8; N]) -> Self {
        let mut cell = Box::new([0; N]);
        cell.copy_from_slice(&bytes);
        bytes.zeroize();
        Kept(cell)
    }

    pub fn random(random: &mut dyn Random) -> Self {
        let mut cell = Box::new([0; N]);
        random.fill(cell.as_mut_slice());
        Kept(cell)
    }

    /// The bytes, for the operation at hand only.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> Drop for Kept<N> {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl<const N: usize> fmt::Debug for Kept<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<const N: usize> Wire for Kept<N> {
    fn encode(&self, w: &mut Writer) {
        w.byte_string(self.0.as_slice());
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        <[u8; N]>::decode(r).map(Kept::new)
    }
}
