//! One connection from the accept to its shard: PROXY header, handshake, CONNECT, password.
//!
//! A plain sequence with a deadline for each part. Every way out but the last is a [`Reject`], or a probe that
//! connects and closes, which is neither logged nor counted.

use std::net::SocketAddr;

use mainstay_core::{
    codec::{Connack, Connect, encode_connack},
    ids::{ClientId, Principal},
    shard::Login,
    time::Moment,
};
use ring::rand::SecureRandom;
use tokio::{io::AsyncReadExt, net::TcpStream, sync::OwnedSemaphorePermit, time::timeout};

use super::{
    Listener,
    bounds::{CONNECT_TIMEOUT, LOGIN_TIMEOUT, PROXY_TIMEOUT},
    connect::{self, First},
    pipe::{self, Pipe},
    proxy::{self, Parsed},
    refuse::{self, Reject},
};
use crate::{
    auth::Denied,
    config::ProxyProtocol,
    shards::Handover,
    tasks::clock,
    tls::{self, HandshakeError},
};

/// A connection that was just accepted.
pub(super) struct Newcomer {
    pub(super) peer: SocketAddr,
    pub(super) accepted: Moment,
    pub(super) permit: OwnedSemaphorePermit,
}

/// A connection that is not let in.
struct Refused {
    /// None for a probe.
    why: Option<Reject>,
    cause: String,
}

impl Refused {
    fn new(why: Reject, cause: impl Into<String>) -> Self {
        Self {
            why: Some(why),
            cause: cause.into(),
        }
    }

    const PROBE: Self = Self {
        why: None,
        cause: String::new(),
    };
}

/// What the CONNECT came to.
struct Accepted {
    login: Login,
    /// Bytes of the CONNECT.
    used: usize,
}

/// Leads a connection to its shard, or turns it away.
pub(super) async fn greet(listener: &Listener, mut stream: TcpStream, newcomer: Newcomer) {
    let mut client = newcomer.peer;
    let door = listener.door();
    let opened = timeout(CONNECT_TIMEOUT, open(listener, &mut stream, &mut client)).await;
    let opened = opened.unwrap_or_else(|_| Err(late("no CONNECT in time")));
    let (first, incoming) = match opened {
        Ok(opened) => opened,
        Err(Refused {
            why: Some(why),
            cause,
        }) => {
            return refuse::report(door, client, None, why, &cause);
        }
        Err(_) => return,
    };
    let mut pipe = match incoming {
        Some(incoming) => Pipe::tls(stream, incoming),
        None => Pipe::plain(stream, first),
    };
    let mut client_id = None;
    match log_in(listener, &mut pipe, &newcomer, &mut client_id).await {
        Ok(accepted) => hand_over(listener, pipe, newcomer, client, accepted),
        Err(Refused {
            why: Some(why),
            cause,
        }) => {
            let client_id = client_id.as_ref().map(|ClientId(id)| &**id);
            refuse::report(door, client, client_id, why, &cause);
            if let Some(code) = why.connack() {
                let mut answer = Vec::new();
                encode_connack(
                    &mut answer,
                    Connack {
                        session_present: false,
                        code,
                    },
                );
                pipe.refuse(&answer).await;
            }
        }
        Err(_) => {}
    }
}

fn late(cause: &str) -> Refused {
    Refused::new(Reject::ConnectTimeout, cause)
}

/// Socket options, PROXY header, handshake; what was read beyond them.
async fn open(
    listener: &Listener,
    stream: &mut TcpStream,
    client: &mut SocketAddr,
) -> Result<(Vec<u8>, Option<tls::Incoming>), Refused> {
    pipe::set_options(stream).map_err(|error| Refused::new(Reject::IoError, error.to_string()))?;
    let mut first = Vec::new();
    let trusted = listener
        .options
        .trusted_networks
        .iter()
        .any(|net| net.contains(client.ip()));
    match (listener.options.proxy, trusted) {
        (ProxyProtocol::Off, _) | (ProxyProtocol::Optional, false) => {}
        (ProxyProtocol::Required, false) => {
            return Err(Refused::new(
                Reject::ProxyError,
                "not from a trusted network",
            ));
        }
        (mode, true) => {
            let header = timeout(PROXY_TIMEOUT, read_proxy(stream, &mut first, mode));
            let source = header
                .await
                .unwrap_or_else(|_| Err(late("no PROXY header in time")))?;
            *client = source.map_or(*client, pipe::canonical);
        }
    }
    let Some(server) = &listener.options.tls else {
        return Ok((first, None));
    };
    if first.is_empty() && stream.read_buf(&mut first).await.unwrap_or(0) == 0 {
        return Err(Refused::PROBE);
    }
    let start = clock::nanos();
    match tls::shake_hands(stream, server, first).await {
        Ok(incoming) => {
            let took = std::time::Duration::from_nanos(clock::nanos().saturating_sub(start));
            tls::metrics::handshake_done(took);
            Ok((Vec::new(), Some(incoming)))
        }
        Err(error) => {
            tls::metrics::handshake_failed();
            Err(Refused::new(Reject::TlsError, detail(&error)))
        }
    }
}

