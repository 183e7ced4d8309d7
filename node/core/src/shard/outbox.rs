//! What a shard wants carried out; filled by every `handle_…`, emptied by the driver.

use crate::{
    ids::{Incarnation, NodeSlot, ShardId},
    message::Request,
    peering::{Batch, Message, Token},
};

/// Where a batch comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another shard of this node.
    Sibling(ShardId),
    /// Another node, in one of its lives.
    Node(NodeSlot, Incarnation),
}

/// What goes to one sibling shard or node: messages, and answers to its own.
#[derive(Clone, Debug, Default)]
pub struct Parcel {
    /// Messages, in order.
    pub batch: Batch,
    /// Tokens that are answered, in any order.
    pub taken: Vec<Token>,
}

impl Parcel {
    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty() && self.taken.is_empty()
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.batch.clear();
        self.taken.clear();
    }
}

/// The outputs of a shard since the driver last took them. `handle_flushed` and `forget` may add to it too.
#[derive(Debug, Default)]
pub struct Outbox {
    /// For control, in order.
    pub requests: Vec<Request>,
    /// For the sibling shards, by their number; the shard's own stays empty.
    pub siblings: Vec<Parcel>,
    /// For other nodes; one that has no link (any more) is dropped with what it holds.
    pub peers: Vec<(NodeSlot, Incarnation, Parcel)>,
    /// Slots with output, or to be closed; each once until [`super::Shard::output`] is called for it.
    pub dirty: Vec<u32>,
    /// Slots that were held back and want input again, also input that they were already given.
    pub resume: Vec<u32>,
}

impl Outbox {
    /// Whether there is nothing to carry out.
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
            && self.dirty.is_empty()
            && self.resume.is_empty()
            && self.siblings.iter().all(Parcel::is_empty)
            && self.peers.iter().all(|(_, _, parcel)| parcel.is_empty())
    }

    pub(super) fn push_sibling(&mut self, shard: ShardId, message: &Message<'_>) {
        if let Some(parcel) = self.siblings.get_mut(usize::from(shard.0)) {
            parcel.batch.push(message);
        }
    }

    pub(super) fn push_peer(&mut self, slot: NodeSlot, life: Incarnation, message: &Message<'_>) {
        self.peer(slot, life).batch.push(message);
    }

    pub(super) fn push_taken(&mut self, to: Origin, token: Token) {
        match to {
            Origin::Sibling(shard) => {
                if let Some(parcel) = self.siblings.get_mut(usize::from(shard.0)) {
                    parcel.taken.push(token);
                }
            }
            Origin::Node(slot, life) => self.peer(slot, life).taken.push(token),
        }
    }

    /// Forgets what was to leave for siblings and nodes.
    pub(super) fn clear_parcels(&mut self) {
        self.siblings.iter_mut().for_each(Parcel::clear);
        self.peers.clear();
    }

    fn peer(&mut self, slot: NodeSlot, life: Incarnation) -> &mut Parcel {
        let at = self
            .peers
            .iter()
            .position(|peer| peer.0 == slot && peer.1 == life);
        let at = at.unwrap_or_else(|| {
            self.peers.push((slot, life, Parcel::default()));
            self.peers.len() - 1
        });
        &mut self.peers[at].2
    }
}
