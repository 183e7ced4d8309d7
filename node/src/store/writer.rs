//! The thread that writes the log: take what is queued, write it as one frame, sync, complete.
//!
//! Fed by `Log` through a bounded channel; it alone writes to segments after the log is open.
//! Every frame has its own sync before the next is written, for the rule for torn tails rests on
//! it: a committed log ID that comes alone waits for the next frame. A failed write or sync ends it
//! for good: after a failed sync the kernel may have dropped the bytes and will not say so again.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::disk::Folder;
use super::error::Error;
use super::extent::Extent;
use super::frame::{FrameBuffer, HEADER, Salt, Sequence};
use super::janitor::{self, DiskUse, Janitor, Spare};
use super::log::Options;
use super::metrics::WAL_FSYNC_DURATION;
use super::record::Record;
use super::recover::{Kept, spot};
use super::segment::{self, SegmentFile, SegmentHeader, SegmentId, Spot};
use super::units::{ByteCount, Index};
use super::view::{Generation, Shared};

/// Entries gathered into one frame. A sync of 256 KiB takes 4 ms where one of 4 KiB takes 0.15, so
/// more than a few MiB only adds to the latency of the first; 1 MiB was measured to be too few.
const MAX_FRAME: ByteCount = ByteCount::mib(4);

/// How much larger than the last a segment may be.
const SEGMENT_GROWTH: u64 = 4;

type Done = Box<dyn FnOnce(Result<(), Error>) + Send>;

/// What to tell a caller, once: when its part is durable, or why it never will be.
pub(super) struct Completion(Option<Done>);

impl Completion {
    pub(super) fn new(done: impl FnOnce(Result<(), Error>) + Send + 'static) -> Self {
        Self(Some(Box::new(done)))
    }

    fn complete(mut self, result: Result<(), Error>) {
        if let Some(done) = self.0.take() {
            done(result);
        }
    }
}

impl Drop for Completion {
    fn drop(&mut self) {
        if let Some(done) = self.0.take() {
            done(Err(Error::Closed));
        }
    }
}

impl fmt::Debug for Completion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Completion")
    }
}

/// One queued call.
#[derive(Debug)]
pub(super) enum Command {
    Append {
        entries: Vec<(Index, Bytes)>,
        generation: Generation,
        done: Completion,
        /// The share of the bytes that may be queued; given back when this is dropped.
        _held: OwnedSemaphorePermit,
    },
    Vote {
        vote: Bytes,
        done: Completion,
    },
    Committed(Bytes),
    Truncate {
        from: Index,
    },
    Purge {
        upto: Index,
        id: Bytes,
    },
}

impl Command {
    fn size(&self) -> u64 {
        match self {
            Self::Append { entries, .. } => entries.iter().map(|(_, b)| b.len() as u64).sum(),
            _ => 0,
        }
    }
}

/// The writer's state.
///
/// - `offset` is behind the last frame, at a multiple of 8, and everything before it is synced.
/// - `extent` and `kept` are those of the last frame; a new segment begins with them.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) folder: Arc<dyn Folder>,
    pub(super) shared: Arc<Shared>,
    pub(super) janitor: Janitor,
    pub(super) disk_use: Arc<DiskUse>,
    pub(super) options: Options,
    pub(super) segment: Arc<SegmentFile>,
    pub(super) size: u64,
    pub(super) offset: u64,
    pub(super) sequence: Sequence,
    pub(super) extent: Extent,
    pub(super) kept: Kept,
    pub(super) frame: FrameBuffer,
    /// A committed log ID that waits for the next frame.
    pub(super) waiting: Option<Bytes>,
}

