//! What every duty of control works with: the moment, the state, the lanes, the outbox.
//!
//! Lent by [`super::Control`] for the time of one input. It decides nothing.

use std::collections::VecDeque;

use crate::{
    control::{Config, Output, answers::Tag, plant::Planted},
    ids::ShardId,
    message::Event,
    proposer::{Full, Proposer},
    replica::{Command, Lane, Replica},
    time::Moment,
};

/// Lent for one input.
pub(super) struct Desk<'a> {
    pub(super) now: Moment,
    pub(super) config: &'a Config,
    /// The state after the last applied entry.
    pub(super) state: &'a Replica,
    pub(super) proposer: &'a mut Proposer<Tag>,
    pub(super) outputs: &'a mut VecDeque<Output>,
    pub(super) planted: Planted,
}

impl Desk<'_> {
    pub(super) fn tell(&mut self, shard: ShardId, event: Event) {
        self.outputs.push_back(Output::Shard(shard, event));
    }

    pub(super) fn tell_all(&mut self, event: &Event) {
        for shard in self.config.all_shards().iter() {
            self.tell(shard, event.clone());
        }
    }

    /// Proposes what nobody can be refused; without room for it the incarnation has to end.
    pub(super) fn owe(&mut self, lane: Lane, command: Command, tag: Tag) -> Result<(), Full> {
        self.proposer.submit_owed(lane, command, tag)
    }
}
