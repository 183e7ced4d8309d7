//! One connection's TLS on bytes: records in, plain text out; plain text in, records out.
//!
//! Owned by `listener` during the handshake and by a shard after it. It never touches a socket and keeps no
//! buffer: records that wait to be sent are in the caller's, and a record that has only half arrived stays with
//! the caller until the rest is there.

use rustls::{
    server::UnbufferedServerConnection,
    unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus},
};

use super::Server;

/// A record with all that may surround it: 16 KiB, and 2 KiB by which TLS 1.2 allows it to grow. What has not
/// become a record within this will never be one.
pub(super) const MAX_RECORD: usize = 5 + 16 * 1024 + 2 * 1024;

/// Header, nonce, padding byte and tag of one record, rounded up.
const RECORD_OVERHEAD: usize = 64;
/// Plain bytes in one record.
const RECORD_PLAIN: usize = 16 * 1024;

/// What the peer sent is not TLS as agreed, or keys are used up; the connection must be closed.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// rustls refuses it; an alert for the peer may be in the output.
    #[error("TLS error")]
    Tls(#[from] rustls::Error),
    /// Plain text was to be sent before the handshake was done, or after the end.
    #[error("TLS connection cannot send now")]
    NotReady,
    /// The keys may not encrypt any more.
    #[error("TLS keys are used up")]
    Exhausted,
}

/// What became of some incoming bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// So many bytes at the front are done with; the rest must be given again with more behind it.
    pub consumed: usize,
    /// The peer said that nothing more will come.
    pub closed: bool,
}

/// A TLS server connection without buffers.
pub struct Session {
    // Boxed: a shard keeps it beside plain connections, which must not pay for it.
    inner: Box<UnbufferedServerConnection>,
    established: bool,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
}

impl Session {
    /// A session before its first byte.
    ///
    /// # Errors
    ///
    /// What rustls has against the configuration.
    pub fn new(server: &Server) -> Result<Self, RecordError> {
        let inner = Box::new(UnbufferedServerConnection::new(server.config())?);
        Ok(Self {
            inner,
            established: false,
        })
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Takes records in: plain text is appended to `plain`, records to be sent to `out` (handshake, tickets, key
    /// updates, and an alert when the result is an error).
    ///
    /// # Errors
    ///
    /// [`RecordError`]; what was decrypted before it is in `plain`.
    pub fn receive(
        &mut self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Progress, RecordError> {
        let mut progress = Progress::default();
        loop {
            let UnbufferedStatus {
                mut discard, state, ..
            } = self
                .inner
                .process_tls_records(&mut incoming[progress.consumed..]);
            let mut more = true;
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    self.drain_alert(out);
                    return Err(error.into());
                }
            };
            match state {
                ConnectionState::ReadTraffic(mut traffic) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        plain.extend_from_slice(record.payload);
                        discard += record.discard;
                    }
                }
                ConnectionState::EncodeTlsData(mut data) => append(out, |room| data.encode(room))?,
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::WriteTraffic(_) => {
                    self.established = true;
                    more = false;
                }
                ConnectionState::BlockedHandshake => more = false,
                ConnectionState::PeerClosed => progress.closed = true,
                // Early data is not offered; nothing else is left to come.
                _ => {
                    progress.closed = true;
                    more = false;
                }
            }
            progress.consumed += discard;
            if !more {
                return Ok(progress);
            }
        }
    }

    /// Encrypts `plain` and appends the records to `out`.
    ///
    /// # Errors
    ///
    /// [`RecordError::NotReady`] before the handshake is done or after the end.
    pub fn send(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), RecordError> {
        let records = plain.len().div_ceil(RECORD_PLAIN).max(1);
        let room = plain.len() + records * RECORD_OVERHEAD;
        self.with_traffic(out, room, |traffic, room| traffic.encrypt(plain, room))
    }

    /// Appends the alert that says that nothing more will come.
    pub fn send_end(&mut self, out: &mut Vec<u8>) {
        // A connection that is about to be closed anyway is closed without it.
        let _ = self.with_traffic(out, RECORD_OVERHEAD, |traffic, room| {
            traffic.queue_close_notify(room)
        });
    }

    fn with_traffic(
        &mut self,
        out: &mut Vec<u8>,
        room: usize,
        write: impl Fn(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> Result<(), RecordError> {
        loop {
            match self.inner.process_tls_records(&mut []).state? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    return encrypt(out, room, |room| write(&mut traffic, room));
                }
                ConnectionState::TransmitTlsData(mut data) => {
                    if let Some(mut traffic) = data.may_encrypt_app_data() {
                        encrypt(out, room, |room| write(&mut traffic, room))?;
                        data.done();
                        return Ok(());
                    }
                    data.done();
                }
                ConnectionState::EncodeTlsData(mut data) => append(out, |room| data.encode(room))?,
                ConnectionState::PeerClosed => {}
                _ => return Err(RecordError::NotReady),
            }
        }
    }

    fn drain_alert(&mut self, out: &mut Vec<u8>) {
        while let Ok(ConnectionState::EncodeTlsData(mut data)) =
            self.inner.process_tls_records(&mut []).state
        {
            if append(out, |room| data.encode(room)).is_err() {
                return;
            }
        }
    }
}

type Traffic<'a> = rustls::unbuffered::WriteTraffic<'a, rustls::server::ServerConnectionData>;

/// Encrypts to the end of `out`, with the room that is likely enough, else with the room that is asked for.
fn encrypt(
    out: &mut Vec<u8>,
    room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncryptError>,
) -> Result<(), RecordError> {
    let start = out.len();
    out.resize(start + room, 0);
    let mut result = write(&mut out[start..]);
    if let Err(EncryptError::InsufficientSize(size)) = &result {
        out.resize(start + size.required_size, 0);
        result = write(&mut out[start..]);
    }
    let Ok(written) = result else {
        out.truncate(start);
        return Err(RecordError::Exhausted);
    };
    out.truncate(start + written);
    Ok(())
}

/// Appends one handshake record.
fn append(
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), RecordError> {
    let start = out.len();
    let required = match encode(&mut []) {
        Ok(written) => written,
        Err(EncodeError::InsufficientSize(size)) => size.required_size,
        Err(EncodeError::AlreadyEncoded) => return Ok(()),
    };
    out.resize(start + required, 0);
    let written = encode(&mut out[start..]).unwrap_or(0);
    out.truncate(start + written);
    Ok(())
}
