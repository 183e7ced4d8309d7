//! A shard with clients for the tests of this room: bytes in, decoded packets out.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::{
    catalog::{Catalog, Credential, Resource},
    codec::{self, ConnackCode, Packet, PacketId, PublishHead, QoS, SubackCode},
    ids::{
        Actor, ClientId, Epoch, Incarnation, Index, NodeId, NodeSlot, Position, Principal,
        ResourceId, SpaceId,
    },
    message::Ticket,
    peering::{Batch, Message, Token},
    router::{Peer, Routes},
    stored::{Value, Values, View},
    topic::{TopicFilter, TopicName},
};

pub(super) const ME: NodeSlot = NodeSlot(0);

/// A packet that a client got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    Connack(ConnackCode),
    Publish {
        topic: String,
        payload: Vec<u8>,
        qos: QoS,
        retain: bool,
        id: Option<u16>,
    },
    Puback(u16),
    Suback(u16, Vec<SubackCode>),
    Unsuback(u16),
    Pingresp,
}

pub(super) fn id(text: &str) -> ResourceId {
    format!("{text:0<20}")
        .parse()
        .expect("a test's ID is well formed")
}

pub(super) fn broker() -> Principal {
    Principal {
        space: SpaceId::Broker(id("broker")),
        actor: Actor::Broker,
    }
}

pub(super) fn device() -> Principal {
    Principal {
        space: SpaceId::Registry(id("reg")),
        actor: Actor::Device(id("dev")),
    }
}

pub(super) fn registry() -> Principal {
    Principal {
        space: SpaceId::Registry(id("reg")),
        actor: Actor::Registry,
    }
}

pub(super) fn catalog() -> Catalog {
    let mut catalog = Catalog::default();
    let resource = |kind: &str| match kind {
        "folder" => Resource::Folder { id: id("folder") },
        "reg" | "other" => Resource::Registry {
            id: id(kind),
            folder: id("folder"),
            name: kind.into(),
            passwords: Vec::new(),
        },
        "alien" => Resource::Device {
            id: id(kind),
            registry: id("other"),
            name: kind.into(),
            passwords: Vec::new(),
        },
        _ => Resource::Device {
            id: id(kind),
            registry: id("reg"),
            name: kind.into(),
            passwords: Vec::new(),
        },
    };
    for kind in ["folder", "reg", "other", "dev", "dev2", "alien"] {
        catalog
            .create(resource(kind))
            .expect("the test's catalog is sound");
    }
    catalog
}

pub(super) fn incarnation(number: u64) -> Incarnation {
    Incarnation(Position::new(Index(number), 0))
}

pub(super) fn peer(slot: u8, life: u64) -> Peer {
    Peer {
        node: NodeId(u64::from(slot)),
        slot: NodeSlot(slot),
        incarnation: incarnation(life),
    }
}

pub(super) fn table(index: u64, peers: Vec<Peer>, routes: Routes) -> Arc<Table> {
    let up = peers
        .iter()
        .fold(NodeSet::default(), |set, peer| set.with(peer.slot));
    Arc::new(Table {
        index: Index(index),
        me: ME,
        incarnation: incarnation(1),
        peers,
        up,
        routes,
        catalog: catalog(),
    })
}

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).expect("a test's filter is well formed")
}

pub(super) fn view(text: &str, values: &[(&str, &str, QoS)]) -> View {
    let mut all = Values::default();
    for (topic, payload, qos) in values {
        let value = Value {
            payload: Bytes::copy_from_slice(payload.as_bytes()),
            qos: *qos,
        };
        all.store(
            &TopicName::new(topic).expect("a test's topic is well formed"),
            value,
        );
    }
    View::new(all, filter(text))
}

pub(super) fn publish(topic: &str, payload: &[u8], id: u16, retain: bool) -> Vec<u8> {
    let packet_id = PacketId::new(id);
    let qos = if packet_id.is_some() {
        QoS::AtLeastOnce
    } else {
        QoS::AtMostOnce
    };
    let mut bytes = Vec::new();
    let head = PublishHead {
        dup: false,
        qos,
        retain,
        topic: &[topic],
        packet_id,
    };
    codec::encode_publish(&mut bytes, &head, payload).expect("it fits a packet");
    bytes
}

