//! One connection as its shard's driver sees it: the socket, what arrived and could not be handled yet, what was
//! encrypted and could not leave yet. An idle one holds no buffer.

use std::{
    io::{self, IoSlice, Read, Write},
    net::SocketAddr,
};

use mainstay_core::{ids::ClientId, reason::Close, time::Moment};
use mio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use super::{Door, placement::Seat};
use crate::tls::Session;

/// A connection of a shard. Owned by the driver, at the index of its slot in core.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: TcpStream,
    pub(super) tls: Option<Box<Tls>>,
    /// Only while there is something in it.
    pub(super) rest: Option<Box<Rest>>,
    pub(super) state: State,
    pub(super) guest: Box<Guest>,
}

/// What the driver remembers between rounds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct State {
    /// It is on the ready list.
    pub(super) listed: bool,
    /// It is on the dirty list.
    pub(super) dirty: bool,
    /// The socket took no more; a writable event will come.
    pub(super) blocked: bool,
    /// The peer has ended its side: edge-triggered, so everything must be read until the end shows.
    pub(super) read_closed: bool,
    /// The peer has closed its side of TLS while packets of it still wait to be handled.
    pub(super) peer_ended: bool,
    /// It is on the list of those that close when their output has left.
    pub(super) lingering: bool,
    /// Something was sent after the hand-over.
    pub(super) greeted: bool,
    /// The socket failed or ended.
    pub(super) lost: Option<Close>,
}

/// Bytes that have arrived and wait: the beginning of a packet or record, or packets of a connection that is
/// held back. At most a packet and a read buffer.
#[derive(Debug, Default)]
pub(super) struct Rest {
    pub(super) plain: Vec<u8>,
    /// So many bytes of `plain` are handled.
    pub(super) at: usize,
    pub(super) cipher: Vec<u8>,
}

/// TLS of a connection, and one lot of records that has not left as a whole.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) session: Session,
    /// Records; empty, without memory, when all have left.
    pub(super) pending: Vec<u8>,
    /// So many bytes of `pending` have left.
    pub(super) at: usize,
    /// Plain bytes in the lot. They leave core's buffer only when the lot has left: its bounds count them.
    pub(super) lot: usize,
}

/// Who it is, for logs and counters, and its places; read at the beginning and the end only.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) client: SocketAddr,
    pub(super) client_id: ClientId,
    pub(super) door: Door,
    pub(super) accepted: Moment,
    pub(super) _seat: Seat,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// What became of one call to the socket.
pub(super) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// None now.
    WouldBlock,
    /// The peer has ended its side.
    End,
    /// The connection is broken.
    Failed,
}

impl Conn {
    /// Reads once.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Moved {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Moved::End,
                Ok(bytes) => return Moved::Bytes(bytes),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Moved::WouldBlock;
                }
                Err(_) => return Moved::Failed,
            }
        }
    }

    /// Bytes that wait, plain ones first.
    pub(super) fn rest(&mut self) -> &mut Rest {
        self.rest.get_or_insert_default()
    }

    /// Gives the memory of an empty rest back.
    pub(super) fn tidy_rest(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        if rest.at == rest.plain.len() {
            rest.plain = Vec::new();
            rest.at = 0;
        }
        if rest.plain.is_empty() && rest.cipher.is_empty() {
            self.rest = None;
        }
    }

    /// Whether records wait to be sent.
    pub(super) fn has_pending(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| !tls.pending.is_empty())
    }
}

/// Writes several pieces at once.
pub(super) fn write_pieces(stream: &mut TcpStream, pieces: &[IoSlice<'_>]) -> Moved {
    moved(|| stream.write_vectored(pieces))
}

/// Writes one piece.
pub(super) fn write_bytes(stream: &mut TcpStream, bytes: &[u8]) -> Moved {
    moved(|| stream.write(bytes))
}

fn moved(mut write: impl FnMut() -> io::Result<usize>) -> Moved {
    loop {
        match write() {
            Ok(bytes) => return Moved::Bytes(bytes),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Moved::WouldBlock,
            Err(_) => return Moved::Failed,
        }
    }
}
