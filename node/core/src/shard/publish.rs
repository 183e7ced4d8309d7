//! A client's PUBLISH: rights, the path it takes, and what its PUBACK waits for.

use bytes::Bytes;

use crate::{
    access::{self, Permit, Stores},
    codec::{Publish, QoS},
    ids::{NodeSet, NodeSlot, ShardSet, SpaceId},
    limits::TOPIC_BYTES,
    message::{Request, Ticket},
    peering::{Message, Token},
    reason::{Close, Drop},
    replica::{Outcome, Refusal, Store},
    session::State,
    shard::{
        Shard,
        connection::{Asker, Hold, Ticketed, Waiter},
        input::Flow,
        paths::{Paths, Turn},
        pending::{Owner, Pending},
    },
    time::Moment,
    topic::TopicName,
};

/// The other shards and nodes that a message goes to.
#[derive(Clone, Copy)]
struct Remote {
    shards: ShardSet,
    nodes: NodeSet,
}

impl Shard {
    /// Handles a PUBLISH, section 3.3.
    #[inline]
    pub(super) fn publish(&mut self, now: Moment, slot: u32, publish: &Publish<'_>) -> Flow {
        if publish.qos == QoS::ExactlyOnce {
            return Flow::Close(Close::Unsupported);
        }
        if publish.payload.len() > self.limits.max_payload || publish.topic.len() > TOPIC_BYTES {
            return Flow::Close(Close::TooLarge);
        }
        let (Some(table), Some(connection)) = (&self.table, self.connections.get(slot)) else {
            return Flow::Close(Close::Fence);
        };
        let principal = connection.key.principal;
        let mut scratch = std::mem::take(&mut self.scratch.topic);
        let permit = access::publish(&principal, publish.topic, &table.catalog, &mut scratch);
        let flow = match permit {
            None => {
                self.counters.denied_publish += 1;
                Flow::Close(Close::NotAuthorized)
            }
            Some(permit) if permit.keeps(publish.retain) => {
                self.publish_by_log(now, slot, &permit, publish)
            }
            Some(permit) => self.publish_by_links(now, slot, principal.space, &permit, publish),
        };
        self.scratch.topic = scratch;
        flow
    }

    fn publish_by_links(
        &mut self,
        now: Moment,
        slot: u32,
        space: SpaceId,
        permit: &Permit<'_>,
        publish: &Publish<'_>,
    ) -> Flow {
        let confirmed = publish.qos != QoS::AtMostOnce;
        let mut remote = self.remote(&space, permit.topic());
        let full = NodeSet(remote.nodes.0 & self.congested.0);
        if !full.is_empty() && confirmed {
            self.waiting_for_link.push(slot);
            self.hold(now, slot, Hold::Link);
            return Flow::Stop;
        }
        remote.nodes.0 &= !full.0;
        if permit.stores() == Stores::IfRetain {
            if let Err(flow) = self.await_turn(now, slot, permit.topic(), Path::Links) {
                return flow;
            }
            self.note_links(slot, permit.topic(), remote);
        }
        self.counters
            .dropped(Drop::LinkFull, full.iter().count() as u64);
        self.counters.received[usize::from(confirmed)] += 1;
        let Some(place) = self
            .connections
            .get(slot)
            .map(|connection| connection.space)
        else {
            return Flow::Stop;
        };
        let (topic, payload, qos) = (permit.topic(), publish.payload, publish.qos);
        let message = Message {
            space,
            topic,
            payload,
            qos,
            token: None,
        };
        let reach = self.deliver(now, place, &message, None, confirmed);
        let far = !remote.shards.is_empty() || !remote.nodes.is_empty();
        if reach.sessions == 0 && !far && full.is_empty() {
            self.counters.dropped(Drop::NoSubscriber, 1);
        }
        let pending = (confirmed && (far || reach.answer.is_some()))
            .then(|| self.await_taken(slot, reach.answer, remote));
        self.send_far(
            remote,
            &Message {
                token: pending.map(|key| Token::new(self.id, key)),
                ..message
            },
        );
        if confirmed {
            self.accept(
                now,
                slot,
                publish,
                pending.map_or(State::Done, State::Taken),
            );
        }
        Flow::Done
    }

