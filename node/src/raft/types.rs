//! The types that openraft is used with, and short names for what it makes of them.
//!
//! A command is opaque bytes here: `Payload`. Its answer does not come back through openraft but
//! through the replica's effects, so `R` is `()`.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

openraft::declare_raft_types!(
    /// openraft's types, as Mainstay uses them.
    pub TypeConfig:
        D = Payload,
        R = (),
        NodeId = NodeId,
        Node = Peer,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
        AsyncRuntime = openraft::impls::TokioRuntime,
);

/// openraft's name of a node: random, made once and kept in the data folder, never used again.
pub type NodeId = u64;
/// A Raft node over the state machine `Sm`.
pub type Raft<Sm> = openraft::Raft<TypeConfig, Sm>;
/// A log entry.
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// Term and index of an entry.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// The leader in a log ID: with one leader a term, the term is all there is to it.
pub type CommittedLeaderId = openraft::type_config::alias::CommittedLeaderIdOf<TypeConfig>;
/// Term, candidate, and whether a majority agreed.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, Peer>;
/// A membership and the entry that set it.
pub type StoredMembership = openraft::type_config::alias::StoredMembershipOf<TypeConfig>;
/// What a snapshot contains.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;

/// An encoded command. It is shown by its length only, for it may hold messages and password hashes.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A member of the cluster, as the others find it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Peer {
    /// The node's name, which its certificate carries.
    pub name: String,
    /// Host and port of its peer door.
    pub addr: String,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.addr)
    }
}
