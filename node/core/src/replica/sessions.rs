//! The sessions of all spaces: who owns each, and which an incarnation owns.
//!
//! Called by apply alone. A session of an ended incarnation stays until it is claimed anew or swept.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    catalog::Credential,
    ids::{ConnId, Epoch, Incarnation, SessionKey},
    replica::Will,
};

/// A session's present owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The incarnation that holds the connection; maybe ended and not yet swept.
    pub incarnation: Incarnation,
    /// The ownership: the place of its Claim.
    pub epoch: Epoch,
    /// The connection on its node.
    pub conn: ConnId,
    /// The credential that it proved.
    pub credential: Credential,
    /// What is published if the ownership ends by anything but a DISCONNECT.
    pub will: Option<Arc<Will>>,
}

/// All sessions; a clone is O(1). `owned` holds exactly those of `by_key`. Their number is bounded by the
/// connections that nodes accept, since each entry had one.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    by_key: OrdMap<SessionKey, Session>,
    owned: OrdMap<(Incarnation, Epoch), SessionKey>,
}

impl Sessions {
    /// Gives a session to a new owner. The owner before.
    pub(super) fn insert(&mut self, key: SessionKey, session: Session) -> Option<Session> {
        self.owned
            .insert((session.incarnation, session.epoch), key.clone());
        let before = self.by_key.insert(key, session);
        if let Some(before) = &before {
            self.owned.remove(&(before.incarnation, before.epoch));
        }
        before
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, key: &SessionKey) -> Option<Session> {
        let session = self.by_key.remove(key)?;
        self.owned.remove(&(session.incarnation, session.epoch));
        Some(session)
    }

    /// Removes the session of the lowest epoch that an incarnation owns.
    pub(super) fn remove_first(
        &mut self,
        incarnation: Incarnation,
    ) -> Option<(SessionKey, Session)> {
        let key = self.first(incarnation)?.clone();
        let session = self.remove(&key)?;
        Some((key, session))
    }

    /// Whether an incarnation owns a session.
    pub(super) fn has(&self, incarnation: Incarnation) -> bool {
        self.first(incarnation).is_some()
    }

    /// A session's owner.
    pub(super) fn get(&self, key: &SessionKey) -> Option<&Session> {
        self.by_key.get(key)
    }

    /// The session that a connection owns.
    pub(super) fn owned(&self, incarnation: Incarnation, epoch: Epoch) -> Option<&SessionKey> {
        self.owned.get(&(incarnation, epoch))
    }

    /// All sessions in the order of their keys.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.by_key.iter()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn first(&self, incarnation: Incarnation) -> Option<&SessionKey> {
        let ((owner, _), key) = self.owned.range((incarnation, Epoch::default())..).next()?;
        (*owner == incarnation).then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_stays_small() {
        // a leaf of the map is at least half full; 48 bytes are the shared client ID of 20 characters
        let entries =
            size_of::<(SessionKey, Session)>() + size_of::<((Incarnation, Epoch), SessionKey)>();
        assert!(2 * entries + 48 < 700, "{entries} bytes in two maps");
    }
}
