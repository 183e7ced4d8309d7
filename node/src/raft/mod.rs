//! openraft in one room: its types, and the log it writes to.
//!
//! Only this room imports openraft. It stands on `store` for the disk; `app` starts it. Nothing of
//! what a command means is known here: a command is bytes.

mod codec;
mod entry_stream;
mod log_store;
mod types;

#[cfg(test)]
mod log_store_test;

pub use log_store::{LogReader, LogStore};
pub use types::{
    Entry, LogId, Membership, NodeId, Payload, Peer, Raft, SnapshotMeta, StoredMembership,
    TypeConfig, Vote,
};
