//! The agreed log, abstract: one sequence, a leader at a time, and everything that can go wrong around it.
//!
//! What is committed stays. Proposals and answers get lost, come late, twice, after a change of leader; an
//! old leader may not know for a while; only a majority confirms.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use mainstay_core::{
    control::Renewal,
    ids::Index,
    proposer::ProposeError,
    replica::{Entry, Replica},
};

use crate::{
    agenda::Ev,
    node::{ControlIn, NodeNo},
    trace::note,
    world::World,
};

/// Between two looks around.
const TICK: u64 = 25;
/// Runs of applied entries that may wait for control.
const RUNS: usize = 16;

/// A message of the consensus between two nodes, or of one to itself.
#[derive(Debug)]
pub(crate) struct Mail {
    from: NodeNo,
    from_life: u64,
    to: NodeNo,
    /// Answers are for one process only.
    to_life: Option<u64>,
    body: Body,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Propose {
        ticket: u64,
        entry: Arc<Entry>,
    },
    Proposed {
        ticket: u64,
        outcome: Result<Index, ProposeError>,
    },
    ReadIndex {
        ticket: u64,
    },
    ReadIndexIs {
        ticket: u64,
        index: Option<Index>,
    },
    Renew {
        ticket: u64,
        renewal: Renewal,
    },
    Renewed {
        ticket: u64,
        granted: bool,
    },
    Confirmed {
        ticket: u64,
        confirmed: bool,
    },
}

/// A proposal at the leader.
#[derive(Debug)]
struct Pending {
    from: Option<(NodeNo, u64, u64)>,
    entry: Arc<Entry>,
    ready_at: u64,
}

/// The log and its leader.
#[derive(Debug, Default)]
pub(crate) struct Raft {
    /// `log[i]` has the index `i + 1`, and when it was committed.
    pub(crate) log: Vec<(Arc<Entry>, u64)>,
    /// `states[i]` is the state after index `i`.
    pub(crate) states: Vec<Replica>,
    pub(crate) leader: Option<NodeNo>,
    pub(crate) term: u64,
    pending: VecDeque<Pending>,
    /// Proposals on long ways: committed late, or twice.
    ghosts: Vec<(u64, Arc<Entry>)>,
    leader_bad: Option<(u64, u64)>,
    /// Who waits for which grant.
    replies: BTreeMap<u64, (NodeNo, u64, u64)>,
    next_reply: u64,
    pub(crate) change_leader: bool,
}

impl World {
    pub(crate) fn truth(&self) -> &Replica {
        self.raft
            .states
            .last()
            .expect("the state before the first entry is always there")
    }

    fn delay(&mut self) -> u64 {
        let slow = if self.net.slow_until > self.now {
            self.net.slow_by
        } else {
            0
        };
        self.rng.within(0, self.p.delay) + self.rng.within(0, slow)
    }

    fn mail(&mut self, mail: Mail, extra: u64) {
        let at = self.now
            + extra
            + if mail.from == mail.to {
                0
            } else {
                self.delay()
            };
        if mail.from != mail.to && !self.net.raft_open(mail.from, mail.to, self.now) {
            self.counts.add("mail cut");
            self.fail_later(&mail);
        } else {
            self.agenda.put(at, Ev::Mail(Box::new(mail)));
        }
    }

    /// A request got lost: its sender may hear so, late.
    fn fail_later(&mut self, mail: &Mail) {
        if self.rng.chance(1, 2) {
            return;
        }
        let body = match mail.body {
            Body::Propose { ticket, .. } => Body::Proposed {
                ticket,
                outcome: Err(ProposeError::Unknown),
            },
            Body::ReadIndex { ticket } => Body::ReadIndexIs {
                ticket,
                index: None,
            },
            Body::Renew { ticket, .. } => Body::Renewed {
                ticket,
                granted: false,
            },
            _ => return,
        };
        let at = self.now + self.rng.within(50, 1_500);
        let (to, to_life) = (mail.from, Some(mail.from_life));
        let own = Mail {
            from: to,
            from_life: mail.from_life,
            to,
            to_life,
            body,
        };
        self.agenda.put(at, Ev::Mail(Box::new(own)));
    }

    /// Sends a request to whoever the node thinks leads.
    pub(crate) fn ask_leader(&mut self, n: NodeNo, body: Body) {
        let extra = match body {
            Body::Propose { .. } if self.rng.chance(self.p.disorder, 1_000) => {
                self.counts.add("proposal out of order");
                self.rng.within(1, 300)
            }
            _ => 0,
        };
        let from_life = self.nodes[n].life;
        let to = self.nodes[n].believes.unwrap_or(n);
        if matches!(body, Body::Renew { .. }) && n != to && self.net.raft_open(n, to, self.now) {
            self.nodes[n].reached_at = self.now;
        }
        let mail = Mail {
            from: n,
            from_life,
            to,
            to_life: None,
            body,
        };
        if !self.is_healing && self.rng.chance(self.p.loss, 1_000) {
            self.counts.add("request lost");
            self.fail_later(&mail);
        } else {
            self.mail(mail, extra);
        }
    }

