//! openraft's log storage over the segment log of `store`.
//!
//! openraft owns the one `LogStore` and takes `LogReader`s from it for replication and apply. Here
//! entries become bytes and back; order, durability and memory are the business of `store`. Reads
//! from files go to the blocking pool, so that replication of old entries does not hold up Raft.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{OptionalSend, RaftLogReader};

use super::codec;
use super::entry_stream::EntryStream;
use super::types::{Entry, LogId, TypeConfig, Vote};
use crate::store::{ByteCount, Index, Log, Plan, Reader};

/// Entries of one answer to replication: what a link sends in a few milliseconds.
const REPLICATION_BYTES: ByteCount = ByteCount::mib(1);

/// Entries that apply reads at once; a restart replays the log in such pieces.
const APPLY_BYTES: ByteCount = ByteCount::mib(4);

/// The log of one Raft group.
#[derive(Debug)]
pub struct LogStore {
    log: Log,
    reader: LogReader,
}

impl LogStore {
    /// Wraps an open log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        let reader = LogReader {
            reader: log.reader(),
        };
        Self { log, reader }
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> io::Result<LogState<TypeConfig>> {
        let reader = &self.reader.reader;
        let purged: Option<LogId> = match reader.purged()? {
            Some(bytes) => Some(codec::decode(&bytes)?),
            None => None,
        };
        let (first, next) = reader.range()?;
        let last = match next.0.checked_sub(1) {
            Some(last) if first < next => self.reader.read(Index(last), next, ByteCount(0)).await?,
            _ => Vec::new(),
        };
        Ok(LogState {
            last_log_id: last.first().map(RaftEntry::log_id).or(purged),
            last_purged_log_id: purged,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        Ok(self.log.save_vote(codec::encode(vote)?).await?)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        Ok(self.log.save_committed(codec::encode(&committed)?).await?)
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        match self.reader.reader.committed()? {
            Some(bytes) => codec::decode(&bytes),
            None => Ok(None),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut encoded = Vec::new();
        for entry in entries {
            encoded.push((Index(entry.log_id.index), codec::encode_entry(&entry)?));
        }
        let done = move |result: Result<(), _>| callback.io_completed(result.map_err(Into::into));
        Ok(self.log.append(encoded, done).await?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let from = last_log_id.map_or(Index(0), |id| Index(id.index).next());
        Ok(self.log.truncate(from).await?)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        let id = codec::encode(&log_id)?;
        Ok(self.log.purge(Index(log_id.index), id).await?)
    }
}

/// Reads entries and the vote.
#[derive(Debug, Clone)]
pub struct LogReader {
    reader: Reader,
}

impl LogReader {
    /// Reads the entries there are in `from..to`, up to `limit` but at least one.
    pub(super) async fn read(
        &self,
        from: Index,
        to: Index,
        limit: ByteCount,
    ) -> io::Result<Vec<Entry>> {
        let plan = self.reader.plan(from, to, limit)?;
        if plan.is_in_memory() {
            return load(plan);
        }
        tokio::task::spawn_blocking(move || load(plan)).await?
    }
}

fn load(plan: Plan) -> io::Result<Vec<Entry>> {
    let entries = plan.load()?;
    entries
        .iter()
        .map(|(index, bytes)| codec::decode_entry(*index, bytes))
        .collect()
}

fn bounds(range: &impl RangeBounds<u64>) -> (Index, Index) {
    let from = match range.start_bound() {
        Bound::Included(from) => Index(*from),
        Bound::Excluded(before) => Index(*before).next(),
        Bound::Unbounded => Index(0),
    };
    let to = match range.end_bound() {
        Bound::Included(last) => Index(*last).next(),
        Bound::Excluded(to) => Index(*to),
        Bound::Unbounded => Index(u64::MAX),
    };
    (from, to)
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> io::Result<Vec<Entry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        self.read(from, to, ByteCount(u64::MAX)).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        let entries = self
            .read(Index(start), Index(end), REPLICATION_BYTES)
            .await?;
        // Replication takes the first entry for `start`. Were that one just purged, what follows
        // would leave a hole in the follower; nothing is a heartbeat, and a snapshot comes next.
        match entries.first() {
            Some(first) if first.index() == start => Ok(entries),
            _ => Ok(Vec::new()),
        }
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl tokio_stream::Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let (from, to) = bounds(&range);
        EntryStream::new(self.clone(), from, to, APPLY_BYTES)
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        match self.reader.vote()? {
            Some(bytes) => codec::decode(&bytes).map(Some),
            None => Ok(None),
        }
    }
}
