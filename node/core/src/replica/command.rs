//! What is proposed to the agreed log.
//!
//! The encoding is postcard behind a version byte: new variants go to the end of an enum, a changed struct
//! is a new variant, so that version N reads what N-1 wrote.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::{Credential, Resource},
    codec::QoS,
    ids::{ConnId, Epoch, Incarnation, NodeId, SessionKey, SpaceId},
    topic::{TopicFilter, TopicName},
};

/// One entry of the agreed log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    /// A node starts a new incarnation; its place in the log names it. It first ends the node's previous one.
    NodeUp {
        /// The node.
        node: NodeId,
        /// Its configured name, for people and for the choice of voters.
        name: Arc<str>,
        /// Random; a repeated proposal with the nonce of the running incarnation changes nothing.
        nonce: u64,
    },
    /// Commands of one node's lane, in order.
    Batch {
        /// The proposer's incarnation; of an ended one nothing is applied.
        incarnation: Incarnation,
        /// The lane.
        lane: Lane,
        /// The sequence number of the first command; a lane's first command ever has 1.
        first: u64,
        /// At most [`crate::limits::BATCH_COMMANDS`].
        commands: Vec<Command>,
    },
}

/// The ordered lanes of an incarnation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Ends of nodes and sweeps after them; served first.
    Liveness,
    /// All else.
    Work,
}

impl Lane {
    /// Both lanes, the one that is served first first.
    pub const ALL: [Self; 2] = [Self::Liveness, Self::Work];
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a resource; the very same again is answered `Unchanged`.
    Create(Resource),
    /// A connection takes a session over; the place of the command is its epoch.
    Claim(Claim),
    /// A connection gives its session up.
    Release {
        /// The session.
        key: SessionKey,
        /// The connection's ownership; of an older one it is refused.
        epoch: Epoch,
        /// Whether the will fires.
        fire: bool,
    },
    /// The node got its first subscriber of a canonical filter.
    AddInterest {
        /// The space.
        space: SpaceId,
        /// The canonical filter.
        filter: TopicFilter,
    },
    /// The node lost its last subscriber of a canonical filter.
    RemoveInterest {
        /// The space.
        space: SpaceId,
        /// The canonical filter.
        filter: TopicFilter,
    },
    /// A message to a topic that stores.
    Store(Store),
    /// Ends a node's incarnation (NodeDown): by the leader, or by the node itself when it drains.
    EndNode {
        /// The node.
        node: NodeId,
        /// The incarnation that ends; if the node runs another, nothing happens.
        incarnation: Incarnation,
    },
    /// Ends up to [`crate::limits::SWEEP_BATCH`] sessions (their wills fire) or interest entries that an ended
    /// incarnation left.
    Sweep {
        /// The ended incarnation.
        incarnation: Incarnation,
    },
}

/// A connection's claim to a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The session.
    pub key: SessionKey,
    /// The connection on its node.
    pub conn: ConnId,
    /// The credential that it proved; one that is gone is refused.
    pub credential: Credential,
    /// What is published if the connection ends without DISCONNECT.
    pub will: Option<Arc<Will>>,
}

/// A will message, with the rights of its owner already applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Will {
    /// The canonical topic.
    pub topic: TopicName,
    /// The payload.
    pub payload: Bytes,
    /// The QoS; 2 is taken as 1.
    pub qos: QoS,
    /// Whether the topic keeps the message (permanent topic, or RETAIN in a broker space).
    pub stores: bool,
}

/// A message to a topic that stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// The publisher's space.
    pub space: SpaceId,
    /// The publisher's ownership of its session; of an ended one the message is refused.
    pub epoch: Epoch,
    /// The canonical topic.
    pub topic: TopicName,
    /// The payload; an empty one clears the value.
    pub payload: Bytes,
    /// The publisher's QoS.
    pub qos: QoS,
}
