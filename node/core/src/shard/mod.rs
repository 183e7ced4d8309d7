//! One shard: its connections, their sessions and subscriptions, and the way of every message through them.
//!
//! Owned by one thread of the node (or the simulation), which hands in bytes, batches and events and carries out
//! what is in the [`Outbox`]. It joins `session`, `access` and `router`. It never waits, reads no clock, and lets
//! nothing out by itself: the driver asks [`Shard::may_flush`] right before anything leaves.

mod batch;
mod connection;
mod counters;
mod delivery;
mod input;
mod lifecycle;
mod locals;
mod outbox;
mod output;
mod paths;
mod pending;
mod publish;
mod serving;
mod slab;
mod subscribe;
mod timers;
mod watch;

#[cfg(test)]
mod backpressure_test;
#[cfg(test)]
mod connect_test;
#[cfg(test)]
mod path_test;
#[cfg(test)]
mod property_test;
#[cfg(test)]
mod publish_test;
#[cfg(test)]
mod serving_test;
#[cfg(test)]
mod subscribe_test;
#[cfg(test)]
mod test_rig;

use std::{collections::HashMap, sync::Arc};

use crate::{
    ids::{ConnId, NodeSet, SessionKey, ShardId, ShardSet},
    lease,
    limits::Limits,
    message::{Event, Request},
    reason::Close,
    router::Table,
    session::Pool,
    time::Moment,
    topic::HashKey,
};

pub use counters::{Counters, KINDS};
pub use lifecycle::{Login, LoginWill};
pub use outbox::{Origin, Outbox, Parcel};

pub use crate::session::OutBuf;

use connection::{Connection, Connections, Ticketed};
use delivery::{Answer, Scratch};
use locals::Locals;
use pending::Pending;
use slab::Slab;
use timers::Timers;

/// One shard of a node.
///
/// The driver's round: `handle_event` and `handle_batch` for what came, `handle_input` for each readable socket,
/// `handle_tick`; then [`Shard::may_flush`], the outbox, and the write buffers of the dirty slots.
///
/// Invariants, between any two calls:
/// - each token of a batch that was handled is answered once, or is in `answers` or `pendings`;
/// - every filter of a live or waiting subscription is counted once at control, and no other;
/// - what waits for an answer is bounded by the windows of the connections of this shard and of those that ask.
#[derive(Debug)]
pub struct Shard {
    id: ShardId,
    shards: u8,
    limits: Limits,
    window: lease::Window,
    hash: HashKey,
    table: Option<Arc<Table>>,
    serving: bool,
    draining: bool,
    connections: Connections,
    locals: Locals,
    timers: Timers,
    /// Slots whose stored values are to be looked through further.
    scanning: Vec<u32>,
    /// Publishes of this shard, and messages that it passed on to siblings, whose receivers have not all answered.
    pendings: Slab<Pending>,
    /// Messages whose answer some session of this shard holds back.
    answers: Slab<Answer>,
    tickets: Slab<Ticketed>,
    /// Connections that ended before their Claim was answered; whether the will fires. Bounded by control's queue.
    orphans: HashMap<ConnId, (SessionKey, bool), HashKey>,
    congested: NodeSet,
    /// Connections that wait for a link, as far as they still do.
    waiting_for_link: Vec<u32>,
    /// Counts messages that were matched; names the last in each session.
    stamp: u64,
    /// Connections that may have reached their hard bound in this call; closed at its end, so that one closing does
    /// not run inside another.
    doomed: Vec<u32>,
    /// The newest moment that was given, for calls that have none.
    latest: Moment,
    pool: Pool,
    scratch: Scratch,
    outbox: Outbox,
    counters: Counters,
}

impl Shard {
    /// A shard of a node with so many; it serves nobody until [`Event::Serve`].
    ///
    /// `hash_key` is random: clients must not be able to choose colliding topics.
    pub fn new(
        id: ShardId,
        shards: u8,
        limits: Limits,
        window: lease::Window,
        hash_key: [u64; 2],
    ) -> Self {
        let hash = HashKey::new(hash_key[0], hash_key[1]);
        let mut outbox = Outbox::default();
        outbox
            .siblings
            .resize_with(usize::from(shards), Default::default);
        Self {
            id,
            shards,
            limits,
            window,
            hash,
            table: None,
            serving: false,
            draining: false,
            connections: Connections::default(),
            locals: Locals::new(hash),
            timers: Timers::new(),
            scanning: Vec::new(),
            pendings: Slab::default(),
            answers: Slab::default(),
            tickets: Slab::default(),
            orphans: HashMap::with_hasher(hash),
            congested: NodeSet::default(),
            waiting_for_link: Vec::new(),
            stamp: 0,
            doomed: Vec::new(),
            latest: Moment::default(),
            pool: Pool::default(),
            scratch: Scratch::default(),
            outbox,
            counters: Counters::default(),
        }
    }

    /// What is to be carried out.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// What was counted.
    pub fn counters(&mut self) -> &mut Counters {
        &mut self.counters
    }

    /// Whether anything may leave now: the look at the lease, right before each write and each batch.
    pub fn may_flush(&self, now: Moment) -> bool {
        self.window.is_open(now)
    }

    /// When [`Self::handle_tick`] has something to do; a moment that has passed if the outbox is not empty, so that
    /// what a flush or a closed socket added is not left until something else happens.
    pub fn next_deadline(&self) -> Option<Moment> {
        if self.outbox.is_empty() && self.scanning.is_empty() {
            self.timers.next()
        } else {
            Some(Moment(0))
        }
    }

    /// What control tells.
    pub fn handle_event(&mut self, now: Moment, event: Event) {
        self.latest = now;
        match event {
            Event::Adopt(table) => self.adopt(now, table),
            Event::Serve(_) => self.serving = true,
            Event::Fence => self.fence(),
            Event::Drain => self.drain(now),
            Event::Claimed { conn, epoch } => self.claimed(now, conn, epoch),
            Event::ClaimFailed { conn, why } => self.claim_failed(now, conn, why),
            Event::Subscribed { ticket, views } => self.subscribed(now, ticket, views),
            Event::SubscribeFailed { ticket } => self.subscribe_failed(now, ticket),
            Event::Deliver(delivery) => self.deliver_logged(now, &delivery),
            Event::Stored { ticket, outcome } => self.stored(now, ticket, outcome),
            Event::Ended { conn, epoch, why } => self.ended(now, conn, epoch, why),
            Event::BarrierReached { ticket } => self.barrier_reached(now, ticket),
        }
        self.settle(now);
    }

    /// Ends each call: closes who reached its hard bound in it.
    #[inline]
    fn settle(&mut self, now: Moment) {
        while let Some(slot) = self.doomed.pop() {
            let at_hard = self
                .connections
                .get(slot)
                .is_some_and(|connection| connection.outbound.is_at_hard(&self.limits));
            if at_hard {
                self.close(now, slot, Close::SlowConsumer);
            }
        }
    }

    /// The other shards of this node.
    fn siblings(&self) -> ShardSet {
        let all = u64::MAX
            .checked_shr(64 - u32::from(self.shards))
            .unwrap_or_default();
        ShardSet(all).without(self.id)
    }

    fn request(&mut self, request: Request) {
        self.outbox.requests.push(request);
    }

    /// Lists the slot for the driver.
    #[inline]
    fn mark(outbox: &mut Outbox, slot: u32, connection: &mut Connection) {
        if !connection.dirty {
            connection.dirty = true;
            outbox.dirty.push(slot);
        }
    }
}