    fn publish_by_log(
        &mut self,
        now: Moment,
        slot: u32,
        permit: &Permit<'_>,
        publish: &Publish<'_>,
    ) -> Flow {
        let changes_path = permit.stores() == Stores::IfRetain;
        if changes_path && let Err(flow) = self.await_turn(now, slot, permit.topic(), Path::Log) {
            return flow;
        }
        let Ok(topic) = TopicName::new(permit.topic()) else {
            return Flow::Close(Close::ProtocolError);
        };
        let bit = topic_bit(self.hash.hash(permit.topic().as_bytes()));
        let of = self.waiter(slot);
        let Some(connection) = self.connections.get_mut(slot) else {
            return Flow::Stop;
        };
        if changes_path {
            connection.paths.get_or_insert_default().log(bit);
        }
        let number = connection.inbound.next_number();
        let store = Store {
            space: connection.key.principal.space,
            epoch: connection.epoch,
            topic,
            payload: Bytes::copy_from_slice(publish.payload),
            qos: publish.qos,
        };
        let ticket = self.tickets.insert(Ticketed::Store(of, number));
        self.request(Request::Store {
            ticket: Ticket(ticket),
            store,
        });
        self.counters.received[usize::from(publish.qos.bits())] += 1;
        self.accept(now, slot, publish, State::Stored(ticket));
        Flow::Done
    }

    /// Puts a publish among the unanswered ones, and stops reading at the bound.
    fn accept(&mut self, now: Moment, slot: u32, publish: &Publish<'_>, state: State) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.inbound.push(publish.packet_id, state);
        self.counters.inflight_in += 1;
        if state == State::Done {
            self.acknowledge(now, slot);
        }
        let waiting = self.connections.get(slot).map_or(0, |c| c.inbound.len());
        if waiting >= usize::from(self.limits.max_inbound_inflight) {
            self.hold(now, slot, Hold::Inflight);
        }
    }

    /// What became of a publish by the log.
    pub(super) fn stored(&mut self, now: Moment, ticket: Ticket, outcome: Outcome) {
        let Some(Ticketed::Store(of, number)) = self.tickets.remove(ticket.0) else {
            return;
        };
        let Some(connection) = self.connections.of_mut(of.slot, of.generation) else {
            return;
        };
        let index = match outcome {
            Outcome::Done(position) => Some(position.index()),
            Outcome::Unchanged => None,
            Outcome::Refused(refusal) => return self.refused(now, of.slot, refusal),
        };
        let mut all_stored = true;
        if let Some(paths) = &mut connection.paths {
            paths.stored(index);
            all_stored = paths.storing == 0;
        }
        connection.inbound.complete(number);
        self.acknowledge(now, of.slot);
        if all_stored {
            self.resume(now, of.slot, Hold::Stored);
        }
    }

    fn refused(&mut self, now: Moment, slot: u32, refusal: Refusal) {
        match refusal {
            // The session has another owner, so there is nothing to give up.
            Refusal::StaleEpoch => self.lose(now, slot, Close::Takeover),
            Refusal::Overloaded => self.close(now, slot, Close::Overload),
            _ => self.close(now, slot, Close::AuthRevoked),
        }
    }

    /// All nodes have applied the index that a connection waited for.
    pub(super) fn barrier_reached(&mut self, now: Moment, ticket: Ticket) {
        let Some(Ticketed::Barrier(of)) = self.tickets.remove(ticket.0) else {
            return;
        };
        let Some(connection) = self.connections.of_mut(of.slot, of.generation) else {
            return;
        };
        if let Some(paths) = &mut connection.paths {
            paths.applied();
        }
        self.resume(now, of.slot, Hold::Path);
    }

