//! What connections may hold before they have logged in, and how many there may be.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// The longest CONNECT: the longest will (64 KiB) with its topic, client ID, user name and password of 1 KiB each,
/// and some more. One above it is no device's.
pub(super) const CONNECT_BYTES: usize = 72 * 1024;
/// Read at first; nearly every CONNECT fits. What needs more asks the shared budget.
pub(super) const FIRST_BYTES: usize = 4 * 1024;
/// From the accept to the whole CONNECT, handshake included.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// From the accept to the whole PROXY header: a balancer sends it at once.
pub(super) const PROXY_TIMEOUT: Duration = Duration::from_secs(5);
/// From the whole CONNECT to the hand-over: waiting for the hash included.
pub(super) const LOGIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a refused client may take to read why.
pub(super) const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// Bounds that an operator can set; one set for all listeners of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Connections of the node, before and after login; more are closed at the accept.
    pub max_connections: usize,
    /// Connections before login; more wait in the backlog.
    pub max_half_open: usize,
    /// Bytes of CONNECT packets above 4 KiB that are held at once; a connection that would go above it is closed.
    pub max_connect_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            // 2 KiB each when idle: 2 GiB; an operator with less memory sets less.
            max_connections: 1_000_000,
            // At 10 ms a hash and two cores this is five seconds of work, below every time-out.
            max_half_open: 1_000,
            max_connect_bytes: 16 * 1024 * 1024,
        }
    }
}

/// The bounds as counters, shared by all listeners of a node.
#[derive(Clone, Debug)]
pub struct Gate {
    pub(super) connections: Arc<Semaphore>,
    pub(super) half_open: Arc<Semaphore>,
    /// In KiB.
    pub(super) connect_kib: Arc<Semaphore>,
    /// Accepting has ended.
    pub(super) closed: CancellationToken,
    /// What was set.
    pub bounds: Bounds,
}

impl Gate {
    /// Counters at zero.
    pub fn new(bounds: Bounds) -> Self {
        let semaphore = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        Self {
            connections: semaphore(bounds.max_connections),
            half_open: semaphore(bounds.max_half_open),
            connect_kib: semaphore(bounds.max_connect_bytes / 1024),
            closed: CancellationToken::new(),
            bounds,
        }
    }

    /// Stops accepting: the listening sockets of all listeners are closed. Those who came before go on.
    pub fn close(&self) {
        self.closed.cancel();
    }

    /// Room for a CONNECT of `bytes`; `None` if there is none. Small ones are counted by their connection.
    pub(super) fn room_for(&self, bytes: usize) -> Option<Option<OwnedSemaphorePermit>> {
        if bytes <= FIRST_BYTES {
            return Some(None);
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).ok()?;
        self.connect_kib
            .clone()
            .try_acquire_many_owned(kib)
            .ok()
            .map(Some)
    }
}
