//! The thread that prepares files for the next segments and does away with purged ones.
//!
//! The writer asks it for a spare file and hands it what is no longer needed; so neither zero-filling
//! nor unlinking holds up an append. It syncs the folder after each change, oldest segment first: what
//! a power cut leaves is always an unbroken row of segments, and a file is used again only when its
//! old name is durably gone.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::disk::{File, Folder};
use super::error::Error;
use super::metrics::WAL_BYTES;
use super::segment::SegmentFile;
use super::units::ByteCount;

/// Purged files kept for reuse: one to go on with, one while the next is already wanted.
const MAX_SPARES: usize = 2;

/// Zeros are written and synced in pieces of this size, so that no single sync of the file system
/// is large enough to hold up an append that syncs at the same time.
const FILL_PIECE: usize = 1 << 20;

const SPARE_SUFFIX: &str = ".spare";
const FILLING_SUFFIX: &str = ".filling";

/// A file of full size whose blocks are on the disk, waiting to become a segment.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) name: String,
    pub(super) file: Arc<dyn File>,
    pub(super) size: u64,
}

/// Counts the bytes of the log's files and shows them as a metric.
#[derive(Debug, Default)]
pub(super) struct DiskUse(AtomicU64);

impl DiskUse {
    pub(super) fn add(&self, bytes: u64) {
        let before = self.0.fetch_add(bytes, Ordering::Relaxed);
        show(before.saturating_add(bytes));
    }

    pub(super) fn subtract(&self, bytes: u64) {
        let before = self.0.fetch_sub(bytes, Ordering::Relaxed);
        show(before.saturating_sub(bytes));
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge is a float; 2^53 bytes are 8 PiB"
)]
fn show(bytes: u64) {
    metrics::gauge!(WAL_BYTES).set(bytes as f64);
}

#[derive(Debug, Default)]
struct State {
    spares: Vec<Spare>,
    /// Segments to do away with, oldest first; at most as many as there were in the log.
    retired: VecDeque<Arc<SegmentFile>>,
    /// The size of the spare that is or will soon be needed.
    wanted: Option<ByteCount>,
    /// Preparing a spare failed; the writer decides what that means when it needs one.
    failure: Option<Error>,
    /// A removal failed. Going on would leave a gap in the row of segments, so the rest stays for
    /// the next start.
    halted: bool,
    stop: bool,
    next_name: u64,
}

#[derive(Debug)]
struct Inner {
    folder: Arc<dyn Folder>,
    segment_size: ByteCount,
    disk_use: Arc<DiskUse>,
    state: Mutex<State>,
    changed: Condvar,
}

