//! SUBACK, section 3.9.

use super::read::Reader;
use super::{EncodeError, Error, Kind, PacketId, QoS, write};

const FAILURE: u8 = 0x80;

/// The answer to one filter of a SUBSCRIBE [MQTT-3.9.3-2].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SubackCode {
    /// Granted, with the highest QoS that will be sent.
    Granted(QoS),
    /// 0x80: refused.
    Failure,
}

impl SubackCode {
    /// Reads the byte of the wire; `None` for a reserved one.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match (byte, QoS::from_bits(byte)) {
            (FAILURE, _) => Some(Self::Failure),
            (_, Some(qos)) => Some(Self::Granted(qos)),
            (_, None) => None,
        }
    }

    /// The byte of the wire.
    #[must_use]
    pub const fn byte(self) -> u8 {
        match self {
            Self::Granted(qos) => qos.bits(),
            Self::Failure => FAILURE,
        }
    }
}

/// A SUBACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Suback<'a> {
    /// The identifier of the SUBSCRIBE.
    pub packet_id: PacketId,
    codes: &'a [u8],
}

impl<'a> Suback<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let packet_id = reader.packet_id(Kind::Suback)?;
        let codes = reader.rest();
        if codes.is_empty() {
            return Err(Error::NoEntries { kind: Kind::Suback });
        }
        for &value in codes {
            SubackCode::from_byte(value).ok_or(Error::SubackCode { value })?;
        }
        Ok(Self { packet_id, codes })
    }

    /// The answers, one a filter, in the order of the SUBSCRIBE.
    #[must_use]
    pub fn codes(&self) -> SubackCodes<'a> {
        SubackCodes(self.codes.iter())
    }
}

/// Iterator over the codes of a [`Suback`].
#[derive(Debug, Clone)]
pub struct SubackCodes<'a>(std::slice::Iter<'a, u8>);

impl Iterator for SubackCodes<'_> {
    type Item = SubackCode;

    fn next(&mut self) -> Option<Self::Item> {
        SubackCode::from_byte(*self.0.next()?)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

/// Appends a SUBACK with one code a filter [MQTT-3.8.4-5].
///
/// # Errors
///
/// More codes than a packet can hold; `out` is then as it was.
pub fn encode_suback(
    out: &mut Vec<u8>,
    packet_id: PacketId,
    codes: &[SubackCode],
) -> Result<(), EncodeError> {
    let remaining = write::body_len(2 + codes.len())?;
    write::header(out, Kind::Suback.first_byte(), remaining);
    write::packet_id(out, packet_id);
    out.extend(codes.iter().map(|code| code.byte()));
    Ok(())
}
