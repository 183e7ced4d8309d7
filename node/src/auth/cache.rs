//! What was verified already, by keyed tag.
//!
//! A fleet with one credential, or a storm of reconnects, hashes once. A tag says nothing without the process's
//! key; only success is remembered; removing a credential from the catalog makes its tags unreachable.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use ring::{hmac, rand::SystemRandom};

/// Remembered credentials: 2 generations of so many tags of 32 bytes, about 6 MiB at most.
const GENERATION: usize = 50_000;

/// Names a (PHC string, password) pair.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tag([u8; 32]);

/// The bounded set of verified pairs.
pub(super) struct Cache {
    key: hmac::Key,
    sets: Mutex<Sets>,
}

/// Two generations: a full young one becomes the old one, and what is not asked for again is forgotten.
#[derive(Default)]
struct Sets {
    young: HashSet<Tag>,
    old: HashSet<Tag>,
}

impl Cache {
    /// An empty cache with a random key; `None` without randomness.
    pub(super) fn new() -> Option<Self> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok()?;
        Some(Self {
            key,
            sets: Mutex::default(),
        })
    }

    /// The pair's tag.
    pub(super) fn tag(&self, phc: &str, password: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        // The length parts the two, or different pairs could have one text.
        context.update(&(phc.len() as u64).to_le_bytes());
        context.update(phc.as_bytes());
        context.update(password);
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        Tag(tag)
    }

    /// Whether the pair was verified.
    pub(super) fn contains(&self, tag: Tag) -> bool {
        let mut sets = self.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if sets.young.contains(&tag) {
            return true;
        }
        let known = sets.old.contains(&tag);
        if known {
            sets.insert(tag);
        }
        known
    }

    /// Remembers a verified pair.
    pub(super) fn insert(&self, tag: Tag) {
        self.sets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tag);
    }
}

impl Sets {
    fn insert(&mut self, tag: Tag) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(tag);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_that_read_alike_have_different_tags() {
        let cache = Cache::new().unwrap();
        assert!(cache.tag("ab", b"c") != cache.tag("a", b"bc"));
        let other = Cache::new().unwrap();
        assert!(
            cache.tag("ab", b"c") != other.tag("ab", b"c"),
            "the key is random"
        );
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Cache::new().unwrap();
        let kept = cache.tag("kept", b"");
        cache.insert(kept);
        for i in 0..3 * GENERATION as u64 {
            cache.insert(Tag({
                let mut bytes = [0; 32];
                bytes[..8].copy_from_slice(&i.to_le_bytes());
                bytes
            }));
            if i % 1_000 == 0 {
                assert!(cache.contains(kept));
            }
        }
        let sets = cache.sets.lock().unwrap();
        assert!(sets.young.len() + sets.old.len() <= 2 * GENERATION);
    }
}
