//! The driver of one shard: the round of the real one, in steps that may be far apart.
//!
//! Mail, time, sockets; then the look at the lease, what goes to others, the flush; then what is to be closed.

mod sending;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_core::{
    ids::{NodeSet, ShardId},
    lease::Window,
    limits::Limits,
    message::Event,
    peering::{Batch, Token},
    reason::Close,
    shard::{Origin, Shard},
    time::Moment,
};

use crate::{
    conn::{ConnNo, PubNo},
    node::{NodeNo, Part},
    plant::Plant,
    world::World,
};

/// How long a connection that core has closed may take to read its last bytes, in milliseconds.
const LINGER: u64 = 5_000;
/// Things that wait for a shard: as much as its clients and peers can have under way, and then some.
pub(crate) const MAILBOX: usize = 16 * 1024;

/// One thing for a shard.
#[derive(Debug)]
pub(crate) enum Item {
    Login(ConnNo),
    Event(Event),
    Batch(Origin, Batch),
    Taken(Origin, Vec<Token>),
}

/// Where the round stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Inputs,
    Sending,
    Flushing,
}

/// A socket as its shard has it.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) conn: ConnNo,
    /// Came and was not handled.
    pub(crate) rest: Vec<u8>,
    pub(crate) has_ended: bool,
    pub(crate) is_blocked: bool,
    is_dirty: bool,
    is_listed: bool,
    lost: Option<Close>,
    lingers_until: Option<u64>,
}

/// A shard and its driver.
#[derive(Debug)]
pub(crate) struct ShardDriver {
    pub(crate) core: Shard,
    pub(crate) mailbox: VecDeque<Item>,
    pub(crate) sockets: BTreeMap<u32, Socket>,
    phase: Phase,
    /// The look at the lease when the round began; used by a planted bug alone.
    was_open: bool,
    ready: VecDeque<u32>,
    dirty: VecDeque<u32>,
    ended: Vec<u32>,
    lost: Vec<u32>,
    congested: NodeSet,
    /// The messages that were given to this shard.
    pub(crate) seen: BTreeSet<PubNo>,
}

impl ShardDriver {
    pub(crate) fn new(id: ShardId, limits: Limits, window: Window, key: [u64; 2]) -> Self {
        Self {
            core: Shard::new(id, crate::params::SHARDS, limits, window, key),
            mailbox: VecDeque::new(),
            sockets: BTreeMap::new(),
            phase: Phase::Inputs,
            was_open: false,
            ready: VecDeque::new(),
            dirty: VecDeque::new(),
            ended: Vec::new(),
            lost: Vec::new(),
            congested: NodeSet::default(),
            seen: BTreeSet::new(),
        }
    }

    fn list(&mut self, slot: u32) {
        if let Some(socket) = self.sockets.get_mut(&slot)
            && !socket.is_listed
        {
            socket.is_listed = true;
            self.ready.push_back(slot);
        }
    }

    fn mark(&mut self, slot: u32) {
        if let Some(socket) = self.sockets.get_mut(&slot)
            && !socket.is_dirty
        {
            socket.is_dirty = true;
            self.dirty.push_back(slot);
        }
    }

    /// Whether nothing waits in it.
    pub(crate) fn is_idle(&self) -> bool {
        // A deadline that has passed for ever: the outbox is not empty.
        let has_output = self.core.next_deadline() == Some(Moment(0));
        let has_work = !self.dirty.is_empty() || !self.ready.is_empty() || !self.lost.is_empty();
        self.mailbox.is_empty() && !has_work && !has_output
    }
}

impl World {
    pub(crate) fn give(&mut self, n: NodeNo, shard: usize, item: Item) {
        if self.nodes[n].is_alive {
            self.nodes[n].shards[shard].mailbox.push_back(item);
            self.wake_soon(n, Part::Shard(shard));
        }
    }

    /// Bytes, or the end, of a client are there for its socket.
    pub(crate) fn socket_ready(&mut self, n: NodeNo, shard: usize, slot: u32) {
        self.nodes[n].shards[shard].list(slot);
        self.wake_soon(n, Part::Shard(shard));
    }

    /// The client took something.
    pub(crate) fn socket_writable(&mut self, n: NodeNo, shard: usize, slot: u32) {
        let driver = &mut self.nodes[n].shards[shard];
        if let Some(socket) = driver.sockets.get_mut(&slot)
            && socket.is_blocked
        {
            socket.is_blocked = false;
            driver.mark(slot);
            self.wake_soon(n, Part::Shard(shard));
        }
    }

    fn may_leave(&self, n: NodeNo, shard: usize) -> bool {
        let driver = &self.nodes[n].shards[shard];
        if self.plant == Some(Plant::LeaseBeforePlan) {
            driver.was_open
        } else {
            driver.core.may_flush(Moment(self.now))
        }
    }

