//! What clients send, and what is remembered of it.

use std::rc::Rc;

use mainstay_core::{
    access,
    codec::{self, PublishHead, QoS},
    ids::Actor,
    topic::TopicFilter,
};

use crate::{
    client::{ClientNo, canonical, payload},
    conn::{ConnNo, Pub, PubNo, Sub},
    trace::note,
    world::World,
};

impl World {
    pub(super) fn client_sends(&mut self, c: ClientNo, conn: ConnNo, bytes: Vec<u8>) {
        self.clients[c].last_sent = self.now;
        self.send_up(conn, bytes);
    }

    /// Makes a message. Whether it stores follows from its topic, or in a broker's space from `retain`.
    pub(super) fn new_pub(
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

    pub(super) fn client_unsubscribes(&mut self, c: ClientNo, conn: ConnNo) {
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
}
