//! Sessions change owners, and wills fire: each ownership's at most once, by what ends it.
//!
//! The one place where a will can be lost or doubled: an ownership that leaves the table takes its will
//! with it, so whoever removed it decides, and nobody can again.

use std::sync::Arc;

use crate::{
    codec::QoS,
    ids::{Epoch, SessionKey, SpaceId},
    reason::Close,
    replica::{
        Claim, Delivery, Effect, Outcome, Plant, Refusal, Replica, Session, Will, apply::Step,
    },
    stored::Value,
};

impl Replica {
    pub(super) fn claim(&mut self, step: &mut Step<'_>, claim: &Claim) -> Outcome {
        let Claim {
            key,
            conn,
            credential,
            will,
        } = claim;
        if !self.catalog.has_credential(&key.principal, *credential) {
            return Outcome::Refused(Refusal::CredentialGone);
        }
        let session = Session {
            incarnation: step.incarnation,
            epoch: Epoch(step.position),
            conn: *conn,
            credential: *credential,
            will: will.clone(),
        };
        if let Some(before) = self.sessions.insert(key.clone(), session) {
            // [MQTT-3.1.4-2]; maybe it was the last that an ended incarnation had left
            if !self.planted.has(Plant::WillLostAtTakeover) {
                self.fire(key.principal.space, before.will, step.effects);
            }
            self.forget_if_swept(before.incarnation);
            step.effects.push(Effect::Ended {
                incarnation: before.incarnation,
                conn: before.conn,
                epoch: before.epoch,
                why: Close::Takeover,
            });
        }
        Outcome::Done(step.position)
    }

    pub(super) fn release(
        &mut self,
        step: &mut Step<'_>,
        key: &SessionKey,
        epoch: Epoch,
        fire: bool,
    ) -> Outcome {
        if self.sessions.owned(step.incarnation, epoch) != Some(key) {
            return Outcome::Refused(Refusal::StaleEpoch);
        }
        let session = self.sessions.remove(key);
        if fire && let Some(session) = session {
            self.fire(key.principal.space, session.will, step.effects);
        }
        Outcome::Done(step.position)
    }

    /// Publishes the will of an ownership that just left the table.
    pub(super) fn fire(
        &mut self,
        space: SpaceId,
        will: Option<Arc<Will>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(will) = will else { return };
        let qos = will.qos.min(QoS::AtLeastOnce);
        let Will {
            topic,
            payload,
            stores,
            ..
        } = &*will;
        if *stores {
            self.stored.store(
                space,
                topic,
                Value {
                    payload: payload.clone(),
                    qos,
                },
            );
        }
        effects.push(Effect::Deliver(Arc::new(Delivery {
            space,
            topic: topic.clone(),
            payload: payload.clone(),
            qos,
        })));
    }
}
