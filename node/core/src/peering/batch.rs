//! A batch of messages as bytes.
//!
//! One message is: kind of space (1), space ID (20), QoS and token flag (1), topic length (u16), payload length
//! (u32), token (u64, if any), topic, payload; integers little-endian. A message without a topic is a marker.

use std::ops::Range;

use crate::{
    codec::QoS,
    ids::{ResourceId, ShardId, SpaceId},
};

/// Names one unanswered QoS 1 publish of a shard; opaque to everyone else, but for the shard in its top byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

impl Token {
    /// Makes a token of the low 56 bits of `rest`.
    pub fn new(shard: ShardId, rest: u64) -> Self {
        Self((u64::from(shard.0) << 56) | (rest & ((1 << 56) - 1)))
    }

    /// The shard that waits for the answer.
    pub fn shard(self) -> ShardId {
        ShardId((self.0 >> 56) as u8)
    }

    /// The low 56 bits.
    pub fn rest(self) -> u64 {
        self.0 & ((1 << 56) - 1)
    }
}

/// One message of a batch, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// The space.
    pub space: SpaceId,
    /// The canonical topic.
    pub topic: &'a str,
    /// The payload.
    pub payload: &'a [u8],
    /// The publisher's QoS.
    pub qos: QoS,
    /// To be answered `taken`, if given.
    pub token: Option<Token>,
}

impl Message<'_> {
    /// A message that nobody gets: it is answered `taken` once all that was sent before it on the same way is in its
    /// receivers' queues. Its topic is empty, which no real one is [MQTT-4.7.3-1].
    pub fn marker(space: SpaceId, token: Token) -> Self {
        Self {
            space,
            topic: "",
            payload: &[],
            qos: QoS::AtMostOnce,
            token: Some(token),
        }
    }

    /// Whether it is a marker.
    pub fn is_marker(&self) -> bool {
        self.topic.is_empty()
    }
}

/// Messages one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: u32,
}

/// A batch that is not of the expected form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message batch is malformed at byte {offset}")]
pub struct BadBatch {
    /// Where.
    pub offset: usize,
}

const HEAD: usize = 1 + 20 + 1 + 2 + 4;

impl Batch {
    /// Appends a message.
    pub fn push(&mut self, message: &Message<'_>) {
        let (kind, id) = match &message.space {
            SpaceId::Registry(id) => (0, id),
            SpaceId::Broker(id) => (1, id),
        };
        let out = &mut self.bytes;
        out.reserve(HEAD + 8 + message.topic.len() + message.payload.len());
        out.push(kind);
        out.extend_from_slice(id.as_str().as_bytes());
        out.push(message.qos as u8 | if message.token.is_some() { 0x80 } else { 0 });
        out.extend_from_slice(&(message.topic.len() as u16).to_le_bytes());
        out.extend_from_slice(&(message.payload.len() as u32).to_le_bytes());
        if let Some(token) = message.token {
            out.extend_from_slice(&token.0.to_le_bytes());
        }
        out.extend_from_slice(message.topic.as_bytes());
        out.extend_from_slice(message.payload);
        self.messages += 1;
    }

    /// Wraps bytes that came from elsewhere; they are checked while they are read.
    pub fn from_bytes(bytes: Vec<u8>, messages: u32) -> Self {
        Self { bytes, messages }
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many messages it holds.
    pub fn len(&self) -> u32 {
        self.messages
    }

    /// Whether it holds no message.
    pub fn is_empty(&self) -> bool {
        self.messages == 0
    }

    /// Appends all messages of another batch.
    pub fn append(&mut self, other: &Self) {
        self.bytes.extend_from_slice(&other.bytes);
        self.messages += other.messages;
    }

    /// The same messages in batches of at most `max` bytes, or of one message. What follows a malformed
    /// message stays in one piece with it.
    pub fn split(&self, max: usize) -> Vec<Self> {
        let mut pieces = vec![Self::default()];
        let mut offset = 0;
        while offset < self.bytes.len() {
            let message = Reader::default().read(&self.bytes[offset..]);
            let (length, messages) = match message {
                Some((_, length)) => (length, 1),
                None => {
                    let counted: u32 = pieces.iter().map(Self::len).sum();
                    (
                        self.bytes.len() - offset,
                        self.messages.saturating_sub(counted),
                    )
                }
            };
            if let Some(last) = pieces.last()
                && !last.bytes.is_empty()
                && last.bytes.len() + length > max
            {
                pieces.push(Self::default());
            }
            if let Some(last) = pieces.last_mut() {
                last.bytes
                    .extend_from_slice(&self.bytes[offset..offset + length]);
                last.messages += messages;
            }
            offset += length;
        }
        pieces
    }

    /// Empties it and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.messages = 0;
    }

    /// The messages in order; ends after the first malformed one.
    pub fn iter(&self) -> impl Iterator<Item = Result<Message<'_>, BadBatch>> {
        let mut reader = Reader::default();
        let mut broken = false;
        std::iter::from_fn(move || {
            if broken || reader.offset == self.bytes.len() {
                return None;
            }
            let read = reader.next(&self.bytes);
            broken = read.is_err();
            Some(read)
        })
    }

    /// Checks every message and says to which shard each belongs by its space: the order within a space is kept.
    ///
    /// # Errors
    /// [`BadBatch`] if a message cannot be read, or there are not as many as the batch says.
    pub fn homes(&self, mut home: impl FnMut(SpaceId) -> ShardId) -> Result<Homes, BadBatch> {
        let mut reader = Reader::default();
        let mut homes = Homes::Nobody;
        let mut known: Option<(SpaceId, ShardId)> = None;
        let mut count = 0;
        while reader.offset < self.bytes.len() {
            let start = reader.offset;
            let space = reader.next(&self.bytes)?.space;
            let shard = match known {
                Some((same, shard)) if same == space => shard,
                _ => home(space),
            };
            known = Some((space, shard));
            count += 1;
            homes.add(shard, &self.bytes, start..reader.offset, count);
        }
        if count != self.messages {
            return Err(BadBatch {
                offset: reader.offset,
            });
        }
        Ok(homes)
    }
}