    pub(crate) fn step_shard(&mut self, n: NodeNo, shard: usize) {
        loop {
            let phase = self.nodes[n].shards[shard].phase;
            let next = match phase {
                Phase::Inputs => {
                    self.take_inputs(n, shard);
                    Phase::Sending
                }
                Phase::Sending => {
                    self.send_requests(n, shard);
                    self.send_parcels(n, shard);
                    self.collect_dirty(n, shard);
                    Phase::Flushing
                }
                Phase::Flushing => {
                    if self.flush_some(n, shard) {
                        self.wake_soon(n, Part::Shard(shard));
                        return;
                    }
                    self.close_ended(n, shard);
                    self.send_requests(n, shard);
                    self.collect_resumed(n, shard);
                    Phase::Inputs
                }
            };
            self.nodes[n].shards[shard].phase = next;
            if next == Phase::Inputs {
                break;
            }
            if self.may_stall(n, Part::Shard(shard)) || self.rng.chance(1, 12) {
                self.wake_soon(n, Part::Shard(shard));
                return;
            }
        }
        self.schedule_round(n, shard);
    }

    fn schedule_round(&mut self, n: NodeNo, shard: usize) {
        let driver = &self.nodes[n].shards[shard];
        if !driver.mailbox.is_empty() || !driver.ready.is_empty() || !driver.lost.is_empty() {
            self.wake_soon(n, Part::Shard(shard));
            return;
        }
        let retry = (!driver.dirty.is_empty()).then_some(self.now + 20);
        let timer = driver.core.next_deadline().map(|at| at.0.max(self.now + 1));
        let linger = driver
            .sockets
            .values()
            .filter_map(|socket| socket.lingers_until)
            .min();
        if let Some(at) = [retry, timer, linger].into_iter().flatten().min() {
            self.wake(n, Part::Shard(shard), at.max(self.now + 1));
        }
    }

    fn take_inputs(&mut self, n: NodeNo, shard: usize) {
        let now = Moment(self.now);
        let driver = &mut self.nodes[n].shards[shard];
        driver.was_open = driver.core.may_flush(now);
        let items = std::mem::take(&mut driver.mailbox);
        for item in items {
            let driver = &mut self.nodes[n].shards[shard];
            match item {
                Item::Login(conn) => self.log_in(n, shard, conn),
                Item::Event(event) => {
                    self.on_event(n, shard, &event);
                    self.nodes[n].shards[shard].core.handle_event(now, event);
                }
                Item::Batch(origin, batch) => {
                    let payloads = Self::payloads(&batch);
                    driver
                        .seen
                        .extend(payloads.iter().filter_map(|p| crate::conn::pub_of(p)));
                    driver.core.handle_batch(now, origin, &batch);
                }
                Item::Taken(origin, tokens) => driver.core.handle_taken(now, origin, &tokens),
            }
        }
        let driver = &mut self.nodes[n].shards[shard];
        if driver
            .core
            .next_deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            driver.core.handle_tick(now);
        }
        for _ in 0..driver.ready.len() {
            let Some(slot) = driver.ready.pop_front() else {
                break;
            };
            Self::read(driver, slot, now, self.p.limits.read_budget);
        }
    }

    fn read(driver: &mut ShardDriver, slot: u32, now: Moment, budget: usize) {
        let Some(socket) = driver.sockets.get_mut(&slot) else {
            return;
        };
        socket.is_listed = false;
        if socket.lost.is_some() || driver.core.closing(slot).is_some() {
            return;
        }
        if !driver.core.wants_input(slot) {
            return;
        }
        let some = socket.rest.len().min(budget);
        let used = driver.core.handle_input(now, slot, &socket.rest[..some]);
        socket.rest.drain(..used);
        let is_stuck = used == 0 && some < budget;
        if used == 0 && some == budget && driver.core.wants_input(slot) {
            // One packet above the budget: all that is there.
            let used = driver.core.handle_input(now, slot, &socket.rest);
            socket.rest.drain(..used);
            if used > 0 {
                driver.list(slot);
            }
            return;
        }
        if socket.has_ended && (socket.rest.is_empty() || is_stuck) && driver.core.wants_input(slot)
        {
            socket.lost = Some(Close::IoError);
            driver.lost.push(slot);
        } else if used > 0 && (!socket.rest.is_empty() || socket.has_ended) {
            driver.list(slot);
        }
    }

    fn log_in(&mut self, n: NodeNo, shard: usize, conn: ConnNo) {
        let now = Moment(self.now);
        let login = self.login_of(conn);
        match self.nodes[n].shards[shard].core.handle_login(now, login) {
            Ok(id) => {
                let socket = Socket {
                    conn,
                    rest: Vec::new(),
                    has_ended: false,
                    is_blocked: false,
                    is_dirty: false,
                    is_listed: false,
                    lost: None,
                    lingers_until: None,
                };
                self.nodes[n].shards[shard].sockets.insert(id.slot, socket);
                self.logged_in(conn, id);
            }
            Err(_) => {
                self.counts.add("connect refused");
                self.refuse(conn);
            }
        }
    }
}
