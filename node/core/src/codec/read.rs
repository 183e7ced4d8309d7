//! A cursor over the body of one packet, and the checks that several packets share.
//!
//! Used by the decoders of this room alone. Every read is bounded by the body, so that nothing
//! past the packet is ever looked at.

use super::{Error, Field, Kind, PacketId};

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    #[inline]
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) fn byte(&mut self, field: Field) -> Result<u8, Error> {
        let Some((&byte, rest)) = self.rest.split_first() else {
            return Err(Error::Truncated { field });
        };
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self, field: Field) -> Result<u16, Error> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<2>() else {
            return Err(Error::Truncated { field });
        };
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    /// Bytes behind a two-byte length, section 1.5.3.
    #[inline]
    pub(super) fn bytes(&mut self, field: Field) -> Result<&'a [u8], Error> {
        let len = usize::from(self.u16(field)?);
        let Some((bytes, rest)) = self.rest.split_at_checked(len) else {
            return Err(Error::Truncated { field });
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// Text behind a two-byte length: UTF-8 [MQTT-1.5.3-1] without U+0000 [MQTT-1.5.3-2]. A byte
    /// order mark is text like any other [MQTT-1.5.3-3].
    pub(super) fn text(&mut self, field: Field) -> Result<&'a str, Error> {
        let bytes = self.bytes(field)?;
        let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { field })?;
        if bytes.contains(&0) {
            return Err(Error::NullCharacter { field });
        }
        Ok(text)
    }

    /// A topic name: text, not empty [MQTT-4.7.3-1], without wildcards [MQTT-3.3.2-2].
    #[inline]
    pub(super) fn topic(&mut self, field: Field) -> Result<&'a str, Error> {
        let bytes = self.bytes(field)?;
        // One pass without an early end, which the compiler turns into wide instructions.
        let mut plain_ascii = !bytes.is_empty();
        for &byte in bytes {
            plain_ascii &= byte != 0 && byte < 0x80 && byte != b'+' && byte != b'#';
        }
        let text = std::str::from_utf8(bytes).map_err(|_| Error::NotUtf8 { field })?;
        if !plain_ascii {
            check_topic(bytes, field)?;
        }
        Ok(text)
    }

    #[inline]
    pub(super) fn packet_id(&mut self, kind: Kind) -> Result<PacketId, Error> {
        let value = self.u16(Field::PacketId)?;
        PacketId::new(value).ok_or(Error::PacketIdZero { kind })
    }

    /// The end of the packet: what is left does not belong to it.
    pub(super) const fn end(self, kind: Kind) -> Result<(), Error> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(Error::TrailingBytes {
            kind,
            count: self.rest.len(),
        })
    }
}

#[cold]
fn check_topic(bytes: &[u8], field: Field) -> Result<(), Error> {
    if bytes.is_empty() {
        return Err(Error::Empty { field });
    }
    if bytes.contains(&0) {
        return Err(Error::NullCharacter { field });
    }
    if bytes.iter().any(|&byte| byte == b'+' || byte == b'#') {
        return Err(Error::TopicWildcard { field });
    }
    Ok(())
}
