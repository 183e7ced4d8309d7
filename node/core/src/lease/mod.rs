//! Renew, fence, down: when a node may serve, and when the leader ends one (design section 5 *Lease*).
//!
//! `Holder` is a node's side, `Grantor` the leader's; both live in `control`. [`Window`] is what the shards
//! look at.

mod window;

pub use window::Window;
