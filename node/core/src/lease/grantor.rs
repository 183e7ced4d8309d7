//! The leader's side of all leases: confirmation rounds, and who gets a grant.
//!
//! Owned by `control` on every node, active on the leader. It grants nothing that a majority has not
//! confirmed since the request came. Which nodes end is [`Standing`]'s part.

use std::collections::VecDeque;

use crate::{
    ids::{Incarnation, Index, NodeId, NodeSet, NodeSlot},
    lease::standing::Standing,
    time::{Moment, Timing},
};

/// Requests that wait for a confirmation: 64 nodes that send one each `renew`, over more than a fence.
const WAITING: usize = 1024;
/// Samples of what is committed, as the leader knows it; spaced so that they span `stall_after`, with room for one more.
const SAMPLES: u32 = 32;

/// A node's request for a lease, as the leader weighs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Who asks.
    pub node: NodeId,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// What it has applied and adopted.
    pub applied: Index,
    /// Peers that it could not reach for `down_after`.
    pub unreachable: NodeSet,
}

/// What the leader does about requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Have a majority confirm the leadership, in a round that begins now.
    Confirm {
        /// Names the round.
        ticket: u64,
    },
    /// Answer a request.
    Grant {
        /// Which.
        reply: u64,
        /// Whether the lease is granted.
        granted: bool,
    },
}

/// The leader's book of leases.
#[derive(Debug)]
pub struct Grantor {
    timing: Timing,
    term: Option<u64>,
    standing: Standing,
    waiting: VecDeque<Waiting>,
    /// The round under way, and when it began.
    round: Option<(u64, Moment)>,
    next_ticket: u64,
    committed: Index,
    /// What was committed when it was first told in this term; required from then on, since this node cannot know
    /// for how long it has been.
    floor: Option<Index>,
    samples: VecDeque<(Moment, Index)>,
    verdicts: VecDeque<Verdict>,
    #[cfg(any(test, feature = "plant"))]
    unconfirmed: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: u64,
    ask: Ask,
    came: Moment,
    /// The first round that began after it came.
    round: u64,
}

impl Grantor {
    /// The book of a node that does not lead.
    pub fn new(me: NodeId, timing: Timing) -> Self {
        Self {
            timing,
            term: None,
            standing: Standing::new(me, timing),
            waiting: VecDeque::new(),
            round: None,
            next_ticket: 1,
            committed: Index(0),
            floor: None,
            samples: VecDeque::new(),
            verdicts: VecDeque::new(),
            #[cfg(any(test, feature = "plant"))]
            unconfirmed: false,
        }
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.term.is_some()
    }

    /// This node was elected: all nodes are counted anew. The same term again changes nothing.
    pub fn became_leader(&mut self, now: Moment, term: u64) {
        if self.term != Some(term) {
            self.lost_leadership();
            self.term = Some(term);
            self.standing.elected(now);
        }
    }

    /// This node leads no longer: refuses whoever waits.
    pub fn lost_leadership(&mut self) {
        self.term = None;
        self.floor = None;
        self.round = None;
        let refused = self.waiting.drain(..);
        self.verdicts.extend(refused.map(|w| Verdict::Grant {
            reply: w.reply,
            granted: false,
        }));
    }

    /// The nodes that are up, as the replica has them; called whenever they changed.
    pub fn handle_nodes(
        &mut self,
        now: Moment,
        up: impl Iterator<Item = (NodeId, NodeSlot, Incarnation)>,
    ) {
        self.standing.handle_nodes(now, up);
    }

    /// The link to the incarnation stands, or (`refused`) its process was found to be gone.
    pub fn handle_hint(&mut self, incarnation: Incarnation, refused: bool) {
        self.standing.handle_hint(incarnation, refused);
    }

    /// What the consensus has committed, as this node knows it. Its own replica may be behind that, and must not get
    /// a lease for as long as it likes because it leads.
    pub fn handle_committed(&mut self, index: Index) {
        self.committed = self.committed.max(index);
        if self.term.is_some() {
            self.floor.get_or_insert(self.committed);
        }
    }

