//! One shard's own subscriptions: filter to the targets that asked for it, changed in place.
//!
//! Owned by a shard, changed by its sessions' SUBSCRIBE and UNSUBSCRIBE, read for every message that
//! reaches the shard. Filters without a wildcard are found by one hash of the whole name, the others
//! through a [`Trie`]. It never orders or removes duplicates: a session that matches by two filters
//! is visited twice, and the caller stamps it.

use std::collections::HashMap;
use std::fmt;

use super::slab::{Key, Slab};
use super::{HashKey, TopicFilter, Trie};

/// The most targets in one table. It bounds the memory of one shard's subscriptions to about 1 GiB
/// when every filter is its own (about 250 B each), far above what a shard's sessions are allowed
/// together (100,000 sessions of 40 filters); above it a SUBSCRIBE is refused with 0x80.
pub const MAX_LOCAL_TARGETS: usize = 4 << 20;

/// Filters and the targets of each; `T` is small: a session's slot and the subscription in it.
///
/// Invariants: an entry has at least one target; `by_filter` names every entry, `wild` those with a
/// wildcard; each handle points to the place of its target, and the place back to the handle.
pub struct Table<T> {
    by_filter: HashMap<TopicFilter, u32, HashKey>,
    wild: Trie<u32>,
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

/// Most filters have one target, which then needs no allocation.
enum Targets<T> {
    One(T, u32),
    /// The targets in one piece, to be visited as such, and beside each the index of its handle.
    Many(Vec<T>, Vec<u32>),
}

#[derive(Debug, Clone, Copy)]
struct Place {
    entry: u32,
    at: u32,
}

impl<T: Copy> Table<T> {
    /// Makes an empty one, whose hash table is keyed.
    #[must_use]
    pub fn new(key: HashKey) -> Self {
        Self {
            by_filter: HashMap::with_hasher(key),
            wild: Trie::new(),
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
        let mut visits = 1;
        let mut entry = |index: &u32| {
            if let Some(entry) = self.entries.at(*index) {
                visit(entry.targets.as_slice());
            }
        };
        if let Some(index) = self.by_filter.get(name) {
            entry(index);
        }
        if !self.wild.is_empty() {
            visits += self.wild.find(name, entry);
        }
        visits
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
        let present = self.by_filter.get(filter.as_str()).copied();
        let key = self.places.insert(Place { entry: 0, at: 0 });
        let handle = Handle(key);
        if let Some(index) = present
            && let Some(entry) = self.entries.at_mut(index)
        {
            let at = entry.targets.push(target, key.index);
            self.move_to(key.index, Place { entry: index, at });
            return Ok(Inserted {
                handle,
                first: false,
            });
        }
        let entry = self.entries.insert(Entry {
            filter: filter.clone(),
            targets: Targets::One(target, key.index),
        });
        let place = Place {
            entry: entry.index,
            at: 0,
        };
        self.move_to(key.index, place);
        self.by_filter.insert(filter.clone(), entry.index);
        if filter.has_wildcard() {
            self.wild.insert(filter, entry.index);
        }
        Ok(Inserted {
            handle,
            first: true,
        })
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
        self.by_filter.remove(filter.as_str());
        if filter.has_wildcard() {
            self.wild.remove(&filter);
        }
        Some(filter)
    }

    fn move_to(&mut self, handle: u32, place: Place) {
        if let Some(present) = self.places.at_mut(handle) {
            *present = place;
        }
    }
}

impl<T> fmt::Debug for Table<T> {
    /// Tells the sizes alone: a shard may hold a million subscriptions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Table")
            .field("filters", &self.entries.len())
            .field("targets", &self.places.len())
            .finish_non_exhaustive()
    }
}

struct Taken<T> {
    target: T,
    /// Whose target now lies in the place.
    moved: Option<u32>,
    last: bool,
}

impl<T: Copy> Targets<T> {
    #[inline]
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(target, _) => std::slice::from_ref(target),
            Self::Many(targets, _) => targets,
        }
    }

    fn at_mut(&mut self, at: u32) -> Option<&mut T> {
        match self {
            Self::One(target, _) => Some(target),
            Self::Many(targets, _) => targets.get_mut(at as usize),
        }
    }

    /// Adds a target and returns its position.
    fn push(&mut self, target: T, handle: u32) -> u32 {
        match self {
            Self::One(first, of_first) => {
                *self = Self::Many(vec![*first, target], vec![*of_first, handle]);
                1
            }
            Self::Many(targets, handles) => {
                targets.push(target);
                handles.push(handle);
                targets.len() as u32 - 1
            }
        }
    }

    /// Takes out the target at a position and puts the last one there.
    fn swap_remove(&mut self, at: u32) -> Option<Taken<T>> {
        let (targets, handles) = match self {
            Self::One(target, _) => {
                return Some(Taken {
                    target: *target,
                    moved: None,
                    last: true,
                });
            }
            Self::Many(targets, handles) => (targets, handles),
        };
        let at = at as usize;
        if at >= targets.len() || at >= handles.len() {
            return None;
        }
        let target = targets.swap_remove(at);
        handles.swap_remove(at);
        let moved = handles.get(at).copied();
        if let ([target], [handle]) = (&targets[..], &handles[..]) {
            *self = Self::One(*target, *handle);
        } else if targets.len() * 4 < targets.capacity() {
            // What a crowd left behind is given back, seldom enough to cost nothing on average.
            targets.shrink_to(targets.len() * 2);
            handles.shrink_to(handles.len() * 2);
        }
        Some(Taken {
            target,
            moved,
            last: false,
        })
    }
}
