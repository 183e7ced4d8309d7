//! Opens what a log left on the disk: reads every segment, cuts a torn tail, refuses damage.
//!
//! Called once, by `Log::open`. Every frame but the last was synced before the next was written, so
//! a bad frame can be a torn one only in the last segment, behind the head frame, with no whole
//! frame after it. That one was never acknowledged: it is cut. Anything else that is bad was durable
//! once, and going on without it would break promises: the log refuses to open.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::Folder;
use super::error::Error;
use super::frame::{self, FrameHeader, Records, Sequence};
use super::positions::Positions;
use super::record::Record;
use super::segment::{self, SegmentFile, SegmentHeader, SegmentId, Spot};
use super::window::{PIECE, Window};

/// The latest vote, committed and purged log ID, as they are copied to each new segment.
#[derive(Debug, Default, Clone)]
pub(super) struct Kept {
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<Bytes>,
    pub(super) purged: Option<Bytes>,
}

/// What the files say, and where to go on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) positions: Positions,
    pub(super) kept: Kept,
    /// The number of the next frame.
    pub(super) sequence: Sequence,
    /// Where in the last segment it goes.
    pub(super) offset: u64,
    /// Bytes in all segment files.
    pub(super) bytes: u64,
}

/// Reads the log in a folder; nothing if there is none yet.
///
/// # Errors
/// `Error::Damaged` or `Error::Missing` as the header of this file says, or `Error::Io`.
pub(super) fn recover(folder: &dyn Folder) -> Result<Option<Recovered>, Error> {
    // What the last run renamed or removed must be durable before anything builds on it.
    folder
        .sync()
        .map_err(Error::io("sync folder", &folder.path("")))?;
    let segments = open_segments(folder)?;
    let Some(last) = segments.last() else {
        return Ok(None);
    };
    let mut replay = Replay::default();
    let mut offset = 0;
    let mut bytes = 0;
    for (number, segment) in segments.iter().enumerate() {
        let next_base = segments.get(number + 1).map(|next| next.header.base);
        replay.positions.push_segment(Arc::clone(segment));
        let mut window = Window::new(&*segment.file).map_err(Error::io("read", &segment.path))?;
        bytes += window.size();
        offset = replay.read_segment(segment, next_base, &mut window)?;
    }
    if let Some(from) = replay.positions.missing() {
        return Err(Error::Missing {
            from,
            path: segments[0].path.clone(),
        });
    }
    // A killed process may have left whole frames that only the page cache has.
    last.file.sync().map_err(Error::io("sync", &last.path))?;
    Ok(Some(Recovered {
        positions: replay.positions,
        kept: replay.kept,
        sequence: replay.sequence,
        offset,
        bytes,
    }))
}

fn open_segments(folder: &dyn Folder) -> Result<Vec<Arc<SegmentFile>>, Error> {
    let names = folder
        .names()
        .map_err(Error::io("list", &folder.path("")))?;
    let mut ids: Vec<_> = names.iter().filter_map(|n| SegmentId::parse(n)).collect();
    ids.sort_unstable();
    let mut segments: Vec<Arc<SegmentFile>> = Vec::with_capacity(ids.len());
    for id in ids {
        let name = id.file_name();
        let path = folder.path(&name);
        let damaged = |what| Error::Damaged {
            path: path.clone(),
            offset: 0,
            what,
        };
        let file = folder.open(&name).map_err(Error::io("open", &path))?;
        let mut bytes = [0; segment::HEADER];
        let read = file
            .read_at(&mut bytes, 0)
            .map_err(Error::io("read", &path))?;
        let header = SegmentHeader::decode(&bytes[..read]).map_err(damaged)?;
        if header.id != id {
            return Err(damaged("the file has the name of another segment"));
        }
        if let Some(before) = segments.last() {
            if before.header.id.next() != id {
                return Err(damaged("the segment before this one is missing"));
            }
            if before.header.base >= header.base {
                return Err(damaged(
                    "the frames are numbered below those of the segment before",
                ));
            }
        }
        segments.push(Arc::new(SegmentFile { header, path, file }));
    }
    Ok(segments)
}

/// Applies the frames in order.
#[derive(Debug)]
struct Replay {
    positions: Positions,
    kept: Kept,
    sequence: Sequence,
    started: bool,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            positions: Positions::default(),
            kept: Kept::default(),
            sequence: Sequence::FIRST,
            started: false,
        }
    }
}

impl Replay {
    /// Reads the frames of one segment; returns the offset behind them.
    fn read_segment(
        &mut self,
        segment: &SegmentFile,
        next_base: Option<Sequence>,
        window: &mut Window<'_>,
    ) -> Result<u64, Error> {
        if self.started && self.sequence != segment.header.base {
            return Err(segment.damaged(0, "the frames do not follow those of the segment before"));
        }
        self.sequence = segment.header.base;
        let head = segment::HEADER as u64;
        let mut offset = head;
        while next_base != Some(self.sequence) {
            let found = look(segment, window, offset, self.sequence)?;
            let what = match found {
                Found::Frame { length } => {
                    let bytes = window
                        .bytes(offset, length)
                        .map_err(Error::io("read", &segment.path))?;
                    let body = bytes.get(frame::HEADER..).unwrap_or_default();
                    self.apply(segment, offset, body)?;
                    self.sequence = self.sequence.next();
                    offset += length as u64;
                    continue;
                }
                Found::End => "the log ends here, but more was written",
                Found::Bad(what) => what,
            };
            if next_base.is_some() || offset == head {
                return Err(segment.damaged(offset, what));
            }
            if later_frame(segment, window, offset, self.sequence)? {
                return Err(segment.damaged(offset, what));
            }
            if matches!(found, Found::Bad(_)) {
                cut(segment, offset, what)?;
            }
            break;
        }
        Ok(offset)
    }

