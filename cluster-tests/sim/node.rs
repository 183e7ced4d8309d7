//! A node: its replica, control, shards and links, and the queues between them.
//!
//! Each part takes its steps apart from the others, and may pause between any two of them; the whole node
//! may stop and go on. A crash loses everything but what the agreed log holds.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use mainstay_core::{
    control::{Config, Control, LinkState, Renewal},
    ids::{Incarnation, Index, NodeId, NodeSlot, ShardId},
    lease::Window,
    message::Request,
    proposer::ProposeError,
    replica::{Applied, Replica},
};

use crate::{
    agenda::Ev, link::LinkEnd, params::SHARDS, shard::ShardDriver, trace::note, world::World,
};

/// A node of the simulation, counted from 0.
pub(crate) type NodeNo = usize;

/// A part of a node that takes steps of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Control,
    Links,
    Shard(usize),
}

impl Part {
    fn place(self) -> usize {
        match self {
            Self::Control => 0,
            Self::Links => 1,
            Self::Shard(shard) => 2 + shard,
        }
    }
}

/// When a part steps next.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Actor {
    pub(crate) wake: Option<u64>,
    pub(crate) stalled_until: u64,
}

/// An input of control that waits in its queue.
#[derive(Debug)]
pub(crate) enum ControlIn {
    Applied(Vec<Applied>, Box<Replica>),
    Request(ShardId, Box<Request>),
    Proposed(u64, Result<Index, ProposeError>),
    ReadIndex(u64, Option<Index>),
    Renewed(u64, bool),
    Leadership(bool, u64),
    Renewal(u64, Renewal),
    Confirmed(u64, bool),
    Report(NodeSlot, Incarnation, Index),
    Link(NodeSlot, Incarnation, LinkState),
    Committed(Index),
    Drain,
    SnapshotRequest,
}

/// A node. What a process holds is made anew by [`World::boot`].
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) is_alive: bool,
    /// Counts the processes.
    pub(crate) life: u64,
    pub(crate) paused_until: u64,
    pub(crate) replica: Replica,
    /// Runs of applied entries in control's queue.
    pub(crate) runs: usize,
    pub(crate) feed_at: Option<u64>,
    /// The replica gets nothing before.
    pub(crate) lags_until: u64,
    pub(crate) is_installing: bool,
    /// Who it thinks leads.
    pub(crate) believes: Option<NodeNo>,
    /// The term in which it thinks that it leads.
    pub(crate) leads: Option<u64>,
    pub(crate) window: Window,
    pub(crate) control: Control,
    pub(crate) control_in: VecDeque<ControlIn>,
    pub(crate) actors: Vec<Actor>,
    pub(crate) shards: Vec<ShardDriver>,
    pub(crate) me: Option<Incarnation>,
    pub(crate) links: BTreeMap<NodeSlot, LinkEnd>,
    pub(crate) dial_at: Option<u64>,
    /// When each renewal was sent.
    pub(crate) renewals: BTreeMap<u64, u64>,
    /// The end of the last lease that was truly granted.
    pub(crate) leased_until: u64,
    /// The last time that a request of it could have reached the true leader.
    pub(crate) reached_at: u64,
    pub(crate) has_drained: bool,
}

impl Node {
    pub(crate) fn new(world: &World, no: NodeNo) -> Self {
        let id = NodeId(0x1000 + no as u64);
        let window = Window::default();
        let control = Control::new(config(world, id, no), window.clone(), 0);
        Self {
            id,
            is_alive: false,
            life: 0,
            paused_until: 0,
            replica: Replica::default(),
            runs: 0,
            feed_at: None,
            lags_until: 0,
            is_installing: false,
            believes: None,
            leads: None,
            window,
            control,
            control_in: VecDeque::new(),
            actors: vec![Actor::default(); 2 + usize::from(SHARDS)],
            shards: Vec::new(),
            me: None,
            links: BTreeMap::new(),
            dial_at: None,
            renewals: BTreeMap::new(),
            leased_until: 0,
            reached_at: 0,
            has_drained: false,
        }
    }
}

fn config(world: &World, id: NodeId, no: NodeNo) -> Config {
    Config {
        node: id,
        name: Arc::from(format!("n{no}")),
        shards: SHARDS,
        timing: world.p.timing,
        voters: world.p.nodes,
    }
}

