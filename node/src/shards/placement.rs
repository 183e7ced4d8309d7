//! Which shard a new connection goes to.
//!
//! Messages between connections of one shard cost least, and messages never leave a space: so a space stays on
//! one home shard until it has [`SPREAD_AFTER`] connections on this node, and is spread over all from then on.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::ids::{ShardId, SpaceId};

/// Connections of one space on this node up to which they share a shard. Crossing shards costs about a tenth of
/// a microsecond a message in batches but half again as much for a message alone; a thousand connections are
/// where one core would begin to feel a single space.
const SPREAD_AFTER: u32 = 1_000;

/// Counts connections by space and shard. Bounded by the connections themselves.
#[derive(Debug)]
pub(super) struct Placement {
    state: Mutex<State>,
    /// A random key: clients cannot aim at one shard by their IDs.
    homes: RandomState,
    shards: u8,
}

#[derive(Debug)]
struct State {
    spaces: HashMap<SpaceId, u32>,
    loads: Vec<u32>,
}

/// A connection's place; counted until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    placement: Arc<Placement>,
    space: SpaceId,
    shard: ShardId,
}

impl Placement {
    pub(super) fn new(shards: usize) -> Self {
        let state = State {
            spaces: HashMap::new(),
            loads: vec![0; shards],
        };
        Self {
            state: Mutex::new(state),
            homes: RandomState::new(),
            shards: u8::try_from(shards).unwrap_or(ShardId::MAX),
        }
    }

    /// The home shard of a space; never changes.
    pub(super) fn home(&self, space: SpaceId) -> ShardId {
        let home = self.homes.hash_one(space) % u64::from(self.shards.max(1));
        ShardId(u8::try_from(home).expect("below a u8"))
    }

    /// Finds a place for a connection of the space.
    pub(super) fn seat(self: &Arc<Self>, space: SpaceId) -> Seat {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let shards = state.loads.len();
        let home = usize::from(self.home(space).0);
        let count = state.spaces.entry(space).or_insert(0);
        *count += 1;
        let spread = *count > SPREAD_AFTER;
        let least = || {
            (0..shards)
                .min_by_key(|&shard| state.loads[shard])
                .unwrap_or(home)
        };
        let shard = if spread { least() } else { home };
        state.loads[shard] += 1;
        let shard = ShardId(u8::try_from(shard).expect("shards are counted by a u8"));
        Seat {
            placement: self.clone(),
            space,
            shard,
        }
    }
}

impl Seat {
    pub(super) fn shard(&self) -> ShardId {
        self.shard
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self
            .placement
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        state.loads[usize::from(self.shard.0)] -= 1;
        if let Some(count) = state.spaces.get_mut(&self.space) {
            *count -= 1;
            if *count == 0 {
                state.spaces.remove(&self.space);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mainstay_core::ids::ResourceId;

    use super::*;

    #[test]
    fn a_small_space_stays_together_and_a_large_one_is_spread() {
        let placement = Arc::new(Placement::new(4));
        let space = SpaceId::Broker(ResourceId::from_random([7; 17]));
        let mut seats: Vec<_> = (0..SPREAD_AFTER).map(|_| placement.seat(space)).collect();
        let home = seats[0].shard();
        assert!(seats.iter().all(|seat| seat.shard() == home));
        seats.extend((0..SPREAD_AFTER).map(|_| placement.seat(space)));
        let loads = placement.state.lock().unwrap().loads.clone();
        assert!(loads.iter().all(|&load| load > 300), "{loads:?}");
    }

    #[test]
    fn seats_are_counted_until_they_are_dropped() {
        let placement = Arc::new(Placement::new(2));
        let space = SpaceId::Registry(ResourceId::from_random([9; 17]));
        drop((placement.seat(space), placement.seat(space)));
        let state = placement.state.lock().unwrap();
        assert!(state.spaces.is_empty());
        assert_eq!(state.loads, [0, 0]);
    }
}
