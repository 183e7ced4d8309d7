//! What others give to a shard: one ordered list behind a short lock, and a waker for a sleeper.
//!
//! The shard swaps the whole list out once a round. The list is bounded by what may be under way: logins by the
//! connections before login; events by the shards' own unanswered requests and by control, which stops applying
//! while [`super::Shards::is_congested`]; batches of siblings and links by [`MAILBOX_BYTES`], above which
//! siblings read no socket and links do not acknowledge.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use mainstay_core::{
    message::Event,
    peering::{Batch, Token},
    shard::Origin,
};

use super::{Handover, placement::Seat};

/// Bytes of batches waiting for a shard above which nobody should add more: some rounds' worth, so that a shard
/// that is behind is not starved, and little beside the sessions' own bounds. A sibling adds at most one round's
/// output on top.
pub(super) const MAILBOX_BYTES: usize = 8 * 1024 * 1024;
/// Items waiting for a shard above which control should hold back.
pub(super) const MAILBOX_ITEMS: usize = 16 * 1024;

/// One thing for a shard.
#[derive(Debug)]
pub(super) enum Item {
    /// A connection that has logged in.
    Login(Box<(Handover, Seat)>),
    /// From control.
    Event(Event),
    /// Messages of a sibling or another node.
    Batch(Origin, Batch),
    /// Answers to messages of this shard.
    Taken(Origin, Vec<Token>),
    /// End the thread.
    Stop,
}

/// A shard's mailbox. The shard swaps, everyone else pushes.
#[derive(Debug)]
pub(super) struct Mailbox {
    items: Mutex<Vec<Item>>,
    /// Bytes of the batches in it; read without the lock by who wants to add.
    bytes: AtomicUsize,
    count: AtomicUsize,
    /// The shard is about to wait, or waits.
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Mailbox {
    pub(super) fn new(waker: mio::Waker) -> Self {
        Self {
            items: Mutex::default(),
            bytes: AtomicUsize::new(0),
            count: AtomicUsize::new(0),
            asleep: AtomicBool::new(false),
            waker,
        }
    }

    /// Adds an item and wakes the shard if it sleeps.
    pub(super) fn push(&self, item: Item) {
        let bytes = size(&item);
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        // Before the item can be taken: the counters must never fall below zero.
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        items.push(item);
        drop(items);
        // SeqCst on both sides: either the shard sees the item when it looks after setting the flag, or this
        // sees the flag.
        if self.asleep.load(Ordering::SeqCst) && self.asleep.swap(false, Ordering::SeqCst) {
            // Failing to write eight bytes to an eventfd means that it is full, so that the shard is awake.
            let _ = self.waker.wake();
        }
    }

    /// Whether more batches should wait.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > MAILBOX_BYTES
    }

    /// Whether control should hold back.
    pub(super) fn is_congested(&self) -> bool {
        self.count.load(Ordering::Relaxed) > MAILBOX_ITEMS || self.is_full()
    }

    /// Takes all items; `into` must be empty and lends its memory.
    pub(super) fn swap(&self, into: &mut Vec<Item>) {
        debug_assert!(into.is_empty());
        let mut items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *items, into);
        drop(items);
        if !into.is_empty() {
            self.count.fetch_sub(into.len(), Ordering::Relaxed);
            self.bytes
                .fetch_sub(into.iter().map(size).sum(), Ordering::Relaxed);
        }
    }

    /// Announces that the shard is going to wait; false if there is something in the mailbox after all.
    pub(super) fn fall_asleep(&self) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        let items = self.items.lock().unwrap_or_else(PoisonError::into_inner);
        let empty = items.is_empty();
        drop(items);
        if !empty {
            self.wake_up();
        }
        empty
    }

    /// The wait is over.
    pub(super) fn wake_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

fn size(item: &Item) -> usize {
    match item {
        Item::Batch(_, batch) => batch.as_bytes().len(),
        Item::Taken(_, tokens) => tokens.len() * size_of::<Token>(),
        Item::Event(Event::Deliver(delivery)) => delivery.payload.len(),
        Item::Login(_) | Item::Event(_) | Item::Stop => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mailbox() -> (mio::Poll, Mailbox) {
        let poll = mio::Poll::new().unwrap();
        let waker = mio::Waker::new(poll.registry(), mio::Token(0)).unwrap();
        (poll, Mailbox::new(waker))
    }

    fn woken(poll: &mut mio::Poll) -> bool {
        let mut events = mio::Events::with_capacity(1);
        poll.poll(&mut events, Some(std::time::Duration::ZERO))
            .unwrap();
        !events.is_empty()
    }

    #[test]
    fn only_a_sleeper_is_woken_and_only_once() {
        let (mut poll, mailbox) = mailbox();
        mailbox.push(Item::Stop);
        assert!(!woken(&mut poll));
        let mut items = Vec::new();
        mailbox.swap(&mut items);
        assert!(mailbox.fall_asleep());
        mailbox.push(Item::Stop);
        assert!(woken(&mut poll));
        mailbox.push(Item::Stop);
        assert!(!woken(&mut poll));
    }

    #[test]
    fn a_shard_does_not_sleep_over_an_item() {
        let (_poll, mailbox) = mailbox();
        mailbox.push(Item::Stop);
        assert!(!mailbox.fall_asleep());
    }

    #[test]
    fn it_is_full_by_bytes_until_they_are_taken() {
        let (_poll, mailbox) = mailbox();
        let batch = Batch::from_bytes(vec![0; MAILBOX_BYTES + 1], 1);
        mailbox.push(Item::Batch(
            Origin::Sibling(mainstay_core::ids::ShardId(1)),
            batch,
        ));
        assert!(mailbox.is_full() && mailbox.is_congested());
        mailbox.swap(&mut Vec::new());
        assert!(!mailbox.is_full() && !mailbox.is_congested());
    }
}
