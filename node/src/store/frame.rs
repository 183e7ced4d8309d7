//! A frame: the records of one sync, under one checksum, with a sequence number.
//!
//! Layout: body length (4), CRC-32C (4), sequence number (8), body; the body is records, padded with
//! zeros to 8 bytes, so frames start at multiples of 8. After the frame come 16 zero bytes, which
//! the next frame overwrites: a clean end is told from a torn frame by them.
//!
//! One checksum over the frame makes it whole or bad, never half: a torn frame may have any of its
//! sectors. The checksum starts from the segment's salt, so bytes that a client sends can never pass
//! for a frame, nor can the frames that a recycled segment held before.

use super::error::Error;
use super::record::{self, Record};

/// Bytes before the body, and of the zeros after it.
pub(super) const HEADER: usize = 16;

/// Frames start at multiples of this.
pub(super) const ALIGN: usize = 8;

/// A buffer above this is given back after its frame, so one large append does not stay in memory.
const KEEP_BUFFER: usize = 8 << 20;

/// The number of a frame: each has the number of the one before plus 1, over all segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(pub(super) u64);

impl Sequence {
    /// The first frame of a log. 0 is never used, so a zeroed header is never a frame.
    pub(super) const FIRST: Self = Self(1);

    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What the frames of one segment are checked with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u32);

/// A frame being built; kept and used again.
#[derive(Debug)]
pub(super) struct FrameBuffer {
    bytes: Vec<u8>,
}

impl FrameBuffer {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; HEADER],
        }
    }

    /// Empties the buffer for the next frame.
    pub(super) fn clear(&mut self) {
        if self.bytes.capacity() > KEEP_BUFFER {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.bytes.resize(HEADER, 0);
    }

    /// Adds a record; returns where it lies from the start of the frame, and its length.
    pub(super) fn push(&mut self, record: &Record<'_>) -> Result<(usize, usize), Error> {
        let start = self.bytes.len();
        record.encode(&mut self.bytes)?;
        Ok((start, self.bytes.len() - start))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.len() == HEADER
    }

    /// Returns the length of the frame with its padding, without the zeros after it.
    pub(super) fn length(&self) -> usize {
        self.bytes.len().next_multiple_of(ALIGN)
    }

    /// Seals the frame; returns its bytes with the zeros after it, to be written at once. After
    /// this the buffer is only good for `clear`.
    pub(super) fn seal(&mut self, sequence: Sequence, salt: Salt) -> &[u8] {
        let end = self.length();
        self.bytes.resize(end + HEADER, 0);
        // Records are bounded at 256 MiB and one append at far less, so this fits; were it wrong,
        // the checksum would not match and the frame would be refused, not misread.
        let length = u32::try_from(end - HEADER).unwrap_or(u32::MAX);
        let crc = checksum(salt, length, sequence, &self.bytes[HEADER..end]);
        self.bytes[0..4].copy_from_slice(&length.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        self.bytes[8..16].copy_from_slice(&sequence.0.to_le_bytes());
        &self.bytes
    }
}

/// The header of a frame as read, believed only when `is_whole` says so.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameHeader {
    length: u32,
    crc: u32,
    /// The number that the header claims.
    pub(super) sequence: Sequence,
}

impl FrameHeader {
    /// Reads a header; nothing if the bytes are all zero, as after the last frame.
    pub(super) fn parse(bytes: [u8; HEADER]) -> Option<Self> {
        let [
            l0,
            l1,
            l2,
            l3,
            c0,
            c1,
            c2,
            c3,
            s0,
            s1,
            s2,
            s3,
            s4,
            s5,
            s6,
            s7,
        ] = bytes;
        (bytes != [0; HEADER]).then_some(Self {
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            sequence: Sequence(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7])),
        })
    }

    /// Returns the length of the whole frame, if it can be one.
    pub(super) fn total(&self) -> Option<usize> {
        let body = self.length as usize;
        (body >= record::HEADER && body.is_multiple_of(ALIGN)).then_some(HEADER + body)
    }

    /// Returns whether `body` is what the header was made for.
    pub(super) fn is_whole(&self, salt: Salt, body: &[u8]) -> bool {
        body.len() == self.length as usize
            && checksum(salt, self.length, self.sequence, body) == self.crc
    }
}

fn checksum(salt: Salt, length: u32, sequence: Sequence, body: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(salt.0, &length.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &sequence.0.to_le_bytes());
    crc32c::crc32c_append(crc, body)
}

/// The records of a frame's body, each with its place from the start of the frame.
#[derive(Debug)]
pub(super) struct Records<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Records<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0 }
    }
}

/// A record, where it starts in its frame, and its length.
pub(super) type Placed<'a> = (Record<'a>, usize, usize);

impl<'a> Iterator for Records<'a> {
    type Item = Result<Placed<'a>, &'static str>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.body.get(self.at..)?;
        // What is left is padding: no record is shorter than a record's header.
        if rest.len() < record::HEADER {
            return None;
        }
        let start = HEADER + self.at;
        match Record::decode(rest) {
            Ok((record, length)) => {
                self.at += length;
                Some(Ok((record, start, length)))
            }
            Err(what) => {
                self.at = self.body.len();
                Some(Err(what))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::units::Index;

    fn sealed() -> Vec<u8> {
        let mut frame = FrameBuffer::new();
        frame.push(&Record::Vote(b"vote")).unwrap();
        frame
            .push(&Record::Entry {
                index: Index(1),
                bytes: b"entry",
            })
            .unwrap();
        frame.seal(Sequence(9), Salt(77)).to_vec()
    }

    #[test]
    fn a_sealed_frame_is_whole_and_gives_its_records_back() {
        let bytes = sealed();
        let header = FrameHeader::parse(*bytes.first_chunk().unwrap()).unwrap();
        let total = header.total().unwrap();
        assert_eq!(total + HEADER, bytes.len());
        let body = &bytes[HEADER..total];
        assert!(header.is_whole(Salt(77), body));
        assert!(!header.is_whole(Salt(78), body));
        let records: Vec<_> = Records::new(body).map(|r| r.unwrap().0).collect();
        assert_eq!(records[0], Record::Vote(b"vote"));
        assert_eq!(records.len(), 2);
        assert!(FrameHeader::parse(*bytes[total..].first_chunk().unwrap()).is_none());
    }

    #[test]
    fn every_flipped_bit_makes_a_frame_bad() {
        let bytes = sealed();
        for bit in 0..(bytes.len() - HEADER) * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let header = FrameHeader::parse(*bad.first_chunk().unwrap()).unwrap();
            let whole = header.sequence == Sequence(9)
                && header.total().is_some_and(|total| {
                    bad.get(HEADER..total)
                        .is_some_and(|body| header.is_whole(Salt(77), body))
                });
            assert!(!whole, "bit {bit}");
        }
    }
}
