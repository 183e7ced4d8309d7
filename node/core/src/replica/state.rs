//! The state itself and what others read of it.
//!
//! Changed by `apply` and `snapshot` alone. Everything it holds is persistent: a clone is O(1), shares all
//! that did not change since, and stays as it was.

use crate::{
    catalog::Catalog,
    ids::{Incarnation, Index, NodeId, NodeSet, SessionKey, SpaceId},
    interest::Interest,
    replica::{
        Session,
        nodes::{NodeInfo, Nodes},
        plant::Planted,
        sessions::Sessions,
    },
    stored::{Stored, Values},
    topic::TopicFilter,
};

/// What the cluster agrees on, as of one index of the log.
///
/// - Each session and each interest entry is of a running incarnation or of one in `ended`.
/// - Each incarnation in `ended` has left at least one of them; so there are no more than these.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    pub(super) applied: Index,
    pub(super) catalog: Catalog,
    pub(super) nodes: Nodes,
    pub(super) sessions: Sessions,
    pub(super) interest: Interest,
    pub(super) stored: Stored,
    pub(super) planted: Planted,
}

impl Replica {
    /// Plants a bug in this state and all that follow from it, for tests that have to find it. A snapshot does not
    /// carry it.
    #[cfg(any(test, feature = "plant"))]
    pub fn plant(&mut self, plant: super::Plant) {
        self.planted = Planted::new(plant);
    }

    /// The last applied entry.
    pub fn applied(&self) -> Index {
        self.applied
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<NodeInfo<'_>> {
        self.nodes.get(id).map(|node| node.info(id))
    }

    /// All nodes that ever were up, in the order of their IDs; at most 64.
    pub fn nodes(&self) -> impl Iterator<Item = NodeInfo<'_>> {
        self.nodes.iter().map(|(id, node)| node.info(id))
    }

    /// The nodes that run an incarnation.
    pub fn up(&self) -> NodeSet {
        let up = self.nodes().filter(|node| node.incarnation.is_some());
        up.fold(NodeSet::default(), |set, node| set.with(node.slot))
    }

    /// The ended incarnations that are still to be swept, oldest first.
    pub fn ended(&self) -> impl Iterator<Item = Incarnation> {
        self.nodes.ended().map(|(incarnation, _)| incarnation)
    }

    /// Registries, devices, brokers and their credentials.
    pub fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// The stored values of a space, as of now for ever; O(1).
    pub fn values(&self, space: SpaceId) -> Values {
        self.stored.values(space)
    }

    /// All filters with the nodes that want them, ended incarnations that were not swept included.
    pub fn interest(&self) -> impl Iterator<Item = (SpaceId, &TopicFilter, NodeSet)> {
        self.interest.iter()
    }

    /// The nodes that want a filter, ended incarnations that were not swept included.
    pub fn interest_nodes(&self, space: SpaceId, filter: &TopicFilter) -> NodeSet {
        self.interest.nodes(space, filter)
    }

    /// A session's owner; maybe of an ended incarnation.
    pub fn session(&self, key: &SessionKey) -> Option<&Session> {
        self.sessions.get(key)
    }

    /// How many sessions there are; O(1).
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many entries of interest there are, one a filter and node; O(1).
    pub fn interest_count(&self) -> usize {
        self.interest.len()
    }

    /// How many stored values there are; O(1).
    pub fn stored_count(&self) -> usize {
        self.stored.len()
    }

    /// Bytes of the topics and payloads of all stored values; O(1).
    pub fn stored_bytes(&self) -> usize {
        self.stored.bytes()
    }
}
