//! What has come over a link, on its way to the shards.
//!
//! The messages of one peer go to one shard, always the same: it passes them on to its siblings in order, so that
//! no order is lost here. Answers go to the shard that each token names.

use std::{fmt, sync::Arc};

use mainstay_core::{
    ids::ShardId,
    peering::{Batch, Token},
    shard::Origin,
};

use crate::shards::peer_queue::ShardInbox;

/// The shards of this node, as links see them.
#[derive(Clone)]
pub(super) struct Inbound {
    pub(super) inbox: Arc<dyn ShardInbox>,
    /// How many shards there are, at least 1.
    pub(super) shards: u8,
}

impl Inbound {
    /// Whether the shard that takes this peer's messages wants no more for now.
    pub(super) fn is_full(&self, from: Origin) -> bool {
        self.inbox.is_full(self.shard_of(from))
    }

    pub(super) fn deliver(&self, from: Origin, batch: Batch, taken: Vec<Token>) {
        if !batch.is_empty() {
            self.inbox.push_batch(self.shard_of(from), from, batch);
        }
        if taken.is_empty() {
            return;
        }
        let mut by_shard: Vec<Vec<Token>> = vec![Vec::new(); usize::from(self.shards)];
        for token in taken {
            // A token of a shard that this node does not have was made by nobody here.
            if let Some(tokens) = by_shard.get_mut(usize::from(token.shard().0)) {
                tokens.push(token);
            }
        }
        for (shard, tokens) in (0..).map(ShardId).zip(by_shard) {
            if !tokens.is_empty() {
                self.inbox.push_taken(shard, from, tokens);
            }
        }
    }

    fn shard_of(&self, from: Origin) -> ShardId {
        match from {
            Origin::Node(slot, _) => ShardId(slot.0 % self.shards.max(1)),
            Origin::Sibling(shard) => shard,
        }
    }
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
