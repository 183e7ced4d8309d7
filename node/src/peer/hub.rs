//! All links of this node: starts and ends the task of each as control says, and hands accepted streams over.
//!
//! One task owns the table; control's driver holds a [`HubHandle`]. A link is of one incarnation of this node and
//! one of the peer: when either ends, the link goes with all that it held.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use mainstay_core::{
    ids::{Incarnation, Index, NodeId, NodeSlot, Position},
    lease::Window,
    peering::Link,
    router::Peer,
};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    events::PeerEvent,
    inbound::Inbound,
    stream::{Accepted, LinkTask, read_hello},
};
use crate::{
    link::{Channels, Endpoint, Incoming},
    shards::peer_queue::{PeerQueues, ShardInbox},
    tasks::{Kind, Tasks},
};

/// Changes of the links that wait for the hub: nodes come and go rarely.
const COMMANDS: usize = 16;
/// Streams that have said hello and wait for the hub; one a node.
const HELLOS: usize = 64;
/// A stream that says nothing holds nothing for longer.
const HELLO_PATIENCE: Duration = Duration::from_secs(1);

/// Where a node is reached, if it is a member.
pub type Directory = Arc<dyn Fn(NodeId) -> Option<Endpoint> + Send + Sync>;

/// What the hub is made of.
pub struct Parts {
    /// This node.
    pub node: NodeId,
    /// Ways to other nodes.
    pub channels: Arc<Channels>,
    /// Where they are.
    pub directory: Directory,
    /// What shards send.
    pub queues: PeerQueues,
    /// Where what comes goes.
    pub inbox: Arc<dyn ShardInbox>,
    /// How many shards there are.
    pub shards: u8,
    /// Where links run; best on one thread, with their channels.
    pub runtime: Handle,
    /// This node's lease.
    pub window: Window,
    /// Whether a refused connection says that a process is gone, also off loopback.
    pub trust_refused: bool,
    /// To control.
    pub events: mpsc::Sender<PeerEvent>,
}

/// What every link needs.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) node: NodeId,
    pub(super) channels: Arc<Channels>,
    pub(super) directory: Directory,
    pub(super) queues: PeerQueues,
    pub(super) inbound: Inbound,
    pub(super) window: Window,
    pub(super) trust_refused: bool,
    pub(super) events: mpsc::Sender<PeerEvent>,
}

type Links = Option<(Incarnation, Vec<Peer>)>;

/// Tells the hub what control wants; a clone tells the same hub.
#[derive(Clone, Debug)]
pub struct HubHandle {
    commands: mpsc::Sender<Links>,
    report: Arc<watch::Sender<Index>>,
}

impl HubHandle {
    /// The links that should exist from now on; all others are dropped with what they hold.
    pub async fn set_links(&self, links: Links) {
        // The hub is gone only when the node stops.
        let _ = self.commands.send(links).await;
    }

    /// What every link is to tell its peer, at once.
    pub fn report(&self, index: Index) {
        self.report.send_if_modified(|now| {
            let newer = index > *now;
            *now = index.max(*now);
            newer
        });
    }
}

/// The task that owns the links.
pub struct Hub {
    shared: Shared,
    tasks: Tasks,
    runtime: Handle,
    report: watch::Receiver<Index>,
    commands: mpsc::Receiver<Links>,
    incoming: mpsc::Receiver<Incoming>,
    hellos: (mpsc::Sender<Accepted>, mpsc::Receiver<Accepted>),
    me: Option<Incarnation>,
    links: HashMap<NodeSlot, Running>,
}

