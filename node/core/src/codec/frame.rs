//! The fixed header (section 2.2): where one packet ends and the next begins.
//!
//! Called for every packet by the connection's read loop. It looks at no more than five bytes, so
//! that calling it again while a packet is incomplete costs nothing; it never looks past the packet.

use super::Error;

/// The longest packet that the format can express, in bytes: five bytes of fixed header and
/// 268,435,455 of body (section 2.2.3).
pub const MAX_PACKET: usize = 5 + MAX_REMAINING;

/// The largest remaining length, in bytes: four digits to the base 128.
pub(super) const MAX_REMAINING: usize = 268_435_455;

/// One whole packet at the start of a read buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Type and flags, for [`super::decode`].
    pub first_byte: u8,
    /// What follows the fixed header, for [`super::decode`].
    pub body: &'a [u8],
    /// Length of the packet with its header, in bytes: what the reader drops when it is done.
    pub len: usize,
}

/// Cuts the first packet off `buf`; `None` while it is incomplete.
///
/// `max_packet` bounds the whole packet, header included, in bytes; it is checked as soon as the
/// header is there, so that a reader never waits for a body that it will refuse.
///
/// # Errors
///
/// [`Error::RemainingLength`] if the length does not end within four bytes,
/// [`Error::PacketTooLarge`] above `max_packet`.
#[inline]
pub fn frame(buf: &[u8], max_packet: usize) -> Result<Option<Frame<'_>>, Error> {
    let mut remaining = 0_usize;
    for digit in 0..4 {
        let Some(&byte) = buf.get(1 + digit) else {
            return Ok(None);
        };
        remaining |= usize::from(byte & 0x7f) << (7 * digit);
        if byte & 0x80 == 0 {
            return whole(buf, 2 + digit, remaining, max_packet);
        }
    }
    Err(Error::RemainingLength)
}

#[inline]
fn whole(
    buf: &[u8],
    header: usize,
    remaining: usize,
    max_packet: usize,
) -> Result<Option<Frame<'_>>, Error> {
    let len = header + remaining;
    if len > max_packet {
        return Err(Error::PacketTooLarge {
            len,
            max: max_packet,
        });
    }
    let (Some(&first_byte), Some(body)) = (buf.first(), buf.get(header..len)) else {
        return Ok(None);
    };
    Ok(Some(Frame {
        first_byte,
        body,
        len,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_is_cut_only_when_it_is_whole() {
        let bytes = [0x30, 3, 1, 2, 3, 0xc0, 0];
        for cut in 0..5 {
            assert_eq!(frame(&bytes[..cut], MAX_PACKET), Ok(None), "{cut} bytes");
        }
        let first = frame(&bytes, MAX_PACKET).unwrap().unwrap();
        assert_eq!(
            (first.first_byte, first.body, first.len),
            (0x30, &[1, 2, 3][..], 5)
        );
        let second = frame(&bytes[first.len..], MAX_PACKET).unwrap().unwrap();
        assert_eq!(
            (second.first_byte, second.body, second.len),
            (0xc0, &[][..], 2)
        );
    }

    #[test]
    fn section_2_2_3_lengths_at_each_edge() {
        for (digits, value) in [
            (&[0x7f][..], 127),
            (&[0x80, 0x01], 128),
            (&[0xff, 0x7f], 16_383),
            (&[0x80, 0x80, 0x01], 16_384),
            (&[0xff, 0xff, 0x7f], 2_097_151),
            (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
            (&[0xff, 0xff, 0xff, 0x7f], MAX_REMAINING),
        ] {
            let mut bytes = vec![0x30];
            bytes.extend_from_slice(digits);
            let len = 1 + digits.len() + value;
            assert_eq!(frame(&bytes, len), Ok(None));
            let above = Error::PacketTooLarge { len, max: len - 1 };
            assert_eq!(
                frame(&bytes, len - 1),
                Err(above),
                "before its body has come"
            );
        }
    }

    #[test]
    fn section_2_2_3_a_fifth_digit_is_refused() {
        let bytes = [0x30, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(frame(&bytes, MAX_PACKET), Err(Error::RemainingLength));
        assert_eq!(frame(&bytes[..4], MAX_PACKET), Ok(None));
    }
}
