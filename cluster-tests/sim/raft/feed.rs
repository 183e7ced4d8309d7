//! From the agreed log to each node's replica: in order, late, in runs, or by a snapshot.

use mainstay_core::{ids::Index, replica::Replica};

use crate::{
    agenda::Ev,
    node::{ControlIn, NodeNo},
    raft::RUNS,
    trace::note,
    world::World,
};

impl World {
    /// Lets the node's replica get what it can soon.
    pub(crate) fn feed_soon(&mut self, n: NodeNo) {
        let behind = self.nodes[n].replica.applied().0 < self.raft.log.len() as u64;
        if !self.nodes[n].is_alive || !behind || self.nodes[n].feed_at.is_some() {
            return;
        }
        let at = self.now
            + if Some(n) == self.raft.leader {
                0
            } else {
                self.delay()
            };
        self.nodes[n].feed_at = Some(at);
        let life = self.nodes[n].life;
        self.agenda.put(at, Ev::Feed(n, life));
    }

    /// Gives some committed entries to the node's replica.
    pub(crate) fn feed(&mut self, n: NodeNo, life: u64) {
        let now = self.now;
        if !self.nodes[n].is_alive || self.nodes[n].life != life {
            return;
        }
        self.nodes[n].feed_at = None;
        let hears = self.raft.leader.is_some_and(|leader| {
            n == leader || (self.is_running(leader) && self.net.raft_open(leader, n, now))
        });
        let node = &mut self.nodes[n];
        let is_held = node.lags_until > now || node.paused_until > now || node.runs >= RUNS;
        if !hears || is_held {
            return;
        }
        if node.is_installing {
            self.install(n);
            return;
        }
        let most = self.rng.within(1, 24);
        let node = &mut self.nodes[n];
        let mut run = Vec::new();
        for _ in 0..most {
            let at = usize::try_from(node.replica.applied().0).unwrap_or_default();
            let Some((entry, _)) = self.raft.log.get(at) else {
                break;
            };
            run.push(node.replica.apply(Index(at as u64 + 1), entry));
        }
        if !run.is_empty() {
            node.runs += 1;
            let state = Box::new(node.replica.clone());
            self.tell_control(n, ControlIn::Applied(run, state));
        }
        self.feed_soon(n);
    }

    /// The leader sends a snapshot instead of entries; it is put in place once the node has no client.
    fn install(&mut self, n: NodeNo) {
        if !self.nodes[n].control.may_install() {
            return;
        }
        let index = self.raft.log.len();
        let bytes = self.raft.states[index].write_snapshot();
        match Replica::read_snapshot(&bytes) {
            Ok(replica) => {
                self.counts.add("snapshot installed");
                note!(self, "n{n} installs a snapshot at {index}");
                let replica = self.planted(replica);
                let node = &mut self.nodes[n];
                node.is_installing = false;
                node.runs += 1;
                node.replica = replica.clone();
                self.tell_control(n, ControlIn::Applied(Vec::new(), Box::new(replica)));
            }
            Err(error) => self.violate("P2", &format!("a snapshot cannot be read: {error}")),
        }
    }
}
