//! The entries of interest, by filter and by incarnation.
//!
//! Called by apply alone. The end of a node costs nothing here: its entries stay until they are swept, in
//! batches that the caller bounds.

use imbl::{OrdMap, OrdSet};

use crate::{
    ids::{Incarnation, NodeSet, NodeSlot, SpaceId},
    topic::TopicFilter,
};

/// Who wants what; a clone is O(1).
///
/// - A filter has at most one entry a slot, so at most [`NodeSlot::MAX`]: a new incarnation's interest takes
///   the place of what the ended one of its node left.
/// - `owned` holds exactly the entries, by incarnation.
#[derive(Clone, Debug, Default)]
pub struct Interest {
    entries: OrdMap<Place, Incarnation>,
    owned: OrdSet<Owned>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    space: SpaceId,
    filter: TopicFilter,
    slot: NodeSlot,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Owned {
    incarnation: Incarnation,
    // `None` sorts first: where a range begins
    filter: Option<(SpaceId, TopicFilter)>,
}

/// What adding an entry changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// The node is new among those that want the filter, which are these now.
    Node(NodeSet),
    /// The entry that this ended incarnation of the node left now is the new one's.
    Owner(Incarnation),
    /// Nothing: the incarnation had it.
    Nothing,
}

impl Interest {
    /// Notes that an incarnation, the newest in its slot, wants a filter.
    pub fn add(
        &mut self,
        space: SpaceId,
        filter: &TopicFilter,
        slot: NodeSlot,
        incarnation: Incarnation,
    ) -> Added {
        // share the text with the entries of other nodes
        let filter = self
            .range(space, filter)
            .next()
            .map_or(filter, |(place, _)| &place.filter);
        let filter = filter.clone();
        let place = Place {
            space,
            filter: filter.clone(),
            slot,
        };
        match self.entries.insert(place, incarnation) {
            Some(owner) if owner == incarnation => Added::Nothing,
            Some(owner) => {
                self.owned.remove(&Owned::new(owner, space, filter.clone()));
                self.owned.insert(Owned::new(incarnation, space, filter));
                Added::Owner(owner)
            }
            None => {
                self.owned
                    .insert(Owned::new(incarnation, space, filter.clone()));
                Added::Node(self.nodes(space, &filter))
            }
        }
    }

    /// Notes that an incarnation no longer wants a filter. The nodes that still do, or nothing if it had
    /// no entry.
    pub fn remove(
        &mut self,
        space: SpaceId,
        filter: &TopicFilter,
        slot: NodeSlot,
        incarnation: Incarnation,
    ) -> Option<NodeSet> {
        let place = Place {
            space,
            filter: filter.clone(),
            slot,
        };
        if self.entries.get(&place) != Some(&incarnation) {
            return None;
        }
        self.entries.remove(&place);
        self.owned
            .remove(&Owned::new(incarnation, space, place.filter));
        Some(self.nodes(space, filter))
    }

    /// Removes the first entry of an incarnation. Its filter, and the nodes that still want it.
    pub fn remove_first(
        &mut self,
        slot: NodeSlot,
        incarnation: Incarnation,
    ) -> Option<(SpaceId, TopicFilter, NodeSet)> {
        let (space, filter) = self.first(incarnation)?.clone();
        let nodes = self.remove(space, &filter, slot, incarnation)?;
        Some((space, filter, nodes))
    }

    /// Whether an incarnation has an entry.
    pub fn has(&self, incarnation: Incarnation) -> bool {
        self.first(incarnation).is_some()
    }

    /// The nodes that want a filter, ended incarnations that were not swept included.
    pub fn nodes(&self, space: SpaceId, filter: &TopicFilter) -> NodeSet {
        self.range(space, filter)
            .fold(NodeSet::default(), |nodes, (place, _)| {
                nodes.with(place.slot)
            })
    }

