//! The MQTT clients: what they do, and what they make of what they get.

use std::{rc::Rc, time::Duration};

use bytes::Bytes;
use mainstay_core::{
    access,
    catalog::Credential,
    codec::{self, ConnackCode, Packet, PacketId, PublishHead, QoS, SubackCode},
    ids::{Actor, ClientId, Principal, SessionKey},
    shard::{Login, LoginWill},
    topic::TopicFilter,
};

use crate::{
    agenda::Ev,
    conn::{Conn, ConnNo, Pub, PubNo, Sub},
    node::NodeNo,
    params::SHARDS,
    shard::Item,
    trace::note,
    world::World,
};

/// A client of the run.
pub(crate) type ClientNo = usize;

/// A client: one session's name; two with the same name take each other over.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) key: SessionKey,
    pub(crate) credential: Credential,
    /// Topics that it publishes to, as it writes them.
    pub(crate) topics: Vec<String>,
    /// Filters that it subscribes to, as it writes them.
    pub(crate) filters: Vec<String>,
    pub(crate) conn: Option<ConnNo>,
    pub(crate) is_slow: bool,
    /// It does nothing any more but keep its connection.
    pub(crate) is_quiet: bool,
    /// It stays away.
    pub(crate) is_away: bool,
    next_packet: u16,
    last_sent: u64,
    opened: u64,
    /// Sends PUBACKs only after a while.
    is_lazy: bool,
    owed_acks: Vec<PacketId>,
    /// In the heal phase: its SUBACK and its PUBACK have come.
    pub(crate) has_suback: bool,
    pub(crate) has_puback: bool,
}

impl Client {
    pub(crate) fn new(
        key: SessionKey,
        credential: Credential,
        topics: Vec<String>,
        filters: Vec<String>,
    ) -> Self {
        Self {
            key,
            credential,
            topics,
            filters,
            conn: None,
            is_slow: false,
            is_quiet: false,
            is_away: false,
            next_packet: 0,
            last_sent: 0,
            opened: 0,
            is_lazy: false,
            owed_acks: Vec::new(),
            has_suback: false,
            has_puback: false,
        }
    }

    fn packet(&mut self) -> PacketId {
        self.next_packet = if self.next_packet == u16::MAX {
            1
        } else {
            self.next_packet + 1
        };
        PacketId::new(self.next_packet).unwrap_or(PacketId::MIN)
    }
}

/// The canonical topic of one that a principal may publish to.
fn canonical(principal: &Principal, topic: &str) -> String {
    match (principal.actor, topic.strip_prefix("$me/device/")) {
        (Actor::Device(id), Some(rest)) => format!("$devices/{id}/{rest}"),
        _ => topic.to_owned(),
    }
}

impl World {
    /// A client's turn.
    pub(crate) fn client_turn(&mut self, c: ClientNo) {
        let most = if self.is_healing {
            self.p.think.min(150)
        } else {
            self.p.think
        };
        let wait = self.rng.within(1, most);
        self.agenda.put(self.now + wait, Ev::Client(c));
        if self.is_healing {
            return self.client_heals(c);
        }
        let Some(conn) = self.clients[c].conn else {
            let rival = self.rival_is_connected(c);
            if self.rng.chance(1, if rival { 40 } else { 3 }) {
                let n = self.rng.place(self.nodes.len());
                self.client_connects(c, n);
            }
            return;
        };
        self.client_acks(c, conn);
        if !self.conns[conn].is_accepted {
            if self.now - self.clients[c].opened > 8_000 {
                self.client_closes(c, conn, false);
            }
            return;
        }
        match self.rng.below(100) {
            0..=57 => self.client_publishes(c, conn),
            58..=73 => self.client_subscribes(c, conn),
            74..=79 => self.client_unsubscribes(c, conn),
            80 => self.client_closes(c, conn, true),
            81 => self.client_closes(c, conn, false),
            82 => {
                self.clients[c].is_slow = !self.clients[c].is_slow;
                self.counts.add("client changes its pace");
            }
            83..=84 => self.clients[c].is_slow = false,
            85 => self.clients[c].is_lazy = !self.clients[c].is_lazy,
            _ => {}
        }
        if let Some(conn) = self.clients[c].conn {
            if !self.clients[c].is_slow {
                self.client_reads(conn);
            }
            self.client_pings(c);
        }
    }

