//! gRPC between the nodes of one cluster: identity, channels, server, all with mutual TLS.
//!
//! Called by `raft`, `peer` and `app`. A client connects only to the node whose name the certificate
//! carries, a server takes a call only from the node that the caller's certificate names. Nothing here
//! knows what the calls mean.

mod caller;
mod channels;
mod cluster_id;
mod error;
mod identity;
mod refused;
mod server;

#[cfg(test)]
mod link_test;
#[cfg(test)]
pub(crate) mod testing;

pub use caller::Caller;
pub use channels::{Channels, Client, Endpoint, Purpose};
pub use cluster_id::{BadClusterId, ClusterId, Home};
pub use error::Error;
pub use identity::{Credentials, Identity};
pub use refused::is_refused;
pub use server::{Incoming, Server};
