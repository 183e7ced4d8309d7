//! Numbered places that are used again: the storage of [`Table`](super::Table).
//!
//! Each place counts its uses, so that a number kept too long finds nothing instead of another's.

/// A place and the use of it that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Slab<E> {
    slots: Vec<Slot<E>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<E> {
    generation: u32,
    value: Option<E>,
}

impl<E> Slab<E> {
    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Takes a place. The caller bounds their number below `u32::MAX`.
    pub(super) fn insert(&mut self, value: E) -> Key {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slots.get_mut(index as usize)
        {
            slot.value = Some(value);
            return Key {
                index,
                generation: slot.generation,
            };
        }
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Key {
            index,
            generation: 0,
        }
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<&E> {
        self.slots.get(index as usize)?.value.as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut E> {
        self.slots.get_mut(index as usize)?.value.as_mut()
    }

    pub(super) fn get(&self, key: Key) -> Option<&E> {
        let slot = self.slots.get(key.index as usize)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<E> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    pub(super) fn remove_at(&mut self, index: u32) -> Option<E> {
        let slot = self.slots.get_mut(index as usize)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }
}
