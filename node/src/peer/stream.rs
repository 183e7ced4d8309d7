//! The task of one link: keeps a stream to one incarnation of one peer, and carries frames.
//!
//! The node with the lower ID dials, the other accepts. Nothing that core's `Link` holds is lost when a stream
//! breaks. No frame leaves while this node has no lease: the look at it is right before the sending.

use std::time::Duration;

use mainstay_core::{
    control::LinkState,
    ids::{Incarnation, Index},
    peering::{Frame, Link, Received},
    router::Peer,
    shard::Origin,
};
use mainstay_proto::internal::v1::LinkFrame;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::{
    events::PeerEvent,
    hello::Hello,
    hub::Shared,
    reach::is_gone,
    wire::{FRAMES_AHEAD, Outgoing, Wire},
};
use crate::{
    link::{Incoming, Purpose},
    shards::peer_queue::PeerQueue,
    tasks::clock,
};

/// A broken stream is opened again after this, doubled with each failure …
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// … up to this: a fence is 3 s, and a pair that both have leases should meet soon.
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// Opening a stream, handshake and hello included.
const OPEN_PATIENCE: Duration = Duration::from_secs(2);
/// Without a lease nothing is sent; it is looked at again after this, as is a shard that wants no more.
const HELD_PAUSE: Duration = Duration::from_millis(10);

/// An ack waits so long for content to ride on; the peer keeps what it acknowledges meanwhile.
const ACK_PAUSE: Duration = Duration::from_millis(5);

/// A stream that the peer opened, with its hello.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) hello: Hello,
    pub(super) incoming: Incoming,
}

/// The task.
pub(super) struct LinkTask {
    pub(super) shared: Shared,
    pub(super) me: Incarnation,
    pub(super) peer: Peer,
    pub(super) report: watch::Receiver<Index>,
    pub(super) accepted: mpsc::Receiver<Accepted>,
    pub(super) stop: CancellationToken,
    pub(super) link: Link,
    /// Accepted while a stream stood that the peer had given up.
    pub(super) next: Option<Accepted>,
}

/// Why a stream is carried no further.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the stream ended")]
    Closed,
    #[error("the peer opened another stream")]
    Replaced,
    #[error("the stream failed: {}", .0.message())]
    Failed(Status),
    #[error("the peer broke the rules of the link: {0}")]
    Broken(String),
}

