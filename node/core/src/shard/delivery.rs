//! From a message to the sessions of this shard.
//!
//! A message is matched once, encoded once for each QoS and name that someone wants, and copied into each
//! receiver's buffer. A session with several matching filters gets one copy for each form in which it asked, each
//! at the highest QoS among its filters of that form.

use bytes::Bytes;

use crate::{
    access::Form,
    codec::{self, PublishHead, QoS},
    limits::COPY_BYTES,
    peering::Message,
    reason::Drop,
    replica::Delivery,
    session::Encoded,
    shard::{
        Shard,
        connection::{Asker, Hold},
    },
    time::Moment,
};

/// A message that some session of this shard took above its soft bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// How many sessions hold the answer back.
    pub(super) holders: u32,
    pub(super) asker: Asker,
}

/// Whom a message reached here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Reach {
    /// How many sessions it matched.
    pub(super) sessions: usize,
    /// The place in `answers`, if the answer is held back; its asker is to be set.
    pub(super) answer: Option<u64>,
}

/// Memory that is used for one message after another.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// A canonical topic.
    pub(super) topic: String,
    /// Slots that are looked at.
    pub(super) slots: Vec<u32>,
    receivers: Vec<u32>,
    /// The message by form and QoS.
    copies: [Copied; 2 * Form::DELIVERED],
}

/// A message as it is sent to all receivers of one form and QoS.
#[derive(Debug, Default)]
struct Copied {
    /// Empty until someone wants it.
    head: Vec<u8>,
    id_at: Option<usize>,
    /// The head as shared bytes, if some receiver's copy waits.
    kept: Option<Bytes>,
}

impl Copied {
    fn encode(&mut self, message: &Message<'_>, form: Form, qos: QoS, large: bool) {
        let topic = form.name(message.topic);
        let head = PublishHead {
            dup: false,
            qos,
            retain: false,
            topic: &topic,
            packet_id: None,
        };
        // Lengths were bounded when the message came in, far below what the format can express.
        self.id_at = if large {
            codec::encode_publish_head(&mut self.head, &head, message.payload.len())
        } else {
            codec::encode_publish(&mut self.head, &head, message.payload)
        }
        .unwrap_or_default();
    }
}

impl Shard {
    /// Gives a message to the sessions of a space's place that match it. `shared` is its payload, if it is shared
    /// already; `asks`, whether someone waits until they took it.
    pub(super) fn deliver(
        &mut self,
        now: Moment,
        space: u32,
        message: &Message<'_>,
        shared: Option<&Bytes>,
        asks: bool,
    ) -> Reach {
        let mut receivers = std::mem::take(&mut self.scratch.receivers);
        receivers.clear();
        self.match_sessions(space, message.topic, &mut receivers);
        let mut reach = Reach {
            sessions: receivers.len(),
            answer: None,
        };
        if !receivers.is_empty() {
            let large = message.payload.len() > COPY_BYTES;
            let payload = large.then(|| match shared {
                Some(shared) => shared.clone(),
                None => Bytes::copy_from_slice(message.payload),
            });
            for slot in &receivers {
                let holds = self.deliver_to(now, *slot, message, payload.as_ref());
                if holds && asks {
                    self.hold_answer(*slot, &mut reach.answer);
                }
            }
            for copied in &mut self.scratch.copies {
                copied.head.clear();
                copied.kept = None;
            }
        }
        self.scratch.receivers = receivers;
        reach
    }

    /// A message of the log path. It has no answer: the log is its queue.
    pub(super) fn deliver_logged(&mut self, now: Moment, delivery: &Delivery) {
        let Some(space) = self.locals.find(&delivery.space) else {
            return;
        };
        let message = Message {
            space: delivery.space,
            topic: delivery.topic.as_str(),
            payload: &delivery.payload,
            qos: delivery.qos,
            token: None,
        };
        self.deliver(now, space, &message, Some(&delivery.payload), false);
    }

    fn match_sessions(&mut self, space: u32, topic: &str, receivers: &mut Vec<u32>) {
        self.stamp += 1;
        let stamp = self.stamp;
        let connections = &mut self.connections;
        let Some(table) = self.locals.table(space) else {
            return;
        };
        table.find(topic, |targets| {
            for target in targets {
                let Some(connection) = connections.get_mut(target.slot) else {
                    continue;
                };
                if connection.stamp != stamp {
                    connection.stamp = stamp;
                    connection.best = Default::default();
                    receivers.push(target.slot);
                }
                if let Some(best) = connection.best.get_mut(target.form as usize) {
                    *best = (*best).max(target.qos.bits() + 1);
                }
            }
        });
    }

    /// Gives a matched session its copies. Whether it took one at QoS 1 and is to hold its answer back: it is above
    /// its soft bound, and not held back itself.
    fn deliver_to(
        &mut self,
        now: Moment,
        slot: u32,
        message: &Message<'_>,
        payload: Option<&Bytes>,
    ) -> bool {
        let Some(connection) = self.connections.get_mut(slot) else {
            return false;
        };
        let outbound = &mut connection.outbound;
        let idle = outbound.is_idle();
        let mut took = false;
        for form in Form::ALL_DELIVERED {
            let best = connection.best[form as usize];
            if best == 0 {
                continue;
            }
            let confirmed = best > 1 && message.qos != QoS::AtMostOnce;
            if !confirmed && outbound.is_above_soft(&self.limits) {
                self.counters.dropped(Drop::Qos0Slow, 1);
                continue;
            }
            took |= confirmed;
            let copied = &mut self.scratch.copies[2 * form as usize + usize::from(confirmed)];
            if copied.head.is_empty() {
                let qos = if confirmed {
                    QoS::AtLeastOnce
                } else {
                    QoS::AtMostOnce
                };
                copied.encode(message, form, qos, payload.is_some());
            }
            let encoded = Encoded {
                head: &copied.head,
                id_at: copied.id_at,
                payload,
            };
            if outbound.send(
                &encoded,
                &mut copied.kept,
                self.limits.send_window,
                &mut self.pool,
            ) {
                self.counters.delivered(usize::from(confirmed), 1);
            }
        }
        let holds = took
            && connection.hold == Hold::None
            && connection.outbound.is_above_soft(&self.limits);
        if !connection.outbound.is_flushed() {
            Self::mark(&mut self.outbox, slot, connection);
        }
        self.has_output(now, slot, idle);
        holds
    }

    fn hold_answer(&mut self, slot: u32, answer: &mut Option<u64>) {
        let key = *answer.get_or_insert_with(|| {
            self.answers.insert(Answer {
                holders: 0,
                asker: Asker::Nobody,
            })
        });
        if let Some(answer) = self.answers.get_mut(key)
            && let Some(connection) = self.connections.get_mut(slot)
        {
            answer.holders += 1;
            connection.held.push(key);
        }
    }
}
