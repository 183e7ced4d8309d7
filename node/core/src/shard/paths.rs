//! What a connection of a broker space remembers to keep its order when a topic changes its path (P6).
//!
//! A message goes by the log or by the links, as its RETAIN flag says. The later one must not overtake the earlier.
//! Topics are remembered as bits of a hash: two that share a bit wait for each other without need, never the reverse.

use crate::ids::{Index, NodeSet, ShardSet};

/// The paths that a connection's messages took lately.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Topics whose messages went by the log and may not be applied everywhere.
    pub(super) logged: u64,
    /// The newest index of those.
    pub(super) logged_at: Index,
    /// How many of them are not stored yet.
    pub(super) storing: u32,
    /// Topics whose messages went by the links and may not be taken everywhere. All bits until the connection first
    /// stores: before, no topic needs a hash.
    pub(super) linked: u64,
    /// Where those went.
    pub(super) shards: ShardSet,
    /// Where those went.
    pub(super) nodes: NodeSet,
    /// Whether the connection has stored anything.
    pub(super) stores: bool,
}

/// What a publish has to wait for before it may change the path of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing.
    Go,
    /// The answers of the log, which are under way.
    AwaitStored,
    /// That every node has applied this index.
    AwaitApplied(Index),
    /// That these have handled all that was sent to them before.
    AwaitTaken(ShardSet, NodeSet),
}

impl Paths {
    /// The turn of a message by the links, on the topic of these bits.
    pub(super) fn turn_to_links(&mut self, topic: u64) -> Turn {
        if self.logged & topic == 0 {
            Turn::Go
        } else if self.storing > 0 {
            Turn::AwaitStored
        } else if self.logged_at == Index::default() {
            self.logged = 0;
            Turn::Go
        } else {
            Turn::AwaitApplied(self.logged_at)
        }
    }

    /// The turn of a message by the log.
    pub(super) fn turn_to_log(&mut self, topic: u64) -> Turn {
        if self.linked & topic == 0 || (self.shards.is_empty() && self.nodes.is_empty()) {
            Turn::Go
        } else {
            Turn::AwaitTaken(self.shards, self.nodes)
        }
    }

    /// A message went by the links.
    pub(super) fn link(&mut self, topic: u64, shards: ShardSet, nodes: NodeSet) {
        self.linked |= topic;
        self.shards.0 |= shards.0;
        self.nodes.0 |= nodes.0;
    }

    /// A message goes by the log.
    pub(super) fn log(&mut self, topic: u64) {
        self.stores = true;
        self.logged |= topic;
        self.storing += 1;
    }

    /// One of them is stored, at this index if it is known.
    pub(super) fn stored(&mut self, index: Option<Index>) {
        self.storing = self.storing.saturating_sub(1);
        self.logged_at = self.logged_at.max(index.unwrap_or_default());
    }

    /// Every node has applied what was asked for.
    pub(super) fn applied(&mut self) {
        if self.storing == 0 {
            self.logged = 0;
            self.logged_at = Index::default();
        }
    }

    /// All that went by the links was handled.
    pub(super) fn taken(&mut self) {
        self.linked = 0;
        self.shards = ShardSet::default();
        self.nodes = NodeSet::default();
    }
}
