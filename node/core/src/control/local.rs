//! Which shards want which filters: reference counts, masks, and the node's interest in the log.
//!
//! Part of a running incarnation. Only a filter's first and last subscriber on the node make a command, in
//! one ordered lane, so that an end never overtakes a beginning. As many entries as the sessions of all
//! shards have subscriptions; their limits bound it.

use std::collections::BTreeMap;

use crate::{
    control::{Desk, answers::Tag, plant::Plant, routing::Routing},
    ids::{Index, ShardId, ShardSet, SpaceId},
    proposer::Full,
    replica::{Command, Lane},
    topic::TopicFilter,
};

/// One time that the node wanted a filter, from its first subscriber to its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(u64);

/// The filters that this node's shards want.
#[derive(Debug, Default)]
pub(super) struct Local {
    wanted: BTreeMap<(SpaceId, TopicFilter), Wanted>,
    /// Commands without an answer: whose they are.
    adding: BTreeMap<Generation, (SpaceId, TopicFilter)>,
    next: u64,
}

#[derive(Debug)]
struct Wanted {
    generation: Generation,
    /// Where the interest was applied.
    added: Option<Index>,
    /// Subscriptions by shard, none with 0.
    counts: Vec<(ShardId, u32)>,
}

/// How the interest in a filter stands after one more subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was applied at this index.
    Added(Index),
    /// Its command has no answer yet, and came before this subscription.
    Adding(Generation),
    /// This subscription made its command.
    Proposed(Generation),
}

impl Local {
    /// Counts one more subscription of the shard.
    ///
    /// # Errors
    /// [`Full`]: the interest could not be proposed.
    pub(super) fn add(
        &mut self,
        desk: &mut Desk<'_>,
        routing: &mut Routing,
        shard: ShardId,
        space: SpaceId,
        filter: &TopicFilter,
    ) -> Result<Standing, Full> {
        let key = (space, filter.clone());
        let mut standing = None;
        if !self.wanted.contains_key(&key) {
            self.next += 1;
            let generation = Generation(self.next);
            let command = Command::AddInterest {
                space,
                filter: filter.clone(),
            };
            desk.owe(Lane::Work, command, Tag::Interest(generation))?;
            self.adding.insert(generation, key.clone());
            standing = Some(Standing::Proposed(generation));
        }
        let fresh = || Wanted {
            generation: Generation(self.next),
            added: None,
            counts: Vec::new(),
        };
        let wanted = self.wanted.entry(key).or_insert_with(fresh);
        match wanted.counts.iter_mut().find(|(of, _)| *of == shard) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => {
                wanted.counts.push((shard, 1));
                routing.set_shards(space, filter, mask(&wanted.counts));
            }
        }
        let known = wanted
            .added
            .map_or(Standing::Adding(wanted.generation), Standing::Added);
        Ok(standing.unwrap_or(known))
    }

    /// Counts one subscription of the shard less; one that it does not have changes nothing.
    ///
    /// # Errors
    /// [`Full`]: the end of the interest could not be proposed.
    pub(super) fn remove(
        &mut self,
        desk: &mut Desk<'_>,
        routing: &mut Routing,
        shard: ShardId,
        space: SpaceId,
        filter: &TopicFilter,
    ) -> Result<(), Full> {
        let key = (space, filter.clone());
        let Some(wanted) = self.wanted.get_mut(&key) else {
            return Ok(());
        };
        let Some(at) = wanted.counts.iter().position(|(of, _)| *of == shard) else {
            return Ok(());
        };
        wanted.counts[at].1 -= 1;
        if wanted.counts[at].1 > 0 {
            return Ok(());
        }
        wanted.counts.swap_remove(at);
        routing.set_shards(space, filter, mask(&wanted.counts));
        if wanted.counts.is_empty() {
            self.wanted.remove(&key);
            let lane = if desk.planted.has(Plant::RemoveOvertakesAdd) {
                Lane::Liveness
            } else {
                Lane::Work
            };
            let command = Command::RemoveInterest {
                space,
                filter: filter.clone(),
            };
            desk.owe(lane, command, Tag::Unanswered)?;
        }
        Ok(())
    }

    /// The interest was applied at this index (or was there by then).
    pub(super) fn handle_added(&mut self, generation: Generation, index: Index) {
        let Some(key) = self.adding.remove(&generation) else {
            return;
        };
        if let Some(wanted) = self.wanted.get_mut(&key)
            && wanted.generation == generation
        {
            wanted.added = Some(index);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.wanted.len()
    }
}

fn mask(counts: &[(ShardId, u32)]) -> ShardSet {
    counts
        .iter()
        .fold(ShardSet::default(), |set, (shard, _)| set.with(*shard))
}
