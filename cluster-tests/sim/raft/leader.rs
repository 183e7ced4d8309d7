//! Who leads: when a leader is given up, who comes next, what becomes of what was under way, who knows.

use mainstay_core::{ids::Index, proposer::ProposeError};

use crate::{
    agenda::Ev,
    node::{ControlIn, NodeNo},
    raft::{Body, Mail, Pending},
    trace::note,
    world::World,
};

impl World {
    pub(super) fn watch_leader(&mut self) {
        let is_good = self.raft.leader.is_some_and(|leader| {
            self.has_majority(leader) && self.nodes[leader].leads == Some(self.raft.term)
        });
        if is_good && !self.raft.change_leader {
            self.raft.leader_bad = None;
            return;
        }
        if self.raft.leader_bad.is_none() {
            let patience = if self.raft.term == 0 {
                50
            } else {
                self.rng.within(700, 1_500)
            };
            self.raft.leader_bad = Some((self.now, patience));
        }
        let is_due = self
            .raft
            .leader_bad
            .is_some_and(|(since, span)| self.now - since >= span);
        if !is_due && !self.raft.change_leader {
            return;
        }
        let able: Vec<NodeNo> = (0..self.nodes.len())
            .filter(|n| Some(*n) != self.raft.leader && self.has_majority(*n))
            .collect();
        let old = self.raft.leader.filter(|n| self.has_majority(*n));
        let candidates = if able.is_empty() {
            old.into_iter().collect()
        } else {
            able
        };
        if candidates.is_empty() {
            return;
        }
        let chosen = *self.rng.pick(&candidates);
        self.elect(chosen);
    }

    fn elect(&mut self, chosen: NodeNo) {
        let now = self.now;
        self.raft.change_leader = false;
        self.raft.leader_bad = None;
        self.raft.term += 1;
        self.raft.leader = Some(chosen);
        self.counts.add("leader elected");
        note!(self, "n{chosen} leads in term {}", self.raft.term);
        // What the old leader had under way: the new one has some of it, and commits that first.
        for mut pending in std::mem::take(&mut self.raft.pending) {
            let survives = self.rng.chance(1, 2);
            if let Some((n, life, ticket)) = pending.from.take()
                && self.rng.chance(1, 2)
            {
                let body = Body::Proposed {
                    ticket,
                    outcome: Err(ProposeError::Unknown),
                };
                let mail = Mail {
                    from: n,
                    from_life: life,
                    to: n,
                    to_life: Some(life),
                    body,
                };
                let wait = self.rng.within(1, 500);
                self.mail(mail, wait);
            }
            if survives {
                self.counts.add("proposal survived a leader change");
                self.raft.pending.push_back(Pending {
                    ready_at: now,
                    ..pending
                });
            } else {
                self.counts.add("proposal lost at a leader change");
            }
        }
        let term = self.raft.term;
        self.nodes[chosen].leads = Some(term);
        self.nodes[chosen].believes = Some(chosen);
        self.nodes[chosen].reached_at = now;
        self.tell_control(chosen, ControlIn::Leadership(true, term));
        let committed = Index(self.raft.log.len() as u64);
        self.tell_control(chosen, ControlIn::Committed(committed));
        self.agenda.put(now, Ev::Commit);
    }

    /// Nodes that the leader reaches learn of it, sooner or later.
    pub(super) fn spread_leadership(&mut self) {
        let Some(leader) = self.raft.leader.filter(|leader| self.is_running(*leader)) else {
            return;
        };
        for n in 0..self.nodes.len() {
            let knows = self.nodes[n].believes == Some(leader)
                && (n == leader || self.nodes[n].leads.is_none());
            let hears = n != leader
                && self.is_running(n)
                && self.net.raft_open(leader, n, self.now)
                && self.rng.chance(1, 2);
            if knows || !hears {
                continue;
            }
            self.nodes[n].believes = Some(leader);
            if self.nodes[n].leads.take().is_some() {
                self.counts.add("leader learned that it was deposed");
                let term = self.raft.term;
                self.tell_control(n, ControlIn::Leadership(false, term));
            }
        }
    }
}
