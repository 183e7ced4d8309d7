//! The log as its callers see it: open, append, vote, committed, truncate, purge, and read.
//!
//! One `Log` has one owner, `raft::log_store`; `Reader`s are cheap and many. Calls are accepted in
//! order and written in that order by one thread. Everything queued is bounded: a call waits when
//! the disk is behind. Dropping the `Log` writes what was accepted and ends its threads.

use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::disk::Folder;
use super::error::Error;
use super::extent::Extent;
use super::frame::{FrameBuffer, Sequence};
use super::janitor::{DiskUse, Janitor};
use super::positions::Positions;
use super::recover::{Kept, Recovered, recover};
use super::units::{ByteCount, Index};
use super::view::{Plan, Shared, State};
use super::writer::{Command, Completion, Writer, first_segment};

/// Calls that may wait for the writer. Raft has at most a few hundred in flight; above that it is
/// the disk that is too slow, and Raft should feel it.
const MAX_QUEUED_CALLS: usize = 1024;

/// Bytes of entries that may wait for the writer, in KiB: a second's work of a slow disk.
const MAX_QUEUED_KIB: u32 = 64 << 10;

/// The first segment of a new log is at most this large, so that a first start does not wait for
/// the disk to be filled with zeros; the next ones are larger and prepared in the background.
const FIRST_SEGMENT: ByteCount = ByteCount::mib(1);

/// Bounds of the segment size: room for a head and something beside it; below what 32 bits count,
/// also when one large frame makes a segment grow.
const SEGMENT_SIZES: (ByteCount, ByteCount) = (ByteCount::kib(4), ByteCount::mib(1024));

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Size of a segment file. Default 64 MiB, 4 KiB to 1 GiB. Smaller ones purge in smaller steps.
    pub segment_size: ByteCount,
    /// Entries kept in memory when they are on disk already. Default 16 MiB: what a follower that
    /// was away for a moment needs. At least the last entry is kept.
    pub tail: ByteCount,
    #[cfg(test)]
    pub(crate) plant_unsynced_committed: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_size: ByteCount::mib(64),
            tail: ByteCount::mib(16),
            #[cfg(test)]
            plant_unsynced_committed: false,
        }
    }
}

impl Options {
    /// Returns whether the mistake that the power-cut test must find is to be made.
    pub(super) fn plants(&self) -> bool {
        #[cfg(test)]
        return self.plant_unsynced_committed;
        #[cfg(not(test))]
        return false;
    }
}

/// The log. Its methods take effect for readers at once, and on the disk in the order of the calls.
#[derive(Debug)]
pub struct Log {
    reader: Reader,
    queue: Option<mpsc::Sender<Command>>,
    room: Arc<Semaphore>,
    writer: Option<JoinHandle<()>>,
}

