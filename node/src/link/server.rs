//! The listener for nodes.
//!
//! `app` hands in the service that `raft` composed; every call passes the check of its caller first. Accepted
//! links are passed on to `peer` as [`Incoming`], because that room lies above the one that serves the calls.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use mainstay_proto::internal::v1::{
    LinkFrame,
    cluster_server::{Cluster, ClusterServer},
};
use tokio::{net::TcpListener, sync::oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{self, server::TcpIncoming},
};

use super::{
    caller::{Caller, Verify},
    channels::MESSAGE_BYTES,
    cluster_id::Home,
    error::Error,
    identity::Credentials,
};

const STREAM_WINDOW: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
/// Handshakes take milliseconds; a port scanner holds nothing for longer.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(3);
/// Calls of one peer at once: proposals, appends, reads and a link are far fewer.
const STREAMS_PER_CONNECTION: u32 = 1_024;

/// Calls under way at a stop end when their rooms do; a peer that hangs does not hold the process up.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// A link that another node opened.
#[derive(Debug)]
pub struct Incoming {
    /// Who opened it, proven by its certificate.
    pub caller: Caller,
    /// What it sends.
    pub frames: Streaming<LinkFrame>,
    /// Takes what is sent back, or the refusal.
    pub answer: oneshot::Sender<Result<ReceiverStream<Result<LinkFrame, Status>>, Status>>,
}

/// An open listener.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    credentials: Credentials,
    home: Home,
}

impl Server {
    /// Opens the port; nothing is served yet.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound.
    pub async fn bind(
        address: SocketAddr,
        credentials: Credentials,
        home: Home,
    ) -> Result<Self, Error> {
        let listen = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        Ok(Self {
            listener,
            address,
            credentials,
            home,
        })
    }

    /// The bound address, with the port that was given for 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` ends. Peers are then told to open no more calls on what stands, and what they wait for is
    /// answered if that takes no longer than a moment: they must not go on talking to a node that has stopped.
    ///
    /// # Errors
    ///
    /// TLS that cannot be set up, or a listener that broke.
    pub async fn serve<S: Cluster>(
        self,
        service: Arc<S>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), Error> {
        let service = ClusterServer::from_arc(service)
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        let verify = Verify { home: self.home };
        let service = tonic::service::interceptor::InterceptedService::new(service, verify);
        let incoming = TcpIncoming::from(self.listener).with_nodelay(Some(true));
        let (stopping, stopped) = oneshot::channel();
        let serve = transport::Server::builder()
            .tls_config(self.credentials.server().timeout(HANDSHAKE_TIMEOUT))
            .map_err(Error::Tls)?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(STREAMS_PER_CONNECTION)
            .http2_keepalive_interval(Some(Duration::from_secs(1)))
            .http2_keepalive_timeout(Some(Duration::from_millis(1_500)))
            .add_service(service)
            .serve_with_incoming_shutdown(incoming, async move {
                stop.await;
                // Only a server that has ended meanwhile does not listen.
                let _ = stopping.send(());
            });
        let grace = async {
            let _ = stopped.await;
            tokio::time::sleep(STOP_GRACE).await;
        };
        tokio::select! {
            served = serve => served.map_err(Error::Tls),
            () = grace => Ok(()),
        }
    }
}