impl World {
    /// Starts a process of the node: from a snapshot at or before what it had applied; the log follows.
    pub(crate) fn boot(&mut self, n: NodeNo) {
        if self.nodes[n].is_alive {
            return;
        }
        let newest = self.nodes[n].replica.applied().0.max(1);
        let from = if self.rng.chance(1, 2) {
            newest
        } else {
            self.rng.within(1, newest)
        };
        let bytes = self.raft.states[usize::try_from(from).unwrap_or_default()].write_snapshot();
        let replica = match Replica::read_snapshot(&bytes) {
            Ok(replica) => self.planted(replica),
            Err(error) => {
                return self.violate("P2", &format!("a snapshot cannot be read: {error}"));
            }
        };
        let life = self.nodes[n].life + 1;
        let window = Window::default();
        let id = self.nodes[n].id;
        let seed = self.rng.next();
        let mut control = Control::new(config(self, id, n), window.clone(), seed);
        self.plant_control(&mut control);
        let shards = (0..SHARDS)
            .map(|shard| {
                let key = [self.rng.next(), self.rng.next()];
                ShardDriver::new(ShardId(shard), self.p.limits, window.clone(), key)
            })
            .collect();
        let state = Box::new(replica.clone());
        let fresh = Node::new(self, n);
        self.nodes[n] = Node {
            is_alive: true,
            life,
            replica,
            runs: 1,
            window,
            control,
            control_in: VecDeque::from([ControlIn::Applied(Vec::new(), state)]),
            shards,
            reached_at: self.now,
            ..fresh
        };
        self.counts.add("node started");
        note!(self, "n{n} starts from a snapshot at {from}");
        self.wake_soon(n, Part::Control);
        self.feed_soon(n);
        self.dial_soon(n);
    }

    #[cfg(feature = "plant")]
    pub(crate) fn planted(&self, mut replica: Replica) -> Replica {
        if let Some(plant) = self.plant.and_then(crate::plant::Plant::of_replica) {
            replica.plant(plant);
        }
        replica
    }

    #[cfg(not(feature = "plant"))]
    pub(crate) fn planted(&self, replica: Replica) -> Replica {
        replica
    }

    #[cfg(feature = "plant")]
    fn plant_control(&self, control: &mut Control) {
        if let Some(plant) = self.plant.and_then(crate::plant::Plant::of_control) {
            control.plant(plant);
        }
    }

    #[cfg(not(feature = "plant"))]
    fn plant_control(&self, _: &mut Control) {}

    /// Ends a node's process at once; `again`: a new one starts then.
    pub(crate) fn crash(&mut self, n: NodeNo, again: Option<u64>) {
        if let Some(at) = again {
            self.agenda.put(at, Ev::Boot(n));
        }
        if !self.nodes[n].is_alive {
            return;
        }
        note!(self, "n{n} crashes");
        self.counts.add("node crashed");
        let node = &mut self.nodes[n];
        node.is_alive = false;
        node.leads = None;
        node.window.set(mainstay_core::time::Moment(0));
        node.control_in.clear();
        node.shards.clear();
        node.links.clear();
        self.reset_streams_of(n);
        self.drop_conns_of(n);
    }

    /// Lets a part take a step at the moment, unless it takes one before.
    pub(crate) fn wake(&mut self, n: NodeNo, part: Part, at: u64) {
        let at = at.max(self.now);
        let node = &mut self.nodes[n];
        if !node.is_alive {
            return;
        }
        let actor = &mut node.actors[part.place()];
        if actor.wake.is_none_or(|wake| wake > at) {
            actor.wake = Some(at);
            let life = node.life;
            self.agenda.put(at, Ev::Step(n, life, part));
        }
    }

    pub(crate) fn wake_soon(&mut self, n: NodeNo, part: Part) {
        let at = self.now + self.step_delay();
        self.wake(n, part, at);
    }

    /// Between something to do and its doing.
    fn step_delay(&mut self) -> u64 {
        match self.rng.below(40) {
            0 => self.rng.within(3, 20),
            1..=8 => self.rng.within(1, 2),
            _ => 0,
        }
    }

    /// Whether the part goes to sleep between two steps now; its next step is then a while away.
    pub(crate) fn may_stall(&mut self, n: NodeNo, part: Part) -> bool {
        if self.is_healing || !self.rng.chance(1, self.p.stall_one_in) {
            return false;
        }
        let span = match self.rng.below(10) {
            0 => self.rng.within(3_000, 5_000),
            1..=3 => self.rng.within(300, 2_000),
            _ => self.rng.within(5, 200),
        };
        self.stall(n, part, span);
        true
    }

    pub(crate) fn stall(&mut self, n: NodeNo, part: Part, span: u64) {
        self.counts.add("part paused between steps");
        note!(self, "n{n} {part:?} pauses for {span}");
        let stalled = &mut self.nodes[n].actors[part.place()].stalled_until;
        *stalled = (self.now + span).max(*stalled);
    }

    /// A part's appointment has come.
    pub(crate) fn step(&mut self, n: NodeNo, life: u64, part: Part) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if !node.is_alive || node.life != life {
            return;
        }
        let actor = &mut node.actors[part.place()];
        if actor.wake != Some(now) {
            return;
        }
        actor.wake = None;
        let free = node.paused_until.max(actor.stalled_until);
        if free > now {
            self.wake(n, part, free);
            return;
        }
        match part {
            Part::Control => self.step_control(n),
            Part::Links => self.step_links(n),
            Part::Shard(shard) => self.step_shard(n, shard),
        }
    }

    pub(crate) fn is_running(&self, n: NodeNo) -> bool {
        self.nodes[n].is_alive && self.nodes[n].paused_until <= self.now
    }

    pub(crate) fn tell_control(&mut self, n: NodeNo, input: ControlIn) {
        if self.nodes[n].is_alive {
            self.nodes[n].control_in.push_back(input);
            self.wake_soon(n, Part::Control);
        }
    }
}
