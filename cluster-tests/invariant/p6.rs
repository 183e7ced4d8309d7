//! P6: what one connection publishes on one topic at one QoS comes in order, and no message twice.

use crate::{
    conn::{ConnNo, PubNo},
    world::World,
};

impl World {
    pub(crate) fn check_order(&mut self, conn: ConnNo, message: PubNo) {
        let key = |no: PubNo| {
            let record = &self.pubs[no];
            (
                record.conn,
                record.is_will,
                record.topic.clone(),
                record.qos.bits(),
            )
        };
        let own = key(message);
        let skipped = self.conns[conn]
            .owed
            .iter()
            .find(|owed| **owed < message && key(**owed) == own);
        if let Some(skipped) = skipped {
            let text = format!("conn {conn}: p{message} comes, and p{skipped} before it did not");
            return self.violate("P6", &text);
        }
        let last = self.conns[conn].last_live.insert(own, message);
        self.counts.add("message left in order");
        if let Some(last) = last.filter(|last| *last >= message) {
            let promise = if self.pubs[message].is_will {
                "P7"
            } else {
                "P6"
            };
            self.violate(
                promise,
                &format!("conn {conn}: p{message} comes after p{last}"),
            );
        }
    }
}
