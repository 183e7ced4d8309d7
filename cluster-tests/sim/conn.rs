//! Connections between clients and nodes: bytes both ways, and the record of what went over each.
//!
//! The record is what the invariants look at: what left the node when, what the client knew when.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    rc::Rc,
};

use mainstay_core::{
    codec::{self, MAX_PACKET, Packet, QoS},
    ids::{ConnId, Epoch, SpaceId},
    message::Event,
    reason::Close,
    topic::TopicFilter,
};

use crate::{agenda::Ev, client::ClientNo, node::NodeNo, trace::note, world::World};

/// A connection of the run, in the order of their making.
pub(crate) type ConnNo = usize;
/// A message of the run, in the order of their making.
pub(crate) type PubNo = usize;

/// A message that some client sent, or the will of one.
#[derive(Debug)]
pub(crate) struct Pub {
    pub(crate) conn: ConnNo,
    pub(crate) space: SpaceId,
    /// Canonical.
    pub(crate) topic: Rc<str>,
    pub(crate) qos: QoS,
    pub(crate) stores: bool,
    pub(crate) is_will: bool,
    /// The order of its sending among all that happened.
    pub(crate) sent: u64,
    /// Its place in the log.
    pub(crate) version: Option<u64>,
    /// How often the log delivered it.
    pub(crate) fired: u32,
    pub(crate) is_acked: bool,
}

/// A subscription as its client sees it.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) text: String,
    pub(crate) canonical: Vec<TopicFilter>,
    pub(crate) qos: QoS,
    pub(crate) packet: u16,
    /// What was acknowledged of the stored topics when it was asked for.
    pub(crate) floor: BTreeMap<Rc<str>, u64>,
    /// The order of the client's getting the SUBACK.
    pub(crate) granted: Option<u64>,
    pub(crate) has_suback_left: bool,
    /// It was unsubscribed, or asked for again.
    pub(crate) has_ended: bool,
}

impl Sub {
    pub(crate) fn matches(&self, topic: &str) -> bool {
        self.canonical.iter().any(|filter| filter.matches(topic))
    }
}

/// A connection, from the client's CONNECT to its end on both sides.
#[derive(Debug)]
pub(crate) struct Conn {
    pub(crate) client: ClientNo,
    pub(crate) node: NodeNo,
    pub(crate) life: u64,
    pub(crate) shard: usize,
    pub(crate) id: Option<ConnId>,
    pub(crate) epoch: Option<Epoch>,
    pub(crate) will: Option<PubNo>,
    /// Towards the node; an empty piece is the end.
    up: VecDeque<(u64, Vec<u8>)>,
    up_last: u64,
    /// Towards the client; an empty piece is the end.
    down: VecDeque<(u64, Vec<u8>)>,
    down_last: u64,
    /// Bytes that left the node and that the client has not read.
    down_bytes: usize,
    unread: Vec<u8>,
    /// Read by the client, and not yet a whole packet.
    partial: Vec<u8>,
    left: Vec<u8>,
    pub(crate) connack_left: Option<u64>,
    pub(crate) is_accepted: bool,
    pub(crate) sent_disconnect: bool,
    pub(crate) closed_by_client: Option<u64>,
    pub(crate) closed_by_node: Option<u64>,
    pub(crate) has_end_arrived: bool,
    /// Its shard was told that the session has another owner.
    pub(crate) was_told_end: bool,
    pub(crate) subs: Vec<Sub>,
    /// Messages without PUBACK, by packet identifier.
    pub(crate) unacked: BTreeMap<u16, PubNo>,
    /// Messages that left the node for this client.
    pub(crate) left_pubs: BTreeSet<PubNo>,
    /// The last live message, by (publisher, will, topic, QoS).
    pub(crate) last_live: BTreeMap<(ConnNo, bool, Rc<str>, u8), PubNo>,
    /// The newest stored value that left, by topic.
    pub(crate) last_version: BTreeMap<Rc<str>, u64>,
    /// Messages that must still come.
    pub(crate) owed: BTreeSet<PubNo>,
    /// Stored values that must still come: topic and least version.
    pub(crate) expects: BTreeMap<Rc<str>, u64>,
}

/// The message that a payload names.
pub(crate) fn pub_of(payload: &[u8]) -> Option<PubNo> {
    let text = std::str::from_utf8(payload).ok()?;
    text.strip_prefix('p')?.split_once(':')?.0.parse().ok()
}

impl Conn {
    pub(crate) fn new(client: ClientNo, node: NodeNo, life: u64, shard: usize) -> Self {
        Self {
            client,
            node,
            life,
            shard,
            id: None,
            epoch: None,
            will: None,
            up: VecDeque::new(),
            up_last: 0,
            down: VecDeque::new(),
            down_last: 0,
            down_bytes: 0,
            unread: Vec::new(),
            partial: Vec::new(),
            left: Vec::new(),
            connack_left: None,
            is_accepted: false,
            sent_disconnect: false,
            closed_by_client: None,
            closed_by_node: None,
            has_end_arrived: false,
            was_told_end: false,
            subs: Vec::new(),
            unacked: BTreeMap::new(),
            left_pubs: BTreeSet::new(),
            last_live: BTreeMap::new(),
            last_version: BTreeMap::new(),
            owed: BTreeSet::new(),
            expects: BTreeMap::new(),
        }
    }