    fn answer(&mut self, from: NodeNo, to: NodeNo, life: u64, body: Body) {
        if !self.is_healing && self.rng.chance(self.p.loss, 1_000) {
            self.counts.add("answer lost");
            return;
        }
        let extra = if !self.is_healing && self.rng.chance(self.p.loss, 4_000) {
            self.counts.add("answer very late");
            self.rng.within(500, 3_500)
        } else {
            0
        };
        let from_life = self.nodes[from].life;
        self.mail(
            Mail {
                from,
                from_life,
                to,
                to_life: Some(life),
                body,
            },
            extra,
        );
    }

    pub(crate) fn propose(&mut self, n: NodeNo, ticket: u64, entry: &Arc<Entry>) {
        self.counts.add("proposal");
        // Through bytes, as it would be.
        match Entry::decode(&entry.encode()) {
            Ok(same) if same == **entry => {}
            other => self.violate("codec", &format!("{entry:?} is read as {other:?}")),
        }
        self.ask_leader(
            n,
            Body::Propose {
                ticket,
                entry: Arc::clone(entry),
            },
        );
    }

    pub(crate) fn handle_mail(&mut self, mail: Mail) {
        let Mail {
            from,
            from_life,
            to,
            to_life,
            ..
        } = mail;
        let node = &self.nodes[to];
        if !node.is_alive || to_life.is_some_and(|life| life != node.life) {
            self.fail_later(&mail);
            return;
        }
        if node.paused_until > self.now {
            let at = node.paused_until;
            self.agenda.put(at, Ev::Mail(Box::new(mail)));
            return;
        }
        if from != to && !self.net.raft_open(from, to, self.now) {
            self.fail_later(&mail);
            return;
        }
        match mail.body {
            Body::Propose { ticket, entry } => self.take(to, (from, from_life, ticket), entry),
            Body::ReadIndex { ticket } => self.read_index(to, from, from_life, ticket),
            Body::Renew { ticket, renewal } => {
                let reply = self.raft.next_reply;
                self.raft.next_reply += 1;
                self.raft.replies.insert(reply, (from, from_life, ticket));
                self.tell_control(to, ControlIn::Renewal(reply, renewal));
            }
            Body::Proposed { ticket, outcome } => {
                self.tell_control(to, ControlIn::Proposed(ticket, outcome));
            }
            Body::ReadIndexIs { ticket, index } => {
                self.tell_control(to, ControlIn::ReadIndex(ticket, index));
            }
            Body::Renewed { ticket, granted } => {
                self.tell_control(to, ControlIn::Renewed(ticket, granted));
            }
            Body::Confirmed { ticket, confirmed } => {
                self.tell_control(to, ControlIn::Confirmed(ticket, confirmed));
            }
        }
    }

    /// A proposal is at the node that its sender thinks leads.
    fn take(&mut self, at: NodeNo, from: (NodeNo, u64, u64), entry: Arc<Entry>) {
        if self.nodes[at].leads.is_none() {
            let outcome = Err(ProposeError::NotLeader);
            self.counts.add("proposal to no leader");
            self.answer(
                at,
                from.0,
                from.1,
                Body::Proposed {
                    ticket: from.2,
                    outcome,
                },
            );
        } else if self.raft.leader == Some(at) {
            if self.rng.chance(self.p.loss, 2_000) {
                let late = self.now + self.rng.within(10, 6_000);
                self.raft.ghosts.push((late, Arc::clone(&entry)));
            }
            let ready_at = self.now + self.rng.within(1, 2 + self.p.delay);
            self.raft.pending.push_back(Pending {
                from: Some(from),
                entry,
                ready_at,
            });
            self.agenda.put(ready_at, Ev::Commit);
        } else {
            // It goes into the log of a leader that is none any more, and is lost with it.
            self.counts.add("proposal to a deposed leader");
            if self.rng.chance(1, 2) {
                let outcome = Err(ProposeError::Unknown);
                self.answer(
                    at,
                    from.0,
                    from.1,
                    Body::Proposed {
                        ticket: from.2,
                        outcome,
                    },
                );
            }
        }
    }

    /// Whether the node reaches a majority both ways.
    pub(crate) fn has_majority(&self, n: NodeNo) -> bool {
        let reached = (0..self.nodes.len()).filter(|other| {
            let both =
                self.net.raft_open(n, *other, self.now) && self.net.raft_open(*other, n, self.now);
            self.is_running(*other) && (*other == n || both)
        });
        self.is_running(n) && reached.count() > self.nodes.len() / 2
    }

