//! The node: input and output around `mainstay-core`.
//!
//! The rooms, lowest first; a room imports lower ones only (a test reads the `use crate::` lines).

pub mod tasks;

pub mod tls;

pub mod auth;

pub mod shards;

pub mod listener;
