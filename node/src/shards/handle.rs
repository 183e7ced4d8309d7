//! The shards of this node as others see them.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use mainstay_core::{
    ids::{ShardId, SpaceId},
    lease::Window,
    limits::Limits,
    message::{Event, Request},
    peering::{Batch, Token},
    router::Table,
    shard::{Origin, Shard},
};
use mio::Poll;
use tokio::sync::mpsc;

use super::{
    Handover,
    driver::{Driver, Parts, WAKER},
    mailbox::{Item, Mailbox},
    peer_queue::{PeerQueues, ShardInbox},
    placement::Placement,
};
use crate::tasks::{Kind, Tasks, clock};

/// Requests of all shards that wait for control. It drains them in batches; a full channel stops the shards'
/// reading after some rounds, and they hold the rest themselves.
pub const REQUESTS: usize = 4 * 1024;

/// What shards are made of.
#[derive(Debug)]
pub struct Options {
    /// How many, from 1 to [`ShardId::MAX`].
    pub shards: u8,
    /// The bounds of their sessions.
    pub limits: Limits,
    /// The lease.
    pub window: Window,
    /// A random key, or clients could choose topics whose hashes collide.
    pub hash_key: [u64; 2],
    /// To control; of capacity [`REQUESTS`].
    pub requests: mpsc::Sender<(ShardId, Request)>,
    /// To the links.
    pub peers: PeerQueues,
}

/// The shards of this node. A clone shares them.
#[derive(Clone, Debug)]
pub struct Shards {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    mailboxes: Vec<Arc<Mailbox>>,
    placement: Arc<Placement>,
    window: Window,
    /// The newest table that was given to the shards.
    table: ArcSwapOption<Table>,
    /// Between `Serve` and the next `Fence` or `Drain`.
    serving: AtomicBool,
}

impl Shards {
    /// Starts the threads; they end when the node stops. An orderly end empties them before, by `Drain`.
    ///
    /// # Errors
    ///
    /// The operating system's, if it has no thread or epoll left.
    pub fn spawn(tasks: &Tasks, options: Options) -> io::Result<Self> {
        let count = options.shards.clamp(1, ShardId::MAX);
        let mut polls = Vec::new();
        let mut mailboxes = Vec::new();
        for _ in 0..count {
            let poll = Poll::new()?;
            mailboxes.push(Arc::new(Mailbox::new(mio::Waker::new(
                poll.registry(),
                WAKER,
            )?)));
            polls.push(poll);
        }
        for (id, poll) in (0..count).map(ShardId).zip(polls) {
            let window = options.window.clone();
            let core = Shard::new(id, count, options.limits, window, options.hash_key);
            let parts = Parts {
                id,
                core,
                poll,
                mailboxes: mailboxes.clone(),
                peers: options.peers.clone(),
                requests: options.requests.clone(),
            };
            let body = move || Driver::new(parts).run();
            tasks.spawn_thread(Kind::Shard, usize::from(id.0), body)?;
        }
        let handle = Self::of(mailboxes, options.window);
        let stopping = handle.clone();
        let stop = tasks.stop().clone();
        tasks.spawn(Kind::Shard, async move {
            stop.cancelled().await;
            stopping.stop();
            Ok::<(), Infallible>(())
        });
        Ok(handle)
    }

    fn of(mailboxes: Vec<Arc<Mailbox>>, window: Window) -> Self {
        let inner = Inner {
            placement: Arc::new(Placement::new(mailboxes.len())),
            mailboxes,
            window,
            table: ArcSwapOption::empty(),
            serving: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// How many there are.
    pub fn count(&self) -> u8 {
        u8::try_from(self.inner.mailboxes.len()).expect("made from a u8")
    }

    /// Gives a shard an event of control, in order.
    pub fn push_event(&self, shard: ShardId, event: Event) {
        match &event {
            Event::Adopt(table) => self.inner.table.store(Some(table.clone())),
            Event::Serve(_) => self.inner.serving.store(true, Ordering::SeqCst),
            Event::Fence | Event::Drain => self.inner.serving.store(false, Ordering::SeqCst),
            _ => {}
        }
        self.push(shard, Item::Event(event));
    }

    /// The newest routing table while this node serves clients; its catalog is what logins are checked against.
    pub fn serving(&self) -> Option<Arc<Table>> {
        let open = self.inner.window.is_open(clock::now());
        let serving = open && self.inner.serving.load(Ordering::SeqCst);
        self.inner.table.load_full().filter(|_| serving)
    }

    /// Hands a connection that has logged in to a shard of its space.
    pub fn hand_over(&self, handover: Handover) {
        let seat = self.inner.placement.seat(handover.login.principal.space);
        self.push(seat.shard(), Item::Login(Box::new((handover, seat))));
    }

    /// Whether a shard is so far behind that control should not apply more for now.
    pub fn is_congested(&self) -> bool {
        self.inner
            .mailboxes
            .iter()
            .any(|mailbox| mailbox.is_congested())
    }

    /// Ends the threads once they have handled what was pushed before; connections still open are dropped.
    fn stop(&self) {
        for mailbox in &self.inner.mailboxes {
            mailbox.push(Item::Stop);
        }
    }

    fn push(&self, shard: ShardId, item: Item) {
        if let Some(mailbox) = self.inner.mailboxes.get(usize::from(shard.0)) {
            mailbox.push(item);
        }
    }
}

impl ShardInbox for Shards {
    fn push_batch(&self, shard: ShardId, from: Origin, batch: Batch) {
        self.push(shard, Item::Batch(from, batch));
    }

    fn push_taken(&self, shard: ShardId, from: Origin, tokens: Vec<Token>) {
        self.push(shard, Item::Taken(from, tokens));
    }

    fn home(&self, space: SpaceId) -> ShardId {
        self.inner.placement.home(space)
    }

    fn is_full(&self, shard: ShardId) -> bool {
        self.inner
            .mailboxes
            .get(usize::from(shard.0))
            .is_some_and(|mailbox| mailbox.is_full())
    }
}
