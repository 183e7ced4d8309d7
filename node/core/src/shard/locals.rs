//! The shard's own subscriptions: one table for each space that has a connection here.

use std::collections::HashMap;

use crate::{
    access::Form,
    codec::QoS,
    ids::SpaceId,
    topic::{Handle, HashKey, Table, TableFull, TopicFilter},
};

/// Who wants a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) slot: u32,
    pub(super) qos: QoS,
    pub(super) form: Form,
}

/// The tables by the place of their space. A connection knows its space's place, so that its publishes look nothing
/// up; a place is free again when the last connection of the space is forgotten.
#[derive(Debug)]
pub(super) struct Locals {
    key: HashKey,
    places: Vec<Option<Space>>,
    by_id: HashMap<SpaceId, u32, HashKey>,
}

#[derive(Debug)]
struct Space {
    id: SpaceId,
    connections: u32,
    table: Table<Target>,
}

impl Locals {
    pub(super) fn new(key: HashKey) -> Self {
        Self {
            key,
            places: Vec::new(),
            by_id: HashMap::with_hasher(key),
        }
    }

    /// Counts a connection of the space; the space's place.
    pub(super) fn enter(&mut self, id: SpaceId) -> u32 {
        if let Some(at) = self.find(&id) {
            if let Some(Some(space)) = self.places.get_mut(at as usize) {
                space.connections += 1;
            }
            return at;
        }
        let at = self
            .places
            .iter()
            .position(Option::is_none)
            .unwrap_or_else(|| {
                self.places.push(None);
                self.places.len() - 1
            });
        self.places[at] = Some(Space {
            id,
            connections: 1,
            table: Table::new(self.key),
        });
        self.by_id.insert(id, at as u32);
        at as u32
    }

    /// A connection of the space is gone, and has no target any more.
    pub(super) fn leave(&mut self, at: u32) {
        let Some(place) = self.places.get_mut(at as usize) else {
            return;
        };
        let Some(space) = place else { return };
        space.connections -= 1;
        if space.connections == 0 {
            self.by_id.remove(&space.id);
            *place = None;
        }
    }

    /// The place of a space that has connections here.
    pub(super) fn find(&self, id: &SpaceId) -> Option<u32> {
        self.by_id.get(id).copied()
    }

    #[inline]
    pub(super) fn table(&self, at: u32) -> Option<&Table<Target>> {
        self.places
            .get(at as usize)?
            .as_ref()
            .map(|space| &space.table)
    }

    pub(super) fn insert(
        &mut self,
        at: u32,
        filter: &TopicFilter,
        target: Target,
    ) -> Result<Handle, TableFull> {
        match self.places.get_mut(at as usize) {
            Some(Some(space)) => Ok(space.table.insert(filter, target)?.handle),
            _ => Err(TableFull),
        }
    }

    pub(super) fn remove(&mut self, at: u32, handle: Handle) {
        if let Some(Some(space)) = self.places.get_mut(at as usize) {
            space.table.remove(handle);
        }
    }
}
