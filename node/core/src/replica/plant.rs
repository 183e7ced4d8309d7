//! Bugs that tests plant to see that their checks find them.
//!
//! Without the feature `plant` (and outside this package's own unit tests) none can be selected, and the
//! questions after them compile to nothing.

/// A planted bug of apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Commands of an ended incarnation are applied for as long as it is not swept.
    EndedIncarnation,
    /// A batch that does not follow is taken for one that was applied before.
    GapAsRepeat,
    /// A sweep fires each will twice.
    WillTwice,
    /// A takeover forgets the will.
    WillLostAtTakeover,
}

/// What is planted, if anything can be.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Planted(#[cfg(any(test, feature = "plant"))] Option<Plant>);

impl Planted {
    #[cfg(any(test, feature = "plant"))]
    pub(super) fn new(plant: Plant) -> Self {
        Self(Some(plant))
    }

    #[cfg(any(test, feature = "plant"))]
    pub(super) fn has(self, plant: Plant) -> bool {
        self.0 == Some(plant)
    }

    #[cfg(not(any(test, feature = "plant")))]
    pub(super) fn has(self, _: Plant) -> bool {
        false
    }
}
