//! A shard's thread: the round of epoll, mailbox, reading, sending, closing.
//!
//! Started by [`super::Shards::spawn`], one for each core. It owns everything of its connections. It never waits
//! but in epoll, never locks but to swap the mailbox, and lets nothing out without a look at the lease right
//! before each write.

use std::{collections::VecDeque, io, sync::Arc, time::Duration};

use mainstay_core::{
    codec::{Connack, ConnackCode, encode_connack},
    ids::{NodeSet, ShardId},
    message::Request,
    shard::Shard,
    time::Moment,
};
use mio::{Events, Interest, Poll, net::TcpStream};
use tokio::sync::mpsc;

use super::{
    Handover,
    conn::{Conn, Guest, State, Tls, write_bytes},
    mailbox::{Item, Mailbox},
    metrics::Meter,
    peer_queue::PeerQueues,
    placement::Seat,
};
use crate::tasks::clock;

/// The waker's token; slots are below it.
pub(super) const WAKER: mio::Token = mio::Token(usize::MAX);
/// Events taken from epoll at once; more stay there for the next round.
const EVENTS: usize = 1024;
/// Bytes of the shared read buffer: one read takes all that a client sends in a round, and the work of one read
/// is bounded by it (64 KiB against none keeps a probe under four flooders within 0.5 ms).
const READ_BUFFER: usize = 64 * 1024;
/// Bytes that a round reads over all sockets; what is left comes first in the next one. Bounds a round's length,
/// and what it adds to the outbox.
pub(super) const ROUND_BYTES: usize = 1024 * 1024;
/// Between looks at something that wakes nobody when it changes: a full channel, mailbox or link, or a lease.
const RETRY: Duration = Duration::from_millis(2);

/// What a driver is made of.
pub(super) struct Parts {
    pub(super) id: ShardId,
    pub(super) core: Shard,
    pub(super) poll: Poll,
    /// The mailboxes of all shards, its own among them.
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    pub(super) peers: PeerQueues,
    pub(super) requests: mpsc::Sender<(ShardId, Request)>,
}

/// A shard's loop. Invariants between rounds:
///
/// - a connection that may have unread bytes is on `ready`, or core will list it in `resume`, or epoll will say so
/// - a connection with unsent bytes is on `dirty`, or blocked, and then epoll will say so
pub(super) struct Driver {
    pub(super) id: ShardId,
    pub(super) core: Shard,
    poll: Poll,
    events: Events,
    pub(super) mailboxes: Vec<Arc<Mailbox>>,
    items: Vec<Item>,
    pub(super) peers: PeerQueues,
    /// Links above their bound, as core knows; and those that may be.
    pub(super) congested: NodeSet,
    pub(super) suspects: NodeSet,
    pub(super) requests: mpsc::Sender<(ShardId, Request)>,
    /// Requests that found the channel full; sent first. While there are any, no socket is read.
    pub(super) held: VecDeque<Request>,
    pub(super) conns: Vec<Option<Conn>>,
    pub(super) ready: VecDeque<u32>,
    pub(super) dirty: Vec<u32>,
    /// To be closed once their output has left, at the latest at the moment.
    pub(super) lingering: Vec<(Moment, u32)>,
    /// To be closed at the end of the round.
    pub(super) lost: Vec<u32>,
    /// Flushed or marked in this round: core may have closed them.
    pub(super) ended: Vec<u32>,
    pub(super) scratch: Scratch,
    pub(super) meter: Meter,
    /// The round's reading of the clock.
    pub(super) now: Moment,
    stopped: bool,
}

/// Buffers that all connections share.
pub(super) struct Scratch {
    pub(super) read: Box<[u8]>,
    pub(super) plain: Vec<u8>,
    pub(super) cipher: Vec<u8>,
}

