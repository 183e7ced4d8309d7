//! One segment file: its name, its header, and reading single entries from it.
//!
//! A segment is a header, the head frame, frames, and zeros or old bytes up to its prepared size.
//! The head frame repeats the vote, the committed and the purged log ID and the range of entries, so
//! that no older segment is needed for them. Made by the writer and by `recover`, read by `view`.
//! A segment is in the folder under its own name only after its header and head frame are durable.

use std::sync::Arc;

use bytes::Bytes;

use super::disk::File;
use super::error::Error;
use super::frame::{Salt, Sequence};
use super::record::Record;
use super::units::Index;

/// Bytes of the header; frames follow.
pub(super) const HEADER: usize = 40;

const MAGIC: [u8; 8] = *b"MNSTYLOG";
const VERSION: u32 = 1;
const SUFFIX: &str = ".segment";

/// Largest piece that is read from a segment at once, when entries lie side by side.
const READ_PIECE: u32 = 1 << 20;

/// The number of a segment: each has the number of the one before plus 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SegmentId(pub(super) u64);

impl SegmentId {
    pub(super) fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    pub(super) fn file_name(self) -> String {
        format!("{:016x}{SUFFIX}", self.0)
    }

    /// Returns the number in a file name, if it is one that `file_name` gives.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let id = Self(u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?);
        (id.file_name() == name).then_some(id)
    }
}

/// What the first bytes of a segment say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: SegmentId,
    pub(super) salt: Salt,
    /// The number of the head frame.
    pub(super) base: Sequence,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.base.0.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[0..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Decodes a header.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes: &[u8; HEADER] = bytes.try_into().map_err(|_| "the header is cut short")?;
        let [
            m0,
            m1,
            m2,
            m3,
            m4,
            m5,
            m6,
            m7,
            v0,
            v1,
            v2,
            v3,
            s0,
            s1,
            s2,
            s3,
            i0,
            i1,
            i2,
            i3,
            i4,
            i5,
            i6,
            i7,
            b0,
            b1,
            b2,
            b3,
            b4,
            b5,
            b6,
            b7,
            c0,
            c1,
            c2,
            c3,
            z0,
            z1,
            z2,
            z3,
        ] = *bytes;
        if [m0, m1, m2, m3, m4, m5, m6, m7] != MAGIC {
            return Err("this is not a log segment");
        }
        if crc32c::crc32c(&bytes[0..32]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err("the checksum of the header is wrong");
        }
        if u32::from_le_bytes([v0, v1, v2, v3]) != VERSION || [z0, z1, z2, z3] != [0; 4] {
            return Err("the log was written by another version");
        }
        Ok(Self {
            id: SegmentId(u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7])),
            salt: Salt(u32::from_le_bytes([s0, s1, s2, s3])),
            base: Sequence(u64::from_le_bytes([b0, b1, b2, b3, b4, b5, b6, b7])),
        })
    }
}

/// An open segment. Whoever holds it may read it: it is not used again before all let go of it.
#[derive(Debug)]
pub(super) struct SegmentFile {
    pub(super) header: SegmentHeader,
    /// The file as messages call it.
    pub(super) path: String,
    pub(super) file: Arc<dyn File>,
}

/// Where an entry's record lies in its segment, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) offset: u32,
    pub(super) length: u32,
}

impl Spot {
    fn end(self) -> u32 {
        self.offset.saturating_add(self.length)
    }
}

impl SegmentFile {
    /// Returns the error for bytes that cannot be right.
    pub(super) fn damaged(&self, offset: u64, what: &'static str) -> Error {
        Error::Damaged {
            path: self.path.clone(),
            offset,
            what,
        }
    }

    /// Reads consecutive entries from `first` on, in pieces of at most 1 MiB or one entry.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::Damaged` when a record is not the entry that was written there.
    pub(super) fn read(
        &self,
        first: Index,
        spots: &[Spot],
        out: &mut Vec<(Index, Bytes)>,
    ) -> Result<(), Error> {
        let mut index = first;
        let mut rest = spots;
        while let Some(&start) = rest.first() {
            let fits = |spot: &&Spot| {
                spot.offset >= start.offset && spot.end() - start.offset <= READ_PIECE
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (piece, later) = rest.split_at(count);
            let end = piece.last().map_or(start.end(), |spot| spot.end());
            let mut bytes = vec![0; (end - start.offset) as usize];
            let read = self
                .file
                .read_at(&mut bytes, u64::from(start.offset))
                .map_err(Error::io("read", &self.path))?;
            bytes.truncate(read);
            let bytes = Bytes::from(bytes);
            for spot in piece {
                let at = (spot.offset - start.offset) as usize;
                let record = bytes.get(at..).ok_or("the file is cut short");
                let found = record.and_then(Record::decode);
                match found {
                    Ok((Record::Entry { index: i, bytes: b }, _)) if i == index => {
                        out.push((index, bytes.slice_ref(b)));
                    }
                    Ok(_) => return Err(self.damaged(spot.offset.into(), "another record")),
                    Err(what) => return Err(self.damaged(spot.offset.into(), what)),
                }
                index = index.next();
            }
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_header_is_noticed() {
        let header = SegmentHeader {
            id: SegmentId(3),
            salt: Salt(4),
            base: Sequence(5),
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        for bit in 0..HEADER * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn names_are_parsed_only_as_they_are_written() {
        assert_eq!(
            SegmentId::parse(&SegmentId(0xab).file_name()),
            Some(SegmentId(0xab))
        );
        assert_eq!(SegmentId::parse("ab.segment"), None);
        assert_eq!(SegmentId::parse("00000000000000AB.segment"), None);
    }
}
