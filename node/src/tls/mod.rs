//! TLS of client connections: server configuration, and one connection's records on bytes.
//!
//! rustls' unbuffered API: a [`Session`] holds keys and nothing else while the connection is idle; the caller
//! brings the buffers. `listener` shakes hands on the general runtime, `shards` goes on with the same session.
//! Nothing here touches a socket but `handshake`.

mod config;
mod handshake;
pub mod metrics;
mod session;

#[cfg(test)]
mod session_test;

pub use config::{ConfigError, Server};
pub use handshake::{HandshakeError, Incoming, shake_hands};
pub use session::{Progress, RecordError, Session};
