//! The one state that the cluster agrees on: commands, apply, snapshot.
//!
//! The node's raft room (or the simulation's abstract log) owns one [`Replica`] and feeds it entries in
//! order. Apply is total and deterministic: no clock, no randomness, no hash order, bounded work a
//! command; a refusal is an answer. What goes outward is a list of [`Effect`]s, the same on every node;
//! the room `control` decides which of them this node acts on.

mod apply;
mod command;
mod effect;
mod encode;
mod error;
mod nodes;
mod plant;
mod sessions;
mod snapshot;
mod state;

#[cfg(test)]
mod apply_test;
#[cfg(test)]
mod encode_test;
#[cfg(test)]
mod property_test;
#[cfg(test)]
mod random_log;
#[cfg(test)]
mod sessions_test;
#[cfg(test)]
mod testing;

pub use command::{Claim, Command, Entry, Lane, Store, Will};
pub use effect::{Applied, Delivery, Effect, Outcome, Refusal};
pub use error::Error;
pub use nodes::NodeInfo;
pub use plant::Plant;
pub use sessions::Session;
pub use snapshot::StateHash;
pub use state::Replica;
