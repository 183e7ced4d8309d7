//! One frame of a link as bytes.
//!
//! Integers little-endian: version (u8), sender's and receiver's incarnation (u64 each), sequence (u64), ack
//! (u64), report (u64), messages (u32), their bytes (u32), taken answers (u32); then the messages, then the
//! answers (u64 each). A frame without content has sequence 0.

use std::sync::Arc;

use crate::{
    ids::{Incarnation, Index, Position},
    peering::{Batch, Token},
};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 5 * 8 + 3 * 4;

/// What goes over a link at once; a clone shares the content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The sender.
    pub from: Incarnation,
    /// The receiver.
    pub to: Incarnation,
    /// Its number among the frames with content, counted from 1; 0: it has none.
    pub sequence: u64,
    /// The sender has received all frames up to this one.
    pub ack: u64,
    /// What the sender's node has applied and adopted; the newest, whatever the sequence.
    pub report: Index,
    /// Messages for the receiver's sessions.
    pub batch: Arc<Batch>,
    /// Tokens of the receiver's own messages that every session here has taken.
    pub taken: Arc<[Token]>,
}

/// Bytes that are no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("decode link frame of {length} bytes: {what}")]
pub struct BadFrame {
    /// How many bytes came.
    pub length: usize,
    /// What does not fit.
    pub what: &'static str,
}

impl Frame {
    /// Appends the frame.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let content = self.batch.as_bytes();
        out.reserve(HEAD + content.len() + 8 * self.taken.len());
        out.push(VERSION);
        for word in [
            self.from.0.0,
            self.to.0.0,
            self.sequence,
            self.ack,
            self.report.0,
        ] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        // Content is at most FRAME_BYTES or one message, so the lengths fit.
        for length in [
            self.batch.len(),
            content.len() as u32,
            self.taken.len() as u32,
        ] {
            out.extend_from_slice(&length.to_le_bytes());
        }
        out.extend_from_slice(content);
        for token in self.taken.iter() {
            out.extend_from_slice(&token.0.to_le_bytes());
        }
    }

    /// Reads exactly one frame. The messages are checked while they are read.
    ///
    /// # Errors
    /// [`BadFrame`] if the bytes are not one whole frame of this version.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadFrame> {
        let bad = |what| BadFrame {
            length: bytes.len(),
            what,
        };
        let (head, rest) = bytes
            .split_at_checked(HEAD)
            .ok_or(bad("shorter than its head"))?;
        if head[0] != VERSION {
            return Err(bad("unknown version"));
        }
        let word = |n: usize| le(&head[1 + 8 * n..9 + 8 * n]);
        let length = |n: usize| le(&head[41 + 4 * n..45 + 4 * n]);
        let (messages, content, answers) = (length(0), length(1), length(2));
        if u64::try_from(rest.len()) != Ok(content + 8 * answers) {
            return Err(bad("its lengths do not add up"));
        }
        let (content, answers) = rest
            .split_at_checked(usize::try_from(content).unwrap_or(usize::MAX))
            .ok_or(bad("its lengths do not add up"))?;
        let messages = u32::try_from(messages).map_err(|_| bad("too many messages"))?;
        Ok(Self {
            from: Incarnation(Position(word(0))),
            to: Incarnation(Position(word(1))),
            sequence: word(2),
            ack: word(3),
            report: Index(word(4)),
            batch: Arc::new(Batch::from_bytes(content.to_vec(), messages)),
            taken: answers
                .chunks_exact(8)
                .map(|answer| Token(le(answer)))
                .collect(),
        })
    }
}

/// At most eight bytes as a number.
fn le(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte))
}
