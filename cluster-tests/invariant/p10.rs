//! P10: nothing gets lost between what was accepted, delivered, queued and dropped.
//!
//! Single copies are followed by [`super::p1`] and [`super::log`]; here the shards' own counters are held
//! against what the connections saw, once nothing is on its way.

use crate::{node::NodeNo, world::World};

impl World {
    pub(crate) fn check_counters(&mut self, n: NodeNo, shard: usize) {
        let own: Vec<usize> = self
            .open_conns()
            .filter(|conn| {
                let record = &self.conns[*conn];
                (record.node, record.life, record.shard) == (n, self.nodes[n].life, shard)
            })
            .collect();
        let live = |conn: &usize| {
            let mut texts: Vec<&str> = self.conns[*conn]
                .subs
                .iter()
                .filter(|sub| !sub.has_ended)
                .map(|sub| sub.text.as_str())
                .collect();
            texts.sort_unstable();
            texts.dedup();
            texts.len() as u64
        };
        let (connections, subscriptions) = (own.len() as u64, own.iter().map(live).sum::<u64>());
        let counters = self.nodes[n].shards[shard].core.counters().clone();
        let held = (connections, subscriptions, 0, 0);
        let counted = (
            counters.connections,
            counters.subscriptions,
            counters.inflight_in,
            counters.inflight_out,
        );
        if held != counted {
            let text = format!(
                "shard {shard} of n{n} counts {counted:?} connections, subscriptions, unanswered in and out, and has {held:?}"
            );
            self.violate("P10", &text);
        }
        self.counts
            .add_many("copies delivered", counters.delivered.iter().sum());
        self.counts
            .add_many("copies dropped", counters.dropped.iter().sum());
    }
}
