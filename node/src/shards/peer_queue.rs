//! What shards have for other nodes: one queue a peer, filled by the shards, drained by its link.
//!
//! Also the way back: where links put what has come. A queue exists for every slot from the start, so that a
//! shard may adopt a table before the link stands; what is for an incarnation that has ended is dropped.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use mainstay_core::{
    ids::{Incarnation, NodeSlot, ShardId, SpaceId},
    peering::{Batch, Token},
    shard::Origin,
};
use tokio::sync::Notify;

/// Where links put what has come for a shard.
pub trait ShardInbox: Send + Sync {
    /// Messages for the shard.
    fn push_batch(&self, shard: ShardId, from: Origin, batch: Batch);
    /// Answers for the shard.
    fn push_taken(&self, shard: ShardId, from: Origin, tokens: Vec<Token>);
    /// Whether the shard has so much that no more should come: the link then reads nothing, and its peer's
    /// window fills.
    fn is_full(&self, shard: ShardId) -> bool;
    /// The shard that takes a space's messages of other nodes; always the same. It passes on what its siblings
    /// want.
    fn home(&self, space: SpaceId) -> ShardId;
}

/// One push of a shard.
#[derive(Debug)]
pub struct Parcelled {
    /// For whom.
    pub to: Incarnation,
    /// Messages, in order.
    pub batch: Batch,
    /// Answers to the peer's own messages.
    pub taken: Vec<Token>,
}

/// The queue of one peer. Shards push and never wait; the peer's link takes all there is.
///
/// It is bounded by its users: above `LINK_QUEUE_BYTES` a shard drops QoS 0 and reads no publisher of QoS 1.
#[derive(Debug, Default)]
pub struct PeerQueue {
    items: Mutex<Vec<Parcelled>>,
    /// Bytes in `items`.
    waiting: AtomicUsize,
    /// Bytes that the link has taken and not sent yet.
    unsent: AtomicUsize,
    /// The oldest incarnation that is still worth a push.
    floor: AtomicU64,
    pushed: Notify,
}

impl PeerQueue {
    /// Adds messages and answers for the peer's incarnation, and wakes the link.
    pub fn push(&self, to: Incarnation, batch: Batch, taken: Vec<Token>) {
        let item = Parcelled { to, batch, taken };
        let bytes = item.bytes();
        {
            let mut items = self.lock();
            // Looked at under the lock, so that nothing slips in behind `end`.
            if to.0.0 < self.floor.load(Ordering::Relaxed) {
                return;
            }
            items.push(item);
            self.waiting.fetch_add(bytes, Ordering::Relaxed);
        }
        self.pushed.notify_one();
    }

    /// Bytes that wait here and in the link.
    pub fn queued_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed) + self.unsent.load(Ordering::Relaxed)
    }

    /// Takes all that is for this incarnation, in order; what is for an older one is dropped.
    pub fn take_all(&self, to: Incarnation) -> Vec<Parcelled> {
        let mut items = self.lock();
        if items.is_empty() {
            return Vec::new();
        }
        let all = std::mem::take(&mut *items);
        let (mine, rest): (Vec<_>, Vec<_>) = all.into_iter().partition(|item| item.to == to);
        items.extend(rest.into_iter().filter(|item| item.to > to));
        self.waiting
            .store(items.iter().map(Parcelled::bytes).sum(), Ordering::Relaxed);
        mine
    }

    /// Waits until something was pushed since the last `take_all`; may return once too often.
    pub async fn pushed(&self) {
        self.pushed.notified().await;
    }

    /// Says how much of what it took the link has still to send.
    pub fn set_unsent(&self, bytes: usize) {
        self.unsent.store(bytes, Ordering::Relaxed);
    }

    /// A link to this incarnation begins. It may be one whose earlier link ended with a life of this node: then
    /// what is for it is taken again.
    pub fn begin(&self, with: Incarnation) {
        self.end_before(with);
        let _items = self.lock();
        self.floor.store(with.0.0, Ordering::Relaxed);
    }

    /// From now on nothing older than `oldest` is taken; what waits for it is dropped.
    pub fn end_before(&self, oldest: Incarnation) {
        let mut items = self.lock();
        self.floor.fetch_max(oldest.0.0, Ordering::Relaxed);
        items.retain(|item| item.to >= oldest);
        self.waiting
            .store(items.iter().map(Parcelled::bytes).sum(), Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Parcelled>> {
        self.items.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Parcelled {
    fn bytes(&self) -> usize {
        self.batch.as_bytes().len() + self.taken.len() * size_of::<Token>()
    }
}

/// The queues of all peers, by slot. A clone shares them.
#[derive(Clone)]
pub struct PeerQueues {
    by_slot: Arc<[PeerQueue]>,
}

impl PeerQueues {
    /// The peer's queue; `None` only for a slot that cannot be.
    pub fn get(&self, slot: NodeSlot) -> Option<&PeerQueue> {
        self.by_slot.get(usize::from(slot.0))
    }
}

impl Default for PeerQueues {
    fn default() -> Self {
        Self {
            by_slot: (0..NodeSlot::MAX).map(|_| PeerQueue::default()).collect(),
        }
    }
}

impl fmt::Debug for PeerQueues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let queued: usize = self.by_slot.iter().map(PeerQueue::queued_bytes).sum();
        f.debug_struct("PeerQueues")
            .field("queued_bytes", &queued)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::ids::Position;

    use super::*;

    fn life(n: u64) -> Incarnation {
        Incarnation(Position(n))
    }

    fn push(queue: &PeerQueue, to: u64, token: u64) {
        queue.push(life(to), Batch::default(), vec![Token(token)]);
    }

    fn taken(queue: &PeerQueue, to: u64) -> Vec<u64> {
        queue
            .take_all(life(to))
            .into_iter()
            .flat_map(|i| i.taken)
            .map(|t| t.0)
            .collect()
    }

    #[test]
    fn a_link_takes_what_is_for_its_incarnation_and_leaves_what_is_for_a_newer_one() {
        let queue = PeerQueue::default();
        for (to, token) in [(1, 10), (2, 20), (3, 30), (2, 21)] {
            push(&queue, to, token);
        }
        assert_eq!(taken(&queue, 2), [20, 21]);
        assert_eq!(queue.queued_bytes(), 8);
        assert_eq!(taken(&queue, 3), [30]);
        assert_eq!(queue.queued_bytes(), 0);
    }

    #[test]
    fn a_link_that_begins_again_after_a_life_of_this_node_takes_again() {
        let queue = PeerQueue::default();
        push(&queue, 1, 10);
        queue.end_before(life(2));
        push(&queue, 1, 11);
        queue.begin(life(1));
        push(&queue, 1, 12);
        assert_eq!(taken(&queue, 1), [12]);
    }

    #[test]
    fn nothing_is_kept_for_an_ended_incarnation() {
        let queue = PeerQueue::default();
        push(&queue, 1, 10);
        queue.end_before(life(2));
        push(&queue, 1, 11);
        push(&queue, 2, 20);
        assert_eq!(queue.queued_bytes(), 8);
        assert_eq!(taken(&queue, 2), [20]);
    }

    #[test]
    fn what_the_link_has_not_sent_counts_too() {
        let queue = PeerQueue::default();
        push(&queue, 1, 10);
        queue.set_unsent(100);
        assert_eq!(queue.queued_bytes(), 108);
    }
}