impl LinkTask {
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        tokio::select! {
            () = self.live() => {}
            () = stop.cancelled() => {}
        }
        if let Some(queue) = self.shared.queues.get(self.peer.slot) {
            queue.set_unsent(0);
        }
    }

    async fn live(&mut self) {
        let mut has_stood = false;
        loop {
            let wire = self.open(has_stood).await;
            if let Err(error) = self.link.handle_connected(wire.peer_expects) {
                // One side forgot what it must not; control ends one of the two lives.
                tracing::error!(peer = %self.peer.node, %error, "the link cannot go on");
                tokio::time::sleep(LONGEST_PAUSE).await;
                continue;
            }
            has_stood = true;
            tracing::debug!(peer = %self.peer.node, "link stands");
            self.say(LinkState::Connected).await;
            let end = self.carry(wire).await;
            tracing::debug!(peer = %self.peer.node, reason = %end, "link is down");
            if let End::Broken(what) = end {
                tracing::error!(peer = %self.peer.node, what, "the peer breaks the rules of the link");
                tokio::time::sleep(LONGEST_PAUSE).await;
            }
            self.say(LinkState::Reset).await;
        }
    }

    /// Opens the stream, as often as it takes. After one that stood, also looks whether the peer's process is gone.
    async fn open(&mut self, has_stood: bool) -> Wire {
        let mut pause = FIRST_PAUSE;
        let mut is_said_gone = false;
        loop {
            if let Some(wire) = self.try_open(pause).await {
                return wire;
            }
            if has_stood && !is_said_gone && self.is_peer_gone().await {
                is_said_gone = true;
                self.say(LinkState::Refused).await;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One try; takes at least `pause` if it fails.
    async fn try_open(&mut self, pause: Duration) -> Option<Wire> {
        if self.shared.node < self.peer.node {
            let dialled = tokio::time::timeout(OPEN_PATIENCE, self.dial()).await;
            match dialled.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer"))) {
                Ok(wire) => return Some(wire),
                Err(status) => {
                    tracing::debug!(peer = %self.peer.node, why = status.message(), "dial");
                }
            }
            tokio::time::sleep(pause).await;
            return None;
        }
        let accepted = match self.next.take() {
            Some(accepted) => accepted,
            None => tokio::time::timeout(pause, self.accepted.recv())
                .await
                .ok()??,
        };
        self.accept(accepted)
    }

    async fn dial(&self) -> Result<Wire, Status> {
        let unknown = || Status::not_found("the peer is no member");
        let endpoint = (self.shared.directory)(self.peer.node).ok_or_else(unknown)?;
        let client = self.shared.channels.client(&endpoint, Purpose::Link);
        let mut client = client.map_err(|error| Status::internal(error.to_string()))?;
        let (frames, outgoing) = mpsc::channel(FRAMES_AHEAD);
        frames
            .send(self.hello())
            .await
            .map_err(|_| Status::internal("no room for a hello"))?;
        let mut incoming = client
            .link(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        let hello = read_hello(&mut incoming).await?;
        if hello.from != self.peer.incarnation || hello.to != self.me {
            return Err(Status::failed_precondition("another incarnation answered"));
        }
        let outgoing = Outgoing::Dialled(frames);
        Ok(Wire {
            outgoing,
            incoming,
            peer_expects: hello.expects,
        })
    }

    fn accept(&self, accepted: Accepted) -> Option<Wire> {
        let Accepted { hello, incoming } = accepted;
        let known = (self.shared.directory)(self.peer.node);
        if known.is_none_or(|endpoint| endpoint.name != incoming.caller.name) {
            let refusal = Status::permission_denied("the incarnation belongs to another node");
            let _ = incoming.answer.send(Err(refusal));
            return None;
        }
        let (frames, outgoing) = mpsc::channel(FRAMES_AHEAD);
        frames.try_send(Ok(self.hello())).ok()?;
        // Gone again: the next one will come.
        incoming
            .answer
            .send(Ok(ReceiverStream::new(outgoing)))
            .ok()?;
        let outgoing = Outgoing::Accepted(frames);
        Some(Wire {
            outgoing,
            incoming: incoming.frames,
            peer_expects: hello.expects,
        })
    }

    fn hello(&self) -> LinkFrame {
        let (from, to) = (self.me, self.peer.incarnation);
        let hello = Hello {
            from,
            to,
            expects: self.link.expects(),
        };
        LinkFrame {
            body: hello.encode().into(),
        }
    }

    async fn is_peer_gone(&self) -> bool {
        match (self.shared.directory)(self.peer.node) {
            Some(endpoint) => is_gone(&endpoint.address, self.shared.trust_refused).await,
            None => false,
        }
    }

    /// Carries frames both ways until the stream ends.
    async fn carry(&mut self, mut wire: Wire) -> End {
        let queues = self.shared.queues.clone();
        let Some(queue) = queues.get(self.peer.slot) else {
            return End::Closed;
        };
        let from = Origin::Node(self.peer.slot, self.peer.incarnation);
        let mut waiting: Option<Frame> = None;
        loop {
            self.fill(queue);
            if waiting.is_none() && self.has_lease() {
                waiting = self.link.poll_frame();
                queue.set_unsent(self.link.queued_bytes());
            }
            let is_held = !self.has_lease();
            let is_full = self.shared.inbound.is_full();
            tokio::select! {
                frame = wire.incoming.message(), if !is_full => {
                    if let Err(end) = self.take(frame, from).await {
                        return end;
                    }
                }
                room = wire.outgoing.room(), if waiting.is_some() && !is_held => {
                    let Some(room) = room else { return End::Closed };
                    // The lease may have ended while there was no room.
                    if self.has_lease() && let Some(frame) = waiting.take() {
                        room.send(&frame);
                    }
                }
                () = queue.pushed() => {}
                changed = self.report.changed() => if changed.is_err() {
                    return End::Closed;
                },
                Some(accepted) = self.accepted.recv() => {
                    self.next = Some(accepted);
                    return End::Replaced;
                }
                () = tokio::time::sleep(HELD_PAUSE), if is_held || is_full => {}
                () = tokio::time::sleep(ACK_PAUSE), if waiting.is_none() && self.link.needs_ack() => {
                    self.link.force_ack();
                }
            }
        }
    }

    /// Takes what the shards have queued, and the newest report.
    fn fill(&mut self, queue: &PeerQueue) {
        self.link.set_report(*self.report.borrow_and_update());
        if !self.link.is_full() {
            for item in queue.take_all(self.peer.incarnation) {
                self.link.push(item.batch, &item.taken);
            }
            queue.set_unsent(self.link.queued_bytes());
        }
    }

    /// Takes one frame from the stream.
    async fn take(
        &mut self,
        frame: Result<Option<LinkFrame>, Status>,
        from: Origin,
    ) -> Result<(), End> {
        let frame = frame.map_err(End::Failed)?.ok_or(End::Closed)?;
        let broken = |why: &dyn std::fmt::Display| End::Broken(why.to_string());
        let frame = Frame::decode(&frame.body).map_err(|error| broken(&error))?;
        // Nothing of a frame may reach the shards, or be acknowledged, if a part of it cannot be read.
        let homes = self.shared.inbound.homes(&frame.batch);
        let homes = homes.map_err(|error| broken(&error))?;
        let before = self.link.peer_report();
        let received = self
            .link
            .handle_frame(frame)
            .map_err(|error| broken(&error))?;
        if let Received::New(batch, taken) = received {
            self.shared.inbound.deliver(from, batch, homes, taken);
        }
        let index = self.link.peer_report();
        if index > before {
            let (slot, incarnation) = (self.peer.slot, self.peer.incarnation);
            self.tell(PeerEvent::Report {
                slot,
                incarnation,
                index,
            })
            .await;
        }
        Ok(())
    }

    fn has_lease(&self) -> bool {
        self.shared.window.is_open(clock::now())
    }

    async fn say(&self, state: LinkState) {
        let (slot, incarnation) = (self.peer.slot, self.peer.incarnation);
        self.tell(PeerEvent::Link {
            slot,
            incarnation,
            state,
        })
        .await;
    }

    async fn tell(&self, event: PeerEvent) {
        // Control is gone only when the node stops.
        let _ = self.shared.events.send(event).await;
    }
}

/// The first frame of a stream.
pub(super) async fn read_hello(incoming: &mut Streaming<LinkFrame>) -> Result<Hello, Status> {
    let first = incoming.message().await?;
    let first = first.ok_or_else(|| Status::aborted("the stream ended before a hello"))?;
    Hello::decode(&first.body).ok_or_else(|| Status::invalid_argument("no hello"))
}
