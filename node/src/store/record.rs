//! One record of the log as bytes: length, CRC-32C, type, group, payload, little-endian.
//!
//! Records come in frames (`frame`), which carry the sequence number and are written and synced as
//! one. A record's own checksum is for reading it alone later. Used by `frame`'s callers; decoding
//! takes any bytes and never panics.

use super::error::Error;
use super::units::{ByteCount, Index};

/// Bytes before the payload.
pub(super) const HEADER: usize = 12;

/// Largest payload. Far above what one append brings (8 to 32 entries of 64 KiB, or one command),
/// and small enough that no length overflows 32 bits with its frame around it.
const MAX_PAYLOAD: usize = 256 << 20;

/// The Raft group that a record belongs to. The format has room for more; there is one.
const GROUP: u16 = 0;

const HEAD: u8 = 1;
const ENTRY: u8 = 2;
const VOTE: u8 = 3;
const COMMITTED: u8 = 4;
const TRUNCATE: u8 = 5;
const PURGE: u8 = 6;

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// First in a segment: the entries that the log held before it, `first..next`.
    Head { first: Index, next: Index },
    /// One entry.
    Entry { index: Index, bytes: &'a [u8] },
    /// The vote, replacing the one before.
    Vote(&'a [u8]),
    /// The committed log ID, replacing the one before.
    Committed(&'a [u8]),
    /// All entries at and after `from` are gone.
    Truncate { from: Index },
    /// All entries up to and with `upto` are gone; `id` is the log ID of the last of them.
    Purge { upto: Index, id: &'a [u8] },
}

impl<'a> Record<'a> {
    /// Appends the record to `out`.
    ///
    /// # Errors
    /// `Error::TooLarge` above 256 MiB.
    pub(super) fn encode(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let start = out.len();
        out.extend_from_slice(&[0; HEADER]);
        let kind = match *self {
            Record::Head { first, next } => {
                out.extend_from_slice(&first.0.to_le_bytes());
                out.extend_from_slice(&next.0.to_le_bytes());
                HEAD
            }
            Record::Entry { index, bytes } => {
                out.extend_from_slice(&index.0.to_le_bytes());
                out.extend_from_slice(bytes);
                ENTRY
            }
            Record::Vote(bytes) => {
                out.extend_from_slice(bytes);
                VOTE
            }
            Record::Committed(bytes) => {
                out.extend_from_slice(bytes);
                COMMITTED
            }
            Record::Truncate { from } => {
                out.extend_from_slice(&from.0.to_le_bytes());
                TRUNCATE
            }
            Record::Purge { upto, id } => {
                out.extend_from_slice(&upto.0.to_le_bytes());
                out.extend_from_slice(id);
                PURGE
            }
        };
        let payload = out.len() - start - HEADER;
        let size = ByteCount(payload as u64);
        let length = match u32::try_from(payload) {
            Ok(length) if payload <= MAX_PAYLOAD => length,
            _ => return Err(Error::TooLarge { size }),
        };
        let header = &mut out[start..];
        header[0..4].copy_from_slice(&length.to_le_bytes());
        header[8] = kind;
        header[10..12].copy_from_slice(&GROUP.to_le_bytes());
        let crc = crc32c::crc32c(&header[8..]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
        Ok(())
    }

    /// Decodes the record at the start of `bytes`; returns it and its length in bytes.
    ///
    /// # Errors
    /// What is wrong with the bytes.
    pub(super) fn decode(bytes: &'a [u8]) -> Result<(Self, usize), &'static str> {
        let (header, rest) = bytes
            .split_first_chunk::<HEADER>()
            .ok_or("a record is cut short")?;
        let [l0, l1, l2, l3, c0, c1, c2, c3, kind, reserved, g0, g1] = *header;
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        let payload = rest.get(..length).ok_or("a record is cut short")?;
        if crc32c::crc32c(&bytes[8..HEADER + length]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err("the checksum of a record is wrong");
        }
        if reserved != 0 || u16::from_le_bytes([g0, g1]) != GROUP {
            return Err("a record is of another Raft group");
        }
        let record = match kind {
            HEAD => {
                let (first, rest) = index(payload)?;
                let (next, _) = index(rest)?;
                Record::Head { first, next }
            }
            ENTRY => {
                let (index, bytes) = index(payload)?;
                Record::Entry { index, bytes }
            }
            VOTE => Record::Vote(payload),
            COMMITTED => Record::Committed(payload),
            TRUNCATE => Record::Truncate {
                from: index(payload)?.0,
            },
            PURGE => {
                let (upto, id) = index(payload)?;
                Record::Purge { upto, id }
            }
            _ => return Err("a record has an unknown type"),
        };
        Ok((record, HEADER + length))
    }
}

fn index(payload: &[u8]) -> Result<(Index, &[u8]), &'static str> {
    let (index, rest) = payload
        .split_first_chunk::<8>()
        .ok_or("a record lacks its index")?;
    Ok((Index(u64::from_le_bytes(*index)), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_type_comes_back_as_it_was() {
        let records = [
            Record::Head {
                first: Index(3),
                next: Index(9),
            },
            Record::Entry {
                index: Index(7),
                bytes: b"abc",
            },
            Record::Vote(b"v"),
            Record::Committed(b""),
            Record::Truncate { from: Index(4) },
            Record::Purge {
                upto: Index(2),
                id: b"id",
            },
        ];
        for record in records {
            let mut bytes = Vec::new();
            record.encode(&mut bytes).unwrap();
            let length = bytes.len();
            bytes.extend_from_slice(b"what follows");
            assert_eq!(Record::decode(&bytes), Ok((record, length)));
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let mut bytes = Vec::new();
        let record = Record::Entry {
            index: Index(7),
            bytes: b"some payload",
        };
        record.encode(&mut bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Record::decode(&bad).is_err(), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Record::decode(&bytes);
        }
    }
}
