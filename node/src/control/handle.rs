//! What the rest of the node sees of its control.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_core::{
    ids::{Index, NodeSlot},
    lease::Window,
    replica::{Command, Outcome, Replica},
    time::Timing,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{control::inbox::Ask, tasks::clock};

/// How long a command that control does not take is offered again: a mass of clients that left at once fills the
/// lanes for a second or two.
const PROPOSE_PATIENCE: Duration = Duration::from_secs(5);
const PROPOSE_PAUSE: Duration = Duration::from_millis(50);

/// A command could not be committed: no quorum, or the node is ending its incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster has no quorum or this node does not serve now; try again")]
pub struct Unavailable;

/// A cheap handle of the node's control.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(super) asks: mpsc::Sender<Ask>,
    pub(super) shared: Arc<Shared>,
    pub(super) drained: watch::Receiver<bool>,
}

/// What the driver publishes.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) window: Window,
    pub(super) timing: Timing,
    pub(super) serving: AtomicBool,
    pub(super) served_once: AtomicBool,
    pub(super) state: ArcSwap<Replica>,
    /// By slot: the last index that the node there reported.
    pub(super) reports: [AtomicU64; NodeSlot::MAX as usize],
}

impl Handle {
    /// Whether clients are served: an incarnation, a table adopted by all shards, a lease.
    pub fn is_serving(&self) -> bool {
        self.shared.serving.load(Ordering::Relaxed) && self.shared.window.is_open(clock::now())
    }

    /// Whether new clients should come: serving, and less than half of `fence_after` since the lease was
    /// granted (P9).
    pub fn is_ready(&self) -> bool {
        let half = self.shared.timing.fence_after / 2;
        self.shared.serving.load(Ordering::Relaxed)
            && self.shared.window.is_open(clock::now() + half)
    }

    /// Whether the node has served since it started.
    pub fn is_started(&self) -> bool {
        self.shared.served_once.load(Ordering::Relaxed)
    }

    /// The newest state that control has seen.
    pub fn state(&self) -> Arc<Replica> {
        self.shared.state.load_full()
    }

    /// The last index that the node of a slot reported.
    pub fn reported(&self, slot: NodeSlot) -> Index {
        Index(self.shared.reports[usize::from(slot.0)].load(Ordering::Relaxed))
    }

    /// Proposes a command in this node's lane and waits until this node has applied it.
    ///
    /// # Errors
    /// If that cannot be within the time that a client is given.
    pub async fn propose(&self, command: Command) -> Result<Outcome, Unavailable> {
        let deadline = clock::now() + PROPOSE_PATIENCE;
        loop {
            let (reply, answer) = oneshot::channel();
            let command = command.clone();
            self.asks
                .send(Ask::Propose { command, reply })
                .await
                .map_err(|_| Unavailable)?;
            match answer.await.map_err(|_| Unavailable)? {
                Some(outcome) => return Ok(outcome),
                // Not taken: the lanes are full for the moment, or the node is starting an incarnation.
                None if clock::now() < deadline => tokio::time::sleep(PROPOSE_PAUSE).await,
                None => return Err(Unavailable),
            }
        }
    }

    /// Waits until everything that was committed before the call is applied here, and gives that state.
    ///
    /// # Errors
    /// If the leader does not answer in time.
    pub async fn linearizable_state(&self) -> Result<Arc<Replica>, Unavailable> {
        let (reply, answer) = oneshot::channel();
        self.asks
            .send(Ask::Read { reply })
            .await
            .map_err(|_| Unavailable)?;
        answer.await.map_err(|_| Unavailable)
    }

    /// Begins the drain: no new clients, those that are there are closed, the own end is committed.
    pub async fn drain(&self) {
        // A driver that is gone has nothing to drain.
        let _gone = self.asks.send(Ask::Drain).await;
    }

    /// Waits until the drain is complete.
    pub async fn drained(&self) {
        let mut drained = self.drained.clone();
        // A driver that is gone has drained.
        let _gone = drained.wait_for(|drained| *drained).await;
    }
}
