//! A cache bounded by bytes; who was not asked for longest goes first.

use hashlink::LinkedHashMap;
use std::hash::Hash;

pub(super) struct Cache<K, V> {
    entries: LinkedHashMap<K, (V, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Hash + Eq + Copy, V> Cache<K, V> {
    pub(super) fn new(bytes_max: usize) -> Cache<K, V> {
        Cache { entries: LinkedHashMap::new(), bytes: 0, bytes_max }
    }

    pub(super) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// The value, which counts as asked for just now.
    pub(super) fn fetch(&mut self, key: &K) -> Option<&mut V> {
        match self.entries.raw_entry_mut().from_key(key) {
            hashlink::linked_hash_map::RawEntryMut::Occupied(mut entry) => {
                entry.to_back();
                Some(&mut entry.into_mut().0)
            }
            hashlink::linked_hash_map::RawEntryMut::Vacant(_) => None,
        }
    }

    /// The value, without a trace.
    pub(super) fn peek(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(value, _)| value)
    }

    pub(super) fn insert(&mut self, key: K, value: V, weight: usize) {
        self.bytes += weight;
        if let Some((_, old)) = self.entries.insert(key, (value, weight)) {
            self.bytes -= old;
        }
        self.shrink();
    }

    /// Takes note of what a value weighs now.
    pub(super) fn weigh(&mut self, key: &K, weight: impl FnOnce(&V) -> usize) {
        if let Some((value, old)) = self.entries.get_mut(key) {
            let new = weight(value);
            self.bytes = self.bytes - *old + new;
            *old = new;
        }
        self.shrink();
    }

    /// The one used last stays, however heavy: it is at work.
    fn shrink(&mut self) {
        while self.bytes > self.bytes_max && self.entries.len() > 1 {
            if let Some((_, (_, weight))) = self.entries.pop_front() {
                self.bytes -= weight;
            }
        }
    }
}