impl Writer {
    /// Works until the channel closes or the disk fails.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Command>) {
        let most = MAX_FRAME.0.min(self.options.segment_size.0 / 4);
        let mut batch = Vec::new();
        while let Some(command) = queue.blocking_recv() {
            let mut bytes = self.accept(command, &mut batch);
            while bytes < most
                && let Ok(command) = queue.try_recv()
            {
                bytes += self.accept(command, &mut batch);
            }
            if let Err(error) = self.write(&mut batch) {
                self.stop(&error, batch, queue);
                return;
            }
        }
        // Nobody waits for the last committed log ID, but the next start goes further with it.
        if self.waiting.is_some()
            && let Err(error) = self.write_frame(&mut batch)
        {
            self.stop(&error, batch, queue);
        }
    }

    fn accept(&mut self, command: Command, batch: &mut Vec<Command>) -> u64 {
        if let Command::Committed(id) = command {
            self.waiting = Some(id);
            return 0;
        }
        let size = command.size();
        batch.push(command);
        size
    }

    /// Writes a batch as one frame and completes it; a lone committed log ID goes on waiting.
    fn write(&mut self, batch: &mut Vec<Command>) -> Result<(), Error> {
        if batch.is_empty() && !self.options.plants() {
            return Ok(());
        }
        self.write_frame(batch)
    }

    fn write_frame(&mut self, batch: &mut Vec<Command>) -> Result<(), Error> {
        self.frame.clear();
        let mut extent = self.extent;
        let mut kept = self.kept.clone();
        let mut places = Vec::new();
        for command in batch.iter() {
            match command {
                Command::Append { entries, .. } => {
                    for (index, bytes) in entries {
                        extent.append(*index)?;
                        let index = *index;
                        places.push(self.frame.push(&Record::Entry { index, bytes })?);
                    }
                }
                Command::Vote { vote, .. } => {
                    self.frame.push(&Record::Vote(vote))?;
                    kept.vote = Some(vote.clone());
                }
                Command::Truncate { from } => {
                    self.frame.push(&Record::Truncate { from: *from })?;
                    extent.truncate(*from);
                }
                Command::Purge { upto, id } => {
                    self.frame.push(&Record::Purge { upto: *upto, id })?;
                    extent.purge(*upto);
                    kept.purged = Some(id.clone());
                }
                Command::Committed(_) => {}
            }
        }
        if let Some(id) = self.waiting.take() {
            self.frame.push(&Record::Committed(&id))?;
            kept.committed = Some(id);
        }
        if !self.frame.is_empty() {
            let start = self.put(batch.is_empty())?;
            self.extent = extent;
            self.kept = kept;
            self.publish(batch, &places, start);
        }
        for command in batch.drain(..) {
            // The room in the queue is given back as each command is dropped.
            if let Command::Append { done, .. } | Command::Vote { done, .. } = command {
                done.complete(Ok(()));
            }
        }
        Ok(())
    }

    /// Writes and syncs the frame in the buffer; returns where it starts.
    fn put(&mut self, lone_committed: bool) -> Result<u64, Error> {
        let length = self.frame.length() as u64;
        if self.offset + length + HEADER as u64 > self.size {
            self.roll()?;
        }
        let start = self.offset;
        let bytes = self.frame.seal(self.sequence, self.segment.header.salt);
        self.segment
            .file
            .write_at(bytes, start)
            .map_err(Error::io("write", &self.segment.path))?;
        if !(lone_committed && self.options.plants()) {
            let began = Instant::now();
            self.segment
                .file
                .sync()
                .map_err(Error::io("sync", &self.segment.path))?;
            metrics::histogram!(WAL_FSYNC_DURATION).record(began.elapsed());
        }
        self.sequence = self.sequence.next();
        self.offset += length;
        if self.offset + HEADER as u64 > self.size {
            // A frame larger than a whole segment made its file grow.
            let grown = self.offset + HEADER as u64;
            self.disk_use.add(grown - self.size);
            self.size = grown;
        }
        if self.offset > self.size / 2 {
            self.janitor.want_spare(self.next_size());
        }
        Ok(start)
    }

    /// Tells readers where the entries of a synced frame lie, and lets go of purged segments.
    fn publish(&self, batch: &[Command], places: &[(usize, usize)], start: u64) {
        let mut state = self.shared.lock();
        let mut places = places.iter();
        let mut purged = false;
        for command in batch {
            match command {
                Command::Append {
                    entries,
                    generation,
                    ..
                } => {
                    for (index, _) in entries {
                        let Some(&(at, length)) = places.next() else {
                            break;
                        };
                        let spot: Spot = spot(start + at as u64, length);
                        // `write_frame` has let each of them pass the same check already.
                        if state.positions.extent.append(*index).is_ok() {
                            state.positions.push_spot(*index, spot);
                        }
                    }
                    if let Some((last, _)) = entries.last() {
                        state.durable(last.next(), *generation, self.options.tail);
                    }
                }
                Command::Vote { vote, .. } => state.vote = Some(vote.clone()),
                Command::Truncate { from } => state.positions.truncate(*from),
                Command::Purge { upto, .. } => {
                    state.positions.purge(*upto);
                    purged = true;
                }
                Command::Committed(_) => {}
            }
        }
        if purged {
            let unneeded = state.positions.take_unneeded();
            drop(state);
            self.janitor.retire(unneeded);
        }
    }

    /// Segments grow from the small first one: at no time does the log wait for zeros that take
    /// longer to write than a few times what it wrote itself.
    fn next_size(&self) -> ByteCount {
        let grown = self.size.saturating_mul(SEGMENT_GROWTH);
        self.options.segment_size.min(ByteCount(grown))
    }

    fn roll(&mut self) -> Result<(), Error> {
        let spare = self.janitor.take_spare(self.next_size())?;
        self.size = spare.size;
        let header = SegmentHeader {
            id: self.segment.header.id.next(),
            salt: new_salt(),
            base: self.sequence,
        };
        let (segment, offset) =
            start_segment(&*self.folder, spare, header, &self.extent, &self.kept)?;
        self.segment = segment;
        self.offset = offset;
        self.sequence = self.sequence.next();
        let mut state = self.shared.lock();
        state.positions.push_segment(Arc::clone(&self.segment));
        // A segment without entries of its own is needed no longer than it is the last.
        let unneeded = state.positions.take_unneeded();
        drop(state);
        self.janitor.retire(unneeded);
        Ok(())
    }

    fn stop(self, error: &Error, batch: Vec<Command>, mut queue: mpsc::Receiver<Command>) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "the log has stopped"
        );
        self.shared.fail(error);
        let error = error.stopping();
        let fail = |command| {
            if let Command::Append { done, .. } | Command::Vote { done, .. } = command {
                done.complete(Err(error.clone()));
            }
        };
        batch.into_iter().for_each(fail);
        queue.close();
        while let Some(command) = queue.blocking_recv() {
            fail(command);
        }
    }
}

