//! Hash to number, in many small parts: the index of [`Table`](super::Table) for whole names.
//!
//! A table that grows as one stands still while it does (some 30 ms at a million entries), which
//! every connection of the shard would feel. Here one part of 64 grows at a time, and as the hashes
//! are the keys, growing reads no text.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// How many parts; a power of two. At the most targets of a table one part has 65,536 entries,
/// which are moved within 1 ms.
const PARTS: usize = 64;

/// Bits of the hash that choose the part. The maps take their buckets from the lowest bits and
/// their tags from the highest, so these are in between.
const PART_SHIFT: u32 = 32;

#[derive(Debug)]
pub(super) struct Exact {
    parts: [HashMap<u64, u32, BuildHasherDefault<AsIs>>; PARTS],
}

impl Exact {
    pub(super) fn new() -> Self {
        Self {
            parts: std::array::from_fn(|_| HashMap::default()),
        }
    }

    #[inline]
    pub(super) fn get(&self, hash: u64) -> Option<u32> {
        self.parts[part(hash)].get(&hash).copied()
    }

    pub(super) fn insert(&mut self, hash: u64, number: u32) {
        self.parts[part(hash)].insert(hash, number);
    }

    pub(super) fn remove(&mut self, hash: u64) {
        self.parts[part(hash)].remove(&hash);
    }
}

#[inline]
const fn part(hash: u64) -> usize {
    (hash >> PART_SHIFT) as usize % PARTS
}

/// Takes the key for its hash: it is one already, made with a secret.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}
