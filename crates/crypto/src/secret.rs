//! What a secret is: a type of its own, without Clone, `==` or Serialize, whose Debug shows its name alone, which
//! is wiped on drop and compared in constant time.
//!
//! Fixed-size secrets live in one heap cell, so that moving the value moves a pointer and leaves no copy behind.

use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop};

#[doc(hidden)]
pub mod reexport {
    pub use subtle;
    pub use zeroize;
}

/// Defines secret types of a fixed length.
///
/// ```
/// keyferry_crypto::secret! {
///     /// The key to the garden.
///     pub struct GardenKey(32);
/// }
/// let key = GardenKey::from_bytes([7; 32]);
/// assert_eq!(format!("{key:?}"), "GardenKey");
/// assert!(key.matches(&[7; 32]));
/// ```
///
/// There is no copying and no comparing in variable time:
///
/// ```compile_fail,E0599
/// keyferry_crypto::secret! { pub struct GardenKey(32); }
/// let copy = GardenKey::from_bytes([7; 32]).clone();
/// ```
/// ```compile_fail,E0369
/// keyferry_crypto::secret! { pub struct GardenKey(32); }
/// let equal = GardenKey::from_bytes([7; 32]) == GardenKey::from_bytes([7; 32]);
/// ```
#[macro_export]
macro_rules! secret {
    ($($(#[$meta:meta])* $vis:vis struct $name:ident($len:expr);)+) => {$(
        $(#[$meta])*
        $vis struct $name(::std::boxed::Box<[u8; $len]>);

        #[allow(dead_code, unreachable_pub)]
        impl $name {
            /// Length in bytes.
            pub const LEN: usize = $len;

            /// Makes the secret in place: `fill` writes straight into its final cell.
            pub fn make(fill: impl FnOnce(&mut [u8; $len])) -> Self {
                // Hidden, or the compiler asks for the cell with `calloc`, which takes none that was freed just before.
                let zeros = ::core::hint::black_box([0; $len]);
                let mut secret = Self(::std::boxed::Box::new(zeros));
                fill(&mut secret.0);
                secret
            }

            /// Takes the bytes over and wipes the argument (copies that the caller made remain its business).
            pub fn from_bytes(mut bytes: [u8; $len]) -> Self {
                let secret = Self::make(|cell| cell.copy_from_slice(&bytes));
                $crate::secret::reexport::zeroize::Zeroize::zeroize(&mut bytes);
                secret
            }

            /// Copies from a slice of exactly the right length, else nothing.
            pub fn from_slice(bytes: &[u8]) -> ::core::option::Option<Self> {
                (bytes.len() == Self::LEN).then(|| Self::make(|cell| cell.copy_from_slice(bytes)))
            }

            /// Draws a fresh secret.
            pub fn random(random: &mut dyn $crate::random::Random) -> Self {
                Self::make(|cell| random.fill(cell))
            }

            /// The bytes, for the operation at hand only.
            pub fn expose(&self) -> &[u8; $len] {
                &self.0
            }

            /// Compares in constant time; another length is simply unequal.
            pub fn matches(&self, other: &[u8]) -> bool {
                $crate::hash::ct_eq(&self.0[..], other)
            }
        }

        impl ::core::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.write_str(stringify!($name))
            }
        }

        impl ::core::ops::Drop for $name {
            fn drop(&mut self) {
                $crate::secret::reexport::zeroize::Zeroize::zeroize(&mut self.0[..]);
            }
        }

        impl $crate::secret::reexport::zeroize::ZeroizeOnDrop for $name {}
    )+};
}

/// Secret bytes of any length, wiped on drop: what [`crate::seal::open`] returns.
#[derive(Default)]
pub struct SecretVec(Vec<u8>);

impl SecretVec {
    /// Takes the buffer over; it is wiped (with its spare capacity) when this value drops.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for the operation at hand only.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing inside.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares in constant time; another length is simply unequal.
    pub fn matches(&self, other: &[u8]) -> bool {
        crate::hash::ct_eq(&self.0, other)
    }

    /// The bytes, to be decrypted in place.
    pub(crate) fn expose_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// Shortens to `len`; the tail is wiped at once.
    pub(crate) fn truncate(&mut self, len: usize) {
        if let Some(tail) = self.0.get_mut(len..) {
            tail.zeroize();
        }
        self.0.truncate(len);
    }
}

impl fmt::Debug for SecretVec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretVec")
    }
}

impl Drop for SecretVec {
    /// In bulk: a vector's own `zeroize` goes byte by byte, which for a row of a kilobyte costs more than its AES.
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.spare_capacity_mut().zeroize();
    }
}

impl ZeroizeOnDrop for SecretVec {}

#[cfg(test)]
mod tests {
    use super::*;

    secret! {
        /// A test key.
        struct TestKey(32);
    }

    #[test]
    fn debug_of_a_secret_shows_its_name_alone() {
        assert_eq!(format!("{:?}", TestKey::from_bytes([0xab; 32])), "TestKey");
        assert_eq!(format!("{:?}", SecretVec::new(vec![1, 2, 3])), "SecretVec");
        assert_eq!(format!("{:#?}", Some(TestKey::from_bytes([0xab; 32]))), "Some(\n    TestKey,\n)");
    }

    #[test]
    fn secrets_are_declared_as_wiped_on_drop() {
        fn wiped<T: ZeroizeOnDrop>() {}
        wiped::<TestKey>();
        wiped::<SecretVec>();
    }

    #[test]
    fn a_secret_matches_itself_and_nothing_else() {
        let key = TestKey::from_bytes([9; 32]);
        assert!(key.matches(&[9; 32]));
        assert!(!key.matches(&[9; 31]));
        assert!(!key.matches(&[8; 32]));
        assert!(!key.matches(&[]));
    }

    #[test]
    fn a_slice_of_another_length_is_no_secret() {
        assert!(TestKey::from_slice(&[1; 32]).is_some());
        assert!(TestKey::from_slice(&[1; 31]).is_none());
        assert!(TestKey::from_slice(&[1; 33]).is_none());
    }
}
