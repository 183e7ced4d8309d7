//! SUBSCRIBE, section 3.8.
//!
//! A filter is checked here as text that is not empty. The placement of its wildcards is checked by
//! `topic::TopicFilter`, which every accepted filter becomes.

use super::read::Reader;
use super::{EncodeError, Error, Field, Kind, PacketId, QoS, write};

/// A SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Its identifier, repeated by the SUBACK [MQTT-3.8.4-2].
    pub packet_id: PacketId,
    entries: &'a [u8],
    count: usize,
}

impl<'a> Subscribe<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id(Kind::Subscribe)?;
        let entries = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            entry(&mut reader)?;
            count += 1;
        }
        if count == 0 {
            return Err(Error::NoEntries {
                kind: Kind::Subscribe,
            });
        }
        Ok(Self {
            packet_id,
            entries,
            count,
        })
    }

    /// How many filters; at least one [MQTT-3.8.3-3].
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The filters and their requested QoS, in the order in which SUBACK answers them.
    #[must_use]
    pub const fn filters(&self) -> SubscribeFilters<'a> {
        SubscribeFilters(Reader::new(self.entries))
    }
}

/// Iterator over the filters of a [`Subscribe`].
#[derive(Debug, Clone)]
pub struct SubscribeFilters<'a>(Reader<'a>);

impl<'a> Iterator for SubscribeFilters<'a> {
    type Item = (&'a str, QoS);

    fn next(&mut self) -> Option<Self::Item> {
        // The entries were read once by `decode`; only the end of the packet is an error here.
        entry(&mut self.0).ok()
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, QoS), Error> {
    let filter = reader.text(Field::Filter)?;
    if filter.is_empty() {
        return Err(Error::Empty {
            field: Field::Filter,
        });
    }
    let value = reader.byte(Field::RequestedQos)?;
    let qos = QoS::from_bits(value).ok_or(Error::RequestedQos { value })?;
    Ok((filter, qos))
}

/// Appends a SUBSCRIBE; a client's part.
///
/// # Errors
///
/// A filter or a packet above what the format can express; `out` is then as it was.
pub fn encode_subscribe(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    filters: &[(&str, QoS)],
) -> Result<(), EncodeError> {
    let mut len = 2;
    for (filter, _) in filters {
        len += write::field_len(filter.len(), Field::Filter)? + 1;
    }
    write::header(out, Kind::Subscribe.first_byte(), write::body_len(len)?);
    write::packet_id(out, packet_id);
    for (filter, qos) in filters {
        write::bytes(out, filter.as_bytes());
        out.push(qos.bits());
    }
    Ok(())
}
