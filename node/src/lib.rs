//! The node: input and output around `mainstay-core`.
//!
//! The rooms, lowest first; a room imports lower ones only (a test reads the `use crate::` lines).

pub mod random;

pub mod certificates;
pub mod config;
pub mod tasks;

pub mod telemetry;

pub mod store;
pub mod tls;

pub mod link;

pub mod raft;

pub mod auth;

pub mod shards;

pub mod peer;

pub mod control;

pub mod admin;
pub mod listener;
pub mod local;

pub mod app;

pub mod dev;

pub mod cli;
