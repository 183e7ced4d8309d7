//! Real sockets against listeners and shards, with a control that says yes to everything.
//!
//! What is tested here is input and output: bytes in pieces, ends, slow readers, the lease. What messages mean is
//! core's, and tested there.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod client;
mod end;
mod lease;
mod login;
mod messages;
mod node;
