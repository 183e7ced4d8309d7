//! What is on its way to one client: its write buffer, its send window and what waits behind that.
//!
//! The order of all that is put in is kept: once something waits, all later ones wait behind it. Stored values
//! are read from their view one by one as the client drains, never copied in bulk.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::{
    access::Form,
    codec::{self, PacketId, PublishHead, QoS},
    limits::{COPY_BYTES, Limits},
    session::{OutBuf, Pool},
    stored::{Step, View},
    topic::TopicName,
};

/// Bytes in the write buffer up to which what waits is moved into it: some reads of a fast client.
const PUMP_BYTES: usize = 64 * 1024;
/// Room for so many waiting packets stays when none does; more is given back.
const KEEP: usize = 64;

/// A PUBLISH, encoded once for all receivers of one QoS and name.
#[derive(Clone, Copy, Debug)]
pub struct Encoded<'a> {
    /// The packet, or all before a shared payload.
    pub head: &'a [u8],
    /// Where its packet identifier goes; none at QoS 0.
    pub id_at: Option<usize>,
    /// A payload above [`COPY_BYTES`], which follows the head.
    pub payload: Option<&'a Bytes>,
}

/// The stored values of one filter of a subscription, on their way to its client.
#[derive(Debug)]
pub struct Cursor {
    /// The subscription's number in its session.
    pub subscription: u32,
    /// The values.
    pub view: View,
    /// The last that was sent.
    pub after: Option<TopicName>,
    /// The granted QoS.
    pub qos: QoS,
    /// How the subscription names topics.
    pub form: Form,
}

#[derive(Debug)]
enum Waiting {
    Packet {
        head: Bytes,
        id_at: Option<u32>,
        payload: Bytes,
    },
    Values(Box<Cursor>),
}

/// PUBLISHes that went into the write buffer, by QoS 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered(pub [u64; 2]);

/// Stored values that one pump looks at without a match: some tens of microseconds. A filter that matches few of
/// many goes on in the next round, so that no client can hold a shard up.
const SCAN_BUDGET: usize = 1_000;

/// The way to one client.
///
/// - What is in `queue` comes after all of `out`.
/// - `unacked` are the identifiers in use, oldest first; a new one is never among them [MQTT-2.3.1-2].
#[derive(Debug)]
pub struct Outbound {
    out: OutBuf,
    queue: VecDeque<Waiting>,
    queued_bytes: usize,
    unacked: VecDeque<PacketId>,
    next: PacketId,
    /// The last pump spent its budget on values that did not match: it is to be called again.
    is_scanning: bool,
}

impl Default for Outbound {
    fn default() -> Self {
        Self {
            out: OutBuf::default(),
            queue: VecDeque::new(),
            queued_bytes: 0,
            unacked: VecDeque::new(),
            next: PacketId::MIN,
            is_scanning: false,
        }
    }
}

impl Outbound {
    /// The write buffer.
    pub fn out(&mut self) -> &mut OutBuf {
        &mut self.out
    }

    /// Whether nothing is to be written now.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Whether nothing is to be written, nor waits.
    pub fn is_idle(&self) -> bool {
        self.out.is_empty() && self.queue.is_empty()
    }

    /// How many messages the client has not acknowledged.
    pub fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// Whether its publishers are to be slowed. Bytes in the write buffer count, messages in it do not: a burst
    /// of one round is not a slow client.
    #[inline]
    pub fn is_above_soft(&self, limits: &Limits) -> bool {
        self.queue.len() > limits.soft_messages
            || self.out.len() + self.queued_bytes > limits.soft_bytes
    }

    /// Whether it holds as much as it ever may.
    #[inline]
    pub fn is_at_hard(&self, limits: &Limits) -> bool {
        self.queue.len() >= limits.hard_messages
            || self.out.len() + self.queued_bytes >= limits.hard_bytes
    }

    /// Appends a packet that is no PUBLISH; those may overtake waiting PUBLISHes.
    #[inline]
    pub fn answer(&mut self, pool: &mut Pool, write: impl FnOnce(&mut Vec<u8>)) {
        self.out.append(pool, write);
    }

    /// Sends a PUBLISH or lets it wait; whether it went into the write buffer. `kept` is the head as shared
    /// bytes, made for the first receiver where it waits.
    #[inline]
    pub fn send(
        &mut self,
        packet: &Encoded<'_>,
        kept: &mut Option<Bytes>,
        window: u16,
        pool: &mut Pool,
    ) -> bool {
        if self.queue.is_empty() && self.write(packet, window, pool) {
            return true;
        }
        let head = kept
            .get_or_insert_with(|| Bytes::copy_from_slice(packet.head))
            .clone();
        let payload = packet.payload.cloned().unwrap_or_default();
        self.queued_bytes += head.len() + payload.len();
        let id_at = packet.id_at.map(|at| at as u32);
        self.queue.push_back(Waiting::Packet {
            head,
            id_at,
            payload,
        });
        false
    }

    /// Lets the values of a view follow what waits.
    pub fn send_values(&mut self, cursor: Cursor) {
        self.queue.push_back(Waiting::Values(Box::new(cursor)));
    }

    /// Stops the values of a subscription that ended or is replaced.
    pub fn stop_values(&mut self, subscription: u32) {
        self.queue.retain(|waiting| match waiting {
            Waiting::Values(cursor) => cursor.subscription != subscription,
            Waiting::Packet { .. } => true,
        });
    }

    /// The client acknowledged a message; whether it was one. One that is not known is ignored.
    pub fn handle_puback(&mut self, id: PacketId) -> bool {
        let Some(at) = self.unacked.iter().position(|unacked| *unacked == id) else {
            return false;
        };
        self.unacked.remove(at);
        if self.unacked.is_empty() && self.unacked.capacity() > 2 * KEEP {
            self.unacked = VecDeque::new();
        }
        true
    }

