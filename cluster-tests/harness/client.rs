//! An MQTT 3.1.1 client that remembers when things came.
//!
//! It acknowledges every QoS 1 delivery at once, counts every byte that arrives (so that "nothing came" can be said of
//! the connection and not of packets alone), never reconnects by itself, and never sends what was not asked for.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::{Buf, BytesMut};
use mainstay_core::codec::{
    Connack, ConnackCode, Connect, MAX_PACKET, Packet, PacketId, PublishHead, QoS, SubackCode,
    Will, decode, encode_connect, encode_disconnect, encode_pingreq, encode_puback, encode_publish,
    encode_subscribe, encode_unsubscribe, frame,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{Mutex as AsyncMutex, mpsc, oneshot, watch},
    task::JoinHandle,
    time::timeout,
};

/// Deliveries that wait for the test; above it the client does not read on, as a slow client would.
const INCOMING: usize = 65_536;
/// A CONNACK that takes longer is none: longer than an election and `down_after` together.
const CONNACK_WITHIN: Duration = Duration::from_secs(15);

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user name.
    pub username: String,
    /// The password.
    pub password: String,
}

/// What a CONNECT will say.
#[derive(Clone, Debug)]
pub struct Connecting {
    address: String,
    client_id: String,
    login: Login,
    keep_alive: u16,
    will: Option<(String, Vec<u8>, QoS, bool)>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The door cannot be reached, or closed without an answer.
    #[error("connecting to {address}")]
    Io {
        /// The door.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The broker said no.
    #[error("CONNACK {code:?}")]
    Refused {
        /// Its answer.
        code: ConnackCode,
    },
    /// No answer came.
    #[error("no CONNACK from {address} within {} s", CONNACK_WITHIN.as_secs())]
    Silent {
        /// The door.
        address: String,
    },
    /// Something else than a CONNACK came.
    #[error("expected CONNACK from {address}, found {found}")]
    Strange {
        /// The door.
        address: String,
        /// What came.
        found: String,
    },
}

/// A PUBLISH that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Its quality of service.
    pub qos: QoS,
    /// Whether it comes from what is stored.
    pub retain: bool,
    /// Whether it may have come before.
    pub dup: bool,
    /// When it came.
    pub at: Instant,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Client {
    local: SocketAddr,
    shared: Arc<Shared>,
    incoming: AsyncMutex<mpsc::Receiver<Received>>,
    reader: JoinHandle<()>,
    pinger: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    writer: AsyncMutex<OwnedWriteHalf>,
    waiting: Mutex<Waiting>,
    bytes: AtomicU64,
    ended: watch::Sender<Option<Ended>>,
}

#[derive(Debug)]
struct Waiting {
    next: PacketId,
    answers: HashMap<PacketId, oneshot::Sender<Answer>>,
}

#[derive(Debug)]
enum Answer {
    Acknowledged(Instant),
    Granted(Vec<SubackCode>, Instant),
}

#[derive(Clone, Debug)]
struct Ended {
    at: Instant,
    why: String,
}

impl Connecting {
    /// A clean session without keep-alive and will.
    pub fn new(address: &str, login: &Login, client_id: &str) -> Self {
        Self {
            address: address.to_owned(),
            client_id: client_id.to_owned(),
            login: login.clone(),
            keep_alive: 0,
            will: None,
        }
    }

    /// With a will.
    #[must_use]
    pub fn will(mut self, topic: &str, payload: &[u8], qos: QoS) -> Self {
        self.will = Some((topic.to_owned(), payload.to_owned(), qos, false));
        self
    }

    /// With a keep-alive in seconds, at which it pings.
    #[must_use]
    pub fn keep_alive(mut self, seconds: u16) -> Self {
        self.keep_alive = seconds;
        self
    }

    /// Connects.
    ///
    /// # Errors
    /// If the broker does not accept the client.
    pub async fn open(&self) -> Result<Client, ConnectError> {
        let silent = || ConnectError::Silent {
            address: self.address.clone(),
        };
        timeout(CONNACK_WITHIN, self.greet())
            .await
            .map_err(|_| silent())?
    }

