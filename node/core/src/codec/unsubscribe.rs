//! UNSUBSCRIBE, section 3.10.

use super::read::Reader;
use super::{EncodeError, Error, Field, Kind, PacketId, write};

/// An UNSUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Its identifier, repeated by the UNSUBACK [MQTT-3.10.4-4].
    pub packet_id: PacketId,
    entries: &'a [u8],
    count: usize,
}

impl<'a> Unsubscribe<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id(Kind::Unsubscribe)?;
        let entries = reader.rest();
        let mut count = 0;
        while !reader.is_empty() {
            entry(&mut reader)?;
            count += 1;
        }
        if count == 0 {
            return Err(Error::NoEntries {
                kind: Kind::Unsubscribe,
            });
        }
        Ok(Self {
            packet_id,
            entries,
            count,
        })
    }

    /// How many filters; at least one [MQTT-3.10.3-2].
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// The filters, in their order.
    #[must_use]
    pub const fn filters(&self) -> UnsubscribeFilters<'a> {
        UnsubscribeFilters(Reader::new(self.entries))
    }
}

/// Iterator over the filters of an [`Unsubscribe`].
#[derive(Debug, Clone)]
pub struct UnsubscribeFilters<'a>(Reader<'a>);

impl<'a> Iterator for UnsubscribeFilters<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<Self::Item> {
        // The entries were read once by `decode`; only the end of the packet is an error here.
        entry(&mut self.0).ok()
    }
}

fn entry<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Error> {
    let filter = reader.text(Field::Filter)?;
    if filter.is_empty() {
        return Err(Error::Empty {
            field: Field::Filter,
        });
    }
    Ok(filter)
}

/// Appends an UNSUBSCRIBE; a client's part.
///
/// # Errors
///
/// A filter or a packet above what the format can express; `out` is then as it was.
pub fn encode_unsubscribe(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    filters: &[&str],
) -> Result<(), EncodeError> {
    let mut len = 2;
    for filter in filters {
        len += write::field_len(filter.len(), Field::Filter)?;
    }
    write::header(out, Kind::Unsubscribe.first_byte(), write::body_len(len)?);
    write::packet_id(out, packet_id);
    for filter in filters {
        write::bytes(out, filter.as_bytes());
    }
    Ok(())
}
