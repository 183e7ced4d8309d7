//! The routing snapshot that shards work with.

use imbl::OrdMap;

use crate::{
    catalog::Catalog,
    ids::{Incarnation, Index, NodeId, NodeSet, NodeSlot, ShardSet, SpaceId},
    topic::{TopicFilter, Trie},
};

/// Who wants a filter: other nodes, and shards of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Nodes with interest, this one included; ended incarnations may still be in it.
    pub nodes: NodeSet,
    /// Shards of this node with a subscriber.
    pub shards: ShardSet,
}

/// The filters of all spaces; a clone is O(1).
#[derive(Clone, Debug, Default)]
pub struct Routes {
    spaces: OrdMap<SpaceId, Trie<Wanted>>,
}

impl Routes {
    /// Sets the nodes that want a filter.
    pub fn set_nodes(&mut self, space: SpaceId, filter: &TopicFilter, nodes: NodeSet) {
        self.update(space, filter, |wanted| wanted.nodes = nodes);
    }

    /// Sets the shards of this node that want a filter.
    pub fn set_shards(&mut self, space: SpaceId, filter: &TopicFilter, shards: ShardSet) {
        self.update(space, filter, |wanted| wanted.shards = shards);
    }

    /// Who wants a topic: the union over all matching filters.
    pub fn find(&self, space: &SpaceId, topic: &str) -> Wanted {
        let mut all = Wanted::default();
        if let Some(trie) = self.spaces.get(space) {
            trie.find(topic, |wanted| {
                all.nodes.0 |= wanted.nodes.0;
                all.shards.0 |= wanted.shards.0;
            });
        }
        all
    }

    fn update(&mut self, space: SpaceId, filter: &TopicFilter, change: impl FnOnce(&mut Wanted)) {
        let mut trie = self.spaces.get(&space).cloned().unwrap_or_default();
        trie.update(filter, |wanted| {
            let mut wanted = wanted.unwrap_or_default();
            change(&mut wanted);
            (!wanted.nodes.is_empty() || !wanted.shards.is_empty()).then_some(wanted)
        });
        if trie.is_empty() {
            self.spaces.remove(&space);
        } else {
            self.spaces.insert(space, trie);
        }
    }
}

/// A node that serves, as the table's index knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The node.
    pub node: NodeId,
    /// Its slot.
    pub slot: NodeSlot,
    /// Its running incarnation.
    pub incarnation: Incarnation,
}

/// What a shard routes by.
#[derive(Clone, Debug)]
pub struct Table {
    /// Everything up to this entry is in it.
    pub index: Index,
    /// This node.
    pub me: NodeSlot,
    /// This node's running incarnation.
    pub incarnation: Incarnation,
    /// The other nodes that are up, by slot. A route to a node that is not here leads nowhere.
    pub peers: Vec<Peer>,
    /// Set of the slots in `peers`.
    pub up: NodeSet,
    /// Who wants what.
    pub routes: Routes,
    /// Registries, devices and brokers, for rights.
    pub catalog: Catalog,
}
