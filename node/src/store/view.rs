//! What the log holds, shared by its callers, its readers and its writer under one short lock.
//!
//! The caller's side changes at once when a call is accepted (entries are readable then); the
//! durable side (`positions`) follows when the writer has synced. No I/O happens under the lock:
//! a reader takes a `Plan` of what it wants and loads it outside.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::error::Error;
use super::extent::Extent;
use super::positions::{Positions, Run};
use super::recover::Kept;
use super::tail::Tail;
use super::units::{ByteCount, Index};

/// Counts truncations, so that what was written before one is not taken for what came after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Generation(u64);

/// The state behind the lock.
#[derive(Debug, Default)]
pub(super) struct State {
    /// The entries as callers see them.
    pub(super) extent: Extent,
    pub(super) tail: Tail,
    /// All entries before this index are in `positions` as callers see them.
    durable_end: Index,
    generation: Generation,
    pub(super) positions: Positions,
    /// The durable vote.
    pub(super) vote: Option<Bytes>,
    /// The last committed log ID given, perhaps not yet durable.
    pub(super) committed: Option<Bytes>,
    /// The log ID of the last purged entry.
    pub(super) purged: Option<Bytes>,
}

impl State {
    /// Returns the state of a log whose every entry is durable.
    pub(super) fn recovered(positions: Positions, kept: Kept) -> Self {
        let extent = positions.extent;
        Self {
            extent,
            tail: Tail::starting_at(extent.next),
            durable_end: extent.next,
            generation: Generation::default(),
            positions,
            vote: kept.vote,
            committed: kept.committed,
            purged: kept.purged,
        }
    }

    pub(super) fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes entries that will be written next.
    ///
    /// # Errors
    /// `Error::OutOfOrder`; then nothing was taken.
    pub(super) fn append(&mut self, entries: &[(Index, Bytes)]) -> Result<(), Error> {
        let mut extent = self.extent;
        for (index, _) in entries {
            extent.append(*index)?;
        }
        self.extent = extent;
        for (index, bytes) in entries {
            self.tail.push(*index, bytes.clone());
        }
        Ok(())
    }

    /// Drops the entries at and after `from`; returns whether there were any.
    pub(super) fn truncate(&mut self, from: Index) -> bool {
        let any = self.extent.truncate(from);
        if any {
            self.tail.truncate(self.extent.next);
            self.durable_end = self.durable_end.min(self.extent.next);
            self.generation.0 += 1;
        }
        any
    }

    /// Drops the entries up to and with `upto`; returns whether that is news.
    pub(super) fn purge(&mut self, upto: Index, id: &Bytes) -> bool {
        let news = self.extent.purge(upto);
        if news {
            self.tail.purge(self.extent.first);
            self.durable_end = self.durable_end.max(self.extent.first);
            self.purged = Some(id.clone());
        }
        news
    }

    /// Notes that the entries before `end` of one generation are durable, and trims the tail.
    pub(super) fn durable(&mut self, end: Index, generation: Generation, bound: ByteCount) {
        if generation == self.generation {
            self.durable_end = self.durable_end.max(end.min(self.extent.next));
        }
        self.tail.shrink(bound.0, self.durable_end);
    }

    /// Plans the reading of the entries there are in `from..to`, up to `limit` bytes but at least
    /// one entry.
    pub(super) fn plan(&self, from: Index, to: Index, limit: ByteCount) -> Plan {
        let from = from.max(self.extent.first);
        let to = to.min(self.extent.next);
        let mut plan = Plan::default();
        if from >= to {
            return plan;
        }
        let mut at = from;
        let mut left = limit.0;
        if from < self.tail.first() {
            plan.runs = self
                .positions
                .runs(from, to.min(self.tail.first()), limit.0);
            for run in &plan.runs {
                at = Index(run.first.0 + run.spots.len() as u64);
                for spot in &run.spots {
                    left = left.saturating_sub(spot.length.into());
                }
            }
            if at < self.tail.first() {
                return plan;
            }
        }
        while at < to
            && let Some(bytes) = self.tail.get(at)
        {
            if bytes.len() as u64 > left && at > from {
                break;
            }
            left = left.saturating_sub(bytes.len() as u64);
            plan.memory.push((at, bytes.clone()));
            at = at.next();
        }
        plan
    }
}

/// What one read will return: first what lies in segment files, then what is in memory.
///
/// It holds the segments it needs, so a purge that comes in between does not disturb it.
#[derive(Debug, Default)]
pub struct Plan {
    runs: Vec<Run>,
    memory: Vec<(Index, Bytes)>,
}

impl Plan {
    /// Returns whether `load` will touch no file.
    #[must_use]
    pub fn is_in_memory(&self) -> bool {
        self.runs.is_empty()
    }

    /// Reads the entries. Blocks on the disk unless `is_in_memory`.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::Damaged` when the disk gives back something else than was written.
    pub fn load(self) -> Result<Vec<(Index, Bytes)>, Error> {
        if self.runs.is_empty() {
            return Ok(self.memory);
        }
        let mut entries = Vec::new();
        for run in &self.runs {
            run.file.read(run.first, &run.spots, &mut entries)?;
        }
        entries.extend(self.memory);
        Ok(entries)
    }
}

/// The state, and the failure that ended the log if one did.
#[derive(Debug, Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    failure: OnceLock<Error>,
}

impl Shared {
    pub(super) fn new(state: State) -> Self {
        Self {
            state: Mutex::new(state),
            failure: OnceLock::new(),
        }
    }

    /// Locks the state. Nothing waits while holding it.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic under the lock would be a bug of plain arithmetic; the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the log: every later call gets this failure.
    pub(super) fn fail(&self, error: &Error) {
        // The first failure is the cause; later ones follow from it.
        let _ = self.failure.set(error.stopping());
    }

    /// Returns the failure that ended the log.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub(super) fn check(&self) -> Result<(), Error> {
        self.failure
            .get()
            .map_or(Ok(()), |error| Err(error.clone()))
    }
}
