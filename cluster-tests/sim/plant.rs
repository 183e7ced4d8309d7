//! The bugs that are planted to see that the simulation finds them.
//!
//! Those of the core exist only with this package's feature `plant`; two are of the simulation's own
//! drivers, which stand for the real ones.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plant {
    /// A lease is extended from the arrival of an answer.
    LeaseByOldAnswer,
    /// A shard looks at the lease when its round begins, not before it flushes.
    LeaseBeforePlan,
    /// A leader grants leases without a majority's confirmation.
    UnconfirmedLeader,
    /// Apply takes commands of an ended incarnation.
    EndedIncarnation,
    /// Apply takes a batch that does not follow for one that it knows.
    GapAsRepeat,
    /// The end of an interest overtakes its beginning.
    RemoveOvertakesAdd,
    /// An index is reported before all shards route by it.
    ReportBeforeAdoption,
    /// A second subscriber's view is taken without a read index.
    ViewWithoutReadIndex,
    /// The receiving end answers `taken` when a frame comes in.
    TakenOnReceipt,
    /// Wills of an ended incarnation fire twice.
    WillTwice,
    /// A takeover forgets the will.
    WillLostAtTakeover,
}

impl Plant {
    pub(crate) const ALL: [(&'static str, Self); 11] = [
        ("lease-by-old-answer", Self::LeaseByOldAnswer),
        ("lease-before-plan", Self::LeaseBeforePlan),
        ("unconfirmed-leader", Self::UnconfirmedLeader),
        ("ended-incarnation", Self::EndedIncarnation),
        ("gap-as-repeat", Self::GapAsRepeat),
        ("remove-overtakes-add", Self::RemoveOvertakesAdd),
        ("report-before-adoption", Self::ReportBeforeAdoption),
        ("view-without-read-index", Self::ViewWithoutReadIndex),
        ("taken-on-receipt", Self::TakenOnReceipt),
        ("will-twice", Self::WillTwice),
        ("will-lost-at-takeover", Self::WillLostAtTakeover),
    ];

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, plant)| *plant)
    }

    /// The bug of control that it stands for.
    #[cfg(feature = "plant")]
    pub(crate) fn of_control(self) -> Option<mainstay_core::control::Plant> {
        use mainstay_core::control::Plant as Core;
        match self {
            Self::LeaseByOldAnswer => Some(Core::LeaseByOldAnswer),
            Self::UnconfirmedLeader => Some(Core::UnconfirmedLeader),
            Self::RemoveOvertakesAdd => Some(Core::RemoveOvertakesAdd),
            Self::ReportBeforeAdoption => Some(Core::ReportBeforeAdoption),
            Self::ViewWithoutReadIndex => Some(Core::ViewWithoutReadIndex),
            _ => None,
        }
    }

    /// The bug of apply that it stands for.
    #[cfg(feature = "plant")]
    pub(crate) fn of_replica(self) -> Option<mainstay_core::replica::Plant> {
        use mainstay_core::replica::Plant as Core;
        match self {
            Self::EndedIncarnation => Some(Core::EndedIncarnation),
            Self::GapAsRepeat => Some(Core::GapAsRepeat),
            Self::WillTwice => Some(Core::WillTwice),
            Self::WillLostAtTakeover => Some(Core::WillLostAtTakeover),
            _ => None,
        }
    }
}
