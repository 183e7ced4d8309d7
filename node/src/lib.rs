//! The node: everything of the broker that waits, reads or writes.
//!
//! Rooms import lower rooms only, in the order of the design; `main` starts `app`.

pub mod link;
pub mod raft;
pub mod store;
