//! Names of things: nodes, shards, resources, spaces, principals, sessions, positions in the log.
//!
//! Every room uses these newtypes instead of bare numbers and strings. Nothing here decides.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A node, for as long as its data folder exists: 64 random bits, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u64);

/// A node's place in a [`NodeSet`]; given by the replica, kept for the life of the node's entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeSlot(pub u8);

impl NodeSlot {
    /// How many nodes a cluster can have: one bit each in a [`NodeSet`].
    pub const MAX: u8 = 64;
}

/// A set of nodes by slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeSet(pub u64);

impl NodeSet {
    /// The set of one node.
    pub fn of(slot: NodeSlot) -> Self {
        Self(1 << u64::from(slot.0))
    }

    /// Whether the node is in the set.
    pub fn contains(self, slot: NodeSlot) -> bool {
        self.0 & Self::of(slot).0 != 0
    }

    /// This set and the node.
    #[must_use]
    pub fn with(self, slot: NodeSlot) -> Self {
        Self(self.0 | Self::of(slot).0)
    }

    /// This set without the node.
    #[must_use]
    pub fn without(self, slot: NodeSlot) -> Self {
        Self(self.0 & !Self::of(slot).0)
    }

    /// The slots in ascending order.
    pub fn iter(self) -> impl Iterator<Item = NodeSlot> {
        bits(self.0).map(NodeSlot)
    }

    /// Whether no node is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// A shard of this node, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u8);

impl ShardId {
    /// How many shards a node can have: one bit each in a [`ShardSet`].
    pub const MAX: u8 = 64;
}

/// A set of shards of this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardSet(pub u64);

impl ShardSet {
    /// The set of one shard.
    pub fn of(shard: ShardId) -> Self {
        Self(1 << u64::from(shard.0))
    }

    /// Whether the shard is in the set.
    pub fn contains(self, shard: ShardId) -> bool {
        self.0 & Self::of(shard).0 != 0
    }

    /// This set and the shard.
    #[must_use]
    pub fn with(self, shard: ShardId) -> Self {
        Self(self.0 | Self::of(shard).0)
    }

    /// This set without the shard.
    #[must_use]
    pub fn without(self, shard: ShardId) -> Self {
        Self(self.0 & !Self::of(shard).0)
    }

    /// The shards in ascending order.
    pub fn iter(self) -> impl Iterator<Item = ShardId> {
        bits(self.0).map(ShardId)
    }

    /// Whether no shard is in the set.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bits(mut word: u64) -> impl Iterator<Item = u8> {
    std::iter::from_fn(move || {
        (word != 0).then(|| {
            let bit = word.trailing_zeros();
            word &= word - 1;
            u8::try_from(bit).expect("a bit of a u64 is below 64")
        })
    })
}

/// The index of an entry of the agreed log; 0 is before the first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Index(pub u64);

/// The place of one command in the agreed log: the entry's index and the offset in its batch.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position(pub u64);

impl Position {
    /// A batch holds at most `1 << OFFSET_BITS` commands.
    pub const OFFSET_BITS: u32 = 10;

    /// The place of the command `offset` of the entry `index`.
    pub fn new(index: Index, offset: usize) -> Self {
        let offset = u64::try_from(offset)
            .unwrap_or(u64::MAX)
            .min((1 << Self::OFFSET_BITS) - 1);
        Self((index.0 << Self::OFFSET_BITS) | offset)
    }

    /// The entry that holds the command.
    pub fn index(self) -> Index {
        Index(self.0 >> Self::OFFSET_BITS)
    }
}

/// One life of a node as a member that serves: the place of its `NodeUp`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Incarnation(pub Position);

/// One ownership of a session by a connection: the place of its `Claim`.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub Position);

/// The ID of a folder, registry, device, broker or password: 20 characters `a-z0-9`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceId([u8; 20]);

impl ResourceId {
    /// Makes an ID with the prefix `are` of the service from 17 random bytes.
    pub fn from_random(random: [u8; 17]) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuv0123456789";
        let mut id = *b"are00000000000000000";
        for (to, byte) in id[3..].iter_mut().zip(random) {
            *to = ALPHABET[usize::from(byte % 32)];
        }
        Self(id)
    }

    /// The ID as text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("only ASCII is ever stored")
    }
}

/// A text that is no [`ResourceId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ID {found:?} is not 20 characters of a-z and 0-9")]
pub struct BadResourceId {
    /// What was given, cut to 64 characters.
    pub found: String,
}

impl FromStr for ResourceId {
    type Err = BadResourceId;

    fn from_str(text: &str) -> Result<Self, BadResourceId> {
        let bad = || BadResourceId {
            found: text.chars().take(64).collect(),
        };
        let bytes: [u8; 20] = text.as_bytes().try_into().map_err(|_| bad())?;
        if !bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        {
            return Err(bad());
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ResourceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ResourceId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for ResourceId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = ResourceId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("20 characters of a-z and 0-9")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ResourceId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// What messages never leave: one registry with its devices, or one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum SpaceId {
    /// A registry and its devices.
    Registry(ResourceId),
    /// A virtual broker.
    Broker(ResourceId),
}

/// Who acts within a space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Actor {
    /// The registry itself (a back end).
    Registry,
    /// A device of the registry.
    Device(ResourceId),
    /// The broker, whichever credential was used.
    Broker,
}

/// Who a connection is: an actor in its space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// The space it belongs to.
    pub space: SpaceId,
    /// Who it is there.
    pub actor: Actor,
}

/// The client identifier of a CONNECT (MQTT 3.1.1 section 3.1.3.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ClientId(pub Arc<str>);

/// A session's name; takeover and P5 work within it only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionKey {
    /// Whose session it is.
    pub principal: Principal,
    /// The client's own name for it.
    pub client_id: ClientId,
}

/// A connection of one shard; the generation tells a reused slot from the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId {
    /// Its shard.
    pub shard: ShardId,
    /// Its place in the shard's table.
    pub slot: u32,
    /// Counts the connections that used the place.
    pub generation: u32,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for SpaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registry(id) => write!(f, "registry {id}"),
            Self::Broker(id) => write!(f, "broker {id}"),
        }
    }
}
