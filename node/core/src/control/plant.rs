//! Bugs that tests plant to see that their checks find them.
//!
//! Without the feature `plant` (and outside this package's own unit tests) none can be selected, and the
//! questions after them compile to nothing.

/// A planted bug of this room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// An answered renewal extends the lease from its arrival, not from its sending.
    LeaseByOldAnswer,
    /// A leader grants leases, its own among them, without a majority's confirmation.
    UnconfirmedLeader,
    /// The end of an interest is proposed in the lane that is served first.
    RemoveOvertakesAdd,
    /// The applied index is reported before the shards have adopted its routes.
    ReportBeforeAdoption,
    /// A subscriber's view is taken without a read index.
    ViewWithoutReadIndex,
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
