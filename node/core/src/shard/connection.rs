//! One connection of a shard, and the table of them.

use crate::{
    access::Form,
    ids::{Epoch, SessionKey},
    peering::Token,
    reason::Close,
    session::{Inbound, Outbound, Subscribing, Subscription},
    shard::paths::Paths,
    time::Moment,
};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// It waits for its session.
    Claiming,
    /// It serves.
    Live,
    /// The node shuts down: no input, only answers that are under way.
    Draining,
    /// To be closed by the driver.
    Closing(Close),
}

/// Why a connection is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    /// It is.
    None,
    /// As many publishes as it may have are unanswered.
    Inflight,
    /// Its next publish needs a link that is above its bound.
    Link,
    /// A topic changes its path, and the earlier messages are not everywhere yet.
    Path,
    /// The same, and the earlier messages are not stored yet.
    Stored,
    /// As many SUBSCRIBEs as it may have wait for their barrier.
    Subscribe,
}

/// One connection and its session. Owned by the shard's table, in a box, so that a free slot costs little.
///
/// Invariants: `held` is empty unless the session is above its soft bound and read; a closing one has no
/// subscriptions, no inbound, nothing held.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) key: SessionKey,
    pub(super) epoch: Epoch,
    /// The place of its space among the shard's tables.
    pub(super) space: u32,
    pub(super) phase: Phase,
    pub(super) hold: Hold,
    /// In the outbox's list of slots with output.
    pub(super) dirty: bool,
    /// One and a half keep-alives, in milliseconds.
    pub(super) silence: u32,
    pub(super) last_input: Moment,
    /// The last time that the client took something, or had taken all.
    pub(super) last_progress: Moment,
    /// The message that was last matched to it, and the best QoS + 1 by form.
    pub(super) stamp: u64,
    pub(super) best: [u8; Form::DELIVERED],
    pub(super) inbound: Inbound,
    pub(super) outbound: Outbound,
    pub(super) subscriptions: Vec<Subscription>,
    pub(super) next_number: u32,
    pub(super) subscribing: Vec<Subscribing>,
    /// Answers that wait until the session is below its soft bound.
    pub(super) held: Vec<u64>,
    pub(super) paths: Option<Box<Paths>>,
}

impl Connection {
    pub(super) fn new(key: SessionKey, space: u32, silence: u32, now: Moment) -> Self {
        Self {
            key,
            epoch: Epoch::default(),
            space,
            phase: Phase::Claiming,
            hold: Hold::None,
            dirty: false,
            silence,
            last_input: now,
            last_progress: now,
            stamp: 0,
            best: [0; Form::DELIVERED],
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            subscriptions: Vec::new(),
            next_number: 0,
            subscribing: Vec::new(),
            held: Vec::new(),
            paths: None,
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing(_))
    }

    /// Whether all that it asked is answered.
    pub(super) fn is_settled(&self) -> bool {
        self.inbound.is_empty() && self.subscribing.is_empty()
    }
}

/// The connections of a shard by slot.
#[derive(Debug, Default)]
pub(super) struct Connections {
    places: Vec<Place>,
    free: Vec<u32>,
}

#[derive(Debug, Default)]
struct Place {
    generation: u32,
    connection: Option<Box<Connection>>,
}

impl Connections {
    /// Adds a connection; its slot and generation.
    pub(super) fn insert(&mut self, connection: Connection) -> (u32, u32) {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place::default());
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[slot as usize];
        place.connection = Some(Box::new(connection));
        (slot, place.generation)
    }

    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&Connection> {
        self.places.get(slot as usize)?.connection.as_deref()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Connection> {
        self.places
            .get_mut(slot as usize)?
            .connection
            .as_deref_mut()
    }

    /// The connection, if the slot is still its own.
    pub(super) fn of_mut(&mut self, slot: u32, generation: u32) -> Option<&mut Connection> {
        let place = self.places.get_mut(slot as usize)?;
        place
            .connection
            .as_deref_mut()
            .filter(|_| place.generation == generation)
    }

    pub(super) fn generation(&self, slot: u32) -> u32 {
        self.places
            .get(slot as usize)
            .map_or(0, |place| place.generation)
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Box<Connection>> {
        let place = self.places.get_mut(slot as usize)?;
        let connection = place.connection.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot);
        Some(connection)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }

    /// The slots in use.
    pub(super) fn slots(&self) -> Vec<u32> {
        (0..self.places.len() as u32)
            .filter(|slot| self.get(*slot).is_some())
            .collect()
    }
}

/// What a shard waits for on behalf of a connection, by ticket or token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) slot: u32,
    pub(super) generation: u32,
}

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ticketed {
    Subscribe(Waiter),
    /// The number of the publish in its connection.
    Store(Waiter, u32),
    Barrier(Waiter),
}

/// Who is told when a message is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A message without an answer (QoS 0, and the log path).
    Nobody,
    /// A publish or relay of this shard, by its place in `pendings`.
    Pending(u64),
    /// A sibling or a node.
    Other(super::Origin, Token),
}
