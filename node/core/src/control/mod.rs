//! A node's own loop: incarnation, lease, proposals, interest, barrier, views, leadership duties.
//!
//! One owner, one input at a time: the replica's applied entries, the shards' requests, answers of the
//! consensus and reports of the links go in; [`Output`]s come out, to be carried out in their order.

mod answers;
mod desk;
mod duties;
mod inputs;
mod life;
mod local;
mod output;
mod peers;
mod plant;
mod reads;
mod routing;
mod running;
mod subscribe;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod duties_test;
#[cfg(test)]
mod life_test;
#[cfg(test)]
mod subscribe_test;
#[cfg(test)]
mod testing;

use std::{collections::VecDeque, sync::Arc};

pub use output::{LinkState, Output, Renewal};
pub use plant::Plant;

use crate::{
    control::{
        answers::Tag,
        desk::Desk,
        life::{FIRST_TICKET, Life, Starting},
        plant::Planted,
        running::{Running, Stage},
    },
    ids::{Incarnation, Index, NodeId, NodeSlot, ShardId, ShardSet},
    lease::{Grantor, Holder, Verdict, Window},
    message::Event,
    proposer::Proposer,
    replica::Replica,
    time::{Moment, Timing},
};

/// What a node's control has to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// This node.
    pub node: NodeId,
    /// Its configured name.
    pub name: Arc<str>,
    /// How many shards it has, 1 to 64.
    pub shards: u8,
    /// The cluster's time-outs.
    pub timing: Timing,
    /// How many nodes vote.
    pub voters: usize,
}

impl Config {
    /// The node's shards.
    pub(crate) fn all_shards(&self) -> ShardSet {
        (0..self.shards.min(ShardId::MAX)).fold(ShardSet::default(), |set, n| set.with(ShardId(n)))
    }
}

/// A node's control; the driver owns it, gives it every input with the moment of its handling, and carries
/// out the outputs after each.
///
/// - Nothing of an incarnation outlives it: lanes, counts, tickets and links end together.
/// - Each input first looks at the lease, then is handled, then one settle round publishes, answers, reports
///   and proposes what follows from it.
/// - What is on its way from before a restart or an older incarnation is known by its number and ignored.
#[derive(Debug)]
pub struct Control {
    config: Config,
    random: u64,
    life: Life,
    holder: Holder,
    grantor: Grantor,
    proposer: Proposer<Tag>,
    state: Replica,
    /// A drain was asked for: no further incarnation.
    is_draining: bool,
    /// A snapshot is to be installed since then: no new incarnation until it is, or `down_after` has passed.
    installing: Option<Moment>,
    next_life_ticket: u64,
    next_read: u64,
    outputs: VecDeque<Output>,
    planted: Planted,
}

impl Control {
    /// A control that starts its first incarnation with the first input. `window` is what the shards look at;
    /// `seed` must differ between processes, so that nonces do.
    pub fn new(config: Config, window: Window, seed: u64) -> Self {
        let timing = config.timing;
        let mut control = Self {
            random: seed,
            life: Life::Over,
            holder: Holder::new(timing, window),
            grantor: Grantor::new(config.node, timing),
            proposer: Proposer::new(&timing, 1),
            state: Replica::default(),
            is_draining: false,
            installing: None,
            next_life_ticket: FIRST_TICKET,
            next_read: 1,
            outputs: VecDeque::new(),
            planted: Planted::default(),
            config,
        };
        control.life = Life::Starting(Starting::new(Moment(0), control.random()));
        control
    }

    /// Plants a bug, for tests that have to find it.
    #[cfg(any(test, feature = "plant"))]
    pub fn plant(&mut self, plant: Plant) {
        self.planted = Planted::new(plant);
        match plant {
            Plant::LeaseByOldAnswer => self.holder.plant_old_answers_count(),
            Plant::UnconfirmedLeader => self.grantor.plant_unconfirmed(),
            _ => {}
        }
    }

    /// The next thing to carry out; drained after each input, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call `handle_tick` at the latest; `Moment(u64::MAX)`: only after another input.
    pub fn next_deadline(&mut self) -> Moment {
        let mut life = None;
        let held = self
            .installing
            .map(|since| since + self.config.timing.down_after);
        match &self.life {
            Life::Starting(starting) => life = starting.next_deadline().max(held),
            Life::Running(running) => {
                let desk = Desk {
                    now: Moment(0),
                    config: &self.config,
                    state: &self.state,
                    proposer: &mut self.proposer,
                    outputs: &mut self.outputs,
                    planted: self.planted,
                };
                life = running.next_deadline(&desk);
            }
            Life::Emptying { .. } | Life::Over => {}
        }
        let all = [
            life,
            self.holder.next_deadline(),
            self.grantor.next_deadline(),
            self.proposer.next_deadline(),
        ];
        all.into_iter().flatten().min().unwrap_or(Moment(u64::MAX))
    }

    /// Whether load balancers should send clients here (P9).
    pub fn is_ready(&self, now: Moment) -> bool {
        self.stage() == Some(Stage::Serving) && self.holder.is_ready(now)
    }

    /// Whether clients are served.
    pub fn is_serving(&self, now: Moment) -> bool {
        self.stage() == Some(Stage::Serving) && self.holder.is_held(now)
    }

    /// Whether a snapshot may be installed: no incarnation runs, and no shard has a client.
    pub fn may_install(&self) -> bool {
        matches!(self.life, Life::Starting(_) | Life::Over)
    }

    /// The running incarnation.
    pub fn incarnation(&self) -> Option<Incarnation> {
        self.running().map(|running| running.incarnation)
    }

    /// This node's slot while it runs an incarnation.
    pub fn slot(&self) -> Option<NodeSlot> {
        self.running().map(|running| running.slot)
    }

