//! The other nodes that are up: what they reported, and how the links to them stand.
//!
//! Part of a running incarnation.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    control::{Desk, LinkState, Output},
    ids::{Incarnation, Index, NodeId, NodeSet, NodeSlot},
    replica::Replica,
    router::Peer,
    time::Moment,
};

/// By slot; at most [`NodeSlot::MAX`].
#[derive(Debug, Default)]
pub(super) struct Peers {
    known: BTreeMap<NodeSlot, Known>,
    is_changed: bool,
}

#[derive(Debug)]
struct Known {
    peer: Peer,
    /// What it has applied and adopted: at first its own NodeUp, since it serves only from there.
    report: Index,
    link: Standing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// Not yet, since then.
    Never(Moment),
    Connected,
    /// It stood, and was reset then.
    Reset(Moment),
}

impl Peers {
    /// Takes the nodes of the state, all but `me`.
    pub(super) fn rebuild(&mut self, now: Moment, state: &Replica, me: NodeId) {
        self.known.clear();
        self.is_changed = true;
        for node in state.nodes().filter(|node| node.id != me) {
            if let Some(incarnation) = node.incarnation {
                self.add(
                    now,
                    Peer {
                        node: node.id,
                        slot: node.slot,
                        incarnation,
                    },
                );
            }
        }
    }

    pub(super) fn add(&mut self, now: Moment, peer: Peer) {
        let report = peer.incarnation.0.index();
        self.known.insert(
            peer.slot,
            Known {
                peer,
                report,
                link: Standing::Never(now),
            },
        );
        self.is_changed = true;
    }

    pub(super) fn remove(&mut self, slot: NodeSlot, incarnation: Incarnation) {
        if self.get_mut(slot, incarnation).is_some() {
            self.known.remove(&slot);
            self.is_changed = true;
        }
    }

    pub(super) fn handle_report(&mut self, slot: NodeSlot, incarnation: Incarnation, index: Index) {
        if let Some(known) = self.get_mut(slot, incarnation) {
            known.report = known.report.max(index);
        }
    }

    /// Takes what a link's driver saw; `false` if it is of an incarnation that is not up.
    pub(super) fn handle_link(
        &mut self,
        now: Moment,
        slot: NodeSlot,
        incarnation: Incarnation,
        state: LinkState,
    ) -> bool {
        let Some(known) = self.get_mut(slot, incarnation) else {
            return false;
        };
        known.link = match (state, known.link) {
            (LinkState::Connected, _) => Standing::Connected,
            (LinkState::Reset | LinkState::Refused, Standing::Connected) => Standing::Reset(now),
            (LinkState::Reset | LinkState::Refused, before) => before,
        };
        true
    }

    /// The lowest index that all of them have reported; `own` if there is none.
    pub(super) fn lowest_report(&self, own: Index) -> Index {
        self.known
            .values()
            .map(|known| known.report)
            .fold(own, Index::min)
    }

    /// Those that could not be reached for so long.
    pub(super) fn unreachable(&self, now: Moment, span: Duration) -> NodeSet {
        let is_cut = |known: &&Known| match known.link {
            Standing::Connected => false,
            Standing::Never(since) | Standing::Reset(since) => now.since(since) >= span,
        };
        let cut = self.known.values().filter(is_cut);
        cut.fold(NodeSet::default(), |set, known| set.with(known.peer.slot))
    }

    /// Whether so many links that stood are reset that this node can be of no majority: of the voters, or of
    /// the nodes that are up if these are more (who of them votes is not known here).
    pub(super) fn has_lost_majority(&self, voters: usize) -> bool {
        let nodes = voters.max(self.known.len() + 1);
        let is_reset = |known: &&Known| matches!(known.link, Standing::Reset(_));
        let reset = self.known.values().filter(is_reset).count();
        reset > 0 && nodes.saturating_sub(reset) <= nodes / 2
    }

    /// For a table: the peers by slot, and the set of them.
    pub(super) fn to_table(&self) -> (Vec<Peer>, NodeSet) {
        let list: Vec<Peer> = self.known.values().map(|known| known.peer).collect();
        let up = list
            .iter()
            .fold(NodeSet::default(), |set, peer| set.with(peer.slot));
        (list, up)
    }

    /// Says which links should exist, if that changed (then `true`).
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>, incarnation: Incarnation) -> bool {
        let is_changed = std::mem::take(&mut self.is_changed);
        if is_changed {
            let links = Some((incarnation, self.to_table().0));
            desk.outputs.push_back(Output::Links { links });
        }
        is_changed
    }

    fn get_mut(&mut self, slot: NodeSlot, incarnation: Incarnation) -> Option<&mut Known> {
        self.known
            .get_mut(&slot)
            .filter(|known| known.peer.incarnation == incarnation)
    }
}
