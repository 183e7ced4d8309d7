//! What leaves the shard for control, siblings and other nodes.

use mainstay_core::{
    ids::{NodeSet, ShardId},
    limits::LINK_QUEUE_BYTES,
    shard::{Origin, Parcel},
};
use tokio::sync::mpsc::error::TrySendError;

use super::{
    driver::Driver,
    mailbox::{Item, Mailbox},
};
use crate::tasks::clock;

impl Driver {
    /// Sends requests to control, in order. What finds the channel full is held, and tried again each round: a
    /// shard never waits. They may go without a lease; control decides what they are worth.
    pub(super) fn send_requests(&mut self) {
        let outbox = self.core.outbox();
        self.held.extend(outbox.requests.drain(..));
        while let Some(request) = self.held.pop_front() {
            match self.requests.try_send((self.id, request)) {
                Ok(()) => {}
                Err(TrySendError::Full((_, request))) => {
                    self.held.push_front(request);
                    return;
                }
                // Control is gone: the node stops.
                Err(TrySendError::Closed(_)) => self.held.clear(),
            }
        }
    }

    /// Hands batches and answers to siblings and links, before the own flush so that they work meanwhile.
    pub(super) fn send_parcels(&mut self) {
        let outbox = self.core.outbox();
        let any =
            !outbox.peers.is_empty() || outbox.siblings.iter().any(|parcel| !is_empty(parcel));
        if any && self.core.may_flush(clock::now()) {
            let outbox = self.core.outbox();
            for (sibling, parcel) in outbox.siblings.iter_mut().enumerate() {
                if !is_empty(parcel) {
                    push(&self.mailboxes[sibling], self.id, parcel);
                }
            }
            for (slot, incarnation, parcel) in outbox.peers.drain(..) {
                if let Some(queue) = self.peers.get(slot) {
                    queue.push(incarnation, parcel.batch, parcel.taken);
                    if queue.queued_bytes() > LINK_QUEUE_BYTES {
                        self.suspects = self.suspects.with(slot);
                    }
                }
            }
        }
        self.look_at_links();
    }

    /// Tells core which links are above their bound, when that changed.
    fn look_at_links(&mut self) {
        let full = |slot: &mainstay_core::ids::NodeSlot| {
            self.peers
                .get(*slot)
                .is_some_and(|queue| queue.queued_bytes() > LINK_QUEUE_BYTES)
        };
        let congested = self
            .suspects
            .iter()
            .filter(full)
            .fold(NodeSet::default(), NodeSet::with);
        self.suspects = congested;
        if congested != self.congested {
            self.congested = congested;
            self.core.handle_congestion(self.now, congested);
        }
    }
}

fn is_empty(parcel: &Parcel) -> bool {
    parcel.batch.is_empty() && parcel.taken.is_empty()
}

fn push(mailbox: &Mailbox, me: ShardId, parcel: &mut Parcel) {
    let from = Origin::Sibling(me);
    if !parcel.batch.is_empty() {
        mailbox.push(Item::Batch(from, std::mem::take(&mut parcel.batch)));
    }
    if !parcel.taken.is_empty() {
        mailbox.push(Item::Taken(from, std::mem::take(&mut parcel.taken)));
    }
}
