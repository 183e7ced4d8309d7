//! Which node wants the messages of which canonical filter in which space.
//!
//! The replica owns the one [`Interest`] and changes it by commands. It knows nodes only, no shards and no
//! sessions, and it does not match: the router does, on tables built from it.

#[expect(
    clippy::module_inception,
    reason = "a file has the name of its one main type"
)]
mod interest;

pub use interest::{Added, Interest};
