//! `mainstay dev`: a cluster on loopback, each node a process of its own, with everything made for it.
//!
//! Called by `cli` only. It makes the folder (CA, certificates, configurations, secrets), starts the nodes as
//! `serve`, seeds them through the local socket, writes `dev.json` and prints lines to paste. It has no part in
//! how a node works.

mod command;
mod folder;
mod lines;
mod manifest;
mod parent;
mod secrets;

pub use command::{Error, Options, run};
