//! Numbered places for what waits for an answer: publishes, held answers, tickets.
//!
//! A key fits 56 bits (a token's). A place counts its uses, so that an answer that comes too late, or twice,
//! finds nothing instead of another's.

const INDEX_BITS: u32 = 28;
const INDEX_MASK: u64 = (1 << INDEX_BITS) - 1;
const NONCE_MASK: u32 = (1 << 28) - 1;

#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place<T> {
    nonce: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// The caller bounds how many there are (windows of the shard's connections) below 2^28.
    pub(super) fn insert(&mut self, value: T) -> u64 {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                nonce: 0,
                value: None,
            });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.value = Some(value);
        (u64::from(place.nonce) << INDEX_BITS) | u64::from(index)
    }

    pub(super) fn get_mut(&mut self, key: u64) -> Option<&mut T> {
        let place = self.places.get_mut((key & INDEX_MASK) as usize)?;
        if u64::from(place.nonce) != key >> INDEX_BITS {
            return None;
        }
        place.value.as_mut()
    }

    pub(super) fn remove(&mut self, key: u64) -> Option<T> {
        self.get_mut(key)?;
        let index = (key & INDEX_MASK) as u32;
        let place = &mut self.places[index as usize];
        place.nonce = (place.nonce + 1) & NONCE_MASK;
        self.free.push(index);
        place.value.take()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// All that are there, with their keys.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.places
            .iter_mut()
            .enumerate()
            .filter_map(|(index, place)| {
                let key = (u64::from(place.nonce) << INDEX_BITS) | index as u64;
                Some((key, place.value.as_mut()?))
            })
    }

    /// Forgets all; their keys find nothing any more.
    pub(super) fn clear(&mut self) {
        for (index, place) in self.places.iter_mut().enumerate() {
            if place.value.take().is_some() {
                place.nonce = (place.nonce + 1) & NONCE_MASK;
                self.free.push(index as u32);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_was_used_up_finds_nothing() {
        let mut slab = Slab::default();
        let first = slab.insert('a');
        assert_eq!(slab.remove(first), Some('a'));
        let second = slab.insert('b');
        assert_eq!(
            (slab.get_mut(first).copied(), slab.remove(first)),
            (None, None)
        );
        slab.clear();
        assert_eq!((slab.get_mut(second).copied(), slab.len()), (None, 0));
        slab.insert('c');
        assert_eq!(slab.iter_mut().count(), 1);
    }
}
