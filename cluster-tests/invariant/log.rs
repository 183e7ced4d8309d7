//! What becomes agreed, and what leaves: where the promises' questions are asked from.

use mainstay_core::{
    codec::QoS,
    ids::{Incarnation, Index},
    replica::Effect,
};

use crate::{
    conn::{ConnNo, PubNo, pub_of},
    trace::note,
    world::World,
};

impl World {
    /// An entry was committed and has these effects.
    pub(crate) fn on_commit(&mut self, index: Index, effects: &[Effect]) {
        note!(self, "index {}: {effects:?}", index.0);
        let mut just_ended: Vec<Incarnation> = Vec::new();
        for (ordinal, effect) in effects.iter().enumerate() {
            match effect {
                Effect::NodeUp { incarnation, .. } => _ = self.running.insert(*incarnation),
                Effect::NodeDown { incarnation, .. } => {
                    self.counts.add("incarnation ended in the log");
                    self.running.remove(incarnation);
                    just_ended.push(*incarnation);
                }
                Effect::Answer { incarnation, .. } => {
                    let runs =
                        self.running.contains(incarnation) || just_ended.contains(incarnation);
                    self.check_acts(*incarnation, runs);
                }
                Effect::Gap { .. } => self.counts.add("gap in a lane"),
                Effect::Deliver(delivery) => {
                    if let Some(message) = pub_of(&delivery.payload) {
                        self.delivered_by_log(message, (index.0 << 16) | ordinal as u64);
                    }
                }
                Effect::Ended { .. } => self.counts.add("takeover"),
                Effect::Interest { .. } | Effect::Catalog => {}
            }
        }
    }

    fn delivered_by_log(&mut self, message: PubNo, version: u64) {
        self.pubs[message].version.get_or_insert(version);
        self.pubs[message].fired += 1;
        self.check_once(message);
        if self.pubs[message].qos == QoS::AtMostOnce {
            return;
        }
        let order = self.order();
        for conn in self.entitled(message, order) {
            if !self.conns[conn].left_pubs.contains(&message) {
                self.conns[conn].owed.insert(message);
            }
        }
    }

    /// The open connections that a message of this order must reach.
    pub(crate) fn entitled(&self, message: PubNo, order: u64) -> Vec<ConnNo> {
        let message = &self.pubs[message];
        self.open_conns()
            .filter(|conn| {
                let record = &self.conns[*conn];
                let space = self.clients[record.client].key.principal.space;
                record.is_accepted
                    && record.is_entitled(message.space, space, &message.topic, order)
            })
            .collect()
    }

    /// A message leaves a node for a subscriber.
    pub(crate) fn publish_left(
        &mut self,
        conn: ConnNo,
        message: PubNo,
        name: &str,
        is_retained: bool,
    ) {
        let topic = self.pubs[message].topic.clone();
        let is_same = match name.strip_prefix("$me/device/") {
            Some(rest) => topic
                .split_once('/')
                .and_then(|(_, t)| t.split_once('/'))
                .is_some_and(|(_, t)| t == rest),
            None => *topic == *name,
        };
        if !is_same {
            self.violate(
                "P1",
                &format!("conn {conn}: p{message} of {topic} came as {name}"),
            );
        }
        self.check_subscribed(conn, message);
        self.check_value(conn, message, is_retained);
        if !is_retained {
            self.check_order(conn, message);
        }
        let record = &mut self.conns[conn];
        record.left_pubs.insert(message);
        record.owed.remove(&message);
    }

    /// A PUBACK leaves a node for a publisher.
    pub(crate) fn puback_left(&mut self, conn: ConnNo, message: PubNo) {
        if self.pubs[message].stores {
            self.check_stored(message);
            self.check_ack_of_owner(conn, message);
        } else {
            self.check_taken(conn, message);
        }
    }
}
