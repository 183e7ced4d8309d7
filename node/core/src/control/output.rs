//! What control asks its driver to do.

use std::sync::Arc;

use crate::{
    ids::{Incarnation, Index, NodeId, NodeSet, ShardId},
    message::Event,
    replica::{Entry, Outcome},
    router::Peer,
};

/// A node's request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewal {
    /// Who asks.
    pub node: NodeId,
    /// Its running incarnation.
    pub incarnation: Incarnation,
    /// The lowest index that it has applied and all its shards have adopted.
    pub applied: Index,
    /// Peers that it could not reach for `down_after`.
    pub unreachable: NodeSet,
}

/// What a link's driver saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The stream stands, both incarnations agreed.
    Connected,
    /// The stream ended by a reset or an end.
    Reset,
    /// The stream to that incarnation was reset, and a new connection to the peer's own listener, known never to be
    /// behind a proxy, was refused: its process is gone.
    Refused,
}

/// One thing for the driver to do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Give it to the shard, in order.
    Shard(ShardId, Event),
    /// Propose the entry through the leader, and say `handle_proposed(ticket, …)` when it is committed, refused or
    /// its fate unknown. Entries are handed to the leader in the order of these outputs as far as possible.
    Propose {
        /// Names the proposal.
        ticket: u64,
        /// The entry.
        entry: Arc<Entry>,
    },
    /// Ask the leader for its committed index, confirmed by a majority since this request, and say
    /// `handle_read_index(ticket, …)`.
    ReadIndex {
        /// Names the round.
        ticket: u64,
    },
    /// Send the renewal to the leader (maybe this node), and say `handle_renewed(ticket, granted)`.
    Renew {
        /// Names the request.
        ticket: u64,
        /// The request.
        renewal: Renewal,
    },
    /// This node leads: ask the consensus for a confirmation by a majority that begins now, and say
    /// `handle_confirmed(ticket, confirmed)`.
    Confirm {
        /// Names the round.
        ticket: u64,
    },
    /// Answer the renewal that came in as `reply`.
    Grant {
        /// What `handle_renewal` was given.
        reply: u64,
        /// Whether the lease is granted.
        granted: bool,
    },
    /// A command that came in as `reply` is applied here.
    Answer {
        /// What `handle_command` was given.
        reply: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// The links that should exist from now on, each to one incarnation; all others are dropped with what they
    /// hold. `None`: this node runs no incarnation and has no links.
    Links {
        /// This node's incarnation and its peers.
        links: Option<(Incarnation, Vec<Peer>)>,
    },
    /// Tell every link, at once, also an idle one.
    Report(Index),
    /// The node's own end was committed (drain): the process may exit.
    Drained,
}
