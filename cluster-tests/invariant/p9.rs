//! P9: nothing leaves a node later than its fence after the sending of its last granted renewal, and a node
//! without a lease closes its clients.

use crate::{node::NodeNo, world::World};

/// How exactly it is known when a node could last reach the leader.
const SLACK: u64 = 60;
/// A node that can act closes its clients within this time after its fence.
const CLOSING: u64 = 1_000;

impl World {
    /// Something leaves the node, or a shard of it.
    pub(crate) fn check_lease(&mut self, n: NodeNo, what: &str) {
        let fence = self.p.timing.fence_after.as_millis() as u64;
        let node = &self.nodes[n];
        if self.now >= node.leased_until {
            let text = format!(
                "n{n} lets {what} out, its lease ended at {}",
                node.leased_until
            );
            self.violate("P9", &text);
        } else if self.now >= node.reached_at + fence + SLACK {
            let text = format!(
                "n{n} lets {what} out, it could reach no leader since {}",
                node.reached_at
            );
            self.violate("P9", &text);
        }
    }

    pub(crate) fn look_at_leases(&mut self) {
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            let acts = node.is_alive
                && node.paused_until <= self.now
                && node
                    .actors
                    .iter()
                    .all(|actor| actor.stalled_until <= self.now);
            if !acts || self.is_open(n) {
                self.closed_since[n] = None;
                continue;
            }
            let since = *self.closed_since[n].get_or_insert(self.now);
            let holds = node.shards.iter().any(|shard| {
                shard
                    .sockets
                    .keys()
                    .any(|slot| shard.core.closing(*slot).is_none())
            });
            if holds && self.now - since > CLOSING {
                self.violate(
                    "P9",
                    &format!("n{n} has no lease since {since} and keeps its clients"),
                );
            }
        }
    }
}
