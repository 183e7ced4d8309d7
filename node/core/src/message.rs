//! What the shards of a node and its control say to each other, in one ordered channel each way.
//!
//! Both directions are bounded by the driver. Live messages do not pass here: they go from shard to shard
//! and over the links as [`crate::peering`] batches.

use std::sync::Arc;

use crate::{
    ids::{ConnId, Epoch, Incarnation, Index, SessionKey, SpaceId},
    reason::Close,
    replica::{Claim, Delivery, Outcome, Store},
    router::Table,
    stored::View,
    topic::TopicFilter,
};

/// A shard's own name for a request; comes back in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// What a shard asks of control.
#[derive(Clone, Debug)]
pub enum Request {
    /// The shard routes by the table of this index from now on.
    Adopted(Index),
    /// A connection wants its session. Answered by `Claimed` or `ClaimFailed`.
    Claim {
        /// Names the connection too.
        claim: Claim,
    },
    /// A connection is gone; its session is to be given up. Not answered. A connection that went before its
    /// Claim was answered sends this when `Claimed` comes.
    Release {
        /// The session.
        key: SessionKey,
        /// The ownership.
        epoch: Epoch,
        /// Whether the will fires.
        fire: bool,
    },
    /// The shard wants messages of canonical filters. Answered by `Subscribed` or `SubscribeFailed`, after the
    /// barrier (P4) and with views at or above the read index (P3). Each request counts once for each filter
    /// in control's per-shard reference count, as does each `Unsubscribe`.
    Subscribe {
        /// The request.
        ticket: Ticket,
        /// The space.
        space: SpaceId,
        /// Canonical filters, possibly repeated.
        filters: Vec<TopicFilter>,
    },
    /// One subscription of each filter ended, also one whose `Subscribed` has not come. Not answered.
    Unsubscribe {
        /// The space.
        space: SpaceId,
        /// Canonical filters, each counted once.
        filters: Vec<TopicFilter>,
    },
    /// A message to a topic that stores. Answered by `Stored`; in order for one shard.
    Store {
        /// The request.
        ticket: Ticket,
        /// The message.
        store: Store,
    },
    /// Answered by `BarrierReached` once every node that is up has reported this index or a newer one
    /// (a connection changes the path of a topic).
    Barrier {
        /// The request.
        ticket: Ticket,
        /// The index.
        index: Index,
    },
    /// All connections of the shard are closed after `Fence` or `Drain`, and nothing of them will leave. Unasked:
    /// the shard found the lease run out; control then ends the incarnation with a `Fence` to all shards, which
    /// each of them answers (again).
    Emptied,
}

/// What control tells a shard.
#[derive(Clone, Debug)]
pub enum Event {
    /// A newer routing table; the shard adopts it and answers `Adopted`.
    Adopt(Arc<Table>),
    /// The node serves under this incarnation: connections may be handed over.
    Serve(Incarnation),
    /// The incarnation ended, or the lease ran out: close all clients without another byte, forget what was to
    /// leave, answer `Emptied`.
    Fence,
    /// The node shuts down: no new clients; answer what is in flight, then close all, answer `Emptied`.
    Drain,
    /// The connection owns its session: CONNACK 0.
    Claimed {
        /// The connection.
        conn: ConnId,
        /// Its ownership.
        epoch: Epoch,
    },
    /// The Claim failed: CONNACK 3 (no quorum) or 4/5 by the refusal, then close.
    ClaimFailed {
        /// The connection.
        conn: ConnId,
        /// Why it is closed.
        why: Close,
    },
    /// The subscriptions of the ticket are live from here on; `views` hold the stored values, one view for each
    /// filter of the request in its order. Later `Deliver`s are newer than the views.
    Subscribed {
        /// The request.
        ticket: Ticket,
        /// One view a filter.
        views: Vec<View>,
    },
    /// The subscription could not be made; the connection is closed (no quorum). Its filters stay counted until
    /// the shard's `Unsubscribe`.
    SubscribeFailed {
        /// The request.
        ticket: Ticket,
    },
    /// A message of the log path, for the shard's live receivers.
    Deliver(Arc<Delivery>),
    /// What became of a `Store`.
    Stored {
        /// The request.
        ticket: Ticket,
        /// The outcome; a refusal closes the connection without a PUBACK. `index` of a Done position can be
        /// handed to `Barrier`.
        outcome: Outcome,
    },
    /// The connection lost its session; close it if it still has this epoch.
    Ended {
        /// The connection.
        conn: ConnId,
        /// The ownership that ended.
        epoch: Epoch,
        /// Why.
        why: Close,
    },
    /// Answer of `Barrier`.
    BarrierReached {
        /// The request.
        ticket: Ticket,
    },
}
