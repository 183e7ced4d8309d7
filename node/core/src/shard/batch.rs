//! Messages that siblings and other nodes sent.
//!
//! A sibling's message is for the sessions of this shard. A node's message is for the whole node: the driver gives
//! each batch of a node to one shard, always the same one for the same sender, and that passes it on to the
//! siblings that want it, in order.

use crate::{
    ids::{NodeSet, ShardSet},
    peering::{Batch, Message, Token},
    shard::{
        Origin, Shard,
        connection::Asker,
        pending::{Owner, Pending},
    },
    time::Moment,
};

impl Shard {
    /// Handles the messages of a batch. A node's batches go to one shard of this node, always the same one for a
    /// link, or their order is lost, and never to several. Each token in it is answered once, to `from`, when all that
    /// it is for have taken it. What follows a malformed message is ignored: the link checks frames before. A shard
    /// that does not serve neither delivers nor answers.
    pub fn handle_batch(&mut self, now: Moment, from: Origin, batch: &Batch) {
        self.latest = now;
        // A shard that serves nobody, yet or any more, still passes on and answers: interest of the node's earlier
        // life may lead here, and siblings may still have clients. A fenced one has no table and does neither.
        if self.table.is_none() {
            return;
        }
        for message in batch.iter() {
            let Ok(message) = message else { break };
            self.handle_message(now, from, &message);
        }
        self.settle(now);
    }

    fn handle_message(&mut self, now: Moment, from: Origin, message: &Message<'_>) {
        let shards = match from {
            Origin::Sibling(_) => ShardSet::default(),
            Origin::Node(..) if message.is_marker() => self.siblings(),
            Origin::Node(..) => self.wanting_siblings(message),
        };
        let asks = message.token.is_some();
        let answer = match self.locals.find(&message.space) {
            Some(space) if !message.is_marker() => {
                self.deliver(now, space, message, None, asks).answer
            }
            _ => None,
        };
        let asker = self.pass_on(from, message, shards, answer.is_some());
        match (answer, asker) {
            (None, Asker::Other(origin, token)) => self.outbox.push_taken(origin, token),
            (Some(key), asker) => self.set_asker(key, asker),
            (None, _) => {}
        }
    }

    /// Sends a node's message to siblings; who is to be told when this shard has taken it.
    fn pass_on(
        &mut self,
        from: Origin,
        message: &Message<'_>,
        shards: ShardSet,
        local: bool,
    ) -> Asker {
        let asker = message
            .token
            .map_or(Asker::Nobody, |token| Asker::Other(from, token));
        if shards.is_empty() {
            return asker;
        }
        let pending = message.token.map(|token| {
            let owner = Owner::Relay(from, token);
            self.pendings.insert(Pending {
                owner,
                local,
                shards,
                nodes: NodeSet::default(),
            })
        });
        let token = pending.map(|key| Token::new(self.id, key));
        for shard in shards.iter() {
            self.outbox
                .push_sibling(shard, &Message { token, ..*message });
        }
        pending.map_or(Asker::Nobody, Asker::Pending)
    }

    pub(super) fn set_asker(&mut self, key: u64, asker: Asker) {
        if let Some(answer) = self.answers.get_mut(key) {
            answer.asker = asker;
        }
    }

    fn wanting_siblings(&self, message: &Message<'_>) -> ShardSet {
        match &self.table {
            Some(table) if self.shards > 1 => {
                let wanted = table.routes.find(&message.space, message.topic).shards;
                ShardSet(wanted.0 & self.siblings().0)
            }
            _ => ShardSet::default(),
        }
    }
}
