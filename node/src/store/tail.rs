//! The newest entries in memory: all that are not yet durable, and as many more as a bound allows.
//!
//! Replication and apply read here; what has left the tail is read from the segment files. Owned by
//! `view`, which knows what is durable.

use std::collections::VecDeque;

use bytes::Bytes;

use super::units::Index;

/// The entries from `first` to the end of the log.
#[derive(Debug, Default)]
pub(super) struct Tail {
    first: Index,
    entries: VecDeque<Bytes>,
    bytes: u64,
}

impl Tail {
    /// Returns a tail without entries, for a log that ends before `next`.
    pub(super) fn starting_at(next: Index) -> Self {
        Self {
            first: next,
            ..Self::default()
        }
    }

    /// Returns the first index in the tail, or the one that will be.
    pub(super) fn first(&self) -> Index {
        self.first
    }

    pub(super) fn push(&mut self, index: Index, bytes: Bytes) {
        if self.entries.is_empty() {
            self.first = index;
        }
        self.bytes += bytes.len() as u64;
        self.entries.push_back(bytes);
    }

    pub(super) fn truncate(&mut self, from: Index) {
        while self.first.0 + self.entries.len() as u64 > from.0 {
            match self.entries.pop_back() {
                Some(bytes) => self.bytes -= bytes.len() as u64,
                None => break,
            }
        }
        self.first = self.first.min(from);
    }

    /// Drops the entries before `first`, which is where the log now starts.
    pub(super) fn purge(&mut self, first: Index) {
        while self.first < first && self.pop_front() {}
        self.first = self.first.max(first);
    }

    /// Drops the oldest entries above `bound` bytes, but none at or after `durable_end`, and not
    /// the last one, whose ID is asked for often.
    pub(super) fn shrink(&mut self, bound: u64, durable_end: Index) {
        while self.bytes > bound && self.first < durable_end && self.entries.len() > 1 {
            self.pop_front();
        }
    }

    /// Returns the entry, if it is in the tail.
    pub(super) fn get(&self, index: Index) -> Option<&Bytes> {
        let at = index.0.checked_sub(self.first.0)?;
        self.entries.get(usize::try_from(at).ok()?)
    }

    fn pop_front(&mut self) -> bool {
        let Some(bytes) = self.entries.pop_front() else {
            return false;
        };
        self.bytes -= bytes.len() as u64;
        self.first = self.first.next();
        true
    }
}
