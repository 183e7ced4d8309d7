//! Topic names, topic filters, and the two structures that find filters for a name.
//!
//! [`Trie`] shares structure between versions and serves `interest`; [`Table`] is changed in place
//! and serves one shard's own subscriptions. Names and filters are checked once, where they are
//! made. This room knows no rights, no aliases' meaning and no packets.

mod error;
mod exact;
mod filter;
mod hash;
mod local;
mod name;
mod node;
mod short;
mod slab;
mod targets;
mod text;
mod trie;

#[cfg(test)]
mod local_test;
#[cfg(test)]
mod trie_test;

pub use error::Error;
pub use filter::TopicFilter;
pub use hash::{HashKey, KeyedHasher};
pub use local::{Handle, Inserted, MAX_LOCAL_TARGETS, Removed, Table, TableFull};
pub use name::TopicName;
pub use trie::Trie;

/// The longest topic name or filter, in bytes.
///
/// The service that is replaced states 1,024 for topics and filters alike. It also bounds what one
/// of them can cost: at most 1,025 levels.
pub const MAX_TOPIC_BYTES: usize = 1_024;
