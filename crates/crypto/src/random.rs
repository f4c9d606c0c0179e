//! Where randomness comes from: always the caller.
//!
//! The enclave passes its hardware source, the simulator a seeded one. A source that cannot deliver must stop the
//! program rather than return: every user of this trait takes the bytes for unpredictable.

use zeroize::Zeroize;

/// A source of unpredictable bytes.
pub trait Random {
    /// Fills `out` entirely.
    fn fill(&mut self, out: &mut [u8]);
}

impl<R: Random + ?Sized> Random for &mut R {
    fn fill(&mut self, out: &mut [u8]) {
        (**self).fill(out);
    }
}

/// `N` bytes that need not be kept secret (salts, nonces, ids). Secrets are filled in place by their own type.
pub fn bytes<const N: usize>(random: &mut dyn Random) -> [u8; N] {
    let mut out = [0; N];
    random.fill(&mut out);
    out
}

/// Bytes drawn in one call for several uses that are at hand: a draw from the hardware has a price of its own. What is
/// left over is dropped, and what is short is drawn when it is asked for. Not for secrets: what was drawn is not wiped.
pub struct Ahead<'a, const N: usize> {
    source: &'a mut dyn Random,
    drawn: [u8; N],
    used: usize,
}

impl<'a, const N: usize> Ahead<'a, N> {
    /// Draws `N` bytes.
    pub fn draw(source: &'a mut dyn Random) -> Self {
        let drawn = bytes(source);
        Self { source, drawn, used: 0 }
    }
}

impl<const N: usize> Random for Ahead<'_, N> {
    fn fill(&mut self, out: &mut [u8]) {
        let rest = self.drawn.get(self.used..).unwrap_or_default();
        match rest.get(..out.len()) {
            Some(fresh) => {
                out.copy_from_slice(fresh);
                self.used += out.len();
            }
            None => self.source.fill(out),
        }
    }
}

/// Lends a [`Random`] to `voprf`, which wants `rand_core` 0.6.
pub struct RngAdapter<'a>(pub &'a mut dyn Random);

impl RngAdapter<'_> {
    fn word<const N: usize>(&mut self) -> [u8; N] {
        bytes(self.0)
    }
}

impl rand_core_06::RngCore for RngAdapter<'_> {
    fn next_u32(&mut self) -> u32 {
        u32::from_le_bytes(self.word())
    }
    fn next_u64(&mut self) -> u64 {
        u64::from_le_bytes(self.word())
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill(out);
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core_06::CryptoRng for RngAdapter<'_> {}

/// A fixed run of bytes handed out once; afterwards it has nothing left. For libraries that insist on owning
/// their source although what they draw was chosen beforehand.
pub(crate) struct Once<const N: usize>(Option<[u8; N]>);

impl<const N: usize> Once<N> {
    pub(crate) fn new(bytes: [u8; N]) -> Self {
        Self(Some(bytes))
    }

    /// Moves the bytes into `out`; `false` when they are spent or the length is another.
    pub(crate) fn take(&mut self, out: &mut [u8]) -> bool {
        let Some(mut bytes) = self.0.take() else { return false };
        let fits = out.len() == N;
        if fits {
            out.copy_from_slice(&bytes);
        }
        bytes.zeroize();
        fits
    }
}

impl<const N: usize> Drop for Once<N> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Script;

    #[test]
    fn what_was_drawn_ahead_is_handed_out_once_and_then_the_source_goes_on() {
        let mut source = Script((0..=255).collect());
        let mut ahead = Ahead::<48>::draw(&mut source);
        let salts: Vec<[u8; 16]> = (0..5).map(|_| bytes(&mut ahead)).collect();
        assert_eq!(salts.concat(), (0..80).collect::<Vec<u8>>());
    }

    #[test]
    fn what_is_left_over_is_not_made_up_for_a_longer_draw() {
        let mut source = Script((0..=255).collect());
        let mut ahead = Ahead::<20>::draw(&mut source);
        assert_eq!(bytes::<16>(&mut ahead), std::array::from_fn(|i| i as u8));
        assert_eq!(bytes::<16>(&mut ahead), std::array::from_fn(|i| 20 + i as u8));
        assert_eq!(bytes::<4>(&mut ahead), [16, 17, 18, 19]);
    }
}
