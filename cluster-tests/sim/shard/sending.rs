//! The second half of a shard's round: what leaves, under the lease, and what is closed after it.

use mainstay_core::{
    ids::{NodeSet, ShardId},
    reason::Close,
    shard::{Origin, Parcel},
    time::Moment,
};

use crate::{
    node::{ControlIn, NodeNo, Part},
    shard::{Item, LINGER},
    world::World,
};

impl World {
    /// Requests may go without a lease; control decides what they are worth.
    pub(super) fn send_requests(&mut self, n: NodeNo, shard: usize) {
        let requests = std::mem::take(&mut self.nodes[n].shards[shard].core.outbox().requests);
        let id = ShardId(u8::try_from(shard).unwrap_or_default());
        for request in requests {
            self.tell_control(n, ControlIn::Request(id, Box::new(request)));
        }
    }

    pub(super) fn send_parcels(&mut self, n: NodeNo, shard: usize) {
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

    pub(super) fn collect_dirty(&mut self, n: NodeNo, shard: usize) {
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
    pub(super) fn flush_some(&mut self, n: NodeNo, shard: usize) -> bool {
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

    pub(super) fn close_ended(&mut self, n: NodeNo, shard: usize) {
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

    pub(super) fn collect_resumed(&mut self, n: NodeNo, shard: usize) {
        let driver = &mut self.nodes[n].shards[shard];
        for slot in std::mem::take(&mut driver.core.outbox().resume) {
            driver.list(slot);
        }
    }
}
