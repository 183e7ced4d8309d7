//! How many bytes a command holds and takes in an entry, near enough for the bounds.
//!
//! An estimate: the true size would cost an encoding of each command before the one that counts.

use crate::replica::{Claim, Command};

/// Names, keys and positions of one command, rounded up.
const FIXED: usize = 96;

/// The size of a command in bytes, at least its encoded one for all but pathological creations.
pub(super) fn of(command: &Command) -> usize {
    FIXED
        + match command {
            Command::Create(_) => 8 * FIXED,
            Command::Claim(claim) => of_claim(claim),
            Command::Release { key, .. } => key.client_id.0.len(),
            Command::AddInterest { filter, .. } | Command::RemoveInterest { filter, .. } => {
                filter.as_str().len()
            }
            Command::Store(store) => store.topic.as_str().len() + store.payload.len(),
            Command::EndNode { .. } | Command::Sweep { .. } => 0,
        }
}

fn of_claim(claim: &Claim) -> usize {
    let will = claim.will.as_ref();
    claim.key.client_id.0.len()
        + will.map_or(0, |will| will.topic.as_str().len() + will.payload.len())
}