    /// Bytes that the socket takes now.
    pub(crate) fn room(&self, socket_bytes: usize) -> usize {
        if self.closed_by_client.is_some() {
            // What is sent to a closed socket is lost, and does not block.
            return usize::MAX;
        }
        socket_bytes.saturating_sub(self.down_bytes)
    }

    /// Whether a client and a node both hold it.
    pub(crate) fn is_open(&self) -> bool {
        self.closed_by_client.is_none() && self.closed_by_node.is_none()
    }

    /// Whether nothing is on its way in either direction.
    pub(crate) fn is_quiet(&self) -> bool {
        self.up.is_empty() && self.down.is_empty() && self.unread.is_empty()
    }

    /// The subscription at QoS 1 that entitled it to a message sent after `since`.
    pub(crate) fn is_entitled(&self, space: SpaceId, of: SpaceId, topic: &str, since: u64) -> bool {
        space == of
            && self.subs.iter().any(|sub| {
                sub.qos == QoS::AtLeastOnce
                    && !sub.has_ended
                    && sub.granted.is_some_and(|granted| granted < since)
                    && sub.matches(topic)
            })
    }
}

impl World {
    /// A client sends bytes; empty: it closes.
    pub(crate) fn send_up(&mut self, conn: ConnNo, bytes: Vec<u8>) {
        let wait = self.rng.within(0, 3);
        let conns = &mut self.conns[conn];
        let at = conns.up_last.max(self.now + wait);
        conns.up_last = at;
        conns.up.push_back((at, bytes));
        self.agenda.put(at, Ev::ToNode(conn));
    }

    /// The front of what a client sent is at its node.
    pub(crate) fn arrives_at_node(&mut self, conn: ConnNo) {
        let now = self.now;
        let record = &mut self.conns[conn];
        if record.up.front().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let Some((_, bytes)) = record.up.pop_front() else {
            return;
        };
        let (n, life, shard) = (record.node, record.life, record.shard);
        let Some(id) = record.id else {
            if record.closed_by_node.is_none() {
                // Before its login: the node's front keeps it.
                record.up.push_front((now + 5, bytes));
                self.agenda.put(now + 5, Ev::ToNode(conn));
            }
            return;
        };
        let node = &mut self.nodes[n];
        if !node.is_alive || node.life != life {
            return;
        }
        let driver = &mut node.shards[shard];
        if let Some(socket) = driver.sockets.get_mut(&id.slot)
            && socket.conn == conn
        {
            socket.has_ended |= bytes.is_empty();
            socket.rest.extend_from_slice(&bytes);
            self.socket_ready(n, shard, id.slot);
        }
    }

    pub(crate) fn logged_in(&mut self, conn: ConnNo, id: ConnId) {
        self.conns[conn].id = Some(id);
        self.counts.add("login");
    }

    /// Bytes leave a node for a client.
    pub(crate) fn leave(&mut self, conn: ConnNo, bytes: Vec<u8>) {
        let n = self.conns[conn].node;
        self.check_lease(n, "client bytes");
        self.check_owner(conn);
        let mut left = std::mem::take(&mut self.conns[conn].left);
        left.extend_from_slice(&bytes);
        let mut used = 0;
        loop {
            match codec::frame(&left[used..], MAX_PACKET) {
                Ok(Some(frame)) => {
                    match codec::decode(frame.first_byte, frame.body) {
                        Ok(packet) => self.packet_left(conn, &packet),
                        Err(error) => self.violate("codec", &format!("a node sent: {error}")),
                    }
                    used += frame.len;
                }
                Ok(None) => break,
                Err(error) => {
                    self.violate("codec", &format!("a node sent: {error}"));
                    break;
                }
            }
            if self.failed.is_some() {
                break;
            }
        }
        left.drain(..used);
        self.conns[conn].left = left;
        self.send_down(conn, bytes);
    }

    fn send_down(&mut self, conn: ConnNo, bytes: Vec<u8>) {
        let wait = self.rng.within(0, 3);
        let record = &mut self.conns[conn];
        let at = record.down_last.max(self.now + wait);
        record.down_last = at;
        record.down_bytes += bytes.len();
        record.down.push_back((at, bytes));
        self.agenda.put(at, Ev::ToClient(conn));
    }

