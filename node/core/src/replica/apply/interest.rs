//! Nodes gain and lose interest in filters.
//!
//! Idempotent within an incarnation; what others want of the same filter is untouched.

use crate::{
    ids::SpaceId,
    interest::Added,
    replica::{Effect, Outcome, Replica, apply::Step},
    topic::TopicFilter,
};

impl Replica {
    pub(super) fn add_interest(
        &mut self,
        step: &mut Step<'_>,
        space: SpaceId,
        filter: &TopicFilter,
    ) -> Outcome {
        match self
            .interest
            .add(space, filter, step.slot, step.incarnation)
        {
            Added::Nothing => return Outcome::Unchanged,
            Added::Owner(ended) => self.forget_if_swept(ended),
            Added::Node(nodes) => {
                step.effects.push(Effect::Interest {
                    space,
                    filter: filter.clone(),
                    nodes,
                });
            }
        }
        Outcome::Done(step.position)
    }

    pub(super) fn remove_interest(
        &mut self,
        step: &mut Step<'_>,
        space: SpaceId,
        filter: &TopicFilter,
    ) -> Outcome {
        let Some(nodes) = self
            .interest
            .remove(space, filter, step.slot, step.incarnation)
        else {
            return Outcome::Unchanged;
        };
        step.effects.push(Effect::Interest {
            space,
            filter: filter.clone(),
            nodes,
        });
        Outcome::Done(step.position)
    }
}
