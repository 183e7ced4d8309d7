//! One shard's own subscriptions: filter to the targets that asked for it, changed in place.
//!
//! Owned by a shard, changed by its sessions' SUBSCRIBE and UNSUBSCRIBE, read for every message that
//! reaches the shard. Filters without a wildcard are found by one hash of the whole name, the others
//! through a [`Trie`]. It never orders or removes duplicates: a session that matches by two filters
//! is visited twice, and the caller stamps it.

use std::fmt;
use std::hash::BuildHasher;

use super::exact::Exact;
use super::slab::{Key, Slab};
use super::targets::Targets;
use super::{HashKey, TopicFilter, Trie};

/// The most targets in one table. It bounds the memory of one shard's subscriptions to about 1 GiB
/// when every filter is its own (about 250 B each), far above what a shard's sessions are allowed
/// together (100,000 sessions of 40 filters); above it a SUBSCRIBE is refused with 0x80.
pub const MAX_LOCAL_TARGETS: usize = 4 << 20;

/// Filters and the targets of each; `T` is small: a session's slot and the subscription in it.
///
/// Invariants: an entry has at least one target; it is named once, by `exact` or by `trie`, and by
/// `trie` if it has a wildcard; each handle points to the place of its target, and the place back to
/// the handle.
pub struct Table<T, S = HashKey> {
    hasher: S,
    /// Hash of a filter to its entry. Where two have the same hash, the second lies in `trie`.
    exact: Exact,
    trie: Trie<u32>,
    entries: Slab<Entry<T>>,
    places: Slab<Place>,
}

/// Names one target of one filter, so that it is removed without a search. It stays the same while
/// the target is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(Key);

/// What [`Table::insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inserted {
    /// For [`Table::remove`].
    pub handle: Handle,
    /// Whether the filter had no target before: the shard's interest in it begins.
    pub first: bool,
}

/// What [`Table::remove`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed<T> {
    /// The target that was removed.
    pub target: T,
    /// The filter, if that was its last target: the shard's interest in it ends.
    pub ended: Option<TopicFilter>,
}

/// The table holds [`MAX_LOCAL_TARGETS`]; a later try may succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("subscribe in a shard that holds {MAX_LOCAL_TARGETS} subscriptions")]
pub struct TableFull;

struct Entry<T> {
    filter: TopicFilter,
    targets: Targets<T>,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    entry: u32,
    at: u32,
}

impl<T: Copy, S: BuildHasher> Table<T, S> {
    /// Makes an empty one. The hasher is keyed, since clients choose the filters.
    #[must_use]
    pub fn new(hasher: S) -> Self {
        Self {
            hasher,
            exact: Exact::new(),
            trie: Trie::new(),
            entries: Slab::new(),
            places: Slab::new(),
        }
    }

    /// How many targets, counted once a filter.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no target.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many filters.
    #[must_use]
    pub const fn filters(&self) -> usize {
        self.entries.len()
    }

    /// Calls `visit` with the targets of each filter that matches `name`; never with an empty list.
    /// `name` is a checked topic name. Does not allocate.
    ///
    /// Returns the work done, in the terms of [`Trie::find`], to be charged to the round's limit;
    /// what the targets cost is the caller's to count.
    #[inline]
    pub fn find(&self, name: &str, mut visit: impl FnMut(&[T])) -> usize {
        if let Some((_, entry)) = self.exact(self.hasher.hash_one(name), name) {
            visit(entry.targets.as_slice());
        }
        if self.trie.is_empty() {
            return 1;
        }
        1 + self.trie.find(name, |index| {
            if let Some(entry) = self.entries.at(*index) {
                visit(entry.targets.as_slice());
            }
        })
    }

    /// The entry of exactly this text, unless it lies in the trie.
    #[inline]
    fn exact(&self, hash: u64, text: &str) -> Option<(u32, &Entry<T>)> {
        let index = self.exact.get(hash)?;
        let entry = self.entries.at(index)?;
        (entry.filter.as_str() == text).then_some((index, entry))
    }

    /// Adds a target to a filter. The same target given twice is there twice, under two handles.
    ///
    /// # Errors
    ///
    /// [`TableFull`] at [`MAX_LOCAL_TARGETS`].
    pub fn insert(&mut self, filter: &TopicFilter, target: T) -> Result<Inserted, TableFull> {
        if self.len() >= MAX_LOCAL_TARGETS {
            return Err(TableFull);
        }
        let hash = self.hasher.hash_one(filter.as_str());
        let present = match self.exact(hash, filter.as_str()) {
            Some((index, _)) => Some(index),
            None => self.trie.get(filter).copied(),
        };
        let key = self.places.insert(Place { entry: 0, at: 0 });
        let place = match present.and_then(|index| Some((index, self.entries.at_mut(index)?))) {
            Some((entry, present)) => Place {
                entry,
                at: present.targets.push(target, key.index),
            },
            None => Place {
                entry: self.begin(hash, filter, Targets::One(target, key.index)),
                at: 0,
            },
        };
        self.move_to(key.index, place);
        Ok(Inserted {
            handle: Handle(key),
            first: present.is_none(),
        })
    }

    fn begin(&mut self, hash: u64, filter: &TopicFilter, targets: Targets<T>) -> u32 {
        let entry = Entry {
            filter: filter.clone(),
            targets,
        };
        let index = self.entries.insert(entry).index;
        if filter.has_wildcard() || self.exact.get(hash).is_some() {
            self.trie.insert(filter, index);
        } else {
            self.exact.insert(hash, index);
        }
        index
    }

    /// Puts another target in the place of one, as when a client subscribes again at another QoS
    /// [MQTT-3.8.4-3]. Returns the one that was there; `None` if the handle is of the past.
    pub fn replace(&mut self, handle: Handle, target: T) -> Option<T> {
        let place = *self.places.get(handle.0)?;
        let present = self.entries.at_mut(place.entry)?.targets.at_mut(place.at)?;
        Some(std::mem::replace(present, target))
    }

    /// Removes a target without searching for it. `None` if the handle is of the past.
    pub fn remove(&mut self, handle: Handle) -> Option<Removed<T>> {
        let place = self.places.remove(handle.0)?;
        let entry = self.entries.at_mut(place.entry)?;
        let taken = entry.targets.swap_remove(place.at)?;
        if let Some(moved) = taken.moved {
            self.move_to(moved, place);
        }
        let ended = if taken.last {
            self.end(place.entry)
        } else {
            None
        };
        Some(Removed {
            target: taken.target,
            ended,
        })
    }

    fn end(&mut self, entry: u32) -> Option<TopicFilter> {
        let Entry { filter, .. } = self.entries.remove_at(entry)?;
        let hash = self.hasher.hash_one(filter.as_str());
        if self.trie.remove(&filter).is_none() && self.exact.get(hash) == Some(entry) {
            self.exact.remove(hash);
        }
        Some(filter)
    }

    fn move_to(&mut self, handle: u32, place: Place) {
        if let Some(present) = self.places.at_mut(handle) {
            *present = place;
        }
    }
}

impl<T, S> fmt::Debug for Table<T, S> {
    /// Tells the sizes alone: a shard may hold a million subscriptions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("filters", &self.entries.len())
            .field("targets", &self.places.len())
            .finish_non_exhaustive()
    }
}