/// Makes a segment of a spare file: header and head frame, sync, name, sync of the folder.
///
/// Returns the segment and the offset behind its head frame.
///
/// # Errors
/// `Error::Io`.
pub(super) fn start_segment(
    folder: &dyn Folder,
    spare: Spare,
    header: SegmentHeader,
    extent: &Extent,
    kept: &Kept,
) -> Result<(Arc<SegmentFile>, u64), Error> {
    let mut head = FrameBuffer::new();
    let Extent { first, next, .. } = *extent;
    head.push(&Record::Head { first, next })?;
    if let (Some(upto), Some(id)) = (extent.purged, &kept.purged) {
        head.push(&Record::Purge { upto, id })?;
    }
    if let Some(vote) = &kept.vote {
        head.push(&Record::Vote(vote))?;
    }
    if let Some(id) = &kept.committed {
        head.push(&Record::Committed(id))?;
    }
    let mut bytes = header.encode().to_vec();
    let offset = (segment::HEADER + head.length()) as u64;
    bytes.extend_from_slice(head.seal(header.base, header.salt));
    let spare_path = folder.path(&spare.name);
    spare
        .file
        .write_at(&bytes, 0)
        .map_err(Error::io("write the head of", &spare_path))?;
    spare
        .file
        .sync()
        .map_err(Error::io("sync the head of", &spare_path))?;
    let name = header.id.file_name();
    janitor::rename(folder, &spare.name, &name)?;
    let segment = SegmentFile {
        header,
        path: folder.path(&name),
        file: spare.file,
    };
    Ok((Arc::new(segment), offset))
}

/// Makes the first segment of a new log.
///
/// # Errors
/// `Error::Io`.
pub(super) fn first_segment(
    folder: &dyn Folder,
    size: ByteCount,
) -> Result<(Arc<SegmentFile>, u64), Error> {
    let spare = janitor::prepare(folder, 0, size)?;
    let header = SegmentHeader {
        id: SegmentId(0),
        salt: new_salt(),
        base: Sequence::FIRST,
    };
    start_segment(folder, spare, header, &Extent::default(), &Kept::default())
}

/// Returns a number that nobody outside can know: `RandomState` is seeded by the operating system.
fn new_salt() -> Salt {
    use std::hash::{BuildHasher, RandomState};
    let [a, b, c, d, ..] = RandomState::new().hash_one(0_u8).to_le_bytes();
    Salt(u32::from_le_bytes([a, b, c, d]))
}