/// Reads a header; the client that it names. `first` keeps what came behind it.
async fn read_proxy(
    stream: &mut TcpStream,
    first: &mut Vec<u8>,
    mode: ProxyProtocol,
) -> Result<Option<SocketAddr>, Refused> {
    loop {
        match proxy::parse(first)
            .map_err(|error| Refused::new(Reject::ProxyError, error.to_string()))?
        {
            Parsed::Header { length, source } => {
                first.drain(..length);
                return Ok(source);
            }
            Parsed::Absent if mode == ProxyProtocol::Required => {
                return Err(Refused::new(Reject::ProxyError, "no PROXY header"));
            }
            Parsed::Absent => return Ok(None),
            Parsed::Incomplete => {}
        }
        // The parser refuses before the buffer could grow far beyond the longest header.
        first.reserve(proxy::MAX_HEADER.saturating_sub(first.len()).min(1024));
        match stream.read_buf(first).await {
            Ok(0) if first.is_empty() => return Err(Refused::PROBE),
            Ok(0) => {
                return Err(Refused::new(
                    Reject::IoError,
                    "closed within the PROXY header",
                ));
            }
            Ok(_) => {}
            Err(error) => return Err(Refused::new(Reject::IoError, error.to_string())),
        }
    }
}

/// CONNECT and password.
async fn log_in(
    listener: &Listener,
    pipe: &mut Pipe,
    newcomer: &Newcomer,
    client_id: &mut Option<ClientId>,
) -> Result<Accepted, Refused> {
    let left = CONNECT_TIMEOUT.saturating_sub(clock::now().since(newcomer.accepted));
    let read = timeout(left, read_connect(listener, pipe)).await;
    let _room = read.unwrap_or_else(|_| Err(late("no CONNECT in time")))?;
    let check = check(listener, pipe.bytes(), client_id);
    timeout(LOGIN_TIMEOUT, check)
        .await
        .unwrap_or_else(|_| Err(Refused::new(Reject::Busy, "no answer")))
}

/// Reads until the CONNECT is whole; the room that it takes.
async fn read_connect(
    listener: &Listener,
    pipe: &mut Pipe,
) -> Result<Option<OwnedSemaphorePermit>, Refused> {
    let mut room = None;
    loop {
        match connect::read(pipe.bytes()).map_err(|(why, cause)| Refused::new(why, cause))? {
            First::Connect(..) => return Ok(room),
            First::Incomplete {
                length: Some(length),
            } if room.is_none() => {
                room =
                    listener.rooms.gate.room_for(length).ok_or_else(|| {
                        Refused::new(Reject::Busy, "too many large CONNECTs at once")
                    })?;
            }
            First::Incomplete { .. } => {}
        }
        match pipe.read_some().await {
            Ok(true) => {}
            // A balancer's probe, and a client that changed its mind.
            Ok(false) if pipe.bytes().is_empty() => return Err(Refused::PROBE),
            Ok(false) => return Err(Refused::new(Reject::IoError, "closed within the CONNECT")),
            Err(HandshakeError::Socket(error)) if pipe.bytes().is_empty() => {
                tracing::debug!(%error, "connection reset before its first byte");
                return Err(Refused::PROBE);
            }
            Err(error) => return Err(Refused::new(Reject::IoError, detail(&error))),
        }
    }
}

/// Checks the whole CONNECT at the start of `bytes`.
async fn check(
    listener: &Listener,
    bytes: &[u8],
    client_id: &mut Option<ClientId>,
) -> Result<Accepted, Refused> {
    let First::Connect(connect, used) =
        connect::read(bytes).map_err(|(why, cause)| Refused::new(why, cause))?
    else {
        return Err(Refused::new(Reject::ProtocolError, "no CONNECT"));
    };
    let mut random = [0; 16];
    ring::rand::SystemRandom::new()
        .fill(&mut random)
        .map_err(|_| Refused::new(Reject::Busy, "no randomness"))?;
    let id = connect::client_id(&connect, random)
        .map_err(|why| Refused::new(why, "client ID not allowed"))?;
    *client_id = Some(id.clone());
    let will = connect::will(&connect).map_err(|why| Refused::new(why, "will topic too long"))?;
    let (principal, credential) = authenticate(listener, &connect).await?;
    let keep_alive = connect::keep_alive(&connect);
    let login = Login {
        principal,
        credential,
        client_id: id,
        keep_alive,
        will,
    };
    Ok(Accepted { login, used })
}

async fn authenticate(
    listener: &Listener,
    connect: &Connect<'_>,
) -> Result<(Principal, mainstay_core::catalog::Credential), Refused> {
    let not_serving = || Refused::new(Reject::NoQuorum, "the node does not serve now");
    let table = listener.rooms.shards.serving().ok_or_else(not_serving)?;
    let check = listener
        .rooms
        .auth
        .check(&table.catalog, connect.username, connect.password);
    check.await.map_err(|denied| match denied {
        Denied::BadCredentials => Refused::new(Reject::NotAuthorized, denied.to_string()),
        Denied::Busy => Refused::new(Reject::Busy, denied.to_string()),
    })
}

fn hand_over(
    listener: &Listener,
    pipe: Pipe,
    newcomer: Newcomer,
    client: SocketAddr,
    accepted: Accepted,
) {
    let parts = match pipe.into_parts(accepted.used) {
        Ok(parts) => parts,
        Err(error) => {
            let cause = error.to_string();
            return refuse::report(listener.door(), client, None, Reject::IoError, &cause);
        }
    };
    listener.rooms.shards.hand_over(Handover {
        stream: parts.stream,
        tls: parts.tls,
        login: accepted.login,
        plain: parts.plain,
        cipher: parts.cipher,
        client,
        door: listener.door(),
        accepted: newcomer.accepted,
        permit: newcomer.permit,
    });
}

/// An error with its cause.
fn detail(error: &HandshakeError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
