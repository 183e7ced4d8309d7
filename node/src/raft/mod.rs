//! The consensus: openraft over `store` and `link`, behind our own types.
//!
//! Only this room imports openraft; `app` starts it, control's driver holds its [`Handle`] and takes from its
//! [`Feeds`]. It owns the replica. What a command means is core's business: here it is bytes that are applied.

mod codec;
mod entry_stream;
mod handle;
mod leadership;
mod log_store;
mod machine;
mod members;
pub mod metrics;
mod network;
mod node_file;
mod proposals;
mod service;
mod settings;
mod snapshot;
mod start;
mod types;
mod voters;
mod wire;

#[cfg(test)]
mod log_store_test;
#[cfg(test)]
mod raft_test;
#[cfg(test)]
pub(crate) mod testing;

pub use handle::{Handle, IncomingRenewal, Member, Role, Status};
pub use leadership::Leadership;
pub use log_store::{LogReader, LogStore};
pub use machine::{AppliedRun, PrepareInstall};
pub use node_file::{NodeFile, NodeFileError};
pub use proposals::ProposeError;
pub use service::Service;
pub use settings::Settings;
pub use start::{Feeds, StartError, Starter, feeds};
pub use types::{
    CommittedLeaderId, Entry, LogId, Membership, NodeId, Payload, Peer, Raft, SnapshotMeta,
    StoredMembership, TypeConfig, Vote,
};
