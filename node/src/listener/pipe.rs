//! A connection before login: plain or TLS, with what has arrived and not been used.

use std::{io, net::SocketAddr, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::bounds::{FIRST_BYTES, REFUSAL_TIMEOUT};
use crate::tls::{HandshakeError, Incoming};

/// Probes of an idle connection, as the backup of MQTT's own keep-alive.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;
/// A peer that acknowledges nothing of what was sent for so long is dead.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
/// What a refused client may still send before its socket is closed: closing on unread bytes resets the
/// connection, and the client might not see why.
const REFUSED_BYTES: usize = 64 * 1024;

/// The connection. `plain` holds what was read (and decrypted) and not used.
pub(super) struct Pipe {
    pub(super) stream: TcpStream,
    layer: Layer,
}

enum Layer {
    Plain(Vec<u8>),
    Tls(Box<Incoming>),
}

impl Pipe {
    pub(super) fn plain(stream: TcpStream, first: Vec<u8>) -> Self {
        Self {
            stream,
            layer: Layer::Plain(first),
        }
    }

    pub(super) fn tls(stream: TcpStream, incoming: Incoming) -> Self {
        Self {
            stream,
            layer: Layer::Tls(Box::new(incoming)),
        }
    }

    /// The plain bytes that are there.
    pub(super) fn bytes(&self) -> &[u8] {
        match &self.layer {
            Layer::Plain(bytes) => bytes,
            Layer::Tls(incoming) => &incoming.plain,
        }
    }

    /// Reads once; false at the end of the stream.
    pub(super) async fn read_some(&mut self) -> Result<bool, HandshakeError> {
        match &mut self.layer {
            Layer::Plain(bytes) => {
                bytes.reserve(FIRST_BYTES);
                Ok(self.stream.read_buf(bytes).await? > 0)
            }
            Layer::Tls(incoming) => incoming.read_some(&mut self.stream).await,
        }
    }

    /// Sends the last bytes of a refused connection, and lets the client read them.
    pub(super) async fn refuse(mut self, answer: &[u8]) {
        // Whatever fails here, the connection is over.
        let _ = tokio::time::timeout(REFUSAL_TIMEOUT, self.try_refuse(answer)).await;
    }

    async fn try_refuse(&mut self, answer: &[u8]) -> Result<(), HandshakeError> {
        match &mut self.layer {
            Layer::Plain(_) => self.stream.write_all(answer).await?,
            Layer::Tls(incoming) => {
                incoming.send(&mut self.stream, answer).await?;
                let mut end = Vec::new();
                incoming.session.send_end(&mut end);
                self.stream.write_all(&end).await?;
            }
        }
        self.stream.shutdown().await?;
        let mut dropped = [0; 1024];
        let mut total = 0;
        while total < REFUSED_BYTES {
            match self.stream.read(&mut dropped).await? {
                0 => break,
                bytes => total += bytes,
            }
        }
        Ok(())
    }

    /// Takes it apart for a shard, without the first `used` plain bytes.
    pub(super) fn into_parts(self, used: usize) -> io::Result<Parts> {
        let stream = self.stream.into_std()?;
        let (tls, mut plain, cipher) = match self.layer {
            Layer::Plain(plain) => (None, plain, Vec::new()),
            Layer::Tls(incoming) => {
                let Incoming {
                    session,
                    cipher,
                    plain,
                    ..
                } = *incoming;
                (Some(session), plain, cipher)
            }
        };
        plain.drain(..used.min(plain.len()));
        // Mostly nothing is left, and then no memory either.
        plain.shrink_to_fit();
        let cipher = if cipher.is_empty() {
            Vec::new()
        } else {
            cipher
        };
        Ok(Parts {
            stream,
            tls,
            plain,
            cipher,
        })
    }
}

/// What a shard gets of a connection.
pub(super) struct Parts {
    pub(super) stream: std::net::TcpStream,
    pub(super) tls: Option<crate::tls::Session>,
    pub(super) plain: Vec<u8>,
    pub(super) cipher: Vec<u8>,
}

/// Sets what every client socket has.
pub(super) fn set_options(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))
}

/// The address as people know it: an IPv4 client of an IPv6 socket is an IPv4 client.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