/// The writer's handle; dropping it ends the thread after the step it is in.
#[derive(Debug)]
pub(super) struct Janitor {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Janitor {
    /// Takes over the spare files that are in the folder and starts the thread.
    ///
    /// # Errors
    /// `Error::Io` when the folder or the thread does not work.
    pub(super) fn spawn(
        folder: Arc<dyn Folder>,
        segment_size: ByteCount,
        disk_use: Arc<DiskUse>,
    ) -> Result<Self, Error> {
        let state = adopt_spares(&*folder, segment_size, &disk_use)?;
        let path = folder.path("");
        let inner = Arc::new(Inner {
            folder,
            segment_size,
            disk_use,
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let run = Arc::clone(&inner);
        let thread = std::thread::Builder::new()
            .name("log-janitor".into())
            .spawn(move || run.run())
            .map_err(Error::io("start the janitor of", &path))?;
        Ok(Self {
            inner,
            thread: Some(thread),
        })
    }

    /// Asks for a spare of a size to be ready soon.
    pub(super) fn want_spare(&self, size: ByteCount) {
        let mut state = self.inner.lock();
        if state.wanted.is_none() {
            state.wanted = Some(size);
            self.inner.changed.notify_all();
        }
    }

    /// Takes a spare; waits for one of this size if none is ready.
    ///
    /// # Errors
    /// What kept one from being prepared.
    pub(super) fn take_spare(&self, size: ByteCount) -> Result<Spare, Error> {
        let mut state = self.inner.lock();
        // A failure of the past (a full disk, say) may be over by now: try once more.
        state.failure = None;
        loop {
            if let Some(spare) = state.spares.pop() {
                state.wanted = None;
                return Ok(spare);
            }
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            state.wanted.get_or_insert(size);
            self.inner.changed.notify_all();
            state = self
                .inner
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands over segments that hold nothing any more, oldest first.
    pub(super) fn retire(&self, segments: Vec<Arc<SegmentFile>>) {
        if !segments.is_empty() {
            self.inner.lock().retired.extend(segments);
            self.inner.changed.notify_all();
        }
    }
}

impl Drop for Janitor {
    fn drop(&mut self) {
        self.inner.lock().stop = true;
        self.inner.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic in there has been reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// Makes a file of `size` zeros and makes it durable under its spare name.
///
/// # Errors
/// `Error::Io`.
pub(super) fn prepare(folder: &dyn Folder, number: u64, size: ByteCount) -> Result<Spare, Error> {
    fill(folder, number, size, || false)?.ok_or(Error::Closed)
}

/// Does what `prepare` does, unless told to stop in between.
fn fill(
    folder: &dyn Folder,
    number: u64,
    size: ByteCount,
    stop: impl Fn() -> bool,
) -> Result<Option<Spare>, Error> {
    let filling = format!("{number:016x}{FILLING_SUFFIX}");
    let path = folder.path(&filling);
    let file = folder
        .create(&filling)
        .map_err(Error::io("create", &path))?;
    let piece = usize::try_from(size.0).map_or(FILL_PIECE, |size| size.min(FILL_PIECE));
    let zeros = vec![0; piece];
    let mut done = 0;
    while done < size.0 {
        if stop() {
            // What is half-filled is removed at the next start.
            return Ok(None);
        }
        let left = usize::try_from(size.0 - done).unwrap_or(piece).min(piece);
        file.write_at(&zeros[..left], done)
            .map_err(Error::io("fill", &path))?;
        file.sync().map_err(Error::io("sync", &path))?;
        done += left as u64;
    }
    let name = format!("{number:016x}{SPARE_SUFFIX}");
    rename(folder, &filling, &name)?;
    Ok(Some(Spare {
        name,
        file,
        size: size.0,
    }))
}

/// Renames a file and makes the new name durable.
///
/// # Errors
/// `Error::Io`.
pub(super) fn rename(folder: &dyn Folder, from: &str, to: &str) -> Result<(), Error> {
    folder
        .rename(from, to)
        .map_err(Error::io("rename", &folder.path(from)))?;
    folder
        .sync()
        .map_err(Error::io("sync folder", &folder.path("")))
}

fn adopt_spares(
    folder: &dyn Folder,
    segment_size: ByteCount,
    disk_use: &DiskUse,
) -> Result<State, Error> {
    let mut state = State::default();
    let names = folder
        .names()
        .map_err(Error::io("list", &folder.path("")))?;
    for name in names {
        let stem = name
            .strip_suffix(SPARE_SUFFIX)
            .or_else(|| name.strip_suffix(FILLING_SUFFIX));
        let Some(number) = stem.and_then(|stem| u64::from_str_radix(stem, 16).ok()) else {
            continue;
        };
        state.next_name = state.next_name.max(number.saturating_add(1));
        let path = folder.path(&name);
        let file = folder.open(&name).map_err(Error::io("open", &path))?;
        let size = file.size().map_err(Error::io("read the size of", &path))?;
        let keep = name.ends_with(SPARE_SUFFIX)
            && size == segment_size.0
            && state.spares.len() < MAX_SPARES;
        if keep {
            disk_use.add(size);
            state.spares.push(Spare { name, file, size });
        } else {
            folder.remove(&name).map_err(Error::io("remove", &path))?;
        }
    }
    Ok(state)
}

enum Step {
    Retire(Arc<SegmentFile>),
    Prepare(ByteCount),
    Stop,
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        loop {
            match self.next_step() {
                Step::Stop => return,
                Step::Retire(segment) => {
                    if let Err(error) = self.do_away_with(segment) {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "purged log segments stay until the next start"
                        );
                        self.lock().halted = true;
                    }
                }
                Step::Prepare(size) => self.prepare_spare(size),
            }
        }
    }

    fn prepare_spare(&self, size: ByteCount) {
        let number = self.next_name();
        let prepared = fill(&*self.folder, number, size, || self.lock().stop);
        let mut state = self.lock();
        match prepared {
            Ok(Some(spare)) => {
                self.disk_use.add(spare.size);
                state.spares.push(spare);
            }
            Ok(None) => {}
            Err(error) => state.failure = Some(error),
        }
        self.changed.notify_all();
    }

    fn next_step(&self) -> Step {
        let mut state = self.lock();
        loop {
            if state.stop {
                return Step::Stop;
            }
            if !state.halted
                && let Some(segment) = state.retired.pop_front()
            {
                return Step::Retire(segment);
            }
            if let Some(size) = state.wanted
                && state.spares.is_empty()
                && state.failure.is_none()
            {
                return Step::Prepare(size);
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn next_name(&self) -> u64 {
        let mut state = self.lock();
        state.next_name += 1;
        state.next_name - 1
    }

    /// Makes a spare of a segment that nobody reads any more, or removes it.
    fn do_away_with(&self, segment: Arc<SegmentFile>) -> Result<(), Error> {
        let name = segment.header.id.file_name();
        let size = segment
            .file
            .size()
            .map_err(Error::io("read the size of", &segment.path))?;
        // A reader that still holds the segment would read what comes next in it.
        let sole = Arc::into_inner(segment);
        let reusable = size == self.segment_size.0 && self.lock().spares.len() < MAX_SPARES;
        if let Some(segment) = sole.filter(|_| reusable) {
            let spare_name = format!("{:016x}{SPARE_SUFFIX}", self.next_name());
            rename(&*self.folder, &name, &spare_name)?;
            self.lock().spares.push(Spare {
                name: spare_name,
                file: segment.file,
                size,
            });
            self.changed.notify_all();
            return Ok(());
        }
        let path = self.folder.path(&name);
        self.folder
            .remove(&name)
            .map_err(Error::io("remove", &path))?;
        self.folder
            .sync()
            .map_err(Error::io("sync folder", &path))?;
        self.disk_use.subtract(size);
        Ok(())
    }
}
