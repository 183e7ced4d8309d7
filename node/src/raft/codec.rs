//! Entries, votes and log IDs as the bytes that `store` keeps.
//!
//! Used by `log_store` alone. An entry is a version, a kind and its term, then the payload as it is:
//! reading a command back copies nothing. The index is the log's own. The rest is postcard.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use openraft::EntryPayload;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::types::{CommittedLeaderId, Entry, LogId, Payload};
use crate::store::Index;

const VERSION: u8 = 1;
const HEADER: usize = 10;

const BLANK: u8 = 0;
const NORMAL: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Encodes an entry, without its index.
///
/// # Errors
/// When a membership cannot be encoded.
pub(super) fn encode_entry(entry: &Entry) -> io::Result<Bytes> {
    let membership;
    let (kind, payload): (u8, &[u8]) = match &entry.payload {
        EntryPayload::Blank => (BLANK, &[]),
        EntryPayload::Normal(payload) => (NORMAL, &payload.0),
        EntryPayload::Membership(m) => {
            membership = postcard::to_stdvec(m).map_err(io::Error::other)?;
            (MEMBERSHIP, &membership)
        }
    };
    let mut bytes = BytesMut::with_capacity(HEADER + payload.len());
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.put_u64_le(*entry.log_id.leader_id);
    bytes.put_slice(payload);
    Ok(bytes.freeze())
}

/// Decodes an entry; a command's payload shares memory with `bytes`.
///
/// # Errors
/// When the bytes are not an entry of this version.
pub(super) fn decode_entry(index: Index, bytes: &Bytes) -> io::Result<Entry> {
    let header: &[u8; HEADER] = bytes
        .first_chunk()
        .ok_or_else(|| invalid("a log entry is cut short"))?;
    let [version, kind, t0, t1, t2, t3, t4, t5, t6, t7] = *header;
    if version != VERSION {
        return Err(invalid("a log entry was written by another version"));
    }
    let term = u64::from_le_bytes([t0, t1, t2, t3, t4, t5, t6, t7]);
    let payload = match kind {
        BLANK => EntryPayload::Blank,
        NORMAL => EntryPayload::Normal(Payload(bytes.slice(HEADER..))),
        MEMBERSHIP => EntryPayload::Membership(decode(&bytes[HEADER..])?),
        _ => return Err(invalid("a log entry has an unknown kind")),
    };
    Ok(Entry {
        log_id: LogId::new(CommittedLeaderId::new(term), index.0),
        payload,
    })
}

/// Encodes a vote or a log ID.
///
/// # Errors
/// When it cannot be encoded.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Bytes> {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .map_err(io::Error::other)
}

/// Decodes what `encode` made.
///
/// # Errors
/// When the bytes are something else.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
