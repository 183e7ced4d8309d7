//! Random lives of a shard: order kept, tokens answered once, nothing before SUBACK, nothing acknowledged and lost,
//! control's counts balanced when all is closed.

use std::{collections::HashMap, sync::Arc};

use proptest::prelude::*;

use super::test_rig::*;
use super::*;
use crate::{
    codec::QoS,
    ids::{Epoch, Index, NodeSlot, Position},
    message::Ticket,
    peering::Token,
    replica::{Delivery, Outcome, Store},
    router::Routes,
};

const FILTERS: [&str; 4] = ["a", "a/#", "b", "+"];
const TOPICS: [&str; 3] = ["a", "b", "a/x"];
const QOS: [QoS; 2] = [QoS::AtMostOnce, QoS::AtLeastOnce];

/// A client as the test sees it.
#[derive(Default)]
struct Client {
    conn: Option<ConnId>,
    /// Tells its connections apart: order is promised within each.
    life: u16,
    /// SUBACKs that came, by packet identifier of the SUBSCRIBE.
    subacks: usize,
    seen: Vec<(String, String)>,
    unacked: Vec<u16>,
    acked: Vec<u16>,
    input: Vec<u8>,
}

struct World {
    rig: Rig,
    clients: Vec<Client>,
    witness: ConnId,
    witnessed: Vec<(String, String)>,
    /// Control's counts of filters.
    counts: HashMap<String, i64>,
    tickets: Vec<(Ticket, Asked)>,
    /// Tokens that others gave this shard, and how often each was answered.
    answered: HashMap<Token, u32>,
    asked: Vec<(Origin, Token)>,
    next: u16,
    /// The other node's running life.
    life: u64,
    sent: HashMap<u16, String>,
    /// What goes by the log and is not applied yet.
    log: Vec<Store>,
}

#[derive(Clone, Copy)]
enum Asked {
    Subscribe,
    Store,
    Barrier,
}

impl World {
    fn new() -> Self {
        let limits = Limits {
            max_inbound_inflight: 4,
            send_window: 3,
            soft_messages: 4,
            hard_messages: 1_000,
            ..Limits::default()
        };
        let mut rig = Rig::new(2, limits, world_table(5));
        let witness = rig.subscriber(broker(), "#", QoS::AtLeastOnce);
        Self {
            rig,
            clients: (0..4).map(|_| Client::default()).collect(),
            witness,
            witnessed: Vec::new(),
            counts: HashMap::from([("#".to_owned(), 1)]),
            tickets: Vec::new(),
            answered: HashMap::new(),
            asked: Vec::new(),
            next: 0,
            life: 5,
            sent: HashMap::new(),
            log: Vec::new(),
        }
    }

    fn step(&mut self, (what, who, which): (u8, usize, usize)) {
        match what {
            0 => self.connect(who),
            1 | 2 => self.subscribe(who, which),
            3 => self.input(who, unsubscribe(self.next.max(1), &[FILTERS[which % 4]])),
            4..=8 => self.publish(who, which),
            9 | 10 => self.read(who),
            11 => self.acknowledge(who),
            12 => self.batch(which),
            13 | 14 => self.answer(which),
            15 => self.taken(which),
            16 => self.lose(who, which),
            17 => self.congest(which),
            18 => self.adopt(),
            _ => self.witness(),
        }
        self.look();
    }

    fn connect(&mut self, who: usize) {
        if self.clients[who].conn.is_none() {
            let conn = self.rig.client(broker(), &format!("c{who}"));
            let life = self.number();
            self.clients[who] = Client {
                conn: Some(conn),
                life,
                ..Client::default()
            };
        }
    }

    fn number(&mut self) -> u16 {
        self.next += 1;
        self.next
    }

    fn subscribe(&mut self, who: usize, which: usize) {
        let id = self.number();
        self.input(who, subscribe(id, &[(FILTERS[which % 4], QOS[which % 2])]));
    }

    /// The payload names publisher, path and number, so that order can be checked.
    fn publish(&mut self, who: usize, which: usize) {
        let id = self.number();
        let (confirmed, retain) = (!which.is_multiple_of(3), which.is_multiple_of(7));
        let life = self.clients[who].life;
        let payload = format!("{who}.{life}.{}:{id:05}", u8::from(confirmed));
        if confirmed && self.clients[who].conn.is_some() {
            self.sent.insert(id, payload.clone());
        }
        let packet_id = if confirmed { id } else { 0 };
        self.input(
            who,
            publish(TOPICS[which % 3], payload.as_bytes(), packet_id, retain),
        );
    }