pub(super) fn subscribe(id: u16, filters: &[(&str, QoS)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = PacketId::new(id).expect("not zero");
    codec::encode_subscribe(&mut bytes, id, filters).expect("it fits a packet");
    bytes
}

pub(super) fn unsubscribe(id: u16, filters: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let id = PacketId::new(id).expect("not zero");
    codec::encode_unsubscribe(&mut bytes, id, filters).expect("it fits a packet");
    bytes
}

pub(super) fn puback(id: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    codec::encode_puback(&mut bytes, PacketId::new(id).expect("not zero"));
    bytes
}

pub(super) fn got(topic: &str, payload: &str, qos: QoS, retain: bool, id: Option<u16>) -> Got {
    Got::Publish {
        topic: topic.to_owned(),
        payload: payload.into(),
        qos,
        retain,
        id,
    }
}

pub(super) struct Rig {
    pub(super) shard: Shard,
    pub(super) now: Moment,
    pub(super) window: lease::Window,
    next: u64,
}

impl Rig {
    pub(super) fn new(shards: u8, limits: Limits, table: Arc<Table>) -> Self {
        let window = lease::Window::default();
        window.set(Moment(u64::MAX));
        let mut shard = Shard::new(ShardId(0), shards, limits, window.clone(), [1, 2]);
        let now = Moment(1_000_000);
        shard.handle_event(now, Event::Adopt(table));
        shard.handle_event(now, Event::Serve(incarnation(1)));
        let mut rig = Self {
            shard,
            now,
            window,
            next: 100,
        };
        assert!(matches!(rig.requests()[..], [Request::Adopted(_)]));
        rig
    }

    /// One shard, one node.
    pub(super) fn alone() -> Self {
        Self::with(Limits::default())
    }

    pub(super) fn with(limits: Limits) -> Self {
        Self::new(1, limits, table(1, Vec::new(), Routes::default()))
    }

    pub(super) fn event(&mut self, event: Event) {
        self.shard.handle_event(self.now, event);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.shard.handle_tick(self.now);
    }

    pub(super) fn login(&self, principal: Principal, client: &str) -> Login {
        Login {
            principal,
            credential: Credential::Password(id("password")),
            client_id: ClientId(client.into()),
            keep_alive: Duration::from_secs(60),
            will: None,
        }
    }

    pub(super) fn start(&mut self, login: Login) -> ConnId {
        let conn = self
            .shard
            .handle_login(self.now, login)
            .expect("the shard serves");
        let claim = self.requests().pop();
        assert!(matches!(claim, Some(Request::Claim { claim }) if claim.conn == conn));
        conn
    }

    pub(super) fn claim(&mut self, conn: ConnId) -> Epoch {
        self.next += 1;
        let epoch = Epoch(Position::new(Index(self.next), 0));
        self.event(Event::Claimed { conn, epoch });
        epoch
    }

    /// A client that has its CONNACK.
    pub(super) fn client(&mut self, principal: Principal, client: &str) -> ConnId {
        let login = self.login(principal, client);
        let conn = self.start(login);
        self.claim(conn);
        assert_eq!(self.read(conn), [Got::Connack(ConnackCode::Accepted)]);
        self.shard.outbox().resume.clear();
        conn
    }

    /// A client with one live subscription.
    pub(super) fn subscriber(&mut self, principal: Principal, text: &str, qos: QoS) -> ConnId {
        self.next += 1;
        let conn = self.client(principal, &format!("subscriber {}", self.next));
        self.send(conn, &subscribe(1, &[(text, qos)]));
        self.grant(Vec::new());
        assert!(matches!(self.read(conn)[..], [Got::Suback(1, _)]));
        conn
    }

    /// Answers the one Subscribe request that is there; its filters.
    pub(super) fn grant(&mut self, views: Vec<View>) -> Vec<String> {
        let (ticket, filters) = self.subscribe_request();
        self.event(Event::Subscribed { ticket, views });
        filters
    }

    pub(super) fn subscribe_request(&mut self) -> (Ticket, Vec<String>) {
        let requests = self.requests();
        match &requests[..] {
            [
                Request::Subscribe {
                    ticket, filters, ..
                },
            ] => (
                *ticket,
                filters.iter().map(|f| f.as_str().to_owned()).collect(),
            ),
            other => panic!("expected one Subscribe, got {other:?}"),
        }
    }

    /// Sends bytes that must be handled whole.
    pub(super) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        assert_eq!(self.feed(conn, bytes), bytes.len(), "handled in part only");
    }

    pub(super) fn feed(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        self.shard.handle_input(self.now, conn.slot, bytes)
    }

    /// What the client gets when its socket takes all.
    pub(super) fn read(&mut self, conn: ConnId) -> Vec<Got> {
        let mut bytes = Vec::new();
        while let Some(out) = self.shard.output(conn.slot) {
            let length = out.len();
            if length == 0 {
                break;
            }
            bytes.extend(out.chunks().flatten());
            out.consume(length);
            self.shard.handle_flushed(self.now, conn.slot, length);
        }
        let mut packets = Vec::new();
        let mut rest = &bytes[..];
        while let Some(frame) = codec::frame(rest, codec::MAX_PACKET).expect("well formed") {
            let packet = codec::decode(frame.first_byte, frame.body).expect("well formed");
            packets.push(read_packet(&packet));
            rest = &rest[frame.len..];
        }
        assert!(rest.is_empty(), "half a packet");
        packets
    }

    pub(super) fn requests(&mut self) -> Vec<Request> {
        std::mem::take(&mut self.shard.outbox().requests)
    }

    pub(super) fn resumed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.shard.outbox().resume)
    }

    /// Messages and answers for a sibling since the last look.
    pub(super) fn sibling(&mut self, shard: u8) -> (Vec<Sent>, Vec<Token>) {
        open(&mut self.shard.outbox().siblings[usize::from(shard)])
    }

    pub(super) fn node(&mut self, slot: u8, life: u64) -> (Vec<Sent>, Vec<Token>) {
        let peers = &mut self.shard.outbox().peers;
        peers
            .iter_mut()
            .find(|(to, of, _)| *to == NodeSlot(slot) && *of == incarnation(life))
            .map(|(_, _, parcel)| open(parcel))
            .unwrap_or_default()
    }

    pub(super) fn is_closed(&self, conn: ConnId) -> Option<Close> {
        self.shard.closing(conn.slot)
    }
}

