//! Which entries a log holds, as numbers: the first, the one after the last, what was purged.
//!
//! The same rules serve the caller's view, the writer's and the replay at open, so that they cannot
//! differ. No bytes and no files here.

use super::error::Error;
use super::units::Index;

/// The entries `first..next`, with everything up to `purged` gone for good.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) first: Index,
    pub(super) next: Index,
    pub(super) purged: Option<Index>,
}

impl Extent {
    pub(super) fn is_empty(&self) -> bool {
        self.first >= self.next
    }

    /// Takes one entry at the end. A log that never held or purged one may start anywhere.
    ///
    /// # Errors
    /// `Error::OutOfOrder` if it would leave a hole or overwrite.
    pub(super) fn append(&mut self, index: Index) -> Result<(), Error> {
        if self.is_empty() && self.purged.is_none() {
            self.first = index;
        } else if index != self.next {
            return Err(Error::OutOfOrder {
                expected: self.next,
                got: index,
            });
        }
        self.next = index.next();
        Ok(())
    }

    /// Drops the entries at and after `from`; returns whether there were any.
    pub(super) fn truncate(&mut self, from: Index) -> bool {
        let from = from.max(self.first);
        let any = from < self.next;
        self.next = self.next.min(from);
        any
    }

    /// Drops the entries up to and with `upto`, also those not yet there; returns whether this
    /// went beyond what was purged before.
    pub(super) fn purge(&mut self, upto: Index) -> bool {
        if self.purged.is_some_and(|purged| upto <= purged) {
            return false;
        }
        self.purged = Some(upto);
        self.first = self.first.max(upto.next());
        self.next = self.next.max(self.first);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_log_starts_anywhere_and_then_leaves_no_hole() {
        let mut extent = Extent::default();
        extent.append(Index(5)).unwrap();
        assert!(extent.append(Index(7)).is_err());
        extent.append(Index(6)).unwrap();
        assert_eq!((extent.first, extent.next), (Index(5), Index(7)));
    }

    #[test]
    fn truncation_beyond_the_end_changes_nothing() {
        let mut extent = Extent::default();
        extent.append(Index(0)).unwrap();
        assert!(!extent.truncate(Index(9)));
        assert_eq!(extent.next, Index(1));
        assert!(extent.truncate(Index(0)));
        assert!(extent.is_empty());
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_log_behind_it() {
        let mut extent = Extent::default();
        extent.append(Index(0)).unwrap();
        assert!(extent.purge(Index(9)));
        assert!(!extent.purge(Index(4)));
        assert!(extent.append(Index(9)).is_err());
        extent.append(Index(10)).unwrap();
        assert_eq!(extent.first, Index(10));
    }
}
