//! The shared end of the node's lease.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::time::Moment;

/// Until when this node may let anything out; written by control, looked at by every shard right before it
/// flushes. A clone shares the one moment.
#[derive(Clone, Debug, Default)]
pub struct Window(Arc<AtomicU64>);

impl Window {
    /// Extends or ends the lease.
    pub fn set(&self, until: Moment) {
        self.0.store(until.0, Ordering::SeqCst);
    }

    /// The end of the lease.
    pub fn until(&self) -> Moment {
        Moment(self.0.load(Ordering::SeqCst))
    }

    /// Whether something may leave now.
    pub fn is_open(&self, now: Moment) -> bool {
        now < self.until()
    }
}