    /// Whether the last pump stopped in the middle of a view for the sake of others.
    pub fn is_scanning(&self) -> bool {
        self.is_scanning
    }

    /// Moves what waits into the write buffer, as far as that and the send window allow.
    pub fn pump(&mut self, limits: &Limits, pool: &mut Pool) -> Delivered {
        let mut delivered = Delivered::default();
        let mut budget = SCAN_BUDGET;
        self.is_scanning = false;
        while self.out.len() < PUMP_BYTES {
            let qos = match self.queue.pop_front() {
                None => break,
                Some(Waiting::Packet {
                    head,
                    id_at,
                    payload,
                }) => self.pump_packet(head, id_at, payload, limits, pool),
                Some(Waiting::Values(cursor)) => {
                    match self.pump_value(cursor, budget, limits, pool) {
                        Pumped::Exhausted(left) => {
                            budget = left;
                            continue;
                        }
                        Pumped::Later => {
                            self.is_scanning = true;
                            None
                        }
                        Pumped::Wrote(qos) => Some(qos),
                        Pumped::Full => None,
                    }
                }
            };
            match qos {
                Some(qos) => delivered.0[usize::from(qos != QoS::AtMostOnce)] += 1,
                None => break,
            }
        }
        if self.queue.is_empty() && self.queue.capacity() > KEEP {
            self.queue = VecDeque::new();
        }
        delivered
    }

    /// Forgets what waits, and says how many messages that were.
    pub fn clear_queue(&mut self) -> u64 {
        self.queued_bytes = 0;
        let queue = std::mem::take(&mut self.queue);
        queue
            .iter()
            .filter(|waiting| matches!(waiting, Waiting::Packet { .. }))
            .count() as u64
    }

    fn pump_packet(
        &mut self,
        head: Bytes,
        id_at: Option<u32>,
        payload: Bytes,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Option<QoS> {
        let shared = (!payload.is_empty()).then_some(&payload);
        let packet = Encoded {
            head: &head,
            id_at: id_at.map(|at| at as usize),
            payload: shared,
        };
        if self.write(&packet, limits.send_window, pool) {
            self.queued_bytes -= head.len() + payload.len();
            return Some(if id_at.is_some() {
                QoS::AtLeastOnce
            } else {
                QoS::AtMostOnce
            });
        }
        self.queue.push_front(Waiting::Packet {
            head,
            id_at,
            payload,
        });
        None
    }

    fn pump_value(
        &mut self,
        mut cursor: Box<Cursor>,
        budget: usize,
        limits: &Limits,
        pool: &mut Pool,
    ) -> Pumped {
        if budget == 0 {
            self.queue.push_front(Waiting::Values(cursor));
            return Pumped::Later;
        }
        let (topic, value) = match cursor.view.step_after(cursor.after.as_ref(), budget) {
            Step::Found(topic, value) => (topic, value),
            Step::Later(topic) => {
                cursor.after = Some(topic.clone());
                self.queue.push_front(Waiting::Values(cursor));
                return Pumped::Later;
            }
            // How many it looked at is not known, only that it was less than the budget. An eighth a view bounds a
            // pump at eight budgets, and lets views without a value go on by the dozen.
            Step::End => return Pumped::Exhausted(budget - budget.div_ceil(8)),
        };
        let qos = value.qos.min(cursor.qos).min(QoS::AtLeastOnce);
        let packet_id = if qos == QoS::AtMostOnce {
            None
        } else {
            self.next_id(limits.send_window)
        };
        if qos != QoS::AtMostOnce && packet_id.is_none() {
            self.queue.push_front(Waiting::Values(cursor));
            return Pumped::Full;
        }
        let name = cursor.form.name(topic.as_str());
        let head = PublishHead {
            dup: false,
            qos,
            retain: true,
            topic: &name,
            packet_id,
        };
        let copied = value.payload.len() <= COPY_BYTES;
        self.out.append(pool, |buffer| {
            // Topics and payloads are bounded far below what the format can express.
            let _ = if copied {
                codec::encode_publish(buffer, &head, &value.payload)
            } else {
                codec::encode_publish_head(buffer, &head, value.payload.len())
            };
        });
        if !copied {
            self.out.append_shared(value.payload.clone());
        }
        cursor.after = Some(topic.clone());
        self.queue.push_front(Waiting::Values(cursor));
        Pumped::Wrote(qos)
    }

    #[inline]
    fn write(&mut self, packet: &Encoded<'_>, window: u16, pool: &mut Pool) -> bool {
        let id = match packet.id_at {
            None => None,
            Some(at) => match self.next_id(window) {
                Some(id) => Some((at, id)),
                None => return false,
            },
        };
        self.out.append(pool, |buffer| {
            let start = buffer.len();
            buffer.extend_from_slice(packet.head);
            if let (Some((at, id)), Some(copy)) = (id, buffer.get_mut(start..)) {
                codec::patch_packet_id(copy, at, id);
            }
        });
        if let Some(payload) = packet.payload {
            self.out.append_shared(payload.clone());
        }
        true
    }

    /// An unused packet identifier, if the window has room. They are given out in a circle, so the next one to be
    /// met again is the oldest that is not acknowledged; until it is, nothing more is sent.
    #[inline]
    fn next_id(&mut self, window: u16) -> Option<PacketId> {
        let id = self.next;
        if self.unacked.len() >= usize::from(window) || self.unacked.front() == Some(&id) {
            return None;
        }
        self.unacked.push_back(id);
        self.next = id.next();
        Some(id)
    }
}

enum Pumped {
    /// With this much of the budget left.
    Exhausted(usize),
    /// The budget is spent.
    Later,
    Wrote(QoS),
    Full,
}