    /// Connects as soon as the broker accepts the client.
    ///
    /// # Panics
    /// If it does not within `most`.
    pub async fn open_within(&self, most: Duration) -> Client {
        let start = Instant::now();
        loop {
            match self.open().await {
                Ok(client) => return client,
                Err(error) => {
                    assert!(
                        start.elapsed() < most,
                        "{} at {}: {error}",
                        self.client_id,
                        self.address
                    );
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn greet(&self) -> Result<Client, ConnectError> {
        let io = |source| ConnectError::Io {
            address: self.address.clone(),
            source,
        };
        let strange = |found: String| ConnectError::Strange {
            address: self.address.clone(),
            found,
        };
        let stream = TcpStream::connect(&self.address).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let local = stream.local_addr().map_err(io)?;
        let (mut read, mut write) = stream.into_split();
        let mut out = Vec::new();
        let will = self
            .will
            .as_ref()
            .map(|(topic, payload, qos, retain)| Will {
                topic,
                payload,
                qos: *qos,
                retain: *retain,
            });
        let connect = Connect {
            clean_session: true,
            keep_alive: self.keep_alive,
            client_id: &self.client_id,
            will,
            username: Some(&self.login.username),
            password: Some(self.login.password.as_bytes()),
        };
        encode_connect(&mut out, &connect).map_err(|error| strange(error.to_string()))?;
        write.write_all(&out).await.map_err(io)?;
        let mut buffer = BytesMut::new();
        loop {
            let found = match frame(&buffer, MAX_PACKET) {
                Ok(found) => found,
                Err(error) => return Err(strange(error.to_string())),
            };
            if let Some(found) = found {
                let length = found.len;
                match decode(found.first_byte, found.body) {
                    Ok(Packet::Connack(Connack {
                        code: ConnackCode::Accepted,
                        ..
                    })) => {
                        buffer.advance(length);
                        return Ok(Client::start(local, read, write, buffer, self.keep_alive));
                    }
                    Ok(Packet::Connack(Connack { code, .. })) => {
                        return Err(ConnectError::Refused { code });
                    }
                    other => return Err(strange(format!("{other:?}"))),
                }
            }
            if read.read_buf(&mut buffer).await.map_err(io)? == 0 {
                return Err(io(std::io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl Client {
    fn start(
        local: SocketAddr,
        read: OwnedReadHalf,
        write: OwnedWriteHalf,
        buffer: BytesMut,
        keep_alive: u16,
    ) -> Self {
        let (sender, incoming) = mpsc::channel(INCOMING);
        let shared = Arc::new(Shared {
            writer: AsyncMutex::new(write),
            waiting: Mutex::new(Waiting {
                next: PacketId::MIN,
                answers: HashMap::new(),
            }),
            bytes: AtomicU64::new(buffer.len() as u64),
            ended: watch::Sender::new(None),
        });
        let reading = Arc::clone(&shared);
        let reader = tokio::spawn(async move {
            let why = reading.read_all(read, buffer, &sender).await;
            reading.end(why);
        });
        let pinging = Arc::clone(&shared);
        let pinger = (keep_alive > 0).then(|| {
            let period = Duration::from_secs(keep_alive.into()) / 2;
            tokio::spawn(async move {
                let mut out = Vec::new();
                encode_pingreq(&mut out);
                while pinging.write(&out).await.is_ok() {
                    tokio::time::sleep(period).await;
                }
            })
        });
        Self {
            local,
            shared,
            incoming: AsyncMutex::new(incoming),
            reader,
            pinger,
        }
    }

    /// Sends a PUBLISH at QoS 0.
    ///
    /// # Errors
    /// If the connection has ended.
    pub async fn publish0(&self, topic: &str, payload: &[u8], retain: bool) -> Result<(), String> {
        let head = PublishHead {
            dup: false,
            qos: QoS::AtMostOnce,
            retain,
            topic: &[topic],
            packet_id: None,
        };
        let mut out = Vec::new();
        encode_publish(&mut out, &head, payload).map_err(|error| error.to_string())?;
        self.shared.write(&out).await
    }

    /// Sends a PUBLISH at QoS 1. When it has been sent, gives what waits for its PUBACK: the time at which that came.
    ///
    /// # Errors
    /// If the connection has ended; the same of the waiting part, which then knows nothing of the message.
    pub async fn publish1(
        &self,
        topic: &str,
        payload: &[u8],
        retain: bool,
    ) -> Result<impl Future<Output = Result<Instant, String>> + Send + use<>, String> {
        let (id, answer) = self.shared.expect_answer();
        let head = PublishHead {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain,
            topic: &[topic],
            packet_id: Some(id),
        };
        let mut out = Vec::new();
        encode_publish(&mut out, &head, payload).map_err(|error| error.to_string())?;
        self.shared.write(&out).await?;
        let shared = Arc::clone(&self.shared);
        Ok(async move {
            match answer.await {
                Ok(Answer::Acknowledged(at)) => Ok(at),
                Ok(other) => Err(format!("expected PUBACK {id}, found {other:?}")),
                Err(_) => Err(shared.why_ended()),
            }
        })
    }

    /// Subscribes; gives the codes and when they came.
    ///
    /// # Errors
    /// If the connection ended before.
    pub async fn subscribe(
        &self,
        filters: &[(&str, QoS)],
    ) -> Result<(Vec<SubackCode>, Instant), String> {
        let (id, answer) = self.shared.expect_answer();
        let mut out = Vec::new();
        encode_subscribe(&mut out, id, filters).map_err(|error| error.to_string())?;
        self.shared.write(&out).await?;
        match answer.await {
            Ok(Answer::Granted(codes, at)) => Ok((codes, at)),
            Ok(other) => Err(format!("expected SUBACK {id}, found {other:?}")),
            Err(_) => Err(self.shared.why_ended()),
        }
    }

    /// Subscribes to filters at QoS 1 that must all be granted.
    ///
    /// # Panics
    /// If one is not.
    pub async fn subscribe_all(&self, filters: &[&str]) -> Instant {
        let asked: Vec<_> = filters
            .iter()
            .map(|filter| (*filter, QoS::AtLeastOnce))
            .collect();
        let (codes, at) = self.subscribe(&asked).await.expect("the connection stands");
        assert!(
            codes.iter().all(|code| *code != SubackCode::Failure),
            "{filters:?}: {codes:?}"
        );
        at
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// If the connection ended before.
    pub async fn unsubscribe(&self, filters: &[&str]) -> Result<(), String> {
        let (id, answer) = self.shared.expect_answer();
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, id, filters).map_err(|error| error.to_string())?;
        self.shared.write(&out).await?;
        answer.await.map(drop).map_err(|_| self.shared.why_ended())
    }

    /// The next delivery; nothing once the connection has ended and all were taken.
    pub async fn next(&self) -> Option<Received> {
        self.incoming.lock().await.recv().await
    }

    /// The next delivery, if one comes within `most`.
    pub async fn next_within(&self, most: Duration) -> Option<Received> {
        timeout(most, self.next()).await.ok().flatten()
    }

    /// The client's own end of the connection.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Bytes that came so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// When the connection ended, if it has.
    pub fn ended_at(&self) -> Option<Instant> {
        self.shared.ended.borrow().as_ref().map(|ended| ended.at)
    }

    /// Waits for the end of the connection.
    pub async fn ended(&self) -> Instant {
        let mut ended = self.shared.ended.subscribe();
        let seen = ended.wait_for(Option::is_some).await;
        seen.ok()
            .and_then(|ended| ended.as_ref().map(|ended| ended.at))
            .unwrap_or_else(Instant::now)
    }

    /// Ends with a DISCONNECT.
    pub async fn disconnect(self) {
        let mut out = Vec::new();
        encode_disconnect(&mut out);
        let _ended_already = self.shared.write(&out).await;
        self.cut().await;
    }

    /// Ends without a word.
    pub async fn cut(self) {
        self.reader.abort();
        let _ended_already = self.shared.writer.lock().await.shutdown().await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.reader.abort();
        if let Some(pinger) = &self.pinger {
            pinger.abort();
        }
    }
}

impl Shared {
    fn expect_answer(&self) -> (PacketId, oneshot::Receiver<Answer>) {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.waiting();
        while waiting.answers.contains_key(&waiting.next) {
            waiting.next = waiting.next.next();
        }
        let id = waiting.next;
        waiting.next = id.next();
        waiting.answers.insert(id, sender);
        drop(waiting);
        // Whoever asks after the end must not wait for ever.
        if self.ended.borrow().is_some() {
            self.waiting().answers.clear();
        }
        (id, receiver)
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn write(&self, bytes: &[u8]) -> Result<(), String> {
        if self.ended.borrow().is_some() {
            return Err(self.why_ended());
        }
        self.writer
            .lock()
            .await
            .write_all(bytes)
            .await
            .map_err(|error| error.to_string())
    }

    fn why_ended(&self) -> String {
        self.ended.borrow().as_ref().map_or_else(
            || "the client was dropped".to_owned(),
            |ended| ended.why.clone(),
        )
    }

    fn end(&self, why: String) {
        self.ended.send_replace(Some(Ended {
            at: Instant::now(),
            why,
        }));
        self.waiting().answers.clear();
    }

    /// Reads until the end of the connection; says why it ended.
    async fn read_all(
        &self,
        mut read: OwnedReadHalf,
        mut buffer: BytesMut,
        incoming: &mpsc::Sender<Received>,
    ) -> String {
        let mut received = Vec::new();
        let mut out = Vec::new();
        loop {
            loop {
                let used = match self.take_packet(&buffer, &mut received, &mut out) {
                    Ok(0) => break,
                    Ok(used) => used,
                    Err(why) => return why,
                };
                buffer.advance(used);
                // Before the next packet: what came before an answer is there when the answer is seen.
                for message in received.drain(..) {
                    if incoming.send(message).await.is_err() {
                        return "the client was dropped".into();
                    }
                }
            }
            if !out.is_empty() {
                // The end of the connection is seen by the next read.
                let _ended = self.write(&out).await;
                out.clear();
            }
            buffer.reserve(4096);
            match read.read_buf(&mut buffer).await {
                Ok(0) => return "the broker closed the connection".into(),
                Ok(count) => self.bytes.fetch_add(count as u64, Ordering::SeqCst),
                Err(error) => return error.to_string(),
            };
        }
    }

    /// Handles the packet at the start of the buffer; gives its length, 0 while it is incomplete.
    fn take_packet(
        &self,
        buffer: &[u8],
        received: &mut Vec<Received>,
        out: &mut Vec<u8>,
    ) -> Result<usize, String> {
        let Some(found) = frame(buffer, MAX_PACKET).map_err(|error| error.to_string())? else {
            return Ok(0);
        };
        let at = Instant::now();
        let (id, answer) =
            match decode(found.first_byte, found.body).map_err(|error| error.to_string())? {
                Packet::Publish(publish) => {
                    if let Some(id) = publish.packet_id {
                        encode_puback(out, id);
                    }
                    received.push(Received {
                        topic: publish.topic.to_owned(),
                        payload: publish.payload.to_owned(),
                        qos: publish.qos,
                        retain: publish.retain,
                        dup: publish.dup,
                        at,
                    });
                    return Ok(found.len);
                }
                Packet::Puback(id) | Packet::Unsuback(id) => (id, Answer::Acknowledged(at)),
                Packet::Suback(suback) => (
                    suback.packet_id,
                    Answer::Granted(suback.codes().collect(), at),
                ),
                Packet::Pingresp => return Ok(found.len),
                other => return Err(format!("a broker must not send {other:?}")),
            };
        let Some(waiting) = self.waiting().answers.remove(&id) else {
            return Err(format!(
                "an answer to {id}, which was not asked: {answer:?}"
            ));
        };
        // A caller that no longer waits has what it wanted.
        let _not_awaited = waiting.send(answer);
        Ok(found.len)
    }
}