struct Running {
    peer: Peer,
    accepted: mpsc::Sender<Accepted>,
    stop: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Hub {
    /// A hub without links. `incoming` are the streams that other nodes open.
    pub fn new(
        parts: Parts,
        incoming: mpsc::Receiver<Incoming>,
        tasks: Tasks,
    ) -> (Self, HubHandle) {
        let (commands_in, commands) = mpsc::channel(COMMANDS);
        let (report_in, report) = watch::channel(Index(0));
        let shared = Shared {
            node: parts.node,
            channels: parts.channels,
            directory: parts.directory,
            queues: parts.queues,
            inbound: Inbound {
                inbox: parts.inbox,
                shards: parts.shards,
            },
            window: parts.window,
            trust_refused: parts.trust_refused,
            events: parts.events,
        };
        let hub = Self {
            shared,
            tasks,
            runtime: parts.runtime,
            report,
            commands,
            incoming,
            hellos: mpsc::channel(HELLOS),
            me: None,
            links: HashMap::new(),
        };
        (
            hub,
            HubHandle {
                commands: commands_in,
                report: Arc::new(report_in),
            },
        )
    }

    /// Runs until the node stops or nobody can say anything to it any more.
    pub async fn run(mut self) {
        let stop = self.tasks.stop().clone();
        loop {
            tokio::select! {
                links = self.commands.recv() => match links {
                    Some(links) => self.set_links(links),
                    None => return,
                },
                Some(incoming) = self.incoming.recv() => self.greet(incoming),
                Some(accepted) = self.hellos.1.recv() => self.hand_over(accepted),
                () = stop.cancelled() => return,
            }
        }
    }

    fn set_links(&mut self, links: Links) {
        let (me, peers) = match links {
            Some((me, peers)) => (Some(me), peers),
            None => (None, Vec::new()),
        };
        if me != self.me {
            self.links
                .retain(|slot, running| drop_link(&self.shared.queues, *slot, running));
            self.me = me;
        }
        self.links.retain(|slot, running| {
            peers.contains(&running.peer) || drop_link(&self.shared.queues, *slot, running)
        });
        let Some(me) = me else { return };
        for peer in peers {
            if !self.links.contains_key(&peer.slot) {
                self.start(me, peer);
            }
        }
    }

    fn start(&mut self, me: Incarnation, peer: Peer) {
        if let Some(queue) = self.shared.queues.get(peer.slot) {
            queue.begin(peer.incarnation);
        }
        let (accepted_in, accepted) = mpsc::channel(1);
        let stop = self.tasks.stop().child_token();
        let task = LinkTask {
            shared: self.shared.clone(),
            me,
            peer,
            report: self.report.clone(),
            accepted,
            stop: stop.clone(),
            link: Link::new(me, peer.incarnation),
            next: None,
        };
        self.tasks
            .spawn_on(&self.runtime, Kind::PeerLink, async move {
                task.run().await;
                Ok::<(), std::io::Error>(())
            });
        self.links.insert(
            peer.slot,
            Running {
                peer,
                accepted: accepted_in,
                stop,
            },
        );
    }

    /// Waits for the hello of a stream beside the hub: a silent one must not hold the others up.
    fn greet(&self, mut incoming: Incoming) {
        let hellos = self.hellos.0.clone();
        self.tasks.spawn(Kind::Request, async move {
            let hello =
                tokio::time::timeout(HELLO_PATIENCE, read_hello(&mut incoming.frames)).await;
            match hello.unwrap_or_else(|_| Err(Status::deadline_exceeded("no hello came"))) {
                Ok(hello) => {
                    let _ = hellos.send(Accepted { hello, incoming }).await;
                }
                Err(status) => {
                    let _ = incoming.answer.send(Err(status));
                }
            }
            Ok::<(), std::io::Error>(())
        });
    }

    fn hand_over(&self, accepted: Accepted) {
        let hello = accepted.hello;
        let running = self
            .links
            .values()
            .find(|running| running.peer.incarnation == hello.from && self.me == Some(hello.to));
        let refused = match running {
            Some(running) if running.peer.node < self.shared.node => running
                .accepted
                .try_send(accepted)
                .err()
                .map(mpsc::error::TrySendError::into_inner),
            _ => Some(accepted),
        };
        if let Some(Accepted { incoming, .. }) = refused {
            // The peer may know of an incarnation before this node does; it comes again.
            let refusal = Status::unavailable("there is no such link now");
            let _ = incoming.answer.send(Err(refusal));
        }
    }
}

/// For `retain`: the link goes, and what waits for it.
fn drop_link(queues: &PeerQueues, slot: NodeSlot, running: &Running) -> bool {
    running.stop.cancel();
    if let Some(queue) = queues.get(slot) {
        let Incarnation(Position(ended)) = running.peer.incarnation;
        queue.end_before(Incarnation(Position(ended + 1)));
        queue.set_unsent(0);
    }
    false
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("me", &self.me)
            .field("links", &self.links.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}