    /// What this node's replica has applied by now; called also when time passes.
    pub fn handle_applied(&mut self, now: Moment, applied: Index) {
        let spacing = self.timing.stall_after / (SAMPLES - 2);
        if self
            .samples
            .back()
            .is_none_or(|(at, _)| now.since(*at) >= spacing)
        {
            let known = self.committed.max(applied);
            self.samples.push_back((now, known));
        }
        // The newest sample that is old enough stays in front.
        let enough = |at: Moment| now.since(at) >= self.timing.stall_after;
        while self.samples.get(1).is_some_and(|(at, _)| enough(*at)) {
            self.samples.pop_front();
        }
    }

    /// A node asks for a lease; answered by a [`Verdict::Grant`], refused at once if this node does not lead.
    pub fn handle_renewal(&mut self, now: Moment, reply: u64, ask: Ask) {
        if self.term.is_none() || self.waiting.len() >= WAITING {
            self.verdicts.push_back(Verdict::Grant {
                reply,
                granted: false,
            });
            return;
        }
        let waiting = Waiting {
            reply,
            ask,
            came: now,
            round: self.next_ticket,
        };
        #[cfg(any(test, feature = "plant"))]
        if self.unconfirmed {
            self.answer(now, &waiting, true);
            return;
        }
        self.waiting.push_back(waiting);
    }

    /// A round ended. It answers whoever came before it began.
    pub fn handle_confirmed(&mut self, now: Moment, ticket: u64, confirmed: bool) {
        if self.term.is_none() || ticket >= self.next_ticket {
            return;
        }
        if self.round.is_some_and(|(current, _)| current == ticket) {
            self.round = None;
        } else if !confirmed {
            return;
        }
        while self
            .waiting
            .front()
            .is_some_and(|waiting| waiting.round <= ticket)
        {
            let Some(waiting) = self.waiting.pop_front() else {
                break;
            };
            self.answer(now, &waiting, confirmed);
        }
    }

    /// The next thing to do; starts a round when somebody waits and none is under way, or the one that is
    /// has had no answer for `retry_after` (its answer still counts when it comes).
    pub fn poll(&mut self, now: Moment) -> Option<Verdict> {
        if let Some(verdict) = self.verdicts.pop_front() {
            return Some(verdict);
        }
        let idle = self
            .round
            .is_none_or(|(_, began)| now.since(began) >= self.timing.retry_after);
        if self.waiting.is_empty() || !idle {
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.round = Some((ticket, now));
        Some(Verdict::Confirm { ticket })
    }

    /// The incarnations that the leader has to end; they get no lease from here on.
    pub fn due(&mut self, now: Moment) -> Vec<(NodeId, Incarnation)> {
        if self.term.is_none() {
            Vec::new()
        } else {
            self.standing.due(now)
        }
    }

    /// When to look again if nothing comes.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.term?;
        let again = self.round.map(|(_, began)| began + self.timing.retry_after);
        again.into_iter().chain(self.standing.next_deadline()).min()
    }

    /// Plants a bug: grants without a confirmation.
    #[cfg(any(test, feature = "plant"))]
    pub(crate) fn plant_unconfirmed(&mut self) {
        self.unconfirmed = true;
    }

    fn answer(&mut self, now: Moment, waiting: &Waiting, confirmed: bool) {
        let ask = &waiting.ask;
        let granted = confirmed
            && ask.applied >= self.required(waiting.came)
            && self.standing.may_have_lease(ask.node, ask.incarnation);
        if granted {
            self.standing.granted(now, ask);
        }
        self.verdicts.push_back(Verdict::Grant {
            reply: waiting.reply,
            granted,
        });
    }

    /// What was committed `stall_after` before the request came.
    fn required(&self, came: Moment) -> Index {
        let old_enough = |at: Moment| came.since(at) >= self.timing.stall_after;
        let newest = self.samples.iter().rev().find(|(at, _)| old_enough(*at));
        let newest = newest.map_or(Index(0), |(_, index)| *index);
        newest.max(self.floor.unwrap_or_default())
    }
}