    fn apply(&mut self, segment: &SegmentFile, offset: u64, body: &[u8]) -> Result<(), Error> {
        for placed in Records::new(body) {
            let (record, at, length) = placed.map_err(|what| segment.damaged(offset, what))?;
            let at = offset + at as u64;
            self.apply_record(record, spot(at, length))
                .map_err(|what| segment.damaged(at, what))?;
        }
        Ok(())
    }

    fn apply_record(&mut self, record: Record<'_>, spot: Spot) -> Result<(), &'static str> {
        let positions = &mut self.positions;
        match record {
            Record::Head { first, next } => {
                if !self.started {
                    positions.extent.first = first;
                    positions.extent.next = next;
                } else if (first, next) != (positions.extent.first, positions.extent.next) {
                    return Err("the head does not match the segments before");
                }
            }
            Record::Entry { index, .. } => {
                positions
                    .extent
                    .append(index)
                    .map_err(|_| "an entry does not follow the one before")?;
                positions.push_spot(index, spot);
            }
            Record::Vote(bytes) => self.kept.vote = Some(Bytes::copy_from_slice(bytes)),
            Record::Committed(bytes) => self.kept.committed = Some(Bytes::copy_from_slice(bytes)),
            Record::Truncate { from } => positions.truncate(from),
            Record::Purge { upto, id } => {
                positions.purge(upto);
                self.kept.purged = Some(Bytes::copy_from_slice(id));
            }
        }
        self.started = true;
        Ok(())
    }
}

/// Returns the place of a record; segments are below 4 GiB.
pub(super) fn spot(offset: u64, length: usize) -> Spot {
    Spot {
        offset: u32::try_from(offset).unwrap_or(u32::MAX),
        length: u32::try_from(length).unwrap_or(u32::MAX),
    }
}

#[derive(Debug, Clone, Copy)]
enum Found {
    Frame { length: usize },
    End,
    Bad(&'static str),
}

fn look(
    segment: &SegmentFile,
    window: &mut Window<'_>,
    offset: u64,
    expected: Sequence,
) -> Result<Found, Error> {
    let bytes = window
        .bytes(offset, frame::HEADER)
        .map_err(Error::io("read", &segment.path))?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(Found::End);
    }
    let Some(header) = bytes.first_chunk().and_then(|b| FrameHeader::parse(*b)) else {
        return Ok(Found::Bad("a frame is cut short"));
    };
    if header.sequence != expected {
        return Ok(Found::Bad("a frame has another number than follows"));
    }
    let Some(length) = header.total() else {
        return Ok(Found::Bad("a frame has an impossible length"));
    };
    let bytes = window
        .bytes(offset, length)
        .map_err(Error::io("read", &segment.path))?;
    Ok(match bytes.get(frame::HEADER..length) {
        None => Found::Bad("a frame is cut short"),
        Some(body) if header.is_whole(segment.header.salt, body) => Found::Frame { length },
        Some(_) => Found::Bad("the checksum of a frame is wrong"),
    })
}

/// Returns whether any whole frame numbered `expected` or above starts after `offset`.
fn later_frame(
    segment: &SegmentFile,
    window: &mut Window<'_>,
    offset: u64,
    expected: Sequence,
) -> Result<bool, Error> {
    let most = expected.0 + window.size() / frame::HEADER as u64;
    let mut at = offset + frame::ALIGN as u64;
    loop {
        let piece = window
            .bytes(at, PIECE)
            .map_err(Error::io("read", &segment.path))?;
        let starts = piece.len().saturating_sub(frame::HEADER) / frame::ALIGN;
        if starts == 0 {
            return Ok(false);
        }
        let candidates: Vec<_> = (0..starts)
            .filter_map(|n| {
                let header = piece.get(n * frame::ALIGN..)?.first_chunk()?;
                let header = FrameHeader::parse(*header)?;
                let number = header.sequence;
                (number >= expected && number.0 <= most)
                    .then_some((at + (n * frame::ALIGN) as u64, number))
            })
            .collect();
        for (start, number) in candidates {
            if matches!(look(segment, window, start, number)?, Found::Frame { .. }) {
                return Ok(true);
            }
        }
        at += (starts * frame::ALIGN) as u64;
    }
}

/// Cuts a torn frame: its header becomes the zeros that mark the end.
fn cut(segment: &SegmentFile, offset: u64, what: &'static str) -> Result<(), Error> {
    tracing::warn!(
        file = segment.path,
        offset,
        what,
        "cut a torn record off the end of the log"
    );
    segment
        .file
        .write_at(&[0; frame::HEADER], offset)
        .map_err(Error::io("cut the torn end of", &segment.path))
}
