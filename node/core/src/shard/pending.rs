//! Messages whose answer waits for others: for sibling shards, for nodes, for slow sessions here.

use crate::{
    codec::{self, Kind},
    ids::{NodeSet, ShardSet},
    peering::Token,
    shard::{
        Origin, Shard,
        connection::{Asker, Hold, Waiter},
    },
    time::Moment,
};

/// Who is told when all have answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Owner {
    /// The publish of this number of a connection.
    Publish(Waiter, u32),
    /// A node whose message was passed on to siblings.
    Relay(Origin, Token),
    /// A connection whose topic changes its path.
    Marker(Waiter),
}

/// A message and who has not answered for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pending {
    pub(super) owner: Owner,
    /// Sessions of this shard; they are counted in `answers`.
    pub(super) local: bool,
    pub(super) shards: ShardSet,
    pub(super) nodes: NodeSet,
}

impl Pending {
    fn is_complete(&self) -> bool {
        !self.local && self.shards.is_empty() && self.nodes.is_empty()
    }
}

impl Shard {
    /// What siblings and nodes answered to this shard's own tokens.
    pub fn handle_taken(&mut self, now: Moment, from: Origin, tokens: &[Token]) {
        self.latest = now;
        if let Origin::Node(slot, life) = from {
            // An answer of an ended life must not count for the one that runs.
            let runs = self.table.as_ref().is_some_and(|table| {
                table
                    .peers
                    .iter()
                    .any(|peer| peer.slot == slot && peer.incarnation == life)
            });
            if !runs {
                return;
            }
        }
        for token in tokens {
            let key = token.rest();
            let Some(pending) = self.pendings.get_mut(key) else {
                continue;
            };
            match from {
                Origin::Sibling(shard) => pending.shards = pending.shards.without(shard),
                Origin::Node(slot, _) => pending.nodes = pending.nodes.without(slot),
            }
            self.try_complete(now, key);
        }
        self.settle(now);
    }

    /// Nobody waits for these nodes any more: their lives ended.
    pub(super) fn write_off(&mut self, now: Moment, gone: NodeSet) {
        let mut touched = Vec::new();
        for (key, pending) in self.pendings.iter_mut() {
            if pending.nodes.0 & gone.0 != 0 {
                pending.nodes.0 &= !gone.0;
                touched.push(key);
            }
        }
        for key in touched {
            self.try_complete(now, key);
        }
    }

    /// One session of this shard no longer holds the answer back.
    pub(super) fn give_answer(&mut self, now: Moment, key: u64) {
        let Some(answer) = self.answers.get_mut(key) else {
            return;
        };
        answer.holders -= 1;
        if answer.holders > 0 {
            return;
        }
        let asker = answer.asker;
        self.answers.remove(key);
        match asker {
            Asker::Nobody => {}
            Asker::Other(origin, token) => self.outbox.push_taken(origin, token),
            Asker::Pending(key) => {
                if let Some(pending) = self.pendings.get_mut(key) {
                    pending.local = false;
                    self.try_complete(now, key);
                }
            }
        }
    }

    fn try_complete(&mut self, now: Moment, key: u64) {
        if !self
            .pendings
            .get_mut(key)
            .is_some_and(|pending| pending.is_complete())
        {
            return;
        }
        let Some(pending) = self.pendings.remove(key) else {
            return;
        };
        match pending.owner {
            Owner::Relay(origin, token) => self.outbox.push_taken(origin, token),
            Owner::Publish(of, number) => {
                if let Some(connection) = self.connections.of_mut(of.slot, of.generation) {
                    connection.inbound.complete(number);
                    self.acknowledge(now, of.slot);
                }
            }
            Owner::Marker(of) => {
                if let Some(connection) = self.connections.of_mut(of.slot, of.generation) {
                    if let Some(paths) = &mut connection.paths {
                        paths.taken();
                    }
                    self.resume(now, of.slot, Hold::Path);
                }
            }
        }
    }

    /// Sends the PUBACKs that are due, in order [MQTT-4.6.0-2].
    pub(super) fn acknowledge(&mut self, now: Moment, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let idle = connection.outbound.is_idle();
        let mut written = 0;
        while let Some(answered) = connection.inbound.pop() {
            self.counters.inflight_in -= 1;
            if let Some(id) = answered.0 {
                connection
                    .outbound
                    .answer(&mut self.pool, |out| codec::encode_puback(out, id));
                self.counters.packet_out(Kind::Puback);
                written += 1;
            }
        }
        let room = connection.inbound.len() < usize::from(self.limits.max_inbound_inflight);
        if written > 0 {
            Self::mark(&mut self.outbox, slot, connection);
            self.has_output(now, slot, idle);
        }
        if room {
            self.resume(now, slot, Hold::Inflight);
        }
        self.finish_drain(now, slot);
    }
}