    /// All filters with the nodes that want them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (SpaceId, &TopicFilter, NodeSet)> {
        let mut entries = self.entries.keys().peekable();
        std::iter::from_fn(move || {
            let first = entries.next()?;
            let mut nodes = NodeSet::of(first.slot);
            while let Some(more) =
                entries.next_if(|p| (p.space, &p.filter) == (first.space, &first.filter))
            {
                nodes = nodes.with(more.slot);
            }
            Some((first.space, &first.filter, nodes))
        })
    }

    /// All entries in order.
    pub fn entries(&self) -> impl Iterator<Item = (SpaceId, &TopicFilter, NodeSlot, Incarnation)> {
        self.entries
            .iter()
            .map(|(p, incarnation)| (p.space, &p.filter, p.slot, *incarnation))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nobody wants anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn first(&self, incarnation: Incarnation) -> Option<&(SpaceId, TopicFilter)> {
        let from = Owned {
            incarnation,
            filter: None,
        };
        let first = self.owned.range(from..).next()?;
        if first.incarnation == incarnation {
            first.filter.as_ref()
        } else {
            None
        }
    }

    fn range(
        &self,
        space: SpaceId,
        filter: &TopicFilter,
    ) -> impl Iterator<Item = (&Place, &Incarnation)> {
        let place = |slot| Place {
            space,
            filter: filter.clone(),
            slot: NodeSlot(slot),
        };
        self.entries.range(place(0)..=place(NodeSlot::MAX))
    }
}

impl Owned {
    fn new(incarnation: Incarnation, space: SpaceId, filter: TopicFilter) -> Self {
        Self {
            incarnation,
            filter: Some((space, filter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Index, Position, ResourceId};

    const ONE: NodeSlot = NodeSlot(0);
    const LAST: NodeSlot = NodeSlot(63);

    fn space() -> SpaceId {
        SpaceId::Broker(ResourceId::from_random([0; 17]))
    }

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn incarnation(index: u64) -> Incarnation {
        Incarnation(Position::new(Index(index), 0))
    }

    #[test]
    fn adding_and_removing_twice_changes_once() {
        let mut interest = Interest::default();
        let (a, i) = (filter("a"), incarnation(1));
        assert_eq!(
            interest.add(space(), &a, ONE, i),
            Added::Node(NodeSet::of(ONE))
        );
        assert_eq!(interest.add(space(), &a, ONE, i), Added::Nothing);
        let both = NodeSet::of(ONE).with(LAST);
        assert_eq!(
            interest.add(space(), &a, LAST, incarnation(2)),
            Added::Node(both)
        );
        assert_eq!(interest.nodes(space(), &filter("a/b")), NodeSet::default());
        assert_eq!(
            interest.remove(space(), &a, ONE, i),
            Some(NodeSet::of(LAST))
        );
        assert_eq!(interest.remove(space(), &a, ONE, i), None);
        assert!(!interest.has(i) && interest.has(incarnation(2)));
    }

    #[test]
    fn a_new_incarnation_takes_the_place_of_the_ended_one() {
        let mut interest = Interest::default();
        let (a, old, new) = (filter("a"), incarnation(1), incarnation(2));
        interest.add(space(), &a, ONE, old);
        assert_eq!(interest.add(space(), &a, ONE, new), Added::Owner(old));
        assert!(!interest.has(old) && interest.has(new));
        assert_eq!(interest.remove(space(), &a, ONE, old), None);
        assert_eq!(interest.nodes(space(), &a), NodeSet::of(ONE));
        assert_eq!(interest.len(), 1);
    }

    #[test]
    fn sweeping_takes_one_incarnation_alone() {
        let mut interest = Interest::default();
        for text in ["a", "b", "c/#"] {
            interest.add(space(), &filter(text), ONE, incarnation(1));
            interest.add(space(), &filter(text), LAST, incarnation(2));
        }
        let mut swept = Vec::new();
        while let Some((_, filter, nodes)) = interest.remove_first(ONE, incarnation(1)) {
            assert_eq!(nodes, NodeSet::of(LAST));
            swept.push(filter);
        }
        assert_eq!(swept, [filter("a"), filter("b"), filter("c/#")]);
        assert_eq!(interest.len(), 3);
    }

    #[test]
    fn iteration_joins_the_nodes_of_a_filter() {
        let mut interest = Interest::default();
        interest.add(space(), &filter("b"), ONE, incarnation(1));
        interest.add(space(), &filter("a"), ONE, incarnation(1));
        interest.add(space(), &filter("b"), LAST, incarnation(2));
        let all: Vec<_> = interest.iter().collect();
        let (a, b) = (filter("a"), filter("b"));
        assert_eq!(
            all,
            [
                (space(), &a, NodeSet::of(ONE)),
                (space(), &b, NodeSet::of(ONE).with(LAST))
            ]
        );
    }
}