impl Driver {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            id: parts.id,
            core: parts.core,
            poll: parts.poll,
            events: Events::with_capacity(EVENTS),
            mailboxes: parts.mailboxes,
            items: Vec::new(),
            peers: parts.peers,
            congested: NodeSet::default(),
            suspects: NodeSet::default(),
            requests: parts.requests,
            held: VecDeque::new(),
            conns: Vec::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            lingering: Vec::new(),
            lost: Vec::new(),
            ended: Vec::new(),
            scratch: Scratch {
                read: vec![0; READ_BUFFER].into_boxed_slice(),
                plain: Vec::new(),
                cipher: Vec::new(),
            },
            meter: Meter::new(),
            now: clock::now(),
            stopped: false,
        }
    }

    /// Rounds until `Stop`.
    pub(super) fn run(mut self) -> io::Result<()> {
        while !self.stopped {
            self.wait()?;
            self.now = clock::now();
            self.take_events();
            self.take_mail();
            if self
                .core
                .next_deadline()
                .is_some_and(|deadline| deadline <= self.now)
            {
                self.core.handle_tick(self.now);
            }
            self.read_ready();
            self.send_requests();
            self.send_parcels();
            self.flush_dirty();
            self.close_ended();
            // Closing may have made requests, and answers for siblings.
            self.send_requests();
            self.collect_resumed();
            self.meter.add(self.core.counters());
        }
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let mut timeout = self.timeout();
        let mailbox = &self.mailboxes[usize::from(self.id.0)];
        if timeout != Some(Duration::ZERO) && !mailbox.fall_asleep() {
            timeout = Some(Duration::ZERO);
        }
        let result = self.poll.poll(&mut self.events, timeout);
        mailbox.wake_up();
        match result {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }

    fn timeout(&mut self) -> Option<Duration> {
        if !self.lost.is_empty() || (!self.ready.is_empty() && self.may_read()) {
            return Some(Duration::ZERO);
        }
        let waits = !self.held.is_empty()
            || !self.ready.is_empty()
            || !self.dirty.is_empty()
            || !self.suspects.is_empty();
        // What core has for others waits for the lease; then its deadline, which has passed, would spin.
        if !self.core.outbox().is_empty() && !self.core.may_flush(self.now) {
            return Some(RETRY);
        }
        let retry = waits.then(|| self.now + RETRY);
        let linger = self.lingering.iter().map(|(until, _)| *until).min();
        [self.core.next_deadline(), retry, linger]
            .into_iter()
            .flatten()
            .min()
            .map(|deadline| deadline.since(self.now))
    }

    fn take_events(&mut self) {
        for event in &self.events {
            if event.token() == WAKER {
                continue;
            }
            let Ok(slot) = u32::try_from(event.token().0) else {
                continue;
            };
            let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
                continue;
            };
            if event.is_read_closed() || event.is_error() {
                conn.state.read_closed = true;
            }
            if (event.is_readable() || conn.state.read_closed) && !conn.state.listed {
                conn.state.listed = true;
                self.ready.push_back(slot);
            }
            if event.is_writable() && conn.state.blocked {
                conn.state.blocked = false;
                if !conn.state.dirty {
                    conn.state.dirty = true;
                    self.dirty.push(slot);
                }
            }
        }
    }

    fn take_mail(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        self.mailboxes[usize::from(self.id.0)].swap(&mut items);
        for item in items.drain(..) {
            match item {
                Item::Login(handover) => self.adopt(*handover),
                Item::Event(event) => self.core.handle_event(self.now, event),
                Item::Batch(from, batch) => self.core.handle_batch(self.now, from, &batch),
                Item::Taken(from, tokens) => self.core.handle_taken(self.now, from, &tokens),
                Item::Stop => self.stopped = true,
            }
        }
        self.items = items;
    }

    /// Takes a connection over. One that core refuses is answered CONNACK 3 and dropped.
    fn adopt(&mut self, (handover, seat): (Handover, Seat)) {
        let mut stream = TcpStream::from_std(handover.stream);
        let client_id = handover.login.client_id.clone();
        let (client, door) = (handover.client, handover.door);
        let id = match self.core.handle_login(self.now, handover.login) {
            Ok(id) => id,
            Err(why) => {
                tracing::debug!(%client, client_id = &*client_id.0, why = why.label(), "login refused");
                refuse(&mut stream, handover.tls);
                return;
            }
        };
        let slot = id.slot;
        let registered = self.poll.registry().register(
            &mut stream,
            mio::Token(slot as usize),
            Interest::READABLE | Interest::WRITABLE,
        );
        let mut conn = Conn {
            stream,
            tls: handover.tls.map(|session| {
                Box::new(Tls {
                    session,
                    pending: Vec::new(),
                    at: 0,
                    lot: 0,
                })
            }),
            rest: None,
            state: State {
                listed: true,
                ..State::default()
            },
            guest: Box::new(Guest {
                client,
                client_id: client_id.clone(),
                door,
                accepted: handover.accepted,
                _seat: seat,
                _permit: handover.permit,
            }),
        };
        if !handover.plain.is_empty() || !handover.cipher.is_empty() {
            let rest = conn.rest();
            rest.plain = handover.plain;
            rest.cipher = handover.cipher;
        }
        if self.conns.len() <= slot as usize {
            self.conns.resize_with(slot as usize + 1, || None);
        }
        self.conns[slot as usize] = Some(conn);
        self.meter.opened(door);
        tracing::info!(%client, client_id = &*client_id.0, door = door.label(), "connected");
        // Bytes may have come before the registration; reading finds out.
        self.ready.push_back(slot);
        if registered.is_err() {
            self.mark_lost(slot);
        }
    }
}

fn refuse(stream: &mut TcpStream, tls: Option<crate::tls::Session>) {
    let mut bytes = Vec::new();
    let code = ConnackCode::ServerUnavailable;
    encode_connack(
        &mut bytes,
        Connack {
            session_present: false,
            code,
        },
    );
    if let Some(mut session) = tls {
        let mut records = Vec::new();
        if session.send(&bytes, &mut records).is_ok() {
            session.send_end(&mut records);
        }
        bytes = records;
    }
    // An empty socket takes so few bytes; if not, the client sees the end all the same.
    let _ = write_bytes(stream, &bytes);
}
