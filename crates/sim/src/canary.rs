//! Bytes that must never be seen by the host, and the search for them in everything that it holds.

/// Named secrets and the search for all of them at once.
#[derive(Clone, Debug)]
pub struct Canaries {
    birds: Vec<(String, Vec<u8>)>,
    /// For each first pair of bytes, whether some canary begins so: rejects nearly every place at once.
    begins: Vec<bool>,
}

/// Shorter ones would turn up by chance.
const LEN_MIN: usize = 6;

impl Default for Canaries {
    fn default() -> Self {
        Canaries { birds: Vec::new(), begins: vec![false; 1 << 16] }
    }
}

impl Canaries {
    /// Adds a secret. What is too short to be told from chance is left out.
    pub fn add(&mut self, name: &str, bytes: &[u8]) {
        let known = self.birds.iter().any(|(_, bird)| bird == bytes);
        if let ([a, b, ..], false) = (bytes, known || bytes.len() < LEN_MIN) {
            self.begins[pair(*a, *b)] = true;
            self.birds.push((name.to_owned(), bytes.to_vec()));
        }
    }

    /// How many are looked for.
    pub fn len(&self) -> usize {
        self.birds.len()
    }

    /// Whether none is looked for.
    pub fn is_empty(&self) -> bool {
        self.birds.is_empty()
    }

    /// The name of a secret that stands in these bytes.
    pub fn find(&self, bytes: &[u8]) -> Option<&str> {
        let mut places = bytes.windows(2).enumerate();
        let begins = &self.begins;
        loop {
            let (at, _) = places.find(|(_, two)| matches!(two, [a, b] if begins[pair(*a, *b)]))?;
            let rest = &bytes[at..];
            if let Some((name, _)) = self.birds.iter().find(|(_, bird)| rest.starts_with(bird)) {
                return Some(name);
            }
        }
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
