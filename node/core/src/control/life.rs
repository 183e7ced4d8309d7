//! The node between its incarnations: asking for a new one, and waiting for the shards to be empty.
//!
//! Part of [`super::Control`]. A node asks for one incarnation at a time, and knows its own by the nonce.

use std::{sync::Arc, time::Duration};

use crate::{
    control::{Desk, Output, running::Running},
    ids::{Index, ShardSet},
    replica::Entry,
    time::Moment,
};

/// Tickets of NodeUp proposals begin here, far above those of the lanes.
pub(super) const FIRST_TICKET: u64 = 1 << 63;

/// Where the node stands.
#[derive(Debug)]
pub(super) enum Life {
    /// Its NodeUp is to be applied.
    Starting(Starting),
    /// It runs an incarnation.
    Running(Box<Running>),
    /// The incarnation is over; these shards still have clients.
    Emptying { waiting: ShardSet },
    /// It has drained, for good.
    Over,
}

/// A NodeUp on its way.
#[derive(Debug)]
pub(super) struct Starting {
    /// Repeated with each proposal, so that the log takes only one of them.
    pub(super) nonce: u64,
    ticket: Option<u64>,
    /// It was committed there: once that is applied and the node does not run, it was lost to a snapshot or
    /// another NodeUp, and this nonce is worth nothing.
    committed: Option<Index>,
    next_try: Moment,
}

impl Starting {
    pub(super) fn new(now: Moment, nonce: u64) -> Self {
        Self {
            nonce,
            ticket: None,
            committed: None,
            next_try: now,
        }
    }

    /// The proposal was committed at `index`, or failed and may be made again after the pause.
    pub(super) fn handle_proposed(
        &mut self,
        now: Moment,
        ticket: u64,
        index: Option<Index>,
        pause: Duration,
    ) {
        if self.ticket != Some(ticket) {
            return;
        }
        self.ticket = None;
        self.committed = index;
        if index.is_none() {
            self.next_try = now + pause;
        }
    }

    /// Proposes the NodeUp if it is time to; `nonce` and `ticket` are fresh ones.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>, nonce: u64, ticket: u64) {
        let retry_after = desk.config.timing.retry_after;
        if self
            .committed
            .is_some_and(|index| index <= desk.state.applied())
        {
            *self = Self::new(desk.now + retry_after, nonce);
        }
        if self.committed.is_some() || desk.now < self.next_try {
            return;
        }
        let (node, name) = (desk.config.node, Arc::clone(&desk.config.name));
        let entry = Arc::new(Entry::NodeUp {
            node,
            name,
            nonce: self.nonce,
        });
        self.ticket = Some(ticket);
        self.next_try = desk.now + retry_after;
        desk.outputs.push_back(Output::Propose { ticket, entry });
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.committed.is_none().then_some(self.next_try)
    }
}
