//! PUBLISH, section 3.3: the packet that everything else exists for.
//!
//! Read once and written once a fan-out: [`encode_publish`] says where the packet identifier lies,
//! so that a receiver's copy needs only [`patch_packet_id`].

use std::fmt;

use super::read::Reader;
use super::{EncodeError, Error, Field, Kind, PacketId, QoS, write};

const DUP: u8 = 0x08;
const RETAIN: u8 = 0x01;

/// A PUBLISH as it lies in the read buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Publish<'a> {
    /// Whether it may have been sent before, section 3.3.1.1.
    pub dup: bool,
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it is to be stored, or comes from what was stored, section 3.3.1.3.
    pub retain: bool,
    /// Topic name: 1 to 65,535 bytes, without wildcards.
    pub topic: &'a str,
    /// `None` at QoS 0 and only there [MQTT-2.3.1-5].
    pub packet_id: Option<PacketId>,
    /// Payload; may be empty.
    pub payload: &'a [u8],
}

impl fmt::Debug for Publish<'_> {
    /// Leaves the payload out: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publish")
            .field("dup", &self.dup)
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("topic", &self.topic)
            .field("packet_id", &self.packet_id)
            .field("payload_len", &self.payload.len())
            .finish()
    }
}

impl<'a> Publish<'a> {
    #[inline]
    pub(super) fn decode(flags: u8, body: &'a [u8]) -> Result<Self, Error> {
        let qos = QoS::from_bits((flags >> 1) & 0b11).ok_or(Error::QosReserved)?;
        let dup = flags & DUP != 0;
        if dup && qos == QoS::AtMostOnce {
            return Err(Error::DupAtQos0);
        }
        let mut reader = Reader::new(body);
        let topic = reader.topic(Field::Topic)?;
        let packet_id = match qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id(Kind::Publish)?),
        };
        Ok(Self {
            dup,
            qos,
            retain: flags & RETAIN != 0,
            topic,
            packet_id,
            payload: reader.rest(),
        })
    }
}

/// What [`encode_publish`] writes before the payload.
#[derive(Debug, Clone, Copy)]
pub struct PublishHead<'a> {
    /// Whether it may have been sent before; written as false at QoS 0 [MQTT-3.3.1-2].
    pub dup: bool,
    /// Its quality of service.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// Topic name in parts that are written one behind the other, so that a receiver's own form of
    /// it (an alias, a prefix) needs no string of its own.
    pub topic: &'a [&'a str],
    /// `None` at QoS 1 and 2 leaves room, to be filled by [`patch_packet_id`] before it is sent.
    /// Not written at QoS 0.
    pub packet_id: Option<PacketId>,
}

/// Appends a PUBLISH. Returns where its packet identifier lies, in bytes from the start of the
/// packet; `None` at QoS 0.
///
/// # Errors
///
/// A topic or a packet above what the format can express; `out` is then as it was.
#[inline]
pub fn encode_publish(
    out: &mut Vec<u8>,
    head: &PublishHead<'_>,
    payload: &[u8],
) -> Result<Option<usize>, EncodeError> {
    let packet_id_at = encode_publish_head(out, head, payload.len())?;
    out.extend_from_slice(payload);
    Ok(packet_id_at)
}

/// Appends a PUBLISH up to its payload of `payload_len` bytes, which the caller sends behind it:
/// for large payloads, which are shared and not copied. Returns the same as [`encode_publish`].
///
/// # Errors
///
/// As [`encode_publish`].
#[inline]
pub fn encode_publish_head(
    out: &mut Vec<u8>,
    head: &PublishHead<'_>,
    payload_len: usize,
) -> Result<Option<usize>, EncodeError> {
    let topic_len: usize = head.topic.iter().map(|part| part.len()).sum();
    let identified = head.qos != QoS::AtMostOnce;
    let head_len = write::field_len(topic_len, Field::Topic)? + if identified { 2 } else { 0 };
    let remaining = write::body_len(head_len.saturating_add(payload_len))?;

    let start = out.len();
    let mut first_byte = Kind::Publish.first_byte() | (head.qos.bits() << 1);
    first_byte |= if head.dup && identified { DUP } else { 0 };
    first_byte |= if head.retain { RETAIN } else { 0 };
    write::header(out, first_byte, remaining);
    write::prefix(out, topic_len);
    for part in head.topic {
        out.extend_from_slice(part.as_bytes());
    }
    if !identified {
        return Ok(None);
    }
    let packet_id_at = out.len() - start;
    let id = head.packet_id.map_or(0, PacketId::value);
    out.extend_from_slice(&id.to_be_bytes());
    Ok(Some(packet_id_at))
}

/// Writes a receiver's own packet identifier into its copy of a shared PUBLISH. `packet` begins at
/// the start of that packet, `packet_id_at` is what its encoder returned.
///
/// An offset beyond `packet` changes nothing.
#[inline]
pub fn patch_packet_id(packet: &mut [u8], packet_id_at: usize, id: PacketId) {
    let place = packet.get_mut(packet_id_at..packet_id_at.saturating_add(2));
    debug_assert!(place.is_some(), "the offset belongs to this packet");
    if let Some(place) = place {
        place.copy_from_slice(&id.value().to_be_bytes());
    }
}
