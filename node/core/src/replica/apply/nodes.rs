//! Nodes come, end, and what they left is swept.
//!
//! An end is O(1): it marks the incarnation. Its sessions and interest follow in bounded commands, and until
//! then nothing of it counts but the wills that its sessions still owe.

use std::sync::Arc;

use crate::{
    ids::{Incarnation, Index, NodeId, Position},
    limits::SWEEP_BATCH,
    replica::{
        Effect, Outcome, Plant, Replica,
        apply::Step,
        nodes::{Node, Running},
    },
};

impl Replica {
    pub(super) fn node_up(
        &mut self,
        index: Index,
        id: NodeId,
        name: &Arc<str>,
        nonce: u64,
        effects: &mut Vec<Effect>,
    ) {
        let slot = match self.nodes.get(id) {
            Some(node) if node.running.is_some_and(|running| running.nonce == nonce) => return,
            Some(node) => Some(node.slot),
            None => self.nodes.free_slot(),
        };
        let Some(slot) = slot else { return };
        self.end(id, effects);
        let incarnation = Incarnation(Position::new(index, 0));
        let running = Some(Running {
            incarnation,
            nonce,
            lanes: [0; 2],
        });
        self.nodes.insert(
            id,
            Node {
                name: Arc::clone(name),
                slot,
                running,
            },
        );
        effects.push(Effect::NodeUp {
            node: id,
            slot,
            incarnation,
            nonce,
        });
    }

    pub(super) fn end_node(
        &mut self,
        step: &mut Step<'_>,
        id: NodeId,
        incarnation: Incarnation,
    ) -> Outcome {
        let running = self.node(id).and_then(|node| node.incarnation);
        if running != Some(incarnation) {
            return Outcome::Unchanged;
        }
        self.end(id, step.effects);
        Outcome::Done(step.position)
    }

    pub(super) fn sweep(&mut self, step: &mut Step<'_>, incarnation: Incarnation) -> Outcome {
        let Some(slot) = self.nodes.ended_slot(incarnation) else {
            return Outcome::Unchanged;
        };
        let mut left = SWEEP_BATCH;
        while left > 0 {
            let Some((key, session)) = self.sessions.remove_first(incarnation) else {
                break;
            };
            if self.planted.has(Plant::WillTwice) {
                self.fire(key.principal.space, session.will.clone(), step.effects);
            }
            self.fire(key.principal.space, session.will, step.effects);
            left -= 1;
        }
        while left > 0 {
            let Some((space, filter, nodes)) = self.interest.remove_first(slot, incarnation) else {
                break;
            };
            step.effects.push(Effect::Interest {
                space,
                filter,
                nodes,
            });
            left -= 1;
        }
        self.forget_if_swept(incarnation);
        Outcome::Done(step.position)
    }

    /// Forgets an ended incarnation that has nothing left.
    pub(super) fn forget_if_swept(&mut self, incarnation: Incarnation) {
        if !self.sessions.has(incarnation) && !self.interest.has(incarnation) {
            self.nodes.forget_ended(incarnation);
        }
    }

    fn end(&mut self, id: NodeId, effects: &mut Vec<Effect>) {
        if let Some((slot, incarnation)) = self.nodes.end(id) {
            self.nodes.keep_ended(incarnation, slot);
            self.forget_if_swept(incarnation);
            effects.push(Effect::NodeDown {
                node: id,
                slot,
                incarnation,
            });
        }
    }
}
