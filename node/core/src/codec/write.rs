//! Pieces that the encoders of this room share: fixed header, text, and the checks of lengths.
//!
//! All lengths are checked before the first byte is appended, so that a refused packet leaves the
//! write buffer as it was.

use super::frame::MAX_REMAINING;
use super::{EncodeError, Field, Kind, PacketId};

/// Appends the fixed header. `remaining` comes from [`body_len`], so it fits four digits.
#[inline]
pub(super) fn header(out: &mut Vec<u8>, first_byte: u8, remaining: usize) {
    debug_assert!(remaining <= MAX_REMAINING, "lengths are checked before");
    out.push(first_byte);
    let mut rest = remaining;
    loop {
        let digit = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            out.push(digit);
            return;
        }
        out.push(digit | 0x80);
    }
}

/// Checks the length of a body.
#[inline]
pub(super) const fn body_len(len: usize) -> Result<usize, EncodeError> {
    if len > MAX_REMAINING {
        return Err(EncodeError::BodyTooLong { len });
    }
    Ok(len)
}

/// The length of a field with its two-byte prefix.
#[inline]
pub(super) fn field_len(len: usize, field: Field) -> Result<usize, EncodeError> {
    if len > usize::from(u16::MAX) {
        return Err(EncodeError::FieldTooLong { field, len });
    }
    Ok(2 + len)
}

/// Appends bytes behind a two-byte length; the length was checked by [`field_len`].
#[inline]
pub(super) fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    prefix(out, bytes.len());
    out.extend_from_slice(bytes);
}

#[inline]
pub(super) fn prefix(out: &mut Vec<u8>, len: usize) {
    debug_assert!(len <= usize::from(u16::MAX), "lengths are checked before");
    out.extend_from_slice(&(len as u16).to_be_bytes());
}

#[inline]
pub(super) fn packet_id(out: &mut Vec<u8>, id: PacketId) {
    out.extend_from_slice(&id.value().to_be_bytes());
}

/// Appends a packet that is a packet identifier and nothing else.
#[inline]
pub(super) fn only_packet_id(out: &mut Vec<u8>, kind: Kind, id: PacketId) {
    let [high, low] = id.value().to_be_bytes();
    out.extend_from_slice(&[kind.first_byte(), 2, high, low]);
}
