//! What the probes look at.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The node's stage; written by `app` and the control driver.
#[derive(Clone, Debug, Default)]
pub struct State(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    started: AtomicBool,
    ready: AtomicBool,
    draining: AtomicBool,
}

impl State {
    /// The log is replayed and the node has served once.
    pub fn set_started(&self) {
        self.0.started.store(true, Ordering::Relaxed);
    }

    /// Whether the node should get new clients, but for draining.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// The node shuts down: unready from now on.
    pub fn set_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }

    /// For `/startupz`.
    pub fn is_started(&self) -> bool {
        self.0.started.load(Ordering::Relaxed)
    }

    /// For `/readyz`.
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed) && !self.is_draining()
    }

    /// Whether the node shuts down.
    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Ordering::Relaxed)
    }
}
