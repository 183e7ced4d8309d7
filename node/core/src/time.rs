//! Time as an argument: core never reads a clock.
//!
//! The node passes moments of a clock that counts suspend (CLOCK_BOOTTIME); the simulation passes its own.

use std::{ops::Add, ops::Sub, time::Duration};

/// A moment in milliseconds since the clock's own start; only differences mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);

impl Moment {
    /// The time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

impl Sub<Duration> for Moment {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        )
    }
}

/// The time-outs of the cluster, design section 5 *Lease*.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Between two renewals of a node's lease.
    pub renew: Duration,
    /// A node that has not applied what was committed this long ago gets no lease.
    pub stall_after: Duration,
    /// How long a lease lasts, from the sending of its request.
    pub fence_after: Duration,
    /// The leader ends a node that it has answered no renewal for so long; at least 1.5 fences.
    pub down_after: Duration,
    /// Proposals, read indexes and renewals without an answer are sent again after this.
    pub retry_after: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            renew: Duration::from_millis(300),
            stall_after: Duration::from_secs(2),
            fence_after: Duration::from_secs(3),
            down_after: Duration::from_millis(4_500),
            retry_after: Duration::from_millis(500),
        }
    }
}