/// The shards that the messages of a batch are for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Homes {
    /// There is no message.
    Nobody,
    /// All are for one shard: the batch can go there as it is.
    One(ShardId),
    /// The batch in parts, one a shard.
    Many(Vec<(ShardId, Batch)>),
}

impl Homes {
    /// Adds the message that lies at `at`, the `count`th.
    fn add(&mut self, shard: ShardId, bytes: &[u8], at: Range<usize>, count: u32) {
        match self {
            Self::Nobody => *self = Self::One(shard),
            Self::One(only) if *only == shard => {}
            Self::One(only) => {
                let before = Batch::from_bytes(bytes[..at.start].to_vec(), count - 1);
                let this = Batch::from_bytes(bytes[at].to_vec(), 1);
                *self = Self::Many(vec![(*only, before), (shard, this)]);
            }
            Self::Many(parts) => {
                let place = parts.iter().position(|(part, _)| *part == shard);
                let place = place.unwrap_or_else(|| {
                    parts.push((shard, Batch::default()));
                    parts.len() - 1
                });
                let part = &mut parts[place].1;
                part.bytes.extend_from_slice(&bytes[at]);
                part.messages += 1;
            }
        }
    }
}

/// Reads message after message. It remembers the last space: most batches are of one, and its ID is the most
/// costly part of a message to read.
#[derive(Debug, Default)]
struct Reader {
    offset: usize,
    last: Option<([u8; 21], SpaceId)>,
}

impl Reader {
    fn next<'a>(&mut self, bytes: &'a [u8]) -> Result<Message<'a>, BadBatch> {
        let bad = BadBatch {
            offset: self.offset,
        };
        let (message, length) = self.read(&bytes[self.offset..]).ok_or(bad)?;
        self.offset += length;
        Ok(message)
    }

    fn read<'a>(&mut self, bytes: &'a [u8]) -> Option<(Message<'a>, usize)> {
        let (head, mut rest) = bytes.split_at_checked(HEAD)?;
        let space = self.space(head[..21].try_into().ok()?)?;
        let qos = QoS::from_bits(head[21] & 0x7f)?;
        let topic_length = usize::from(u16::from_le_bytes([head[22], head[23]]));
        let payload_length = u32::from_le_bytes([head[24], head[25], head[26], head[27]]) as usize;
        let mut length = HEAD + topic_length + payload_length;
        let mut token = None;
        if head[21] & 0x80 != 0 {
            let (word, after) = rest.split_at_checked(8)?;
            token = Some(Token(u64::from_le_bytes(word.try_into().ok()?)));
            rest = after;
            length += 8;
        }
        let (topic, rest) = rest.split_at_checked(topic_length)?;
        let payload = rest.get(..payload_length)?;
        let topic = std::str::from_utf8(topic).ok()?;
        let message = Message {
            space,
            topic,
            payload,
            qos,
            token,
        };
        Some((message, length))
    }

    fn space(&mut self, bytes: [u8; 21]) -> Option<SpaceId> {
        if let Some((last, space)) = self.last
            && last == bytes
        {
            return Some(space);
        }
        let id: ResourceId = std::str::from_utf8(&bytes[1..]).ok()?.parse().ok()?;
        let space = match bytes[0] {
            0 => SpaceId::Registry(id),
            1 => SpaceId::Broker(id),
            _ => return None,
        };
        self.last = Some((bytes, space));
        Some(space)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(spaces: &[u8]) -> Batch {
        let mut batch = Batch::default();
        for (number, space) in (0_u64..).zip(spaces) {
            batch.push(&Message {
                space: SpaceId::Broker(ResourceId::from_random([*space; 17])),
                topic: "a/b",
                payload: &[*space],
                qos: QoS::AtLeastOnce,
                token: Some(Token(number)),
            });
        }
        batch
    }

    fn home(space: SpaceId) -> ShardId {
        let odd = SpaceId::Broker(ResourceId::from_random([1; 17]));
        ShardId(u8::from(space == odd))
    }

    fn tokens(batch: &Batch) -> Vec<u64> {
        batch.iter().map(|m| m.unwrap().token.unwrap().0).collect()
    }

    #[test]
    fn a_batch_of_one_home_stays_whole_and_another_is_parted_in_order() {
        assert_eq!(Batch::default().homes(home), Ok(Homes::Nobody));
        assert_eq!(batch(&[1, 1]).homes(home), Ok(Homes::One(ShardId(1))));
        let Ok(Homes::Many(parts)) = batch(&[0, 0, 1, 0, 1, 2]).homes(home) else {
            panic!("two homes");
        };
        assert_eq!(parts[0].0, ShardId(0));
        assert_eq!(tokens(&parts[0].1), [0, 1, 3, 5]);
        assert_eq!(tokens(&parts[1].1), [2, 4]);
    }

    #[test]
    fn a_batch_that_cannot_be_read_or_miscounts_has_no_homes() {
        let whole = batch(&[0, 1, 0]);
        let cut = whole.as_bytes()[..whole.as_bytes().len() - 1].to_vec();
        assert!(Batch::from_bytes(cut, 3).homes(home).is_err());
        let all = whole.as_bytes().to_vec();
        assert!(Batch::from_bytes(all, 4).homes(home).is_err());
    }
}
