//! One lane: the unanswered commands and which of them are under way.
//!
//! Owned by [`super::Proposer`]. Knows numbers and time-outs, nothing of incarnations or entries.

use std::{collections::VecDeque, time::Duration};

use crate::{
    ids::Index,
    limits::{BATCH_BYTES, BATCH_COMMANDS, BATCHES_IN_FLIGHT},
    replica::Command,
    time::Moment,
};

/// The first pause after a failed proposal: an election takes about ten of them, and one round to a
/// leader that just changed far less than one.
const BACK_OFF: Duration = Duration::from_millis(30);
/// Pauses double up to `retry_after` times 2 to this power at most, so that a slow cluster is not flooded.
const MAX_DOUBLINGS: u32 = 3;

#[derive(Debug)]
struct Pending<T> {
    command: Command,
    tag: T,
    bytes: usize,
}

/// A batch under way.
#[derive(Debug)]
struct Flight {
    ticket: u64,
    last: u64,
    /// When it was sent, or found to be committed.
    since: Moment,
    committed: Option<Index>,
}

/// The state of a lane; see the invariants of [`super::Proposer`].
#[derive(Debug)]
pub(super) struct Queue<T> {
    /// Unanswered commands; the first has the number `first`.
    pending: VecDeque<Pending<T>>,
    bytes: usize,
    first: u64,
    /// The number of the next command to send; all from `first` up to it are under way.
    next: u64,
    flights: VecDeque<Flight>,
    /// Nothing is sent before.
    paused_until: Moment,
    /// Times the lane went back without an answer since.
    failures: u32,
    /// The last gap that the lane went back for; the other batches of that run report it too.
    gap: Option<(u64, Moment)>,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self {
            pending: VecDeque::new(),
            bytes: 0,
            first: 1,
            next: 1,
            flights: VecDeque::new(),
            paused_until: Moment(0),
            failures: 0,
            gap: None,
        }
    }
}

impl<T> Queue<T> {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, command: Command, tag: T, bytes: usize) {
        self.bytes += bytes;
        self.pending.push_back(Pending {
            command,
            tag,
            bytes,
        });
    }

    /// The next batch, if one may be sent, as the number of its first command and the commands.
    pub(super) fn poll(&mut self, now: Moment, ticket: u64) -> Option<(u64, Vec<Command>)> {
        // After a failure one batch feels its way, else a lane without a leader would send them all in vain.
        let allowed = if self.failures > 0 {
            1
        } else {
            BATCHES_IN_FLIGHT
        };
        if self.flights.len() >= allowed || now < self.paused_until {
            return None;
        }
        let sent =
            usize::try_from(self.next - self.first).expect("no more are under way than wait");
        let mut bytes = 0;
        let mut commands = Vec::new();
        for pending in self.pending.range(sent..).take(BATCH_COMMANDS) {
            if !commands.is_empty() && bytes + pending.bytes > BATCH_BYTES {
                break;
            }
            bytes += pending.bytes;
            commands.push(pending.command.clone());
        }
        if commands.is_empty() {
            return None;
        }
        let first = self.next;
        self.next += u64::try_from(commands.len()).expect("a batch is small");
        self.flights.push_back(Flight {
            ticket,
            last: self.next - 1,
            since: now,
            committed: None,
        });
        Some((first, commands))
    }

    /// Goes back if the oldest batch has waited too long.
    pub(super) fn expire(&mut self, now: Moment, retry_after: Duration) {
        if self
            .flights
            .front()
            .is_some_and(|flight| now >= self.patience(flight, retry_after))
        {
            self.go_back(now);
            self.failures += 1;
        }
    }

    pub(super) fn next_deadline(&self, retry_after: Duration) -> Option<Moment> {
        let expiry = self
            .flights
            .front()
            .map(|flight| self.patience(flight, retry_after));
        let has_unsent = usize::try_from(self.next - self.first).is_ok_and(|n| n < self.len());
        let resume = (self.flights.is_empty() && has_unsent).then_some(self.paused_until);
        expiry.into_iter().chain(resume).min()
    }

    pub(super) fn handle_committed(
        &mut self,
        now: Moment,
        ticket: u64,
        index: Index,
        applied: Index,
    ) {
        if let Some(flight) = self
            .flights
            .iter_mut()
            .find(|flight| flight.ticket == ticket)
        {
            flight.committed = Some(index);
            flight.since = now;
            self.handle_applied(applied);
        }
    }

    pub(super) fn handle_failed(&mut self, now: Moment, ticket: u64, retry_after: Duration) {
        if self.flights.iter().any(|flight| flight.ticket == ticket) {
            let pause = (BACK_OFF * (1 << self.failures.min(8))).min(retry_after);
            self.go_back(now + pause);
            self.failures += 1;
        }
    }

    pub(super) fn handle_answer(&mut self, sequence: u64) -> Option<T> {
        // Below: a repeated answer. Above: it cannot come before the one that it follows.
        if sequence != self.first {
            return None;
        }
        let answered = self.pending.pop_front()?;
        self.bytes -= answered.bytes;
        self.first += 1;
        self.next = self.next.max(self.first);
        while self
            .flights
            .front()
            .is_some_and(|flight| flight.last < self.first)
        {
            self.flights.pop_front();
        }
        self.failures = 0;
        Some(answered.tag)
    }

    pub(super) fn handle_gap(&mut self, now: Moment, expected: u64, retry_after: Duration) {
        let known = self
            .gap
            .is_some_and(|(number, at)| number == expected && now.since(at) < retry_after);
        // A gap at a number that was answered since is of a batch that was sent again already.
        if known || expected < self.first || self.next == self.first {
            return;
        }
        self.gap = Some((expected, now));
        self.go_back(self.paused_until);
    }

    pub(super) fn handle_applied(&mut self, applied: Index) {
        let passed = |flight: &Flight| flight.committed.is_some_and(|index| index <= applied);
        if self.flights.iter().any(passed) {
            self.go_back(self.paused_until);
        }
    }

    /// All that is under way is taken as lost; the same numbers go out again from the first unanswered one.
    fn go_back(&mut self, not_before: Moment) {
        self.flights.clear();
        self.next = self.first;
        self.paused_until = self.paused_until.max(not_before);
    }

    fn patience(&self, flight: &Flight, retry_after: Duration) -> Moment {
        flight.since + retry_after * (1 << self.failures.min(MAX_DOUBLINGS))
    }
}
