//! The node's routes, the tables that shards adopt, and the index that may be reported.
//!
//! Part of a running incarnation. An index counts as covered once every shard routes by all that was
//! applied up to it; nothing else may be reported (design section 5 *Interest and barrier*).

use std::sync::Arc;

use crate::{
    control::{desk::Desk, peers::Peers, plant::Plant},
    ids::{Incarnation, Index, NodeSet, NodeSlot, ShardId, ShardSet, SpaceId},
    message::Event,
    replica::Replica,
    router::{Routes, Table},
    topic::TopicFilter,
};

/// Routes and their tables.
///
/// - At most one published table is not yet adopted by all shards: so a shard's `Adopted` is never
///   ambiguous, tables do not pile up in front of a slow shard, and changes join while one is on its way.
/// - The last two tables are held here, so that dropping one never costs a shard anything.
#[derive(Debug)]
pub(super) struct Routing {
    routes: Routes,
    /// Something of the log (interest, nodes, catalog) is in no published table.
    is_routed_stale: bool,
    /// A mask of this node's shards is in no published table.
    is_masks_stale: bool,
    outstanding: Option<Outstanding>,
    /// How many tables were published, and how many of them all shards have adopted.
    published: u64,
    adopted: u64,
    covered: Index,
    held: Option<Arc<Table>>,
}

#[derive(Debug)]
struct Outstanding {
    table: Arc<Table>,
    waiting: ShardSet,
    /// It brings something of the log.
    is_routed: bool,
}

impl Routing {
    pub(super) fn new() -> Self {
        Self {
            routes: Routes::default(),
            is_routed_stale: true,
            is_masks_stale: true,
            outstanding: None,
            published: 0,
            adopted: 0,
            covered: Index(0),
            held: None,
        }
    }

    /// Takes all interest of the state; the incarnation has just begun, and no shard has a subscriber.
    pub(super) fn rebuild(&mut self, state: &Replica) {
        self.routes = Routes::default();
        for (space, filter, nodes) in state.interest() {
            self.routes.set_nodes(space, filter, nodes);
        }
        self.is_routed_stale = true;
    }

    pub(super) fn set_nodes(&mut self, space: SpaceId, filter: &TopicFilter, nodes: NodeSet) {
        self.routes.set_nodes(space, filter, nodes);
        self.is_routed_stale = true;
    }

    pub(super) fn set_shards(&mut self, space: SpaceId, filter: &TopicFilter, shards: ShardSet) {
        self.routes.set_shards(space, filter, shards);
        self.is_masks_stale = true;
    }

    /// The nodes that are up or the catalog changed.
    pub(super) fn touch(&mut self) {
        self.is_routed_stale = true;
    }

    /// The shards with a subscriber for the topic as of now, published or not.
    pub(super) fn shards(&self, space: SpaceId, topic: &str) -> ShardSet {
        self.routes.find(&space, topic).shards
    }

    /// The number of the table that will have every local mask as of now.
    pub(super) fn table_of_masks(&self) -> u64 {
        if self.is_masks_stale {
            self.published + 1
        } else {
            self.published
        }
    }

    /// The number of the newest table that all shards have adopted.
    pub(super) fn adopted(&self) -> u64 {
        self.adopted
    }

    /// The newest index that this node may report.
    pub(super) fn covered(&self, desk: &Desk<'_>) -> Index {
        if desk.planted.has(Plant::ReportBeforeAdoption) {
            desk.state.applied()
        } else {
            self.covered
        }
    }

    pub(super) fn handle_adopted(&mut self, shard: ShardId, index: Index) {
        let Some(outstanding) = &mut self.outstanding else {
            return;
        };
        if outstanding.table.index != index {
            return;
        }
        outstanding.waiting = outstanding.waiting.without(shard);
        if outstanding.waiting.is_empty() {
            self.covered = self.covered.max(index);
            self.adopted = self.published;
            self.held = self.outstanding.take().map(|done| done.table);
        }
    }

    /// Publishes what changed, and finds what is covered.
    pub(super) fn settle(
        &mut self,
        desk: &mut Desk<'_>,
        me: NodeSlot,
        incarnation: Incarnation,
        peers: &Peers,
    ) {
        if self.outstanding.is_none() && (self.is_routed_stale || self.is_masks_stale) {
            let (list, up) = peers.to_table();
            let table = Arc::new(Table {
                index: desk.state.applied(),
                me,
                incarnation,
                peers: list,
                up,
                routes: self.routes.clone(),
                catalog: desk.state.catalog().clone(),
            });
            desk.tell_all(&Event::Adopt(Arc::clone(&table)));
            let waiting = desk.config.all_shards();
            let is_routed = self.is_routed_stale;
            self.outstanding = Some(Outstanding {
                table,
                waiting,
                is_routed,
            });
            self.published += 1;
            (self.is_routed_stale, self.is_masks_stale) = (false, false);
        }
        let is_on_its_way = self
            .outstanding
            .as_ref()
            .is_some_and(|table| table.is_routed);
        if !self.is_routed_stale && !is_on_its_way {
            self.covered = desk.state.applied();
        }
    }
}
