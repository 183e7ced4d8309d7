//! Messages to topics that store.
//!
//! Only for a connection that owns a session in the message's own space: what an ended owner still sends is
//! refused, and a refusal is never acknowledged (P5).

use std::sync::Arc;

use crate::{
    replica::{Delivery, Effect, Outcome, Refusal, Replica, Store, apply::Step},
    stored::Value,
};

impl Replica {
    pub(super) fn store(&mut self, step: &mut Step<'_>, store: &Store) -> Outcome {
        let Store {
            space,
            epoch,
            topic,
            payload,
            qos,
        } = store;
        let owner = self.sessions.owned(step.incarnation, *epoch);
        if owner.map(|key| key.principal.space) != Some(*space) {
            return Outcome::Refused(Refusal::StaleEpoch);
        }
        self.stored.store(
            *space,
            topic,
            Value {
                payload: payload.clone(),
                qos: *qos,
            },
        );
        step.effects.push(Effect::Deliver(Arc::new(Delivery {
            space: *space,
            topic: topic.clone(),
            payload: payload.clone(),
            qos: *qos,
        })));
        Outcome::Done(step.position)
    }
}