    fn packet_left(&mut self, conn: ConnNo, packet: &Packet<'_>) {
        note!(self, "conn {conn} <- n{} {packet:?}", self.conns[conn].node);
        match packet {
            Packet::Connack(connack) => self.connack_left(conn, connack.code),
            Packet::Puback(id) => {
                let acked = self.conns[conn].unacked.get(&id.value()).copied();
                match acked {
                    Some(message) => self.puback_left(conn, message),
                    None => self.violate("P1", &format!("conn {conn}: PUBACK {id} for nothing")),
                }
            }
            Packet::Publish(publish) => {
                let message = pub_of(publish.payload);
                match message {
                    Some(message) => {
                        self.publish_left(conn, message, publish.topic, publish.retain);
                    }
                    None => self.violate("codec", "a message that nobody sent"),
                }
            }
            Packet::Suback(suback) => {
                let id = suback.packet_id.value();
                self.suback_left(conn, id);
            }
            Packet::Unsuback(_) | Packet::Pingresp => {}
            other => self.violate("codec", &format!("a node sent {other:?}")),
        }
    }

    /// The node closed its side.
    pub(crate) fn closed_by_node(&mut self, conn: ConnNo, why: Option<Close>) {
        note!(
            self,
            "conn {conn} closed by n{}: {why:?}",
            self.conns[conn].node
        );
        self.counts.add(match why {
            Some(why) => why.label(),
            None => "closed without a reason",
        });
        self.conns[conn].closed_by_node = Some(self.now);
        self.send_down(conn, Vec::new());
    }

    /// The node does not take it: CONNACK 3, and the end.
    pub(crate) fn refuse(&mut self, conn: ConnNo) {
        self.conns[conn].closed_by_node = Some(self.now);
        self.send_down(conn, Vec::new());
    }

    /// The process is gone; clients notice sooner or later.
    pub(crate) fn drop_conns_of(&mut self, n: NodeNo) {
        for conn in 0..self.conns.len() {
            let record = &mut self.conns[conn];
            if record.node == n && record.closed_by_node.is_none() {
                record.closed_by_node = Some(self.now);
                record.down.clear();
                let at = self.now + self.rng.within(0, 2_000);
                self.conns[conn].down.push_back((at, Vec::new()));
                self.conns[conn].down_last = at;
                self.agenda.put(at, Ev::ToClient(conn));
            }
        }
    }

    /// The front of what a node sent is at the client.
    pub(crate) fn arrives_at_client(&mut self, conn: ConnNo) {
        let now = self.now;
        while let Some((_, bytes)) = self.conns[conn].down.pop_front_if(|(at, _)| *at <= now) {
            let record = &mut self.conns[conn];
            if bytes.is_empty() {
                record.has_end_arrived = true;
            }
            record.unread.extend_from_slice(&bytes);
        }
        self.client_reads(conn);
    }

    /// The client takes bytes off its socket; a slow one does later.
    pub(crate) fn client_reads(&mut self, conn: ConnNo) {
        let client = self.conns[conn].client;
        let is_mine = self.clients[client].conn == Some(conn);
        if is_mine && self.clients[client].is_slow && !self.conns[conn].has_end_arrived {
            return;
        }
        let record = &mut self.conns[conn];
        let taken = std::mem::take(&mut record.unread);
        let mut bytes = std::mem::take(&mut record.partial);
        bytes.extend_from_slice(&taken);
        let mut used = 0;
        while let Ok(Some(frame)) = codec::frame(&bytes[used..], MAX_PACKET) {
            used += frame.len;
            if let (true, Ok(packet)) = (is_mine, codec::decode(frame.first_byte, frame.body)) {
                self.client_got(client, conn, &packet);
            }
        }
        bytes.drain(..used);
        let record = &mut self.conns[conn];
        record.partial = bytes;
        record.down_bytes = record.down_bytes.saturating_sub(taken.len());
        let (n, life, shard, id) = (record.node, record.life, record.shard, record.id);
        if let Some(id) = id
            && !taken.is_empty()
            && self.nodes[n].is_alive
            && self.nodes[n].life == life
        {
            self.socket_writable(n, shard, id.slot);
        }
        if self.conns[conn].has_end_arrived && is_mine {
            self.client_lost(client, conn);
        }
    }

    /// An event reaches the shard of a connection.
    pub(crate) fn on_event(&mut self, n: NodeNo, shard: usize, event: &Event) {
        match event {
            Event::Claimed { conn: id, epoch } => {
                if let Some(conn) = self.conn_of(n, shard, *id) {
                    self.conns[conn].epoch = Some(*epoch);
                }
            }
            Event::Ended { conn: id, .. } => {
                if let Some(conn) = self.conn_of(n, shard, *id) {
                    self.conns[conn].was_told_end = true;
                }
            }
            _ => {}
        }
    }

    fn conn_of(&self, n: NodeNo, shard: usize, id: ConnId) -> Option<ConnNo> {
        let socket = self.nodes[n].shards[shard].sockets.get(&id.slot)?;
        (self.conns[socket.conn].id == Some(id)).then_some(socket.conn)
    }
}