    pub(crate) fn commit(&mut self) {
        let Some(leader) = self.raft.leader.filter(|leader| self.has_majority(*leader)) else {
            return;
        };
        while let Some(pending) = self.raft.pending.pop_front_if(|p| p.ready_at <= self.now) {
            let index = self.append(pending.entry);
            if let Some((n, life, ticket)) = pending.from {
                let body = if !self.is_healing && self.rng.chance(self.p.loss, 2_000) {
                    Body::Proposed {
                        ticket,
                        outcome: Err(ProposeError::Unknown),
                    }
                } else {
                    Body::Proposed {
                        ticket,
                        outcome: Ok(index),
                    }
                };
                self.answer(leader, n, life, body);
            }
        }
    }

    /// Adds to the log; from here on it is agreed.
    pub(crate) fn append(&mut self, entry: Arc<Entry>) -> Index {
        let index = Index(self.raft.log.len() as u64 + 1);
        let mut state = self.truth().clone();
        let applied = state.apply(index, &entry);
        self.raft.states.push(state);
        self.raft.log.push((entry, self.now));
        self.counts.add("entry committed");
        self.on_commit(index, &applied.effects);
        for n in 0..self.nodes.len() {
            self.feed_soon(n);
        }
        index
    }

    /// The moment of commit of an index.
    pub(crate) fn committed_at(&self, index: Index) -> u64 {
        let at = usize::try_from(index.0.saturating_sub(1)).unwrap_or_default();
        self.raft.log.get(at).map_or(0, |(_, at)| *at)
    }

    fn read_index(&mut self, leader: NodeNo, from: NodeNo, life: u64, ticket: u64) {
        let index = Index(self.raft.log.len() as u64);
        let is_leader = self.raft.leader == Some(leader)
            && self.nodes[leader].leads == Some(self.raft.term)
            && self.has_majority(leader);
        let index = is_leader.then_some(index);
        if index.is_none() && self.rng.chance(1, 2) {
            return;
        }
        let wait = self.delay();
        let from_life = self.nodes[leader].life;
        let body = Body::ReadIndexIs { ticket, index };
        if !self.is_healing && self.rng.chance(self.p.loss, 1_000) {
            self.counts.add("read index lost");
            return;
        }
        let mail = Mail {
            from: leader,
            from_life,
            to: from,
            to_life: Some(life),
            body,
        };
        self.mail(mail, wait);
    }

    pub(crate) fn confirm(&mut self, n: NodeNo, ticket: u64) {
        let confirmed = self.raft.leader == Some(n)
            && self.nodes[n].leads == Some(self.raft.term)
            && self.has_majority(n);
        if !confirmed {
            self.counts.add("confirmation failed");
            if self.rng.chance(1, 2) {
                return;
            }
        }
        let late = if !self.is_healing && self.rng.chance(self.p.loss, 4_000) {
            self.rng.within(300, 2_500)
        } else {
            0
        };
        let wait = self.delay() + late;
        let life = self.nodes[n].life;
        let body = Body::Confirmed { ticket, confirmed };
        self.mail(
            Mail {
                from: n,
                from_life: life,
                to: n,
                to_life: Some(life),
                body,
            },
            wait,
        );
    }

    pub(crate) fn answer_renewal(&mut self, n: NodeNo, reply: u64, granted: bool) {
        if let Some((to, life, ticket)) = self.raft.replies.remove(&reply) {
            self.answer(n, to, life, Body::Renewed { ticket, granted });
        }
    }

    /// Looks whether there is a leader, tells nodes what they can know, and moves what waits.
    pub(crate) fn raft_tick(&mut self) {
        self.agenda.put(self.now + TICK, Ev::RaftTick);
        self.watch_leader();
        self.spread_leadership();
        let (now, is_healing) = (self.now, self.is_healing);
        let due: Vec<_> = self
            .raft
            .ghosts
            .extract_if(.., |(at, _)| is_healing || *at <= now)
            .collect();
        for (_, entry) in due {
            self.counts.add("proposal committed again, late");
            self.raft.pending.push_back(Pending {
                from: None,
                entry,
                ready_at: now,
            });
        }
        self.commit();
        for n in 0..self.nodes.len() {
            self.feed_soon(n);
            if let Some(leader) = self.raft.leader
                && (n == leader || self.net.raft_open(n, leader, now))
            {
                self.nodes[n].reached_at = now;
            }
        }
    }

    fn watch_leader(&mut self) {
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
        self.agenda.put(now, Ev::Commit);
    }

    /// Nodes that the leader reaches learn of it, sooner or later.
    fn spread_leadership(&mut self) {
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

impl World {
    /// Whether no proposal is on its way.
    pub(crate) fn is_log_quiet(&self) -> bool {
        self.raft.pending.is_empty() && self.raft.ghosts.is_empty()
    }
}