    fn input(&mut self, who: usize, bytes: Vec<u8>) {
        if self.clients[who].conn.is_some() {
            self.clients[who].input.extend(bytes);
            self.feed(who);
        }
    }

    fn feed(&mut self, who: usize) {
        if let Some(conn) = self.clients[who].conn {
            let input = std::mem::take(&mut self.clients[who].input);
            let used = self.rig.feed(conn, &input);
            self.clients[who].input = input[used..].to_vec();
        }
    }

    fn read(&mut self, who: usize) {
        let Some(conn) = self.clients[who].conn else {
            return;
        };
        for packet in self.rig.read(conn) {
            let client = &mut self.clients[who];
            match packet {
                Got::Publish {
                    topic, payload, id, ..
                } => {
                    assert!(client.subacks > 0, "a message before any SUBACK");
                    client
                        .seen
                        .push((topic, String::from_utf8(payload).unwrap()));
                    client.unacked.extend(id);
                }
                Got::Suback(..) => client.subacks += 1,
                Got::Puback(id) => {
                    assert!(
                        client.acked.last().is_none_or(|last| *last < id),
                        "PUBACKs out of order"
                    );
                    client.acked.push(id);
                }
                _ => {}
            }
        }
    }

    fn acknowledge(&mut self, who: usize) {
        let ids = std::mem::take(&mut self.clients[who].unacked);
        let bytes = ids.into_iter().flat_map(puback).collect();
        self.input(who, bytes);
    }

    fn witness(&mut self) {
        for packet in self.rig.read(self.witness) {
            if let Got::Publish {
                topic, payload, id, ..
            } = packet
            {
                self.witnessed
                    .push((topic, String::from_utf8(payload).unwrap()));
                if let Some(id) = id {
                    self.rig.send(self.witness, &puback(id));
                }
            }
        }
    }

    fn batch(&mut self, which: usize) {
        let id = self.number();
        let from = match which % 2 {
            0 => Origin::Sibling(ShardId(1)),
            _ => Origin::Node(NodeSlot(1), incarnation(self.life)),
        };
        let payload = format!("far{}.1:{id:05}", which % 2);
        let message = (TOPICS[which % 3], &payload[..], QOS[1], Some(u64::from(id)));
        self.asked
            .push((from, Token::new(ShardId(3), u64::from(id))));
        let now = self.rig.now;
        self.rig
            .shard
            .handle_batch(now, from, &batch(broker().space, &[message]));
    }

    /// Answers one request.
    fn answer(&mut self, which: usize) {
        if self.tickets.is_empty() {
            return;
        }
        let (ticket, asked) = self.tickets.remove(which % self.tickets.len());
        let event = match asked {
            Asked::Subscribe => Event::Subscribed {
                ticket,
                views: Vec::new(),
            },
            Asked::Store => {
                self.apply();
                let outcome = Outcome::Done(Position::new(Index(u64::from(self.next) + 1), 0));
                Event::Stored { ticket, outcome }
            }
            Asked::Barrier => Event::BarrierReached { ticket },
        };
        self.rig.event(event);
    }

    /// The log applies all that it got, in order.
    fn apply(&mut self) {
        for store in std::mem::take(&mut self.log) {
            let Store {
                space,
                topic,
                payload,
                qos,
                ..
            } = store;
            self.rig.event(Event::Deliver(Arc::new(Delivery {
                space,
                topic,
                payload,
                qos,
            })));
        }
    }

    /// Lets a sibling or the node answer all that it got; what was for an ended life of the node is lost.
    fn taken(&mut self, which: usize) {
        let now = self.rig.now;
        if which.is_multiple_of(2) {
            let (sent, taken) = self.rig.sibling(1);
            self.note(&taken);
            let tokens: Vec<Token> = sent.iter().filter_map(|sent| sent.token).collect();
            let from = Origin::Sibling(ShardId(1));
            self.rig.shard.handle_taken(now, from, &tokens);
            return;
        }
        for (slot, life, parcel) in std::mem::take(&mut self.rig.shard.outbox().peers) {
            self.note(&parcel.taken);
            let sent = parcel
                .batch
                .iter()
                .map(|message| message.expect("well formed"));
            let tokens: Vec<Token> = sent.filter_map(|message| message.token).collect();
            let from = Origin::Node(slot, life);
            if life == incarnation(self.life) {
                self.rig.shard.handle_taken(now, from, &tokens);
            }
        }
    }

    fn congest(&mut self, which: usize) {
        let congested = NodeSet(if which.is_multiple_of(2) { 0 } else { 0b10 });
        let now = self.rig.now;
        self.rig.shard.handle_congestion(now, congested);
    }

    /// The other node starts again.
    fn adopt(&mut self) {
        self.life += 1;
        self.rig.event(Event::Adopt(world_table(self.life)));
    }

