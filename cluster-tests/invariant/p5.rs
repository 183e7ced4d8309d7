//! P5: a session has one owner; the older connection ends when its node learns of the newer, at the latest at
//! its fence. Nothing of an ended incarnation takes effect.

use mainstay_core::{codec::ConnackCode, ids::Incarnation};

use crate::{
    conn::{ConnNo, PubNo},
    trace::note,
    world::World,
};

/// For the spacing of what the leader remembers, and a round of renewals under way.
const SLACK: u64 = 400;

impl World {
    pub(crate) fn check_acts(&mut self, incarnation: Incarnation, runs: bool) {
        if !runs {
            self.violate(
                "P5",
                &format!("a command of the ended {incarnation:?} was applied"),
            );
        }
    }

    pub(crate) fn connack_left(&mut self, conn: ConnNo, code: ConnackCode) {
        if code != ConnackCode::Accepted {
            return;
        }
        note!(self, "conn {conn} owns its session");
        self.counts.add("connack");
        self.conns[conn].connack_left = Some(self.now);
    }

    /// Something leaves for a client: no newer connection may own its session, as far as its node can know.
    pub(crate) fn check_owner(&mut self, conn: ConnNo) {
        let record = &self.conns[conn];
        let Some(epoch) = record.epoch else { return };
        if record.was_told_end {
            return self.violate("P5", &format!("conn {conn} goes on after its end was told"));
        }
        let key = &self.clients[record.client].key;
        let Some(owner) = self.truth().session(key) else {
            return;
        };
        if owner.epoch <= epoch {
            return;
        }
        let committed = self.committed_at(owner.epoch.0.index());
        let timing = &self.p.timing;
        let most = (timing.stall_after + timing.fence_after).as_millis() as u64;
        self.counts.add("byte of an older owner before its end");
        if self.now > committed + most + SLACK {
            let text = format!(
                "conn {conn} on n{} still sends, its session has another owner since {committed}",
                self.conns[conn].node
            );
            self.violate("P5", &text);
        }
    }

    /// The PUBACK of a stored message leaves: it was applied while its connection owned the session.
    pub(crate) fn check_ack_of_owner(&mut self, conn: ConnNo, message: PubNo) {
        let Some(version) = self.pubs[message].version else {
            return;
        };
        let epoch = self.conns[conn].epoch.map_or(0, |epoch| epoch.0.index().0);
        if version >> 16 < epoch {
            self.violate(
                "P5",
                &format!("p{message} was applied before conn {conn} had its session"),
            );
        }
    }
}
