//! A keyed hasher: SipHash-1-3 over the whole text at once.
//!
//! Tables whose keys come from clients use it, so that nobody can make them collide on purpose. The
//! key is an argument, drawn by the node at start: the core has no randomness of its own, and a
//! simulation repeats. It must never decide an order that anyone sees.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

/// The secret of the hash tables of one process.
#[derive(Clone, Copy)]
pub struct HashKey {
    first: u64,
    second: u64,
}

impl HashKey {
    /// Makes a key of 128 random bits.
    #[must_use]
    pub const fn new(first: u64, second: u64) -> Self {
        Self { first, second }
    }

    /// Hashes bytes.
    #[inline]
    #[must_use]
    pub fn hash(self, bytes: &[u8]) -> u64 {
        sip::<1, 3>(self.first, self.second, bytes)
    }
}

impl fmt::Debug for HashKey {
    /// Leaves the key out: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HashKey")
    }
}

impl BuildHasher for HashKey {
    type Hasher = KeyedHasher;

    #[inline]
    fn build_hasher(&self) -> KeyedHasher {
        KeyedHasher {
            key: *self,
            state: 0,
        }
    }
}

/// The hasher of a [`HashKey`]. Made for keys that are one text: each `write` is a whole SipHash,
/// the `u8` that ends a text is only mixed in.
#[derive(Debug, Clone)]
pub struct KeyedHasher {
    key: HashKey,
    state: u64,
}

impl Hasher for KeyedHasher {
    #[inline]
    fn write(&mut self, bytes: &[u8]) {
        let key = HashKey::new(self.key.first ^ self.state, self.key.second);
        self.state = key.hash(bytes);
    }

    #[inline]
    fn write_u8(&mut self, byte: u8) {
        self.state = (self.state ^ u64::from(byte)).rotate_left(8);
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.state
    }
}

/// SipHash with C rounds a block and D at the end.
#[inline]
fn sip<const C: usize, const D: usize>(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    let mut v = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let (blocks, tail) = bytes.as_chunks::<8>();
    for block in blocks {
        absorb::<C>(&mut v, u64::from_le_bytes(*block));
    }
    let mut last = (bytes.len() as u64) << 56;
    for (at, byte) in tail.iter().enumerate() {
        last |= u64::from(*byte) << (8 * at);
    }
    absorb::<C>(&mut v, last);
    v[2] ^= 0xff;
    for _ in 0..D {
        round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[inline]
fn absorb<const C: usize>(v: &mut [u64; 4], block: u64) {
    v[3] ^= block;
    for _ in 0..C {
        round(v);
    }
    v[0] ^= block;
}

#[inline]
const fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use super::*;

    /// std's own SipHash-1-3 has a fixed key of zero, its SipHash-2-4 takes one: together they
    /// cover the rounds and the key.
    #[test]
    #[expect(deprecated, reason = "the one keyed SipHash of std")]
    fn it_is_siphash() {
        let bytes: Vec<u8> = (0..100).collect();
        for len in 0..bytes.len() {
            let text = &bytes[..len];
            let mut expected = DefaultHasher::new();
            expected.write(text);
            assert_eq!(sip::<1, 3>(0, 0, text), expected.finish(), "{len} bytes");
            let mut expected = std::hash::SipHasher::new_with_keys(1 << 40, 99);
            expected.write(text);
            assert_eq!(
                sip::<2, 4>(1 << 40, 99, text),
                expected.finish(),
                "{len} bytes"
            );
        }
    }

    #[test]
    fn the_key_and_the_text_matter() {
        let (one, other) = (HashKey::new(1, 2), HashKey::new(1, 3));
        assert_eq!(one.hash_one("a/b"), one.hash_one("a/b"));
        assert_ne!(one.hash_one("a/b"), other.hash_one("a/b"));
        assert_ne!(one.hash_one("a/b"), one.hash_one("a/c"));
        assert_ne!(one.hash_one(("a", "b")), one.hash_one(("b", "a")));
    }
}
