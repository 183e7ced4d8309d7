//! The nodes of the cluster, their incarnations and lanes.
//!
//! Called by apply alone. A node's entry and slot stay; an ended incarnation stays for as long as it has
//! left sessions or interest.

use std::sync::Arc;

use imbl::OrdMap;

use crate::{
    ids::{Incarnation, NodeId, NodeSet, NodeSlot},
    replica::Lane,
};

/// A node, as the applied log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInfo<'a> {
    /// The node.
    pub id: NodeId,
    /// Its configured name.
    pub name: &'a Arc<str>,
    /// Its slot.
    pub slot: NodeSlot,
    /// Its running incarnation; none: the node is down.
    pub incarnation: Option<Incarnation>,
}

/// A node's entry.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its configured name.
    pub(super) name: Arc<str>,
    /// Its slot.
    pub(super) slot: NodeSlot,
    /// What it runs.
    pub(super) running: Option<Running>,
}

/// A running incarnation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Running {
    /// The incarnation.
    pub(super) incarnation: Incarnation,
    /// The nonce of its NodeUp.
    pub(super) nonce: u64,
    /// The last applied number of each lane, in the order of [`Lane::ALL`].
    pub(super) lanes: [u64; 2],
}

/// All nodes; a clone is O(1).
///
/// - Slots are unique and below [`NodeSlot::MAX`]; so there are at most as many nodes.
/// - `running` holds exactly what the nodes run.
#[derive(Clone, Debug, Default)]
pub(super) struct Nodes {
    nodes: OrdMap<NodeId, Node>,
    running: OrdMap<Incarnation, NodeId>,
    ended: OrdMap<Incarnation, NodeSlot>,
}

impl Nodes {
    /// A node's entry.
    pub(super) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Sets a node's entry; what it ran must have been ended before.
    pub(super) fn insert(&mut self, id: NodeId, node: Node) {
        if let Some(running) = &node.running {
            self.running.insert(running.incarnation, id);
        }
        self.nodes.insert(id, node);
    }

    /// Ends what a node runs.
    pub(super) fn end(&mut self, id: NodeId) -> Option<(NodeSlot, Incarnation)> {
        let node = self.nodes.get_mut(&id)?;
        let incarnation = node.running.take()?.incarnation;
        self.running.remove(&incarnation);
        Some((node.slot, incarnation))
    }

    /// Keeps an ended incarnation until it is swept.
    pub(super) fn keep_ended(&mut self, incarnation: Incarnation, slot: NodeSlot) {
        self.ended.insert(incarnation, slot);
    }

    /// Forgets an ended incarnation.
    pub(super) fn forget_ended(&mut self, incarnation: Incarnation) {
        self.ended.remove(&incarnation);
    }

    /// The slot of an ended incarnation that is still to be swept.
    pub(super) fn ended_slot(&self, incarnation: Incarnation) -> Option<NodeSlot> {
        self.ended.get(&incarnation).copied()
    }

    /// The ended incarnations that are still to be swept, oldest first.
    pub(super) fn ended(&self) -> impl Iterator<Item = (Incarnation, NodeSlot)> {
        self.ended
            .iter()
            .map(|(incarnation, slot)| (*incarnation, *slot))
    }

    /// The slot of a running incarnation's node.
    pub(super) fn running_slot(&self, incarnation: Incarnation) -> Option<NodeSlot> {
        self.nodes
            .get(self.running.get(&incarnation)?)
            .map(|node| node.slot)
    }

    /// The last applied number of a running incarnation's lane.
    pub(super) fn lane(&self, incarnation: Incarnation, lane: Lane) -> Option<u64> {
        let node = self.nodes.get(self.running.get(&incarnation)?)?;
        Some(node.running.as_ref()?.lanes[place(lane)])
    }

    /// Sets the last applied number of a lane; of an ended incarnation nothing is kept.
    pub(super) fn set_lane(&mut self, incarnation: Incarnation, lane: Lane, sequence: u64) {
        let node = self
            .running
            .get(&incarnation)
            .and_then(|id| self.nodes.get_mut(id));
        if let Some(running) = node.and_then(|node| node.running.as_mut()) {
            running.lanes[place(lane)] = sequence;
        }
    }

    /// The lowest slot that no node has; none if the cluster is full.
    pub(super) fn free_slot(&self) -> Option<NodeSlot> {
        let taken = self
            .nodes
            .values()
            .fold(NodeSet::default(), |set, node| set.with(node.slot));
        (0..NodeSlot::MAX)
            .map(NodeSlot)
            .find(|slot| !taken.contains(*slot))
    }

    /// All nodes in the order of their IDs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }
}

impl Node {
    /// What others see of it.
    pub(super) fn info(&self, id: NodeId) -> NodeInfo<'_> {
        NodeInfo {
            id,
            name: &self.name,
            slot: self.slot,
            incarnation: self.running.map(|running| running.incarnation),
        }
    }
}

fn place(lane: Lane) -> usize {
    match lane {
        Lane::Liveness => 0,
        Lane::Work => 1,
    }
}
