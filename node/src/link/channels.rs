//! Channels to other nodes, opened when first used and opened again when they break.
//!
//! One for Raft and one for links a peer: they must not share the flow control of one HTTP/2 connection, or
//! messages would hold the consensus up. `raft` and `peer` ask for a client here; nobody else connects.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use mainstay_proto::internal::v1::cluster_client::ClusterClient;
use tokio::runtime::Handle;
use tonic::{
    service::interceptor::InterceptedService,
    transport::{self, Channel},
};

use super::{caller::Stamp, cluster_id::Home, error::Error, identity::Credentials};

/// A stub for calls to one node; each carries this node's name.
pub type Client = ClusterClient<InterceptedService<Channel, Stamp>>;

/// Bytes of one stream that may be under way unread: two appends of the largest usual size.
const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
/// Bytes of one connection that may be under way unread: a few streams at once.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Waiting for a connection and its handshake; a node within reach answers in milliseconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A connection is asked for life so often, also an idle one …
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// … and dropped without an answer in this time; together below a fence of 3 s.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_millis(1_500);
/// Bytes of one message: a single command may carry the largest payload of MQTT 3.1.1 (256 MiB, section
/// 2.2.3), and a caller has proven to be a node of this cluster. Usual messages stay below 4 MiB.
pub(crate) const MESSAGE_BYTES: usize = 288 * 1024 * 1024;
/// Kept channels: two for each of the 64 nodes of a full cluster, and as many again for changed addresses.
const MAX_CHANNELS: usize = 256;

/// What a channel is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// The consensus and calls to the leader.
    Raft,
    /// Live messages.
    Link,
}

/// Where a node is reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The name that its certificate must carry.
    pub name: String,
    /// host:port.
    pub address: String,
}

/// All channels of this node.
pub struct Channels {
    credentials: Credentials,
    stamp: Stamp,
    runtime: Handle,
    link_runtime: Handle,
    open: Mutex<HashMap<(Endpoint, Purpose), Channel>>,
}

impl Channels {
    /// No channel is opened yet; what they do runs on `runtime`.
    ///
    /// # Errors
    ///
    /// A node name that is not printable ASCII.
    pub fn new(credentials: Credentials, home: Home, runtime: Handle) -> Result<Self, Error> {
        let stamp = Stamp::new(credentials.name(), home).ok_or_else(|| Error::BadAddress {
            address: credentials.name().to_owned(),
        })?;
        Ok(Self {
            credentials,
            stamp,
            link_runtime: runtime.clone(),
            runtime,
            open: Mutex::default(),
        })
    }

    /// Moves the channels of live messages to a runtime of their own: the one on which their links run, or each frame
    /// wakes one thread more.
    #[must_use]
    pub fn with_links_on(self, runtime: Handle) -> Self {
        Self {
            link_runtime: runtime,
            ..self
        }
    }

    /// Claims a name that the certificate does not carry.
    #[cfg(test)]
    pub(super) fn pretending(credentials: Credentials, name: &str) -> Self {
        let stamp = Stamp::new(name, Home::default()).unwrap();
        Self {
            credentials,
            stamp,
            runtime: Handle::current(),
            link_runtime: Handle::current(),
            open: Mutex::default(),
        }
    }

    /// The name of this node.
    pub fn name(&self) -> &str {
        self.credentials.name()
    }

    /// A client for a peer; does not wait, a failure to connect is the failure of the first call.
    ///
    /// # Errors
    ///
    /// An address that is no host:port.
    pub fn client(&self, peer: &Endpoint, purpose: Purpose) -> Result<Client, Error> {
        let channel = self.channel(peer, purpose)?;
        Ok(ClusterClient::with_interceptor(channel, self.stamp.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES))
    }

    fn channel(&self, peer: &Endpoint, purpose: Purpose) -> Result<Channel, Error> {
        let _context = match purpose {
            Purpose::Raft => self.runtime.enter(),
            Purpose::Link => self.link_runtime.enter(),
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (peer.clone(), purpose);
        if let Some(channel) = open.get(&key) {
            return Ok(channel.clone());
        }
        let channel = self.endpoint(peer)?.connect_lazy();
        if open.len() >= MAX_CHANNELS {
            // Addresses of nodes that are gone; those still in use are opened again when next asked for.
            open.clear();
        }
        open.insert(key, channel.clone());
        Ok(channel)
    }

    fn endpoint(&self, peer: &Endpoint) -> Result<transport::Endpoint, Error> {
        let bad = || Error::BadAddress {
            address: peer.address.clone(),
        };
        transport::Endpoint::from_shared(format!("https://{}", peer.address))
            .map_err(|_| bad())?
            .tcp_nodelay(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            .connect_timeout(CONNECT_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .tls_config(self.credentials.client(&peer.name))
            .map_err(Error::Tls)
    }
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
