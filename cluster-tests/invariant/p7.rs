//! P7: a will fires once: never twice, and not at all only if its client said goodbye.

use crate::{conn::PubNo, world::World};

impl World {
    /// The log delivered a message.
    pub(crate) fn check_once(&mut self, message: PubNo) {
        let record = &self.pubs[message];
        if record.is_will {
            self.counts.add("will fired");
        }
        let record = &self.pubs[message];
        if record.fired > 1 {
            let promise = if record.is_will { "P7" } else { "P6" };
            self.violate(
                promise,
                &format!("p{message} was agreed {} times", record.fired),
            );
        }
    }

    /// At the end: every ownership that a client held and lost without a DISCONNECT has fired its will.
    pub(crate) fn check_wills(&mut self) {
        for conn in 0..self.conns.len() {
            let record = &self.conns[conn];
            let (Some(will), Some(epoch), Some(_)) =
                (record.will, record.epoch, record.connack_left)
            else {
                continue;
            };
            let owner = self.truth().session(&self.clients[record.client].key);
            let owns = owner.is_some_and(|session| session.epoch == epoch);
            let fired = self.pubs[will].fired;
            if owns && fired > 0 {
                self.violate(
                    "P7",
                    &format!("the will p{will} of the live conn {conn} fired"),
                );
            } else if !owns && fired == 0 && !self.conns[conn].sent_disconnect {
                self.violate(
                    "P7",
                    &format!("the will p{will} of conn {conn} never fired"),
                );
            } else if fired == 0 {
                self.counts.add("will not fired after a DISCONNECT");
            }
        }
    }
}
