//! The five packets that are a packet identifier and nothing else: PUBACK, PUBREC, PUBREL, PUBCOMP
//! and UNSUBACK (sections 3.4 to 3.7 and 3.11).

use super::read::Reader;
use super::{Error, Kind, PacketId, write};

pub(super) fn decode(kind: Kind, body: &[u8]) -> Result<PacketId, Error> {
    let mut reader = Reader::new(body);
    let id = reader.packet_id(kind)?;
    reader.end(kind)?;
    Ok(id)
}

/// Appends a PUBACK, section 3.4.
#[inline]
pub fn encode_puback(out: &mut Vec<u8>, id: PacketId) {
    write::only_packet_id(out, Kind::Puback, id);
}

/// Appends a PUBREC, section 3.5.
pub fn encode_pubrec(out: &mut Vec<u8>, id: PacketId) {
    write::only_packet_id(out, Kind::Pubrec, id);
}

/// Appends a PUBREL, section 3.6.
pub fn encode_pubrel(out: &mut Vec<u8>, id: PacketId) {
    write::only_packet_id(out, Kind::Pubrel, id);
}

/// Appends a PUBCOMP, section 3.7.
pub fn encode_pubcomp(out: &mut Vec<u8>, id: PacketId) {
    write::only_packet_id(out, Kind::Pubcomp, id);
}

/// Appends an UNSUBACK, section 3.11.
pub fn encode_unsuback(out: &mut Vec<u8>, id: PacketId) {
    write::only_packet_id(out, Kind::Unsuback, id);
}