    /// Whether this node leads.
    pub fn leads(&self) -> bool {
        self.grantor.leads()
    }

    /// The state after the last entry that was handed over.
    pub fn state(&self) -> &Replica {
        &self.state
    }

    /// What this node has applied and all its shards have adopted; 0 without an incarnation.
    pub fn covered(&mut self) -> Index {
        let Some((running, desk, _)) = self.desk(Moment(0)) else {
            return Index(0);
        };
        running.routing.covered(&desk)
    }

    /// Commands that wait for their answer.
    pub fn unanswered(&self) -> usize {
        self.proposer.len()
    }

    /// SUBSCRIBEs that wait for the barrier.
    pub fn waiting_subscribes(&self) -> usize {
        self.running().map_or(0, |running| running.subscribes.len())
    }

    /// Filters that this node's shards want.
    pub fn local_filters(&self) -> usize {
        self.running().map_or(0, |running| running.local.len())
    }

    fn running(&self) -> Option<&Running> {
        match &self.life {
            Life::Running(running) => Some(running),
            _ => None,
        }
    }

    fn stage(&self) -> Option<Stage> {
        self.running().map(|running| running.stage)
    }

    /// The running incarnation, what it works with, and the lease.
    fn desk(&mut self, now: Moment) -> Option<(&mut Running, Desk<'_>, &mut Holder)> {
        let Life::Running(running) = &mut self.life else {
            return None;
        };
        let desk = Desk {
            now,
            config: &self.config,
            state: &self.state,
            proposer: &mut self.proposer,
            outputs: &mut self.outputs,
            planted: self.planted,
        };
        Some((running, desk, &mut self.holder))
    }

    /// SplitMix64: enough for nonces that must only differ.
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.random;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// Starts the incarnation whose NodeUp was just applied.
    fn start(&mut self, incarnation: Incarnation, slot: NodeSlot) {
        self.life = Life::Running(Box::new(Running::new(incarnation, slot, self.next_read)));
        self.proposer.start(incarnation);
    }

    /// Ends the incarnation: nothing leaves any more, the shards close their clients, all else is forgotten.
    fn end(&mut self) {
        let Life::Running(running) = &self.life else {
            return;
        };
        self.next_read = running.reads.next();
        self.holder.stop();
        self.proposer.stop();
        self.outputs.push_back(Output::Links { links: None });
        if matches!(running.stage, Stage::Leaving { .. }) {
            self.life = Life::Over;
            self.outputs.push_back(Output::Drained);
            return;
        }
        let waiting = self.config.all_shards();
        self.life = Life::Emptying { waiting };
        for shard in waiting.iter() {
            self.outputs.push_back(Output::Shard(shard, Event::Fence));
        }
    }

    /// The shard has no client any more.
    fn handle_emptied(&mut self, now: Moment, shard: ShardId) {
        let Life::Emptying { waiting } = &mut self.life else {
            return;
        };
        *waiting = waiting.without(shard);
        if !waiting.is_empty() {
            return;
        }
        if self.is_draining {
            self.life = Life::Over;
            self.outputs.push_back(Output::Drained);
        } else {
            self.life = Life::Starting(Starting::new(now, self.random()));
        }
    }

    /// Ends the incarnation if the lease ran out or it cannot go on.
    fn look_at_lease(&mut self, now: Moment) {
        let is_over = self.holder.is_fenced(now);
        if self
            .running()
            .is_some_and(|running| running.is_broken || is_over)
        {
            self.end();
        }
    }

    /// What follows from the input that was just handled.
    fn settle(&mut self, now: Moment) {
        self.look_at_lease(now);
        if matches!(self.life, Life::Starting(_)) {
            self.settle_start(now);
        }
        let down_after = self.config.timing.down_after;
        if let Some((running, mut desk, holder)) = self.desk(now) {
            running.settle(&mut desk, holder.is_held(now));
            // Before the first table is adopted nothing is covered, and the request would be refused.
            if running.routing.adopted() > 0 && !holder.is_started() {
                holder.start(now);
            }
            if let Some(ticket) = holder.poll(now) {
                let renewal = Renewal {
                    node: desk.config.node,
                    incarnation: running.incarnation,
                    applied: running.routing.covered(&desk),
                    unreachable: running.peers.unreachable(now, down_after),
                };
                desk.outputs.push_back(Output::Renew { ticket, renewal });
            }
        }
        while let Some((ticket, entry)) = self.proposer.poll(now) {
            self.outputs.push_back(Output::Propose { ticket, entry });
        }
        self.settle_grants(now);
        // What was found on the way (a lane without room) ends it in this round, not at the next input.
        self.look_at_lease(now);
    }

    fn settle_start(&mut self, now: Moment) {
        if self
            .installing
            .is_some_and(|since| now.since(since) < self.config.timing.down_after)
        {
            return;
        }
        self.installing = None;
        let nonce = self.random();
        let ticket = self.next_life_ticket;
        self.next_life_ticket += 1;
        let Life::Starting(starting) = &mut self.life else {
            return;
        };
        let mut desk = Desk {
            now,
            config: &self.config,
            state: &self.state,
            proposer: &mut self.proposer,
            outputs: &mut self.outputs,
            planted: self.planted,
        };
        starting.settle(&mut desk, nonce, ticket);
    }

    fn settle_grants(&mut self, now: Moment) {
        while let Some(verdict) = self.grantor.poll(now) {
            self.outputs.push_back(match verdict {
                Verdict::Confirm { ticket } => Output::Confirm { ticket },
                Verdict::Grant { reply, granted } => Output::Grant { reply, granted },
            });
        }
    }
}
