//! SUBSCRIBE until it may be answered: interest, barrier, masks, read index, view (P3, P4).
//!
//! Part of a running incarnation. A subscription is live once every node that is up routes to this one, all
//! shards of this one route to the subscriber's, and its view is at or above everything that was
//! acknowledged before the SUBSCRIBE came.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use crate::{
    control::{
        Desk,
        local::{Generation, Standing},
        plant::Plant,
        reads::{Reads, Round},
    },
    ids::{Index, ShardId, SpaceId},
    message::{Event, Ticket},
    stored::View,
    time::Moment,
    topic::TopicFilter,
};

/// SUBSCRIBEs and path changes that wait at once: one of each connection that a node can hold and that
/// reconnects after a failure. Above it a SUBSCRIBE fails.
const WAITING: usize = 128 * 1024;

/// The SUBSCRIBEs that wait, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Subscribes {
    waiting: BTreeMap<u64, Waiting>,
    next: u64,
    by_interest: BTreeMap<Generation, Vec<u64>>,
    /// What had been reached when all were last looked at, and the state's index then.
    seen: Option<(Reached, Index)>,
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) shard: ShardId,
    pub(super) ticket: Ticket,
    pub(super) space: SpaceId,
    pub(super) filters: Vec<TopicFilter>,
}

#[derive(Debug)]
struct Waiting {
    asked: Asked,
    came: Moment,
    /// Interest that has no index yet.
    missing: BTreeSet<Generation>,
    /// The highest index of its interest that is known.
    interest: Index,
    /// The table that has its masks.
    table: u64,
    read: Read,
}

/// Where its views may be taken.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// At the index of the interest, which this request itself proposed.
    ByInterest,
    /// Not before this round, or one asked later, says.
    Awaited(Round),
    /// From this index on.
    At(Index),
}

/// What must have been reached for a SUBSCRIBE to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reached {
    /// The index that all nodes have reported, this one included.
    pub(super) reported: Index,
    /// The table that all shards have adopted.
    pub(super) table: u64,
}

impl Subscribes {
    /// Takes a request whose filters were counted.
    pub(super) fn add(
        &mut self,
        desk: &mut Desk<'_>,
        reads: &mut Reads,
        asked: Asked,
        standings: &[Standing],
        table: u64,
    ) {
        if self.waiting.len() >= WAITING {
            desk.tell(
                asked.shard,
                Event::SubscribeFailed {
                    ticket: asked.ticket,
                },
            );
            return;
        }
        let id = self.next;
        self.next += 1;
        let mut interest = Index(0);
        let mut missing = BTreeSet::new();
        let mut has_proposed = false;
        for standing in standings {
            match *standing {
                Standing::Added(index) => interest = interest.max(index),
                Standing::Adding(generation) => _ = missing.insert(generation),
                Standing::Proposed(generation) => {
                    has_proposed = true;
                    missing.insert(generation);
                }
            }
        }
        for generation in &missing {
            self.by_interest.entry(*generation).or_default().push(id);
        }
        let read = if has_proposed || desk.planted.has(Plant::ViewWithoutReadIndex) {
            Read::ByInterest
        } else {
            Read::Awaited(reads.want())
        };
        // One that still misses an interest is looked at when that is added: a storm must not make each SUBSCRIBE
        // look at all that wait.
        if matches!(read, Read::ByInterest) && missing.is_empty() {
            self.seen = None;
        }
        let waiting = Waiting {
            asked,
            came: desk.now,
            missing,
            interest,
            table,
            read,
        };
        self.waiting.insert(id, waiting);
    }

    /// An interest was applied at this index.
    pub(super) fn handle_added(&mut self, generation: Generation, index: Index) {
        self.seen = None;
        for id in self.by_interest.remove(&generation).unwrap_or_default() {
            if let Some(waiting) = self.waiting.get_mut(&id) {
                waiting.missing.remove(&generation);
                waiting.interest = waiting.interest.max(index);
            }
        }
    }

    /// An interest was refused: whoever waits for it fails.
    pub(super) fn handle_refused(&mut self, desk: &mut Desk<'_>, generation: Generation) {
        for id in self.by_interest.remove(&generation).unwrap_or_default() {
            if let Some(Waiting { asked, .. }) = self.waiting.remove(&id) {
                desk.tell(
                    asked.shard,
                    Event::SubscribeFailed {
                        ticket: asked.ticket,
                    },
                );
            }
        }
    }

    /// A round of read indexes was answered.
    pub(super) fn handle_read(&mut self, round: Round, index: Index) {
        self.seen = None;
        for waiting in self.waiting.values_mut() {
            if matches!(waiting.read, Read::Awaited(from) if from <= round) {
                waiting.read = Read::At(index);
            }
        }
    }

    /// Answers those who have all they wait for, and fails those who waited too long: twice as long as it
    /// takes to end a stuck node, whose silence is what a SUBSCRIBE may have to wait out.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>, reached: Reached) {
        let applied = desk.state.applied();
        let patience = desk.config.timing.down_after * 2;
        let is_due = self
            .next_deadline(desk.config.timing.down_after)
            .is_some_and(|at| at <= desk.now);
        if self.seen == Some((reached, applied)) && !is_due {
            return;
        }
        self.seen = Some((reached, applied));
        let is_ready = |waiting: &Waiting| {
            let at = match waiting.read {
                Read::ByInterest => waiting.interest,
                Read::Awaited(_) => return false,
                Read::At(index) => index,
            };
            waiting.missing.is_empty()
                && waiting.interest <= reached.reported
                && waiting.table <= reached.table
                && at <= applied
        };
        let now = desk.now;
        let is_late = |waiting: &Waiting| now.since(waiting.came) >= patience;
        let done = self
            .waiting
            .extract_if(.., |_, waiting| is_ready(waiting) || is_late(waiting));
        for (_, waiting) in done.collect::<Vec<_>>() {
            let Asked {
                shard,
                ticket,
                space,
                filters,
            } = waiting.asked;
            if !waiting.missing.is_empty() || now.since(waiting.came) >= patience {
                desk.tell(shard, Event::SubscribeFailed { ticket });
                continue;
            }
            let values = desk.state.values(space);
            let view = |filter| View::new(values.clone(), filter);
            let views = filters.into_iter().map(view).collect();
            desk.tell(shard, Event::Subscribed { ticket, views });
        }
    }

    pub(super) fn next_deadline(&self, down_after: Duration) -> Option<Moment> {
        let (_, oldest) = self.waiting.first_key_value()?;
        Some(oldest.came + down_after * 2)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