    /// Whether another client with the same name is connected.
    fn rival_is_connected(&self, c: ClientNo) -> bool {
        let key = &self.clients[c].key;
        let mut rivals = self.clients.iter().enumerate().filter(|(no, _)| *no != c);
        rivals.any(|(_, rival)| rival.key == *key && rival.conn.is_some())
    }

    pub(crate) fn client_pings(&mut self, c: ClientNo) {
        let Some(conn) = self.clients[c].conn else {
            return;
        };
        if self.now - self.clients[c].last_sent > 2_500 && self.conns[conn].is_accepted {
            let mut bytes = Vec::new();
            codec::encode_pingreq(&mut bytes);
            self.client_sends(c, conn, bytes);
        }
    }

    pub(crate) fn client_connects(&mut self, c: ClientNo, n: NodeNo) {
        let node = &self.nodes[n];
        if !node.is_alive {
            return;
        }
        let shard = self.rng.place(usize::from(SHARDS));
        let no = self.conns.len();
        self.conns.push(Conn::new(c, n, node.life, shard));
        if self.rng.chance(1, 2) && !self.is_healing {
            let qos = if self.rng.chance(1, 3) {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            };
            let retain = self.rng.chance(1, 4);
            let topic = self.rng.pick(&self.clients[c].topics).clone();
            self.conns[no].will = Some(self.new_pub(no, &topic, qos, retain, true));
        }
        let client = &mut self.clients[c];
        client.conn = Some(no);
        client.opened = self.now;
        client.is_slow = false;
        client.owed_acks.clear();
        client.last_sent = self.now;
        note!(self, "client {c} connects to n{n} as conn {no}");
        self.counts.add("connect");
        self.give(n, shard, Item::Login(no));
        if self.rng.chance(1, 4) {
            // Not waiting for the CONNACK is allowed (section 3.1.4).
            self.client_subscribes(c, no);
        }
    }

    /// What the front of a node hands to a shard.
    pub(crate) fn login_of(&self, conn: ConnNo) -> Login {
        let client = &self.clients[self.conns[conn].client];
        let will = self.conns[conn].will.map(|will| LoginWill {
            topic: self.pubs[will].topic.to_string(),
            payload: Bytes::from(payload(will, 0)),
            qos: self.pubs[will].qos,
            retain: self.pubs[will].stores,
        });
        Login {
            principal: client.key.principal,
            credential: client.credential,
            client_id: ClientId(client.key.client_id.0.clone()),
            keep_alive: Duration::from_secs(5),
            will,
        }
    }

    fn client_sends(&mut self, c: ClientNo, conn: ConnNo, bytes: Vec<u8>) {
        self.clients[c].last_sent = self.now;
        self.send_up(conn, bytes);
    }

    /// Makes a message. Whether it stores follows from its topic, or in a broker's space from `retain`.
    fn new_pub(
        &mut self,
        conn: ConnNo,
        topic: &str,
        qos: QoS,
        retain: bool,
        is_will: bool,
    ) -> PubNo {
        let principal = self.clients[self.conns[conn].client].key.principal;
        let topic = canonical(&principal, topic);
        let stores = match principal.actor {
            Actor::Broker => retain,
            Actor::Registry | Actor::Device(_) => {
                topic.contains("/state") || topic.contains("/config")
            }
        };
        let sent = self.order();
        self.pubs.push(Pub {
            conn,
            space: principal.space,
            topic: Rc::from(topic),
            qos,
            stores,
            is_will,
            sent,
            version: None,
            fired: 0,
            is_acked: false,
        });
        self.pubs.len() - 1
    }

