//! P4: SUBACK is a barrier; nothing of a subscription leaves before it, and all that is accepted after it comes.
//!
//! That it comes is asked where messages are acknowledged ([`super::p1`]) or agreed ([`super::log`]); here, that
//! nothing comes too early.

use crate::{
    conn::{ConnNo, PubNo},
    world::World,
};

impl World {
    pub(crate) fn check_subscribed(&mut self, conn: ConnNo, message: PubNo) {
        let topic = &self.pubs[message].topic;
        let is_asked = self.conns[conn]
            .subs
            .iter()
            .any(|s| s.has_suback_left && s.matches(topic));
        let space = self.clients[self.conns[conn].client].key.principal.space;
        if !is_asked || space != self.pubs[message].space {
            let text = format!("conn {conn}: p{message} on {topic} left without a SUBACK for it");
            self.violate("P4", &text);
        }
    }
}
