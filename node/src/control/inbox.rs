//! What comes to the driver, and from whom.

use std::sync::Arc;

use mainstay_core::{
    ids::ShardId,
    message::Request,
    replica::{Command, Outcome, Replica},
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    peer::PeerEvent,
    raft::{AppliedRun, IncomingRenewal, Leadership, PrepareInstall},
};

/// Commands and reads of the API waiting for the driver; more wait at their callers.
pub(super) const ASKS: usize = 1024;

/// The receiving ends of every channel that leads to control; each is bounded by who made it.
#[derive(Debug)]
pub struct Inbox {
    /// Applied entries, in order, from the state machine.
    pub applied: mpsc::Receiver<AppliedRun>,
    /// The state machine wants to install a snapshot.
    pub installs: mpsc::Receiver<PrepareInstall>,
    /// Other nodes' requests for a lease, while this one leads.
    pub renewals: mpsc::Receiver<IncomingRenewal>,
    /// Who leads.
    pub leadership: watch::Receiver<Leadership>,
    /// The shards' requests.
    pub requests: mpsc::Receiver<(ShardId, Request)>,
    /// Reports and states of the links.
    pub peers: mpsc::Receiver<PeerEvent>,
}

/// What a [`crate::control::Handle`] asks.
#[derive(Debug)]
pub(super) enum Ask {
    Propose {
        command: Command,
        /// `None`: it was not taken.
        reply: oneshot::Sender<Option<Outcome>>,
    },
    Read {
        reply: oneshot::Sender<Arc<Replica>>,
    },
    Drain,
}
