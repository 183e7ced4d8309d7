//! What the probes look at.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::control;

/// The node's stage.
#[derive(Clone, Debug)]
pub struct State {
    control: control::Handle,
    draining: Arc<AtomicBool>,
}

impl State {
    /// The stage as control says it, not draining.
    pub fn new(control: control::Handle) -> Self {
        Self {
            control,
            draining: Arc::default(),
        }
    }

    /// The node shuts down: unready from now on.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// For `/startupz`: the log is replayed and the node has served once.
    pub fn is_started(&self) -> bool {
        self.control.is_started()
    }

    /// For `/readyz`: serving, the lease far enough from its end, not draining.
    pub fn is_ready(&self) -> bool {
        self.control.is_ready() && !self.is_draining()
    }

    /// Whether the node shuts down.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
