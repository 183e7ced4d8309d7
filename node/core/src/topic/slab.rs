//! Numbered places that are used again: the storage of [`Table`](super::Table).
//!
//! Each place counts its uses, so that a number kept too long finds nothing instead of another's.
//! Places lie in pieces that never move, so that growing costs the same at any size.

/// Places in a piece; a power of two. Some tens of KiB, which is soon allocated and little to waste.
const PIECE: usize = 1_024;

/// A place and the use of it that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) index: u32,
    generation: u32,
}

#[derive(Debug)]
pub(super) struct Slab<E> {
    pieces: Vec<Vec<Slot<E>>>,
    /// Places ever made.
    made: usize,
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
            pieces: Vec::new(),
            made: 0,
            free: Vec::new(),
        }
    }

    pub(super) const fn len(&self) -> usize {
        self.made - self.free.len()
    }

    /// Takes a place. The caller bounds their number below `u32::MAX`.
    pub(super) fn insert(&mut self, value: E) -> Key {
        if let Some(index) = self.free.pop()
            && let Some(slot) = self.slot_mut(index)
        {
            slot.value = Some(value);
            let generation = slot.generation;
            return Key { index, generation };
        }
        let index = self.made as u32;
        let slot = Slot {
            generation: 0,
            value: Some(value),
        };
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(slot),
            _ => {
                // The first piece grows as it is needed: many tables stay small.
                let room = if self.pieces.is_empty() { 0 } else { PIECE };
                let mut piece = Vec::with_capacity(room);
                piece.push(slot);
                self.pieces.push(piece);
            }
        }
        self.made += 1;
        Key {
            index,
            generation: 0,
        }
    }

    #[inline]
    pub(super) fn at(&self, index: u32) -> Option<&E> {
        self.slot(index)?.value.as_ref()
    }

    #[inline]
    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut E> {
        self.slot_mut(index)?.value.as_mut()
    }

    pub(super) fn get(&self, key: Key) -> Option<&E> {
        let slot = self.slot(key.index)?;
        let value = slot.value.as_ref();
        value.filter(|_| slot.generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<E> {
        self.get(key)?;
        self.remove_at(key.index)
    }

    pub(super) fn remove_at(&mut self, index: u32) -> Option<E> {
        let slot = self.slot_mut(index)?;
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        Some(value)
    }

    #[inline]
    fn slot(&self, index: u32) -> Option<&Slot<E>> {
        let index = index as usize;
        self.pieces.get(index / PIECE)?.get(index % PIECE)
    }

    #[inline]
    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<E>> {
        let index = index as usize;
        self.pieces.get_mut(index / PIECE)?.get_mut(index % PIECE)
    }
}
