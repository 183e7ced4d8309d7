//! What shards have for other nodes: one queue a peer, filled by the shards, drained by its link.

use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use mainstay_core::{
    ids::{Incarnation, NodeSlot, ShardId},
    peering::{Batch, Token},
    shard::Origin,
};

/// Where links put what has come for a shard.
pub trait ShardInbox: Send + Sync {
    /// Messages for the shard.
    fn push_batch(&self, shard: ShardId, from: Origin, batch: Batch);
    /// Answers for the shard.
    fn push_taken(&self, shard: ShardId, from: Origin, tokens: Vec<Token>);
}

/// The queue of one peer.
#[derive(Debug, Default)]
pub struct PeerQueue {
    items: Mutex<Vec<(Incarnation, Batch, Vec<Token>)>>,
}

impl PeerQueue {
    /// Adds messages and answers for the peer's incarnation.
    pub fn push(&self, to: Incarnation, batch: Batch, taken: Vec<Token>) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push((to, batch, taken));
    }

    /// Bytes that wait.
    pub fn queued_bytes(&self) -> usize {
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        items.iter().map(|(_, batch, taken)| batch.as_bytes().len() + taken.len() * 8).sum()
    }
}

/// The queues of all peers, by slot.
#[derive(Clone, Debug, Default)]
pub struct PeerQueues {
    by_slot: Arc<ArcSwap<Vec<Option<Arc<PeerQueue>>>>>,
}

impl PeerQueues {
    /// The peer's queue, if there is a link to it.
    pub fn get(&self, slot: NodeSlot) -> Option<Arc<PeerQueue>> {
        self.by_slot.load().get(usize::from(slot.0)).cloned().flatten()
    }
}
