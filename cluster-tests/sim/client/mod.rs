//! The MQTT clients: what they do, and what they make of what they get.

mod acts;

use std::time::Duration;

use bytes::Bytes;
use mainstay_core::{
    catalog::Credential,
    codec::{self, ConnackCode, Packet, PacketId, QoS, SubackCode},
    ids::{Actor, ClientId, Principal, SessionKey},
    shard::{Login, LoginWill},
};

use crate::{
    agenda::Ev,
    conn::{Conn, ConnNo, PubNo},
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