    pub(crate) fn client_publishes(&mut self, c: ClientNo, conn: ConnNo) {
        if self.conns[conn].unacked.len() > 12 {
            return;
        }
        let burst = if self.rng.chance(1, 12) {
            self.rng.within(2, 8)
        } else {
            1
        };
        let topic = self.rng.pick(&self.clients[c].topics).clone();
        let mut bytes = Vec::new();
        for _ in 0..burst {
            let qos = if self.rng.chance(1, 3) {
                QoS::AtMostOnce
            } else {
                QoS::AtLeastOnce
            };
            let retain = self.rng.chance(1, 4);
            let no = self.new_pub(conn, &topic, qos, retain, false);
            let packet_id = (qos == QoS::AtLeastOnce).then(|| self.clients[c].packet());
            if let Some(id) = packet_id {
                self.conns[conn].unacked.insert(id.value(), no);
            }
            let parts = [topic.as_str()];
            let head = PublishHead {
                dup: false,
                qos,
                retain,
                topic: &parts,
                packet_id,
            };
            let padding = if self.rng.chance(1, 20) {
                self.rng.place(5_000)
            } else {
                0
            };
            let done = codec::encode_publish(&mut bytes, &head, &payload(no, padding));
            if let Err(error) = done {
                self.violate("codec", &format!("a client cannot publish: {error}"));
            }
            note!(
                self,
                "client {c} publishes p{no} {topic} {qos:?} retain {retain} on conn {conn}"
            );
            self.counts.add(match (self.pubs[no].stores, qos) {
                (true, QoS::AtMostOnce) => "published by the log, QoS 0",
                (true, _) => "published by the log, QoS 1",
                (false, QoS::AtMostOnce) => "published by links, QoS 0",
                (false, _) => "published by links, QoS 1",
            });
        }
        self.client_sends(c, conn, bytes);
    }

