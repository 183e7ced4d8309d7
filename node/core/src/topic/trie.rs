//! The persistent filter trie: filter to value, with versions that share structure.
//!
//! `interest` changes it while a batch is applied and publishes a clone to the shards, which match
//! against it. It must never be walked in a way whose cost a client can raise beyond the levels of
//! the filters that are in it.

use std::fmt;
use std::sync::Arc;

use super::TopicFilter;
use super::node::Branch;

/// Filters with a value each. A clone is O(1) and never sees later changes; a change copies the
/// nodes on its path that a clone holds as well, and no others.
///
/// Invariants: a filter that is taken out leaves no empty node behind; the depth of nodes is
/// bounded, so that dropping one needs little stack.
#[derive(Clone)]
pub struct Trie<V: Clone> {
    root: Arc<Branch<V>>,
    len: usize,
}

impl<V: Clone> Trie<V> {
    /// Makes an empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            root: Arc::new(Branch::new()),
            len: 0,
        }
    }

    /// How many filters.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no filter.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of exactly this filter.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter) -> Option<&V> {
        self.root.get_root(filter.as_str().as_bytes())
    }

    /// Calls `visit` with the value of each filter that matches `name`, each once, in no promised
    /// order. Does not allocate.
    ///
    /// Returns the work done: nodes visited and levels compared. It is at most 1 and, for each
    /// filter, 1 and its levels, so a bound on the levels of all filters bounds every match.
    #[inline]
    pub fn find(&self, name: &str, mut visit: impl FnMut(&V)) -> usize {
        self.root.find_root(name.as_bytes(), &mut visit)
    }

    /// Gives a filter a new value made of its present one; `None` stands for no such filter, both
    /// as argument and as answer.
    pub fn update(&mut self, filter: &TopicFilter, change: impl FnOnce(Option<V>) -> Option<V>) {
        let present = self.get(filter).cloned();
        let was_there = present.is_some();
        match change(present) {
            Some(value) => {
                Arc::make_mut(&mut self.root).put_root(filter.as_str().as_bytes(), value);
                self.len += usize::from(!was_there);
            }
            None if was_there => {
                Arc::make_mut(&mut self.root).take_root(filter.as_str().as_bytes());
                self.len -= 1;
            }
            None => {}
        }
    }

    /// Gives a filter a value and returns the one it had.
    pub fn insert(&mut self, filter: &TopicFilter, value: V) -> Option<V> {
        let mut before = None;
        self.update(filter, |present| {
            before = present;
            Some(value)
        });
        before
    }

    /// Takes a filter out and returns its value.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<V> {
        let mut before = None;
        self.update(filter, |present| {
            before = present;
            None
        });
        before
    }
}

impl<V: Clone> Default for Trie<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V: Clone> fmt::Debug for Trie<V> {
    /// Tells the size alone: a space may hold a million filters.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trie")
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}