    fn note(&mut self, tokens: &[Token]) {
        for token in tokens {
            *self.answered.entry(*token).or_default() += 1;
        }
    }

    fn lose(&mut self, who: usize, which: usize) {
        if let Some(conn) = self.clients[who].conn {
            if which.is_multiple_of(4) {
                let epoch = Epoch::default();
                self.rig.event(Event::Ended {
                    conn,
                    epoch,
                    why: Close::Takeover,
                });
            }
            let now = self.rig.now;
            self.rig.shard.handle_lost(now, conn.slot, Close::IoError);
        }
    }

    /// Carries out what the shard asked for.
    fn look(&mut self) {
        for request in self.rig.requests() {
            match request {
                Request::Subscribe {
                    ticket, filters, ..
                } => {
                    for filter in filters {
                        *self.counts.entry(filter.as_str().to_owned()).or_default() += 1;
                    }
                    self.tickets.push((ticket, Asked::Subscribe));
                }
                Request::Unsubscribe { filters, .. } => {
                    for filter in filters {
                        let count = self.counts.entry(filter.as_str().to_owned()).or_default();
                        *count -= 1;
                        assert!(*count >= 0, "{filter} was given back once too often");
                    }
                }
                Request::Store { ticket, store } => {
                    self.tickets.push((ticket, Asked::Store));
                    self.log.push(store);
                }
                Request::Barrier { ticket, .. } => self.tickets.push((ticket, Asked::Barrier)),
                _ => {}
            }
        }
        self.rig.shard.outbox().dirty.clear();
        self.rig.resumed();
        for who in 0..self.clients.len() {
            if let Some(conn) = self.clients[who].conn
                && self.rig.is_closed(conn).is_some()
            {
                self.rig.shard.forget(conn.slot);
                self.clients[who].conn = None;
                self.clients[who].input.clear();
                check_order(&self.clients[who].seen);
            }
        }
    }

    /// Lets everything that is under way end, then closes all.
    fn settle(&mut self) {
        self.congest(0);
        for _ in 0..300 {
            self.witness();
            for who in 0..self.clients.len() {
                self.read(who);
                self.acknowledge(who);
                self.feed(who);
            }
            self.look();
            while !self.tickets.is_empty() {
                self.answer(0);
                self.look();
            }
            self.taken(0);
            self.taken(1);
            self.look();
        }
        for client in &self.clients {
            assert!(client.input.is_empty(), "a client is still held back");
            for id in &client.acked {
                let payload = &self.sent[id];
                let seen = self
                    .witnessed
                    .iter()
                    .any(|(_, witnessed)| witnessed == payload);
                assert!(seen, "{payload} was acknowledged and lost");
            }
        }
        for who in 0..self.clients.len() {
            self.lose(who, 1);
        }
        let (now, witness) = (self.rig.now, self.witness);
        self.rig
            .shard
            .handle_lost(now, witness.slot, Close::IoError);
        self.rig.shard.forget(witness.slot);
        self.look();
        self.taken(0);
        self.taken(1);
    }
}

fn world_table(life: u64) -> Arc<Table> {
    let mut routes = Routes::default();
    let space = broker().space;
    routes.set_shards(space, &filter("a"), ShardSet(0b11));
    routes.set_nodes(space, &filter("b"), NodeSet(0b11));
    table(life, vec![peer(1, life)], routes)
}

/// Messages of one publisher on one topic at one QoS come in the order of their numbers.
fn check_order(seen: &[(String, String)]) {
    let mut last: HashMap<(&str, &str), &str> = HashMap::new();
    for (topic, payload) in seen {
        let (stream, number) = payload.split_once(':').expect("as it was sent");
        if let Some(before) = last.insert((topic, stream), number) {
            assert!(before < number, "{topic}: {stream}:{number} after {before}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_in_any_life(steps in prop::collection::vec((0..22_u8, 0..4_usize, 0..42_usize), 1..250)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
        check_order(&world.witnessed);
        for (origin, token) in &world.asked {
            let times = world.answered.get(token).copied().unwrap_or_default();
            prop_assert_eq!(times, 1, "{:?} of {:?}", token, origin);
        }
        prop_assert!(world.counts.values().all(|count| *count == 0), "{:?}", world.counts);
        let shard = &mut world.rig.shard;
        prop_assert_eq!((shard.pendings.len(), shard.answers.len(), shard.tickets.len()), (0, 0, 0));
        let counters = shard.counters();
        prop_assert_eq!(counters.connections + counters.subscriptions, 0);
        prop_assert_eq!(counters.inflight_in + counters.inflight_out, 0);
    }
}