    pub(crate) fn client_subscribes(&mut self, c: ClientNo, conn: ConnNo) {
        let live = self.conns[conn]
            .subs
            .iter()
            .filter(|sub| !sub.has_ended)
            .count();
        let filters = self.clients[c].filters.clone();
        // One filter is churned most.
        let text = if self.rng.chance(1, 3) {
            filters[0].clone()
        } else {
            self.rng.pick(&filters).clone()
        };
        let is_new = !self.conns[conn]
            .subs
            .iter()
            .any(|sub| !sub.has_ended && sub.text == text);
        if is_new && live >= 6 {
            return;
        }
        let qos = if self.rng.chance(1, 4) {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        self.subscribe_to(c, conn, &text, qos);
    }

    pub(crate) fn subscribe_to(&mut self, c: ClientNo, conn: ConnNo, text: &str, qos: QoS) {
        let principal = self.clients[c].key.principal;
        let granted = TopicFilter::new(text)
            .ok()
            .and_then(|f| access::subscribe(&principal, &f).ok());
        let Some(granted) = granted else {
            return self.violate("codec", &format!("the workload asks for {text}"));
        };
        let packet = self.clients[c].packet();
        let mut sub = Sub {
            text: text.to_owned(),
            canonical: granted.canonical,
            qos,
            packet: packet.value(),
            floor: Default::default(),
            granted: None,
            has_suback_left: false,
            has_ended: false,
        };
        for ((space, topic), version) in &self.acked {
            if *space == principal.space && sub.matches(topic) {
                sub.floor.insert(topic.clone(), *version);
            }
        }
        self.end_sub(conn, text);
        self.conns[conn].subs.push(sub);
        let mut bytes = Vec::new();
        if let Err(error) = codec::encode_subscribe(&mut bytes, packet, &[(text, qos)]) {
            self.violate("codec", &format!("a client cannot subscribe: {error}"));
        }
        note!(
            self,
            "client {c} subscribes to {text} {qos:?} on conn {conn}, packet {packet}"
        );
        self.counts.add("subscribe");
        self.client_sends(c, conn, bytes);
    }

    fn client_unsubscribes(&mut self, c: ClientNo, conn: ConnNo) {
        let live: Vec<String> = self.conns[conn]
            .subs
            .iter()
            .filter(|sub| !sub.has_ended)
            .map(|sub| sub.text.clone())
            .collect();
        if live.is_empty() {
            return;
        }
        let text = self.rng.pick(&live).clone();
        self.end_sub(conn, &text);
        let packet = self.clients[c].packet();
        let mut bytes = Vec::new();
        if let Err(error) = codec::encode_unsubscribe(&mut bytes, packet, &[&text]) {
            self.violate("codec", &format!("a client cannot unsubscribe: {error}"));
        }
        note!(self, "client {c} unsubscribes from {text} on conn {conn}");
        self.counts.add("unsubscribe");
        self.client_sends(c, conn, bytes);
        if self.rng.chance(1, 2) {
            // And at once again: the end must not overtake the beginning.
            self.counts.add("subscribe right after unsubscribe");
            self.subscribe_to(c, conn, &text, QoS::AtLeastOnce);
        }
    }

    /// A subscription ends at its client: what it alone is owed for is owed no more.
    fn end_sub(&mut self, conn: ConnNo, text: &str) {
        let record = &mut self.conns[conn];
        for sub in record.subs.iter_mut().filter(|sub| sub.text == text) {
            sub.has_ended = true;
        }
        let owed = std::mem::take(&mut record.owed);
        let expects = std::mem::take(&mut record.expects);
        let (pubs, subs) = (&self.pubs, &record.subs);
        let live = |qos, topic: &str| {
            subs.iter().any(|sub| {
                !sub.has_ended && sub.qos >= qos && sub.has_suback_left && sub.matches(topic)
            })
        };
        let owed = owed
            .into_iter()
            .filter(|no| live(QoS::AtLeastOnce, &pubs[*no].topic))
            .collect();
        let expects = expects
            .into_iter()
            .filter(|(topic, _)| live(QoS::AtMostOnce, topic))
            .collect();
        let record = &mut self.conns[conn];
        record.owed = owed;
        record.expects = expects;
    }

    pub(crate) fn client_closes(&mut self, c: ClientNo, conn: ConnNo, politely: bool) {
        if politely && self.conns[conn].is_accepted {
            let mut bytes = Vec::new();
            codec::encode_disconnect(&mut bytes);
            self.conns[conn].sent_disconnect = true;
            self.send_up(conn, bytes);
            self.counts.add("client disconnects");
        } else {
            self.counts.add("client breaks off");
        }
        note!(self, "client {c} closes conn {conn}, politely {politely}");
        self.send_up(conn, Vec::new());
        self.conns[conn].closed_by_client = Some(self.now);
        self.conns[conn].owed.clear();
        self.clients[c].conn = None;
    }

    /// The connection ended at the node.
    pub(crate) fn client_lost(&mut self, c: ClientNo, conn: ConnNo) {
        self.conns[conn].closed_by_client = Some(self.now);
        if self.clients[c].conn == Some(conn) {
            self.clients[c].conn = None;
        }
    }

    pub(crate) fn client_acks(&mut self, c: ClientNo, conn: ConnNo) {
        let acks = std::mem::take(&mut self.clients[c].owed_acks);
        if !acks.is_empty() {
            let mut bytes = Vec::new();
            acks.into_iter()
                .for_each(|id| codec::encode_puback(&mut bytes, id));
            self.client_sends(c, conn, bytes);
        }
    }

    pub(crate) fn client_got(&mut self, c: ClientNo, conn: ConnNo, packet: &Packet<'_>) {
        match packet {
            Packet::Connack(connack) => {
                self.conns[conn].is_accepted = connack.code == ConnackCode::Accepted;
            }
            Packet::Publish(publish) => {
                self.counts.add("message received");
                if let Some(id) = publish.packet_id {
                    self.clients[c].owed_acks.push(id);
                    if !self.clients[c].is_lazy {
                        self.client_acks(c, conn);
                    }
                }
            }
            Packet::Puback(id) => {
                if let Some(no) = self.conns[conn].unacked.remove(&id.value()) {
                    self.pubs[no].is_acked = true;
                    self.clients[c].has_puback = true;
                    self.counts.add("puback received");
                    self.acked_at_client(no);
                }
            }
            Packet::Suback(suback) => {
                let order = self.order();
                let is_granted = suback.codes().all(|code| code != SubackCode::Failure);
                let id = suback.packet_id.value();
                for sub in self.conns[conn]
                    .subs
                    .iter_mut()
                    .filter(|sub| sub.packet == id)
                {
                    sub.granted = Some(order);
                }
                if !is_granted {
                    self.violate("P4", &format!("conn {conn}: SUBACK {id} refuses"));
                }
                self.clients[c].has_suback = true;
                self.counts.add("suback received");
            }
            _ => {}
        }
    }

    pub(crate) fn set_lazy(&mut self, c: ClientNo, is_lazy: bool) {
        self.clients[c].is_lazy = is_lazy;
    }
}

/// The payload of a message; names it.
pub(crate) fn payload(no: PubNo, padding: usize) -> Vec<u8> {
    let mut payload = format!("p{no}:").into_bytes();
    payload.resize(payload.len() + padding, b'x');
    payload
}
