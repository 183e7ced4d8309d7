//! What control and the links say about the node: its table, its lease, its end.

use std::sync::Arc;

use crate::{
    codec::ConnackCode,
    ids::NodeSet,
    message::Request,
    reason::Close,
    router::Table,
    shard::{
        Shard,
        connection::{Hold, Phase},
    },
    time::Moment,
};

impl Shard {
    /// Which links are above [`crate::limits::LINK_QUEUE_BYTES`]; a publish at QoS 1 that needs one of them waits.
    pub fn handle_congestion(&mut self, now: Moment, congested: NodeSet) {
        self.latest = now;
        let ended = self.congested.0 & !congested.0;
        self.congested = congested;
        if ended != 0 {
            self.resume_link_waiters(now);
        }
    }

    pub(super) fn adopt(&mut self, now: Moment, table: Arc<Table>) {
        let mut gone = NodeSet::default();
        for peer in self.table.iter().flat_map(|old| &old.peers) {
            if !table.peers.contains(peer) {
                gone = gone.with(peer.slot);
            }
        }
        self.request(Request::Adopted(table.index));
        let peers = &table.peers;
        self.outbox.peers.retain(|(slot, life, parcel)| {
            !parcel.is_empty()
                || peers
                    .iter()
                    .any(|p| p.slot == *slot && p.incarnation == *life)
        });
        self.table = Some(table);
        if !gone.is_empty() {
            self.write_off(now, gone);
            self.resume_link_waiters(now);
        }
    }

    /// No new clients and no input; what is under way is answered, then the connection is closed.
    pub(super) fn drain(&mut self, now: Moment) {
        self.draining = true;
        for slot in self.connections.slots() {
            let Some(connection) = self.connections.get_mut(slot) else {
                continue;
            };
            match connection.phase {
                Phase::Live => {
                    connection.phase = Phase::Draining;
                    self.hold(now, slot, Hold::None);
                    self.finish_drain(now, slot);
                }
                Phase::Claiming => {
                    self.connack(now, slot, ConnackCode::ServerUnavailable);
                    self.release_and_end(now, slot, Close::Drain);
                }
                Phase::Draining | Phase::Closing(_) => {}
            }
        }
        self.drained();
    }

    /// Closes a connection whose last answer has come, if the node shuts down.
    pub(super) fn finish_drain(&mut self, now: Moment, slot: u32) {
        let settled = self
            .connections
            .get(slot)
            .is_some_and(|c| c.phase == Phase::Draining && c.is_settled());
        if settled {
            self.release_and_end(now, slot, Close::Drain);
        }
    }

    /// Says so once the last connection of a shard that shuts down is forgotten: nothing of it will leave.
    pub(super) fn drained(&mut self) {
        if self.draining && self.connections.is_empty() {
            self.draining = false;
            self.serving = false;
            self.request(Request::Emptied);
        }
    }

    /// Closes all without another byte, and forgets all that waits. Nothing is given back to control one by one: what
    /// it counts for this shard ended with the incarnation.
    pub(super) fn fence(&mut self) {
        self.serving = false;
        self.table = None;
        self.draining = false;
        self.outbox
            .requests
            .retain(|request| matches!(request, Request::Adopted(_)));
        self.outbox.clear_parcels();
        self.outbox.resume.clear();
        self.pendings.clear();
        self.answers.clear();
        self.tickets.clear();
        self.orphans.clear();
        self.waiting_for_link.clear();
        self.doomed.clear();
        self.scanning.clear();
        for slot in self.connections.slots() {
            self.fence_one(slot);
        }
        self.request(Request::Emptied);
    }

    fn fence_one(&mut self, slot: u32) {
        let requests = self.outbox.requests.len();
        let latest = self.latest;
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.outbound.out().clear(&mut self.pool);
        if connection.is_closing() {
            Self::mark(&mut self.outbox, slot, connection);
        } else {
            self.end(latest, slot, Close::Fence);
            self.outbox.requests.truncate(requests);
        }
    }

    fn resume_link_waiters(&mut self, now: Moment) {
        for slot in std::mem::take(&mut self.waiting_for_link) {
            self.resume(now, slot, Hold::Link);
        }
    }
}
