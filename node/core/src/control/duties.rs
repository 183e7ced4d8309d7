//! What the leader owes the cluster: it ends nodes that are due, and sweeps what ended ones left.
//!
//! Part of a running incarnation; idle on all nodes but the leader. What is proposed is found anew from the
//! state and the leader's book, so that a new leader takes up what the old one did not finish.

use std::collections::BTreeSet;

use crate::{
    control::{Desk, answers::Tag},
    ids::{Incarnation, NodeId},
    proposer::Full,
    replica::{Command, Lane},
};

/// The proposed commands without an answer, one an incarnation.
#[derive(Debug, Default)]
pub(super) struct Duties {
    ending: BTreeSet<Incarnation>,
    sweeping: BTreeSet<Incarnation>,
}

impl Duties {
    /// Proposes what is due.
    ///
    /// # Errors
    /// [`Full`]: it could not be proposed.
    pub(super) fn settle(
        &mut self,
        desk: &mut Desk<'_>,
        due: Vec<(NodeId, Incarnation)>,
    ) -> Result<(), Full> {
        for (node, incarnation) in due {
            if self.ending.insert(incarnation) {
                let command = Command::EndNode { node, incarnation };
                desk.owe(Lane::Liveness, command, Tag::EndNode(incarnation))?;
            }
        }
        for incarnation in desk.state.ended() {
            if self.sweeping.insert(incarnation) {
                let command = Command::Sweep { incarnation };
                desk.proposer
                    .submit_owed(Lane::Liveness, command, Tag::Sweep(incarnation))?;
            }
        }
        Ok(())
    }

    pub(super) fn handle_ended(&mut self, incarnation: Incarnation) {
        self.ending.remove(&incarnation);
    }

    pub(super) fn handle_swept(&mut self, incarnation: Incarnation) {
        self.sweeping.remove(&incarnation);
    }
}
