//! A node's way into the agreed log: lanes, batches, retry, gap (design section 5 *Batcher*, *Lanes*).
//!
//! `control` owns one [`Proposer`] and carries its proposals to the consensus. It never decides what is
//! proposed, and never gives up a number that it has given.

mod lane;
mod size;

#[cfg(test)]
mod proposer_test;

use std::sync::Arc;

use crate::{
    ids::{Incarnation, Index},
    limits::{PROPOSER_BYTES, PROPOSER_QUEUE},
    proposer::lane::Queue,
    replica::{Command, Entry, Lane},
    time::{Moment, Timing},
};

/// The queue is full (or no incarnation runs); the command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("submit command: the node's lane is full or stopped")]
pub struct Full;

/// Why a proposal failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// The node that was asked does not lead; the entry was not taken.
    #[error("propose entry: no leader took it")]
    NotLeader,
    /// It may or may not come to be committed, also later.
    #[error("propose entry: its fate is unknown")]
    Unknown,
}

impl ProposeError {
    /// Both are: a lane sends the same numbers again, which apply takes once.
    pub fn is_retryable(self) -> bool {
        true
    }
}

/// Both lanes of the running incarnation; `T` says whom an answer is for.
///
/// - The commands of a lane are numbered from 1 in the order of their submission, and each is sent until
///   this node's own apply has answered it; numbers are neither skipped nor used twice.
/// - What is under way of a lane is a run of consecutive numbers from the first unanswered one, at most
///   [`crate::limits::BATCHES_IN_FLIGHT`] batches: whatever fails, the lane goes back to that number.
/// - Answers come in order, from [`Proposer::handle_answer`]; a committed proposal is no answer.
#[derive(Debug)]
pub struct Proposer<T> {
    retry_after: std::time::Duration,
    incarnation: Option<Incarnation>,
    lanes: [Queue<T>; 2],
    next_ticket: u64,
    applied: Index,
}

impl<T> Proposer<T> {
    /// A stopped proposer; `first_ticket` and the numbers above it name its proposals.
    pub fn new(timing: &Timing, first_ticket: u64) -> Self {
        Self {
            retry_after: timing.retry_after,
            incarnation: None,
            lanes: [Queue::default(), Queue::default()],
            next_ticket: first_ticket,
            applied: Index(0),
        }
    }

    /// Proposes for this incarnation from now on; both lanes start at number 1.
    pub fn start(&mut self, incarnation: Incarnation) {
        self.stop();
        self.incarnation = Some(incarnation);
    }

    /// Forgets everything: the incarnation ended, and apply refuses whatever is still under way.
    pub fn stop(&mut self) {
        self.incarnation = None;
        self.lanes = [Queue::default(), Queue::default()];
    }

    /// Takes a command whose client can be refused.
    ///
    /// # Errors
    /// [`Full`] above [`PROPOSER_QUEUE`] commands or [`PROPOSER_BYTES`] in both lanes, or when stopped.
    pub fn submit(&mut self, lane: Lane, command: Command, tag: T) -> Result<(), Full> {
        self.submit_within(1, lane, command, tag)
    }

    /// Takes a command that nobody can be refused (a release, an interest, an end): it has as much room
    /// again above the bounds of [`Proposer::submit`], since it follows from what that let in.
    ///
    /// # Errors
    /// [`Full`] above twice the bounds, or when stopped; the incarnation cannot go on without it.
    pub fn submit_owed(&mut self, lane: Lane, command: Command, tag: T) -> Result<(), Full> {
        self.submit_within(2, lane, command, tag)
    }

    /// The next proposal to hand over, the liveness lane's first; `None` until something changes or
    /// [`Proposer::next_deadline`] comes.
    pub fn poll(&mut self, now: Moment) -> Option<(u64, Arc<Entry>)> {
        let incarnation = self.incarnation?;
        for lane in Lane::ALL {
            let queue = &mut self.lanes[place(lane)];
            queue.expire(now, self.retry_after);
            if let Some((first, commands)) = queue.poll(now, self.next_ticket) {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                return Some((
                    ticket,
                    Arc::new(Entry::Batch {
                        incarnation,
                        lane,
                        first,
                        commands,
                    }),
                ));
            }
        }
        None
    }

    /// When to poll again if nothing else happens.
    pub fn next_deadline(&self) -> Option<Moment> {
        self.lanes
            .iter()
            .filter_map(|queue| queue.next_deadline(self.retry_after))
            .min()
    }

    /// What became of a proposal. An unknown ticket is one that was given up; it changes nothing.
    pub fn handle_proposed(
        &mut self,
        now: Moment,
        ticket: u64,
        outcome: Result<Index, ProposeError>,
    ) {
        let applied = self.applied;
        for queue in &mut self.lanes {
            match outcome {
                Ok(index) => queue.handle_committed(now, ticket, index, applied),
                Err(_) => queue.handle_failed(now, ticket, self.retry_after),
            }
        }
    }

    /// Own apply answered a command; gives back whom to tell. `None` for an answer that was given before.
    pub fn handle_answer(&mut self, lane: Lane, sequence: u64) -> Option<T> {
        self.lanes[place(lane)].handle_answer(sequence)
    }

    /// Own apply met a batch that does not follow; the lane goes back to its first unanswered command.
    pub fn handle_gap(&mut self, now: Moment, lane: Lane, expected: u64) {
        let retry_after = self.retry_after;
        self.lanes[place(lane)].handle_gap(now, expected, retry_after);
    }

    /// Own apply has passed this index, and its answers were handled: what was committed up to here and has
    /// no answer did not follow when it was applied, and is sent again.
    pub fn handle_applied(&mut self, index: Index) {
        self.applied = self.applied.max(index);
        for queue in &mut self.lanes {
            queue.handle_applied(self.applied);
        }
    }

    /// How many commands have no answer yet.
    pub fn len(&self) -> usize {
        self.lanes.iter().map(Queue::len).sum()
    }

    /// Whether every command has its answer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes that unanswered commands hold.
    pub fn bytes(&self) -> usize {
        self.lanes.iter().map(Queue::bytes).sum()
    }

    fn submit_within(
        &mut self,
        times: usize,
        lane: Lane,
        command: Command,
        tag: T,
    ) -> Result<(), Full> {
        let bytes = size::of(&command);
        let full = self.len() >= times * PROPOSER_QUEUE
            || (self.bytes() + bytes > times * PROPOSER_BYTES && !self.is_empty());
        if full || self.incarnation.is_none() {
            return Err(Full);
        }
        self.lanes[place(lane)].push(command, tag, bytes);
        Ok(())
    }
}

fn place(lane: Lane) -> usize {
    match lane {
        Lane::Liveness => 0,
        Lane::Work => 1,
    }
}
