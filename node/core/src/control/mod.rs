//! A node's own loop: incarnation, lease, proposals, interest, barrier, views, leadership duties.
//!
//! One owner, one input at a time: the replica's applied entries, the shards' requests, answers of the
//! consensus and reports of the links go in; [`Output`]s come out, to be carried out in their order.

mod output;

pub use output::{LinkState, Output, Renewal};
