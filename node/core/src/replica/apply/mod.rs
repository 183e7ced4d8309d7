//! Entries of the agreed log onto the state, in order; here the order of lanes, beside it a file a concern.
//!
//! Called by the raft room (or the simulation's log) with every committed entry. Total and deterministic:
//! it never fails, waits, or looks at anything but the state and the entry.

mod interest;
mod nodes;
mod sessions;
mod stored;

use crate::{
    catalog::{CreateError, Creation, Resource},
    ids::{Incarnation, Index, NodeSlot, Position},
    limits::BATCH_COMMANDS,
    replica::{Applied, Command, Effect, Entry, Lane, Outcome, Plant, Refusal, Replica},
};

/// One command's place, its proposer, and where its effects go.
struct Step<'a> {
    position: Position,
    incarnation: Incarnation,
    slot: NodeSlot,
    effects: &'a mut Vec<Effect>,
}

impl Replica {
    /// Applies one committed entry. One that was applied before does nothing.
    ///
    /// Each command of each lane of an incarnation is applied at most once and in the order of the numbers:
    /// what was applied before is skipped without an effect (the proposer had its answer when it was
    /// applied), what comes too early is answered [`Effect::Gap`].
    pub fn apply(&mut self, index: Index, entry: &Entry) -> Applied {
        let mut effects = Vec::new();
        if index > self.applied {
            self.applied = index;
            match entry {
                Entry::NodeUp { node, name, nonce } => {
                    self.node_up(index, *node, name, *nonce, &mut effects);
                }
                Entry::Batch {
                    incarnation,
                    lane,
                    first,
                    commands,
                } => {
                    self.batch(index, *incarnation, *lane, *first, commands, &mut effects);
                }
            }
        }
        Applied { index, effects }
    }

    /// Passes an entry of the log that is not of this state (a change of members, a new leader's first).
    pub fn pass(&mut self, index: Index) -> Applied {
        self.applied = self.applied.max(index);
        Applied {
            index,
            effects: Vec::new(),
        }
    }

    fn batch(
        &mut self,
        index: Index,
        incarnation: Incarnation,
        lane: Lane,
        first: u64,
        commands: &[Command],
        effects: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.nodes.running_slot(incarnation) else {
            if self.planted.has(Plant::EndedIncarnation) {
                self.batch_of_ended(index, incarnation, lane, first, commands, effects);
            }
            return;
        };
        let Some(last) = self.nodes.lane(incarnation, lane) else {
            return;
        };
        let mut sequence = last.saturating_add(1);
        let Some(applied_before) = sequence.checked_sub(first) else {
            if self.planted.has(Plant::GapAsRepeat) {
                let passed = (first - 1).saturating_add(commands.len() as u64);
                self.nodes.set_lane(incarnation, lane, passed);
                return;
            }
            effects.push(Effect::Gap {
                incarnation,
                lane,
                expected: sequence,
            });
            return;
        };
        let skip = usize::try_from(applied_before).unwrap_or(usize::MAX);
        for (offset, command) in commands.iter().enumerate().skip(skip) {
            if offset == BATCH_COMMANDS {
                // more places than that an entry does not have
                effects.push(Effect::Gap {
                    incarnation,
                    lane,
                    expected: sequence,
                });
                return;
            }
            let position = Position::new(index, offset);
            let mut step = Step {
                position,
                incarnation,
                slot,
                effects: &mut *effects,
            };
            let outcome = self.command(&mut step, command);
            effects.push(Effect::Answer {
                incarnation,
                lane,
                sequence,
                outcome,
            });
            self.nodes.set_lane(incarnation, lane, sequence);
            sequence = sequence.saturating_add(1);
            if self.nodes.running_slot(incarnation).is_none() {
                // the command was its own node's end
                return;
            }
        }
    }

    /// The planted bug: what an ended incarnation still sends is applied.
    fn batch_of_ended(
        &mut self,
        index: Index,
        incarnation: Incarnation,
        lane: Lane,
        first: u64,
        commands: &[Command],
        effects: &mut Vec<Effect>,
    ) {
        let Some(slot) = self.nodes.ended_slot(incarnation) else {
            return;
        };
        for ((offset, command), sequence) in commands.iter().enumerate().zip(first..) {
            let position = Position::new(index, offset);
            let mut step = Step {
                position,
                incarnation,
                slot,
                effects: &mut *effects,
            };
            let outcome = self.command(&mut step, command);
            effects.push(Effect::Answer {
                incarnation,
                lane,
                sequence,
                outcome,
            });
        }
    }

    fn command(&mut self, step: &mut Step<'_>, command: &Command) -> Outcome {
        match command {
            Command::Create(resource) => self.create(step, resource),
            Command::Claim(claim) => self.claim(step, claim),
            Command::Release { key, epoch, fire } => self.release(step, key, *epoch, *fire),
            Command::AddInterest { space, filter } => self.add_interest(step, *space, filter),
            Command::RemoveInterest { space, filter } => self.remove_interest(step, *space, filter),
            Command::Store(store) => self.store(step, store),
            Command::EndNode { node, incarnation } => self.end_node(step, *node, *incarnation),
            Command::Sweep { incarnation } => self.sweep(step, *incarnation),
        }
    }

    fn create(&mut self, step: &mut Step<'_>, resource: &Resource) -> Outcome {
        match self.catalog.create(resource.clone()) {
            Ok(Creation::Created) => {
                step.effects.push(Effect::Catalog);
                Outcome::Done(step.position)
            }
            Ok(Creation::Unchanged) => Outcome::Unchanged,
            Err(CreateError::IdTaken { .. }) => Outcome::Refused(Refusal::IdTaken),
            Err(CreateError::NameTaken { .. }) => Outcome::Refused(Refusal::NameTaken),
            Err(CreateError::NoParent { .. }) => Outcome::Refused(Refusal::NoParent),
        }
    }
}
