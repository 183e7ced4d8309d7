//! Where clients come in: accepting, PROXY header, TLS handshake, CONNECT, password; then a shard goes on.
//!
//! Runs on the general runtime. Everything before the login is bounded by [`Bounds`]; a storm of connects fills
//! the backlog and not the memory. Nothing here looks at a packet but the first.

mod accept;
mod bind;
mod bounds;
mod connect;
mod greet;
pub mod metrics;
mod pipe;
mod proxy;
mod refuse;

#[cfg(test)]
mod connect_test;
#[cfg(test)]
mod proxy_test;

pub use accept::{Listener, Options, Rooms};
pub use bind::{BindError, bind};
pub use bounds::{Bounds, Gate};
