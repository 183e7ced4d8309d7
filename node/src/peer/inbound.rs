//! What has come over a link, on its way to the shards.
//!
//! The messages of a space go to its home shard, where its subscribers are as long as they are few; it passes on in
//! order what its siblings want. Answers go to the shard that each token names.

use std::{fmt, sync::Arc};

use mainstay_core::{
    ids::ShardId,
    peering::{BadBatch, Batch, Homes, Token},
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
    /// Whether a shard wants no more for now.
    pub(super) fn is_full(&self) -> bool {
        (0..self.shards).any(|shard| self.inbox.is_full(ShardId(shard)))
    }

    /// Checks every message of a batch and finds its home.
    pub(super) fn homes(&self, batch: &Batch) -> Result<Homes, BadBatch> {
        batch.homes(|space| self.inbox.home(space))
    }

    /// `homes` are those of this very batch.
    pub(super) fn deliver(&self, from: Origin, batch: Batch, homes: Homes, taken: Vec<Token>) {
        match homes {
            Homes::Nobody => {}
            Homes::One(shard) => self.inbox.push_batch(shard, from, batch),
            Homes::Many(parts) => {
                for (shard, part) in parts {
                    self.inbox.push_batch(shard, from, part);
                }
            }
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
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("shards", &self.shards)
            .finish_non_exhaustive()
    }
}
