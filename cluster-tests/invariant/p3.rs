//! P3: stored values are linearizable: what was acknowledged is there for every later subscription, and
//! nobody gets an older value after a newer one.

use crate::{
    conn::{ConnNo, PubNo},
    world::World,
};

impl World {
    /// The PUBACK of a stored message leaves.
    pub(crate) fn check_stored(&mut self, message: PubNo) {
        if self.pubs[message].version.is_none() {
            self.violate(
                "P3",
                &format!("p{message} is acknowledged and not in the log"),
            );
        }
    }

    /// The client has the PUBACK: subscriptions from now on must see the value.
    pub(crate) fn acked_at_client(&mut self, message: PubNo) {
        let record = &self.pubs[message];
        if let (true, Some(version)) = (record.stores, record.version) {
            let newest = self
                .acked
                .entry((record.space, record.topic.clone()))
                .or_default();
            *newest = version.max(*newest);
        }
    }

    pub(crate) fn suback_left(&mut self, conn: ConnNo, packet: u16) {
        let record = &mut self.conns[conn];
        for sub in record.subs.iter_mut().filter(|sub| sub.packet == packet) {
            sub.has_suback_left = true;
            if sub.has_ended {
                continue;
            }
            for (topic, floor) in &sub.floor {
                if record
                    .last_version
                    .get(topic)
                    .is_none_or(|last| last < floor)
                {
                    let expected = record.expects.entry(topic.clone()).or_default();
                    *expected = (*expected).max(*floor);
                    self.counts.add("stored value expected");
                }
            }
        }
    }

    /// A stored message leaves for a subscriber, live or as the value of a new subscription.
    pub(crate) fn check_value(&mut self, conn: ConnNo, message: PubNo, is_retained: bool) {
        let (topic, stores) = (self.pubs[message].topic.clone(), self.pubs[message].stores);
        if !stores {
            if is_retained {
                self.violate("P3", &format!("conn {conn}: p{message} is no stored value"));
            }
            return;
        }
        let Some(version) = self.pubs[message].version else {
            return self.violate(
                "P3",
                &format!("conn {conn}: p{message} left before it was agreed"),
            );
        };
        let record = &mut self.conns[conn];
        let last = record.last_version.entry(topic.clone()).or_default();
        let is_older = version < *last;
        *last = version.max(*last);
        if record
            .expects
            .get(&topic)
            .is_some_and(|floor| version >= *floor)
        {
            record.expects.remove(&topic);
            self.counts.add("stored value got");
        }
        if is_older {
            return self.violate(
                "P3",
                &format!("conn {conn}: p{message} on {topic} comes after a newer value"),
            );
        }
        if is_retained {
            self.check_floor(conn, message, version);
        }
    }

    /// The value that a subscription begins with is at or above what was acknowledged before it. Where several
    /// could have asked for it, the one that knew least counts.
    fn check_floor(&mut self, conn: ConnNo, message: PubNo, version: u64) {
        self.counts.add("stored value left for a new subscription");
        let topic = &self.pubs[message].topic;
        let asked = self.conns[conn]
            .subs
            .iter()
            .filter(|s| s.has_suback_left && s.matches(topic));
        let floor = asked
            .map(|sub| sub.floor.get(topic).copied().unwrap_or_default())
            .min();
        if floor.is_some_and(|floor| version < floor) {
            let text = format!(
                "conn {conn}: p{message} on {topic} is older than one acknowledged before its SUBSCRIBE"
            );
            self.violate("P3", &text);
        }
    }
}
