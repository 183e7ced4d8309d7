//! What apply sends outward. The list is the same on every node; `control` picks what concerns its own.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    codec::QoS,
    ids::{ConnId, Epoch, Incarnation, Index, NodeId, NodeSet, NodeSlot, Position, SpaceId},
    reason::Close,
    replica::Lane,
    topic::{TopicFilter, TopicName},
};

/// What became of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was applied at this place (a Claim's epoch, an interest's index).
    Done(Position),
    /// It changed nothing because the state already was as it asks.
    Unchanged,
    /// It was refused; a refusal is never acknowledged to a client.
    Refused(Refusal),
}

/// Why a command was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The epoch it acts for has ended.
    #[error("the connection no longer owns its session")]
    StaleEpoch,
    /// The credential, its principal or its space is gone.
    #[error("the credential is gone")]
    CredentialGone,
    /// The ID belongs to another resource.
    #[error("the ID is taken by another resource")]
    IdTaken,
    /// The name is taken by another ID.
    #[error("the name is taken")]
    NameTaken,
    /// The folder or registry does not exist.
    #[error("the parent does not exist")]
    NoParent,
    /// The cluster has as many nodes as it can.
    #[error("the cluster is full")]
    ClusterFull,
    /// Never by apply: the node's own lanes are full, so that it was not even proposed.
    #[error("too many commands wait on this node")]
    Overloaded,
}

/// A message that live receivers get on apply, each on its own node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The space.
    pub space: SpaceId,
    /// The canonical topic.
    pub topic: TopicName,
    /// The payload.
    pub payload: Bytes,
    /// The publisher's QoS.
    pub qos: QoS,
}

/// One thing that apply sends outward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What became of a command of a lane.
    Answer {
        /// The proposer.
        incarnation: Incarnation,
        /// Its lane.
        lane: Lane,
        /// The command's number in the lane.
        sequence: u64,
        /// What became of it.
        outcome: Outcome,
    },
    /// A batch did not follow the last applied command of its lane; it must be sent again from `expected`.
    Gap {
        /// The proposer.
        incarnation: Incarnation,
        /// Its lane.
        lane: Lane,
        /// The number that the lane waits for.
        expected: u64,
    },
    /// A stored or will message for live receivers.
    Deliver(Arc<Delivery>),
    /// A connection lost its session.
    Ended {
        /// The incarnation that holds the connection.
        incarnation: Incarnation,
        /// The connection.
        conn: ConnId,
        /// The ownership that ended.
        epoch: Epoch,
        /// Why: takeover or a revoked credential.
        why: Close,
    },
    /// A node's new incarnation.
    NodeUp {
        /// The node.
        node: NodeId,
        /// Its slot.
        slot: NodeSlot,
        /// The new incarnation.
        incarnation: Incarnation,
        /// The nonce of its proposal: the node knows its own by it.
        nonce: u64,
    },
    /// A node's incarnation ended.
    NodeDown {
        /// The node.
        node: NodeId,
        /// Its slot.
        slot: NodeSlot,
        /// The incarnation that ended.
        incarnation: Incarnation,
    },
    /// The nodes that want a filter changed.
    Interest {
        /// The space.
        space: SpaceId,
        /// The canonical filter.
        filter: TopicFilter,
        /// All nodes that want it now, ended incarnations not yet swept included; empty: nobody.
        nodes: NodeSet,
    },
    /// The catalog changed.
    Catalog,
}

/// What one applied entry did.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The entry.
    pub index: Index,
    /// In the order in which they happened.
    pub effects: Vec<Effect>,
}
