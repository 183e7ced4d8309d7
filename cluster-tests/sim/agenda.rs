//! What is to happen when: one queue for the whole world, in the order of time, then of entry.

use std::{
    cmp::{Ordering, Reverse},
    collections::BinaryHeap,
};

use crate::{
    client::ClientNo,
    conn::ConnNo,
    link::StreamNo,
    node::{NodeNo, Part},
    raft::Mail,
};

/// Something that happens.
#[derive(Debug)]
pub(crate) enum Ev {
    /// A part of a node takes a step, if this is still its appointment.
    Step(NodeNo, u64, Part),
    /// Committed entries may come to a node's replica.
    Feed(NodeNo, u64),
    /// A message of the consensus arrives.
    Mail(Box<Mail>),
    /// The leader's oldest proposal may be committed.
    Commit,
    /// The consensus looks around.
    RaftTick,
    /// A node tries to connect its links.
    Dial(NodeNo, u64),
    /// The front frame of a stream's direction arrives.
    Frame(StreamNo, usize),
    /// An end of a stream notices that it is gone.
    StreamLost(NodeNo, u64, StreamNo),
    /// Bytes, or the end, of a client arrive at its node.
    ToNode(ConnNo),
    /// Bytes, or the end, of a node arrive at its client.
    ToClient(ConnNo),
    /// A client does something.
    Client(ClientNo),
    /// A fault begins.
    Fault,
    /// A drain has lasted as long as it may.
    EndDrain(NodeNo, u64),
    /// A crashed node starts again.
    Boot(NodeNo),
    /// Invariants that hold at all times are looked at.
    Look,
}

#[derive(Debug)]
struct Entry {
    at: u64,
    number: u64,
    ev: Ev,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<Entry>>,
    next: u64,
}

impl Agenda {
    pub(crate) fn put(&mut self, at: u64, ev: Ev) {
        self.next += 1;
        self.heap.push(Reverse(Entry {
            at,
            number: self.next,
            ev,
        }));
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, Ev)> {
        self.heap.pop().map(|Reverse(entry)| (entry.at, entry.ev))
    }
}
