//! Keys as paths of bits.

use crate::hash::Hash;

/// Whether the path of `key` goes right at `depth`.
pub(super) fn goes_right(key: &Hash, depth: usize) -> bool {
    key.get(depth / 8).is_some_and(|byte| byte & (0x80 >> (depth % 8)) != 0)
}

/// `key` with the bit at `depth` turned over: a path into the subtree on the other side.
pub(super) fn turned(key: &Hash, depth: usize) -> Hash {
    let mut other = *key;
    if let Some(byte) = other.get_mut(depth / 8) {
        *byte ^= 0x80 >> (depth % 8);
    }
    other
}

/// Number of leading bits that both keys share.
pub(super) fn shared_bits(a: &Hash, b: &Hash) -> usize {
    let mut bits = 0usize;
    for (a, b) in a.iter().zip(b) {
        let same = usize::try_from((a ^ b).leading_zeros()).expect("at most 8");
        bits = bits.saturating_add(same);
        if same < 8 {
            break;
        }
    }
    bits
}

/// Left and right, from the child on the path of `key` and the one beside it.
pub(super) fn ordered<T>(key: &Hash, depth: usize, on_path: T, beside: T) -> (T, T) {
    if goes_right(key, depth) { (beside, on_path) } else { (on_path, beside) }
}
