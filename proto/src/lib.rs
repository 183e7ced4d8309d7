//! The wire types of Mainstay: `internal` is spoken between nodes and on the local socket.
//!
//! Generated code only. These types stop at the rooms `raft`, `peer` and `local` of the node.

/// Packages that only Mainstay's own processes speak.
#[allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all
)]
pub mod internal {
    /// Version 1 of the internal packages.
    pub mod v1 {
        tonic::include_proto!("mainstay.internal.v1");
    }
}
