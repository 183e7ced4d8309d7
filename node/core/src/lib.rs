//! Everything of Mainstay that decides, and nothing that waits.
//!
//! Time and randomness are arguments, outputs go into an outbox; a whole cluster of these cores runs
//! in one thread under the simulation. The rooms, lowest first; a room imports lower ones only (a test
//! reads the `use crate::` lines).

#![warn(missing_docs)]

pub mod ids;
pub mod limits;
pub mod reason;
pub mod time;

pub mod topic;

pub mod codec;

pub mod catalog;
pub mod interest;
pub mod stored;

pub mod access;
pub mod replica;

pub mod session;

pub mod lease;
pub mod peering;
pub mod proposer;
pub mod router;

pub mod message;

pub mod control;
pub mod shard;
