//! Bytes that must never be seen by the host, and the search for them in everything that it holds.

use std::collections::HashMap;

/// Named secrets and the search for all of them at once.
#[derive(Clone, Debug)]
pub struct Canaries {
    /// By their first bytes.
    birds: HashMap<[u8; LEN_MIN], Vec<(&'static str, Vec<u8>)>>,
    /// For each first pair of bytes, whether some canary begins so: rejects nearly every place at once.
    begins: Vec<bool>,
}

/// Shorter ones would turn up by chance.
const LEN_MIN: usize = 6;

impl Default for Canaries {
    fn default() -> Self {
        Canaries { birds: HashMap::new(), begins: vec![false; 1 << 16] }
    }
}

impl Canaries {
    /// Adds a secret. What is too short to be told from chance is left out.
    pub fn add(&mut self, name: &'static str, bytes: &[u8]) {
        let (Some(first), [a, b, ..]) = (bytes.first_chunk::<LEN_MIN>(), bytes) else { return };
        self.begins[pair(*a, *b)] = true;
        let birds = self.birds.entry(*first).or_default();
        if !birds.iter().any(|(_, bird)| bird == bytes) {
            birds.push((name, bytes.to_vec()));
        }
    }

    /// How many are looked for.
    pub fn len(&self) -> usize {
        self.birds.values().map(Vec::len).sum()
    }

    /// Whether none is looked for.
    pub fn is_empty(&self) -> bool {
        self.birds.is_empty()
    }

    /// The name of a secret that stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<&'static str> {
        let places = bytes.windows(LEN_MIN).enumerate();
        for (at, window) in places {
            if !self.begins[pair(window[0], window[1])] {
                continue;
            }
            let birds = window.first_chunk().and_then(|first| self.birds.get(first));
            let found = birds.into_iter().flatten().find(|(_, bird)| bytes[at..].starts_with(bird));
            if let Some((name, _)) = found {
                return Some(name);
            }
        }
        None
    }
}

fn pair(a: u8, b: u8) -> usize {
    usize::from(a) << 8 | usize::from(b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_canary_is_found_wherever_it_stands() {
        let mut canaries = Canaries::default();
        canaries.add("pin", b"k3x9wq");
        canaries.add("short", b"abc");
        assert_eq!(canaries.find(b"k3x9wq"), Some("pin"));
        assert_eq!(canaries.find(b"..k3k3x9wq"), Some("pin"));
        assert_eq!(canaries.find(b"k3x9w.q abc"), None);
        assert_eq!(canaries.find(b""), None);
    }
}
