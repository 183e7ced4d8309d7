//! Renew, fence, down: when a node may serve, and when the leader ends one (design section 5 *Lease*).
//!
//! [`Holder`] is a node's side, [`Grantor`] the leader's; both live in `control`. [`Window`] is what the
//! shards look at.

mod grantor;
mod holder;
mod standing;
mod window;

#[cfg(test)]
mod grantor_test;

pub use grantor::{Ask, Grantor, Verdict};
pub use holder::Holder;
pub use window::Window;