impl Log {
    /// Opens the log in a folder, or starts a new one there. Blocks on the disk.
    ///
    /// A torn record at the very end, which was never acknowledged, is cut and a warning logged.
    ///
    /// # Errors
    /// `Error::Damaged` or `Error::Missing` when something that was durable is not there any more,
    /// `Error::Io` when the disk fails.
    pub fn open(folder: Arc<dyn Folder>, mut options: Options) -> Result<Self, Error> {
        let (least, most) = SEGMENT_SIZES;
        options.segment_size = options.segment_size.clamp(least, most);
        let recovered = match recover(&*folder)? {
            Some(recovered) => recovered,
            None => start_new(&*folder, options)?,
        };
        let Recovered {
            mut positions,
            kept,
            sequence,
            offset,
            bytes,
        } = recovered;
        let disk_use = Arc::new(DiskUse::default());
        disk_use.add(bytes);
        let janitor = Janitor::spawn(
            Arc::clone(&folder),
            options.segment_size,
            Arc::clone(&disk_use),
        )?;
        // A power cut may have come between a purge and the removal.
        janitor.retire(positions.take_unneeded());
        let segment = positions.last_segment().cloned().ok_or(Error::Closed)?;
        let size = segment
            .file
            .size()
            .map_err(Error::io("read the size of", &segment.path))?;
        let extent = positions.extent;
        let state = State::recovered(positions, kept.clone());
        let shared = Arc::new(Shared::new(state));
        let path = folder.path("");
        let writer = Writer {
            folder,
            shared: Arc::clone(&shared),
            janitor,
            disk_use,
            options,
            segment,
            size,
            offset,
            sequence,
            extent,
            kept,
            frame: FrameBuffer::new(),
            waiting: None,
        };
        let (queue, commands) = mpsc::channel(MAX_QUEUED_CALLS);
        let writer = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.run(commands))
            .map_err(Error::io("start the writer of", &path))?;
        Ok(Self {
            reader: Reader { shared },
            queue: Some(queue),
            room: Arc::new(Semaphore::new(MAX_QUEUED_KIB as usize)),
            writer: Some(writer),
        })
    }

    /// Returns a reader of this log.
    #[must_use]
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// Appends entries, which must follow the last one without a hole. They are readable when this
    /// returns; `done` is called, from another thread, when they are durable or never will be.
    ///
    /// Waits only when the queue is full.
    ///
    /// # Errors
    /// `Error::OutOfOrder`, or `Error::Stopped`; then `done` is called with an error too.
    pub async fn append(
        &mut self,
        entries: Vec<(Index, Bytes)>,
        done: impl FnOnce(Result<(), Error>) + Send + 'static,
    ) -> Result<(), Error> {
        let done = Completion::new(done);
        let bytes: usize = entries.iter().map(|(_, bytes)| bytes.len()).sum();
        // An append larger than the whole room goes alone.
        let kib = u32::try_from(bytes >> 10).map_or(MAX_QUEUED_KIB, |kib| kib.min(MAX_QUEUED_KIB));
        let held = self.hold(kib).await?;
        let place = self.place().await?;
        let mut state = self.reader.shared.lock();
        state.append(&entries)?;
        let generation = state.generation();
        place.send(Command::Append {
            entries,
            generation,
            done,
            _held: held,
        });
        Ok(())
    }

    /// Replaces the vote; returns when it is durable.
    ///
    /// # Errors
    /// `Error::Stopped` or `Error::Closed`: the vote must not be acted upon.
    pub async fn save_vote(&mut self, vote: Bytes) -> Result<(), Error> {
        let (tell, told) = oneshot::channel();
        let done = Completion::new(move |result| {
            // Who does not wait any more does not care.
            let _ = tell.send(result);
        });
        self.place().await?.send(Command::Vote { vote, done });
        told.await.unwrap_or(Err(Error::Closed))
    }

    /// Replaces the committed log ID. It becomes durable with whatever is written next.
    ///
    /// # Errors
    /// `Error::Stopped` or `Error::Closed`.
    pub async fn save_committed(&mut self, id: Bytes) -> Result<(), Error> {
        let place = self.place().await?;
        self.reader.shared.lock().committed = Some(id.clone());
        place.send(Command::Committed(id));
        Ok(())
    }

    /// Drops the entries at and after `from`, if there are any. It is durable before anything
    /// appended later is.
    ///
    /// # Errors
    /// `Error::Stopped` or `Error::Closed`.
    pub async fn truncate(&mut self, from: Index) -> Result<(), Error> {
        let place = self.place().await?;
        let mut state = self.reader.shared.lock();
        if state.truncate(from) {
            place.send(Command::Truncate { from });
        }
        Ok(())
    }

    /// Drops the entries up to and with `upto`, whose log ID is `id`. Their files go some time after
    /// this is durable.
    ///
    /// # Errors
    /// `Error::Stopped` or `Error::Closed`.
    pub async fn purge(&mut self, upto: Index, id: Bytes) -> Result<(), Error> {
        let place = self.place().await?;
        let mut state = self.reader.shared.lock();
        if state.purge(upto, &id) {
            place.send(Command::Purge { upto, id });
        }
        Ok(())
    }

    async fn hold(&self, kib: u32) -> Result<OwnedSemaphorePermit, Error> {
        self.reader.shared.check()?;
        let room = Arc::clone(&self.room);
        room.acquire_many_owned(kib)
            .await
            .map_err(|_| Error::Closed)
    }

    /// Waits for a place in the queue. From here to the sending nothing waits, so that a call which
    /// is given up half-way has done nothing.
    async fn place(&self) -> Result<mpsc::Permit<'_, Command>, Error> {
        self.reader.shared.check()?;
        let queue = self.queue.as_ref().ok_or(Error::Closed)?;
        match queue.reserve().await {
            Ok(place) => Ok(place),
            Err(_) => Err(self.reader.shared.check().err().unwrap_or(Error::Closed)),
        }
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            // A panic in there has been reported by the panic hook; there is nothing to add.
            let _ = writer.join();
        }
    }
}

fn start_new(folder: &dyn Folder, options: Options) -> Result<Recovered, Error> {
    let size = options.segment_size.min(FIRST_SEGMENT);
    let (segment, offset) = first_segment(folder, size)?;
    let mut positions = Positions::default();
    positions.push_segment(segment);
    Ok(Recovered {
        positions,
        kept: Kept::default(),
        sequence: Sequence::FIRST.next(),
        offset,
        bytes: size.0,
    })
}

/// Reads the log. Sees everything that was accepted, also what is not yet durable, but for the vote.
#[derive(Debug, Clone)]
pub struct Reader {
    shared: Arc<Shared>,
}

impl Reader {
    /// Plans the reading of the entries there are in `from..to`, up to `limit` bytes but at least
    /// one entry. Does not block; `Plan::load` may.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub fn plan(&self, from: Index, to: Index, limit: ByteCount) -> Result<Plan, Error> {
        self.shared.check()?;
        Ok(self.shared.lock().plan(from, to, limit))
    }

    /// Returns the first index and the one after the last; they are equal in an empty log.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub fn range(&self) -> Result<(Index, Index), Error> {
        self.shared.check()?;
        let Extent { first, next, .. } = self.shared.lock().extent;
        Ok((first, next.max(first)))
    }

    /// Returns the durable vote.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub fn vote(&self) -> Result<Option<Bytes>, Error> {
        self.shared.check()?;
        Ok(self.shared.lock().vote.clone())
    }

    /// Returns the last committed log ID given.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub fn committed(&self) -> Result<Option<Bytes>, Error> {
        self.shared.check()?;
        Ok(self.shared.lock().committed.clone())
    }

    /// Returns the log ID of the last purged entry.
    ///
    /// # Errors
    /// `Error::Stopped`.
    pub fn purged(&self) -> Result<Option<Bytes>, Error> {
        self.shared.check()?;
        Ok(self.shared.lock().purged.clone())
    }
}
