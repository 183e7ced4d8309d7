//! The first frame of each side of a stream: who speaks to whom, and where to go on.
//!
//! Version (1 byte), sender's and receiver's incarnation, the number of the next frame that the sender expects;
//! u64, little-endian. The node's name is on the call and proven by its certificate.

use mainstay_core::ids::{Incarnation, Position};

const VERSION: u8 = 1;
const LENGTH: usize = 1 + 3 * 8;

/// Says hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) from: Incarnation,
    pub(super) to: Incarnation,
    pub(super) expects: u64,
}

impl Hello {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        for word in [self.from.0.0, self.to.0.0, self.expects] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// `None` for bytes that are no hello of this version.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.try_into().ok()?;
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[1 + 8 * at..9 + 8 * at]);
            u64::from_le_bytes(word)
        };
        let life = |at| Incarnation(Position(word(at)));
        (bytes[0] == VERSION).then(|| Self {
            from: life(0),
            to: life(1),
            expects: word(2),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_read_as_it_was_written_and_nothing_else_is() {
        let life = |n| Incarnation(Position(n));
        let hello = Hello {
            from: life(1 << 40),
            to: life(7),
            expects: 9,
        };
        let mut bytes = hello.encode();
        assert_eq!(Hello::decode(&bytes), Some(hello));
        assert_eq!(Hello::decode(&bytes[1..]), None);
        bytes[0] = 2;
        assert_eq!(Hello::decode(&bytes), None);
    }
}
