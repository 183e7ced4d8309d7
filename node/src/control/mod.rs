//! Drives core's `Control`: feeds it what comes, carries out what it asks, in order.
//!
//! One task of the raft runtime owns it. Everybody else has a [`Handle`]. It decides nothing itself.

mod driver;
mod handle;
mod inbox;

pub use driver::{Driver, Parts};
pub use handle::{Handle, Unavailable};
pub use inbox::Inbox;
