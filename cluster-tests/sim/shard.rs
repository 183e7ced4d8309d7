//! The driver of one shard: the round of the real one, in steps that may be far apart.
//!
//! Mail, time, sockets; then the look at the lease, what goes to others, the flush; then what is to be closed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use mainstay_core::{
    ids::{NodeSet, ShardId},
    lease::Window,
    limits::Limits,
    message::Event,
    peering::{Batch, Token},
    reason::Close,
    shard::{Origin, Parcel, Shard},
    time::Moment,
};

use crate::{
    conn::{ConnNo, PubNo},
    node::{ControlIn, NodeNo, Part},
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

    /// Requests may go without a lease; control decides what they are worth.
    fn send_requests(&mut self, n: NodeNo, shard: usize) {
        let requests = std::mem::take(&mut self.nodes[n].shards[shard].core.outbox().requests);
        let id = ShardId(u8::try_from(shard).unwrap_or_default());
        for request in requests {
            self.tell_control(n, ControlIn::Request(id, Box::new(request)));
        }
    }

    fn send_parcels(&mut self, n: NodeNo, shard: usize) {
        let outbox = self.nodes[n].shards[shard].core.outbox();
        let is_any = !outbox.peers.is_empty() || outbox.siblings.iter().any(|p| !p.is_empty());
        if is_any && self.may_leave(n, shard) {
            self.check_lease(n, "a parcel");
            let outbox = self.nodes[n].shards[shard].core.outbox();
            let peers = std::mem::take(&mut outbox.peers);
            let siblings: Vec<Parcel> = outbox.siblings.iter_mut().map(std::mem::take).collect();
            let from = Origin::Sibling(ShardId(u8::try_from(shard).unwrap_or_default()));
            for (sibling, parcel) in siblings.into_iter().enumerate() {
                if !parcel.batch.is_empty() {
                    self.give(n, sibling, Item::Batch(from, parcel.batch));
                }
                if !parcel.taken.is_empty() {
                    self.give(n, sibling, Item::Taken(from, parcel.taken));
                }
            }
            for (slot, life, parcel) in peers {
                self.push_to_peer(n, slot, life, parcel);
            }
        }
        self.look_at_links(n, shard);
    }

    fn look_at_links(&mut self, n: NodeNo, shard: usize) {
        let bound = self.p.link_bytes;
        let node = &mut self.nodes[n];
        let full = node
            .links
            .iter()
            .filter(|(_, end)| end.link.queued_bytes() > bound);
        let congested = full.fold(NodeSet::default(), |set, (slot, _)| set.with(*slot));
        let driver = &mut node.shards[shard];
        if driver.congested != congested {
            driver.congested = congested;
            driver.core.handle_congestion(Moment(self.now), congested);
            if !congested.is_empty() {
                self.counts.add("link congested");
            }
        }
        if !congested.is_empty() {
            self.wake(n, Part::Shard(shard), self.now + 5);
        }
    }

    fn collect_dirty(&mut self, n: NodeNo, shard: usize) {
        let driver = &mut self.nodes[n].shards[shard];
        let marked = std::mem::take(&mut driver.core.outbox().dirty);
        for slot in marked {
            if driver
                .sockets
                .get(&slot)
                .is_some_and(|socket| socket.is_blocked)
            {
                driver.core.output(slot);
                driver.ended.push(slot);
            } else {
                driver.mark(slot);
            }
        }
    }

    /// Writes to the dirty sockets; true: it stopped half-way, and goes on in a later step.
    fn flush_some(&mut self, n: NodeNo, shard: usize) -> bool {
        let mut left = self.nodes[n].shards[shard].dirty.len();
        while left > 0 {
            left -= 1;
            let Some(slot) = self.nodes[n].shards[shard].dirty.front().copied() else {
                break;
            };
            if !self.may_leave(n, shard) {
                self.counts.add("flush held back without a lease");
                break;
            }
            self.nodes[n].shards[shard].dirty.pop_front();
            self.flush(n, shard, slot);
            if left > 0 && (self.may_stall(n, Part::Shard(shard)) || self.rng.chance(1, 30)) {
                return true;
            }
        }
        false
    }

    fn flush(&mut self, n: NodeNo, shard: usize, slot: u32) {
        let now = Moment(self.now);
        let driver = &mut self.nodes[n].shards[shard];
        let Some(socket) = driver.sockets.get_mut(&slot) else {
            return;
        };
        socket.is_dirty = false;
        driver.ended.push(slot);
        let conn = socket.conn;
        loop {
            let room = self.conns[conn].room(self.p.socket_bytes);
            let driver = &mut self.nodes[n].shards[shard];
            let Some(output) = driver.core.output(slot) else {
                return;
            };
            if output.is_empty() {
                return;
            }
            let waiting = output.len();
            let mut bytes = Vec::new();
            for chunk in output.chunks() {
                let some = chunk.len().min(room - bytes.len());
                bytes.extend_from_slice(&chunk[..some]);
            }
            if bytes.is_empty() {
                if let Some(socket) = driver.sockets.get_mut(&slot) {
                    socket.is_blocked = true;
                }
                self.counts.add("socket full");
                return;
            }
            output.consume(bytes.len());
            driver.core.handle_flushed(now, slot, bytes.len());
            self.check_output(conn, waiting);
            self.leave(conn, bytes);
            if self.failed.is_some() {
                return;
            }
        }
    }

    fn close_ended(&mut self, n: NodeNo, shard: usize) {
        let now = Moment(self.now);
        let driver = &mut self.nodes[n].shards[shard];
        for slot in std::mem::take(&mut driver.lost) {
            let driver = &mut self.nodes[n].shards[shard];
            let Some(socket) = driver.sockets.get(&slot) else {
                continue;
            };
            let why = socket.lost.unwrap_or(Close::IoError);
            if driver.core.closing(slot).is_none() {
                driver.core.handle_lost(now, slot, why);
            }
            self.finish(n, shard, slot);
        }
        let driver = &mut self.nodes[n].shards[shard];
        for slot in std::mem::take(&mut driver.ended) {
            let driver = &mut self.nodes[n].shards[shard];
            let Some(why) = driver.core.closing(slot) else {
                continue;
            };
            let waits = driver
                .core
                .output(slot)
                .is_some_and(|output| !output.is_empty());
            if !waits || why == Close::Fence {
                self.finish(n, shard, slot);
            } else if let Some(socket) = driver.sockets.get_mut(&slot) {
                socket.lingers_until.get_or_insert(self.now + LINGER);
            }
        }
        let driver = &self.nodes[n].shards[shard];
        let due = driver
            .sockets
            .iter()
            .filter(|(_, s)| s.lingers_until.is_some_and(|at| at <= now.0));
        for slot in due.map(|(slot, _)| *slot).collect::<Vec<_>>() {
            self.finish(n, shard, slot);
        }
    }

    /// Drops the socket and lets core forget it.
    fn finish(&mut self, n: NodeNo, shard: usize, slot: u32) {
        let driver = &mut self.nodes[n].shards[shard];
        let Some(socket) = driver.sockets.remove(&slot) else {
            return;
        };
        let why = driver.core.closing(slot);
        driver.core.forget(slot);
        driver.dirty.retain(|dirty| *dirty != slot);
        driver.ready.retain(|ready| *ready != slot);
        self.closed_by_node(socket.conn, why);
    }

    fn collect_resumed(&mut self, n: NodeNo, shard: usize) {
        let driver = &mut self.nodes[n].shards[shard];
        for slot in std::mem::take(&mut driver.core.outbox().resume) {
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
