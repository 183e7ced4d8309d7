//! Shards: one thread each, with the sockets and the core state of its connections.
//!
//! `listener` hands authenticated connections over through [`Shards`], the driver of `control` its events, the
//! links of `peer` their batches. Nothing here decides about messages: that is `mainstay_core::shard`. Between a
//! socket and its session there is no lock and no channel.

mod close;
mod conn;
mod driver;
mod flush;
mod handle;
mod handover;
mod mailbox;
pub mod metrics;
mod outward;
pub mod peer_queue;
mod placement;
mod read;

pub use handle::{Options, REQUESTS, Shards};
pub use handover::{Door, Handover};
pub use peer_queue::{PeerQueue, PeerQueues, ShardInbox};
