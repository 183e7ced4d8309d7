//! Reads a file in pieces, so that opening a log never holds a whole segment in memory.
//!
//! Used by `recover`. Holds one piece, or one frame where that is larger.

use std::io;

use super::disk::File;

/// Bytes read at once; few enough to be nothing, enough that a disk reads at full speed.
pub(super) const PIECE: usize = 1 << 20;

/// A window over a file that moves forward.
#[derive(Debug)]
pub(super) struct Window<'a> {
    file: &'a dyn File,
    size: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn File) -> io::Result<Self> {
        Ok(Self {
            size: file.size()?,
            file,
            start: 0,
            bytes: Vec::new(),
        })
    }

    /// Returns the size of the file in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns `length` bytes at `offset`, or fewer where the file ends.
    pub(super) fn bytes(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let left = self.size.saturating_sub(offset);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        let held =
            offset >= self.start && offset + length as u64 <= self.start + self.bytes.len() as u64;
        if !held {
            let piece = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
            self.bytes.clear();
            self.bytes.resize(length.max(piece), 0);
            self.start = offset;
            let read = self.file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
        }
        let at = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let rest = self.bytes.get(at..).unwrap_or_default();
        Ok(&rest[..length.min(rest.len())])
    }
}
