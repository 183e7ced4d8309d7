//! P1: a PUBACK comes after every matching connected session has taken the message into its queue.

use crate::{
    conn::{ConnNo, PubNo},
    world::World,
};

impl World {
    /// The PUBACK of a message by links leaves: each entitled session's shard must have been given it.
    pub(crate) fn check_taken(&mut self, publisher: ConnNo, message: PubNo) {
        let sent = self.pubs[message].sent;
        let own = {
            let record = &self.conns[publisher];
            (record.node, record.life, record.shard)
        };
        for conn in self.entitled(message, sent) {
            let record = &self.conns[conn];
            let place = (record.node, record.life, record.shard);
            let has_seen =
                place == own || self.nodes[place.0].shards[place.2].seen.contains(&message);
            let lives = self.holds_session(conn);
            if lives && !has_seen {
                let text = format!(
                    "p{message} on {} of conn {publisher} is acknowledged, and conn {conn} on n{} has not taken it",
                    self.pubs[message].topic, place.0
                );
                return self.violate("P1", &text);
            }
            self.counts.add("acknowledged for a session");
            if lives && !self.conns[conn].left_pubs.contains(&message) {
                self.conns[conn].owed.insert(message);
            }
        }
    }

    /// Whether the session is connected for all that the cluster knows: its node has its lease and its life,
    /// and nobody else owns it.
    fn holds_session(&self, conn: ConnNo) -> bool {
        let record = &self.conns[conn];
        let node = &self.nodes[record.node];
        let Some(id) = record.id else { return false };
        let key = &self.clients[record.client].key;
        let owner = self.truth().session(key);
        node.is_alive
            && node.life == record.life
            && self.is_open(record.node)
            && !record.sent_disconnect
            && !record.was_told_end
            && node.shards[record.shard].core.closing(id.slot).is_none()
            && owner.is_some_and(|session| {
                Some(session.epoch) == record.epoch && self.running.contains(&session.incarnation)
            })
    }
}
