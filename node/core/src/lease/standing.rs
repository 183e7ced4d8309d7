//! How each node that is up stands with the leader, and which ones it has to end.
//!
//! Owned by [`super::Grantor`]. A node that it once found due gets no lease from this leader again: its end
//! may be on its way to the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    ids::{Incarnation, NodeId, NodeSet, NodeSlot},
    lease::Ask,
    time::{Moment, Timing},
};

/// The nodes that are up, at most [`NodeSlot::MAX`].
#[derive(Debug)]
pub(super) struct Standing {
    me: NodeId,
    timing: Timing,
    elected: Moment,
    up: BTreeMap<NodeSlot, Node>,
    /// Incarnations whose process is gone, known also before an election; only of nodes that are up.
    refused: BTreeSet<Incarnation>,
}

#[derive(Debug)]
struct Node {
    node: NodeId,
    incarnation: Incarnation,
    /// Its last positive answer; before the first, when it came up.
    heard: Moment,
    granted: bool,
    unreachable: NodeSet,
    is_due: bool,
}

impl Standing {
    pub(super) fn new(me: NodeId, timing: Timing) -> Self {
        let (up, refused) = (BTreeMap::new(), BTreeSet::new());
        Self {
            me,
            timing,
            elected: Moment(0),
            up,
            refused,
        }
    }

    pub(super) fn elected(&mut self, now: Moment) {
        self.elected = now;
        for node in self.up.values_mut() {
            node.granted = false;
            node.is_due = false;
        }
    }

    pub(super) fn handle_nodes(
        &mut self,
        now: Moment,
        up: impl Iterator<Item = (NodeId, NodeSlot, Incarnation)>,
    ) {
        let mut before = std::mem::take(&mut self.up);
        for (node, slot, incarnation) in up {
            let known = before
                .remove(&slot)
                .filter(|known| known.incarnation == incarnation);
            let fresh = || Node {
                node,
                incarnation,
                heard: now,
                granted: false,
                unreachable: NodeSet::default(),
                is_due: false,
            };
            self.up.insert(slot, known.unwrap_or_else(fresh));
        }
        let up = &self.up;
        self.refused
            .retain(|gone| up.values().any(|node| node.incarnation == *gone));
    }

    pub(super) fn handle_hint(&mut self, incarnation: Incarnation, refused: bool) {
        let concerns = |node: &Node| node.incarnation == incarnation && node.node != self.me;
        if !refused {
            self.refused.remove(&incarnation);
        } else if self.up.values().any(concerns) {
            self.refused.insert(incarnation);
        }
    }

    pub(super) fn may_have_lease(&self, node: NodeId, incarnation: Incarnation) -> bool {
        let same = |known: &&Node| known.node == node && known.incarnation == incarnation;
        self.up
            .values()
            .find(same)
            .is_some_and(|known| !known.is_due)
    }

    pub(super) fn granted(&mut self, now: Moment, ask: &Ask) {
        let same = |known: &&mut Node| known.incarnation == ask.incarnation;
        if let Some(known) = self.up.values_mut().find(same) {
            known.heard = now;
            known.granted = true;
            known.unreachable = ask.unreachable;
        }
    }

    pub(super) fn due(&mut self, now: Moment) -> Vec<(NodeId, Incarnation)> {
        let (elected, down_after) = (self.elected, self.timing.down_after);
        for node in self.up.values_mut() {
            node.is_due |= now.since(node.heard.max(elected)) >= down_after
                || self.refused.contains(&node.incarnation);
        }
        while let Some(slot) = self.worse_of_a_cut_pair(now) {
            if let Some(node) = self.up.get_mut(&slot) {
                node.is_due = true;
            }
        }
        let due = self.up.values().filter(|node| node.is_due);
        due.map(|node| (node.node, node.incarnation)).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let waits = self.up.values().filter(|node| !node.is_due);
        waits
            .map(|node| node.heard.max(self.elected) + self.timing.down_after)
            .min()
    }

    /// Of two nodes with leases that report each other: the one with fewer links, the higher slot of equals.
    fn worse_of_a_cut_pair(&self, now: Moment) -> Option<NodeSlot> {
        let fence: Duration = self.timing.fence_after;
        let leased = |node: &Node| node.granted && !node.is_due && now.since(node.heard) < fence;
        for (a, first) in self.up.iter().filter(|(_, node)| leased(node)) {
            for b in first.unreachable.iter().filter(|b| b > a) {
                let Some(second) = self.up.get(&b).filter(|node| leased(node)) else {
                    continue;
                };
                if second.unreachable.contains(*a) {
                    let first_is_worse = self.links(*a, first) < self.links(b, second);
                    return Some(if first_is_worse { *a } else { b });
                }
            }
        }
        None
    }

    fn links(&self, of: NodeSlot, node: &Node) -> usize {
        self.up
            .keys()
            .filter(|slot| **slot != of && !node.unreachable.contains(**slot))
            .count()
    }
}