    /// Makes a message wait where its topic changes its path and the earlier ones are still under way (P6).
    fn await_turn(&mut self, now: Moment, slot: u32, topic: &str, path: Path) -> Result<(), Flow> {
        let of = self.waiter(slot);
        let Some(paths) = self
            .connections
            .get_mut(slot)
            .and_then(|c| c.paths.as_deref_mut())
        else {
            return Ok(());
        };
        let turn = match path {
            Path::Links if paths.logged == 0 => Turn::Go,
            Path::Links => paths.turn_to_links(topic_bit(self.hash.hash(topic.as_bytes()))),
            Path::Log => paths.turn_to_log(topic_bit(self.hash.hash(topic.as_bytes()))),
        };
        match turn {
            Turn::Go => return Ok(()),
            Turn::AwaitStored => self.hold(now, slot, Hold::Stored),
            Turn::AwaitApplied(index) => {
                let ticket = Ticket(self.tickets.insert(Ticketed::Barrier(of)));
                self.request(Request::Barrier { ticket, index });
                self.hold(now, slot, Hold::Path);
            }
            Turn::AwaitTaken(shards, nodes) => {
                let nodes = NodeSet(nodes.0 & self.up().0);
                let remote = Remote { shards, nodes };
                if shards.is_empty() && nodes.is_empty() {
                    return Ok(());
                }
                let owner = Owner::Marker(of);
                let key = self.pendings.insert(Pending {
                    owner,
                    local: false,
                    shards,
                    nodes,
                });
                let space = self.connections.get(slot).map(|c| c.key.principal.space);
                if let Some(space) = space {
                    self.send_far(remote, &Message::marker(space, Token::new(self.id, key)));
                }
                self.hold(now, slot, Hold::Path);
            }
        }
        Err(Flow::Stop)
    }

    fn note_links(&mut self, slot: u32, topic: &str, remote: Remote) {
        if remote.shards.is_empty() && remote.nodes.is_empty() {
            return;
        }
        let hash = self.hash;
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let paths: &mut Paths = connection.paths.get_or_insert_default();
        let bit = if paths.stores {
            topic_bit(hash.hash(topic.as_bytes()))
        } else {
            u64::MAX
        };
        paths.link(bit, remote.shards, remote.nodes);
    }

    fn await_taken(&mut self, slot: u32, answer: Option<u64>, remote: Remote) -> u64 {
        let number = self
            .connections
            .get(slot)
            .map_or(0, |c| c.inbound.next_number());
        let key = self.pendings.insert(Pending {
            owner: Owner::Publish(self.waiter(slot), number),
            local: answer.is_some(),
            shards: remote.shards,
            nodes: remote.nodes,
        });
        if let Some(answer) = answer {
            self.set_asker(answer, Asker::Pending(key));
        }
        key
    }

    fn send_far(&mut self, remote: Remote, message: &Message<'_>) {
        for shard in remote.shards.iter() {
            self.outbox.push_sibling(shard, message);
        }
        for slot in remote.nodes.iter() {
            self.send_to_node(slot, message);
        }
    }

    fn send_to_node(&mut self, slot: NodeSlot, message: &Message<'_>) {
        let Some(table) = &self.table else { return };
        if let Some(peer) = table.peers.iter().find(|peer| peer.slot == slot) {
            self.outbox.push_peer(slot, peer.incarnation, message);
        }
    }

    /// The other shards, and the nodes that are up, that want a topic.
    fn remote(&self, space: &SpaceId, topic: &str) -> Remote {
        let up = self.up();
        let siblings = self.siblings();
        match &self.table {
            Some(table) if !(up.is_empty() && siblings.is_empty()) => {
                let wanted = table.routes.find(space, topic);
                Remote {
                    shards: ShardSet(wanted.shards.0 & siblings.0),
                    nodes: NodeSet(wanted.nodes.0 & up.0),
                }
            }
            _ => Remote {
                shards: ShardSet::default(),
                nodes: NodeSet::default(),
            },
        }
    }

    fn up(&self) -> NodeSet {
        self.table
            .as_ref()
            .map_or(NodeSet::default(), |table| table.up.without(table.me))
    }

    pub(super) fn waiter(&self, slot: u32) -> Waiter {
        Waiter {
            slot,
            generation: self.connections.generation(slot),
        }
    }
}

#[derive(Clone, Copy)]
enum Path {
    Log,
    Links,
}

fn topic_bit(hash: u64) -> u64 {
    1 << (hash >> 58)
}
