//! The accept loops.

use std::{
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::net::TcpStream;

use super::{Gate, greet, metrics, pipe, refuse};
use crate::{
    auth::Authenticator,
    config::{Network, ProxyProtocol},
    shards::{Door, Shards},
    tasks::{Kind, Tasks, clock},
    tls,
};

/// Between two tries when accepting fails for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How clients of one listener come in.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// PROXY protocol.
    pub proxy: ProxyProtocol,
    /// Who may send a PROXY header.
    pub trusted_networks: Vec<Network>,
    /// TLS, or plain.
    pub tls: Option<tls::Server>,
}

/// The rooms that a listener needs; a clone is cheap.
#[derive(Clone, Debug)]
pub struct Rooms {
    /// Where its tasks run.
    pub tasks: Tasks,
    /// Checks passwords.
    pub auth: Authenticator,
    /// Take the connections over.
    pub shards: Shards,
    /// The bounds, shared by all listeners.
    pub gate: Gate,
}

/// One listener's part of every connection; shared by them.
#[derive(Debug)]
pub struct Listener {
    pub(super) options: Options,
    pub(super) rooms: Rooms,
}

impl Listener {
    /// Accepts on the sockets that [`super::bind`] opened, until the node stops or [`Gate::close`].
    ///
    /// # Errors
    ///
    /// If the runtime cannot take a socket.
    pub fn spawn(sockets: Vec<TcpListener>, options: Options, rooms: Rooms) -> io::Result<()> {
        let listener = Arc::new(Self { options, rooms });
        metrics::limit(listener.door(), &listener.rooms.gate.bounds);
        let _runtime = listener.rooms.tasks.runtime().enter();
        for socket in sockets {
            let socket = tokio::net::TcpListener::from_std(socket)?;
            let accepting = listener.clone();
            listener.rooms.tasks.spawn(Kind::Acceptor, async move {
                tokio::select! {
                    () = accepting.accept(socket) => {}
                    () = accepting.rooms.gate.closed.cancelled() => {}
                }
                Ok::<(), Infallible>(())
            });
        }
        Ok(())
    }

    pub(super) fn door(&self) -> Door {
        if self.options.tls.is_some() {
            Door::Tls
        } else {
            Door::Plain
        }
    }

    async fn accept(self: &Arc<Self>, socket: tokio::net::TcpListener) {
        let gate = &self.rooms.gate;
        loop {
            let (stream, peer) = match socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.accept_failed(&error).await;
                    continue;
                }
            };
            // Above the bound of half-open connections no more are accepted: the backlog waits.
            let Ok(half_open) = gate.half_open.clone().acquire_owned().await else {
                return;
            };
            let peer = pipe::canonical(peer);
            let Ok(permit) = gate.connections.clone().try_acquire_owned() else {
                refuse::report(
                    self.door(),
                    peer,
                    None,
                    refuse::Reject::Quota,
                    "too many connections",
                );
                continue;
            };
            self.greet(stream, peer, permit, half_open);
        }
    }

    fn greet(
        self: &Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        permit: tokio::sync::OwnedSemaphorePermit,
        half_open: tokio::sync::OwnedSemaphorePermit,
    ) {
        let newcomer = greet::Newcomer {
            peer,
            accepted: clock::now(),
            permit,
        };
        let listener = self.clone();
        self.rooms.tasks.spawn(Kind::Login, async move {
            greet::greet(&listener, stream, newcomer).await;
            drop(half_open);
            Ok::<(), Infallible>(())
        });
    }

    async fn accept_failed(&self, error: &io::Error) {
        // A client that was gone before it was accepted is none of our business.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        tracing::warn!(door = self.door().label(), %error, "cannot accept connections");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}
