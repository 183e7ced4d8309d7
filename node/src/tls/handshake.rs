//! The handshake and the first plain bytes, on the general runtime.
//!
//! Called by `listener` with an overall deadline around it. Afterwards the session and what has arrived beyond
//! the first packet go to a shard; the buffers here are dropped.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    RecordError, Server, Session,
    session::{MAX_RECORD, Progress},
};

/// Read at once: a ClientHello and most CONNECTs fit.
const READ_BYTES: usize = 4 * 1024;

/// The handshake did not end well.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's records are refused.
    #[error("handshake refused")]
    Records(#[from] RecordError),
    /// The socket failed.
    #[error("socket failed during the handshake")]
    Socket(#[from] io::Error),
    /// The peer went away in the middle.
    #[error("peer closed during the handshake")]
    Closed,
    /// More than one record's bytes without a whole record.
    #[error("TLS record too long")]
    TooLong,
}

/// A connection whose handshake is done, with what has arrived and not been used.
#[derive(Debug)]
pub struct Incoming {
    /// The keys.
    pub session: Session,
    /// The beginning of a record.
    pub cipher: Vec<u8>,
    /// Decrypted bytes.
    pub plain: Vec<u8>,
    /// The peer said that nothing more will come.
    pub closed: bool,
}

/// Shakes hands; `first` are bytes that were read already.
///
/// # Errors
///
/// [`HandshakeError`]; an alert has been sent if there is one. `Closed` without a byte from the peer is a probe.
pub async fn shake_hands(
    stream: &mut TcpStream,
    server: &Server,
    first: Vec<u8>,
) -> Result<Incoming, HandshakeError> {
    let session = Session::new(server)?;
    let mut incoming = Incoming {
        session,
        cipher: first,
        plain: Vec::new(),
        closed: false,
    };
    incoming.advance(stream).await?;
    while !incoming.session.is_established() {
        if !incoming.read_some(stream).await? {
            return Err(HandshakeError::Closed);
        }
    }
    Ok(incoming)
}

impl Incoming {
    /// Reads once and decrypts; false at the end of the stream.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`].
    pub async fn read_some(&mut self, stream: &mut TcpStream) -> Result<bool, HandshakeError> {
        if self.closed {
            return Ok(false);
        }
        if self.cipher.len() >= MAX_RECORD {
            return Err(HandshakeError::TooLong);
        }
        self.cipher.reserve(READ_BYTES);
        if stream.read_buf(&mut self.cipher).await? == 0 {
            self.closed = true;
            return Ok(false);
        }
        self.advance(stream).await?;
        Ok(true)
    }

    /// Encrypts and sends.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`].
    pub async fn send(
        &mut self,
        stream: &mut TcpStream,
        plain: &[u8],
    ) -> Result<(), HandshakeError> {
        let mut out = Vec::new();
        self.session.send(plain, &mut out)?;
        Ok(stream.write_all(&out).await?)
    }

    async fn advance(&mut self, stream: &mut TcpStream) -> Result<(), HandshakeError> {
        let mut out = Vec::new();
        let result = self
            .session
            .receive(&mut self.cipher, &mut self.plain, &mut out);
        if !out.is_empty() {
            stream.write_all(&out).await?;
        }
        let Progress { consumed, closed } = result?;
        self.cipher.drain(..consumed);
        self.closed |= closed;
        Ok(())
    }
}
