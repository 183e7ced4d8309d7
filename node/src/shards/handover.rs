//! A connection that has logged in, on its way from the listener to its shard.

use std::net::{SocketAddr, TcpStream};

use mainstay_core::{shard::Login, time::Moment};
use tokio::sync::OwnedSemaphorePermit;

use crate::tls;

/// The kind of listener that a client came through; a label of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Door {
    /// MQTT over TCP.
    Plain,
    /// MQTT over TLS.
    Tls,
}

impl Door {
    /// All doors, for counters that start at zero.
    pub const ALL: [Self; 2] = [Self::Plain, Self::Tls];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Tls => "tls",
        }
    }
}

/// Everything that a shard needs to go on with a connection.
#[derive(Debug)]
pub struct Handover {
    /// The socket, non-blocking, with its options set.
    pub stream: TcpStream,
    /// The TLS session, established.
    pub tls: Option<tls::Session>,
    /// What the CONNECT said, and who it is.
    pub login: Login,
    /// Plain bytes that came behind the CONNECT.
    pub plain: Vec<u8>,
    /// The beginning of a TLS record that came behind it.
    pub cipher: Vec<u8>,
    /// The client's own address.
    pub client: SocketAddr,
    /// Where it came in.
    pub door: Door,
    /// When it was accepted.
    pub accepted: Moment,
    /// Its share of the node's connections; given back when it is dropped.
    pub permit: OwnedSemaphorePermit,
}
