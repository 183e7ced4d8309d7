//! The three packets without a body: PINGREQ, PINGRESP and DISCONNECT (sections 3.12 to 3.14).

use super::read::Reader;
use super::{Error, Kind};

pub(super) const fn decode(kind: Kind, body: &[u8]) -> Result<(), Error> {
    Reader::new(body).end(kind)
}

/// Appends a PINGREQ, section 3.12.
pub fn encode_pingreq(out: &mut Vec<u8>) {
    out.extend_from_slice(&[Kind::Pingreq.first_byte(), 0]);
}

/// Appends a PINGRESP, section 3.13.
pub fn encode_pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[Kind::Pingresp.first_byte(), 0]);
}

/// Appends a DISCONNECT, section 3.14.
pub fn encode_disconnect(out: &mut Vec<u8>) {
    out.extend_from_slice(&[Kind::Disconnect.first_byte(), 0]);
}