/// A message of a parcel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) token: Option<Token>,
}

fn open(parcel: &mut Parcel) -> (Vec<Sent>, Vec<Token>) {
    let messages = parcel.batch.iter().map(|message| {
        let message = message.expect("well formed");
        let (topic, payload) = (message.topic.to_owned(), message.payload.to_vec());
        Sent {
            topic,
            payload,
            token: message.token,
        }
    });
    let messages = messages.collect();
    parcel.batch.clear();
    (messages, std::mem::take(&mut parcel.taken))
}

pub(super) fn batch(space: SpaceId, messages: &[(&str, &str, QoS, Option<u64>)]) -> Batch {
    let mut batch = Batch::default();
    for (topic, payload, qos, token) in messages {
        let token = token.map(|rest| Token::new(ShardId(3), rest));
        batch.push(&Message {
            space,
            topic,
            payload: payload.as_bytes(),
            qos: *qos,
            token,
        });
    }
    batch
}

fn read_packet(packet: &Packet<'_>) -> Got {
    match packet {
        Packet::Connack(connack) => Got::Connack(connack.code),
        Packet::Publish(publish) => Got::Publish {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
            id: publish.packet_id.map(PacketId::value),
        },
        Packet::Puback(id) => Got::Puback(id.value()),
        Packet::Suback(suback) => Got::Suback(suback.packet_id.value(), suback.codes().collect()),
        Packet::Unsuback(id) => Got::Unsuback(id.value()),
        Packet::Pingresp => Got::Pingresp,
        other => panic!("a server never sends {other:?}"),
    }
}
