//! From a publish to a plan: which shards of this node and which other nodes get it.
//!
//! A [`Table`] is immutable; control builds it from the replica's effects and the shards' own requests and
//! publishes it; each shard adopts the newest once a round. Matching takes no lock and does not allocate.

mod table;

pub use table::{Peer, Routes, Table, Wanted};
