//! Packets of clients: cutting them off the bytes that came, and what each asks for.

use crate::{
    codec::{self, Kind, Packet, PacketId},
    limits::TOPIC_BYTES,
    reason::Close,
    shard::{
        Shard,
        connection::{Hold, Phase},
    },
    time::Moment,
};

/// Fixed header, length of the topic and packet identifier of a PUBLISH, in bytes.
const PUBLISH_OVERHEAD: usize = 5 + 2 + 2;

/// Whether the packet was handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// It was.
    Done,
    /// Not yet: it is to be given again when the connection is resumed.
    Stop,
    /// It ends the connection.
    Close(Close),
}

impl Shard {
    /// Whether bytes of this connection would be looked at: it has its session, is not held back and not closing.
    #[inline]
    pub fn wants_input(&self, slot: u32) -> bool {
        self.connections.get(slot).is_some_and(|connection| {
            connection.phase == Phase::Live && connection.hold == Hold::None
        })
    }

    /// Handles the whole packets at the start of `bytes`; how many bytes those were. It stops early when the
    /// connection is held back or closing; the rest, and an incomplete packet, are to be given again.
    pub fn handle_input(&mut self, now: Moment, slot: u32, bytes: &[u8]) -> usize {
        let max = PUBLISH_OVERHEAD + TOPIC_BYTES + self.limits.max_payload;
        self.latest = now;
        let mut used = 0;
        while self.wants_input(slot) {
            let flow = match codec::frame(bytes.get(used..).unwrap_or_default(), max) {
                Ok(None) => break,
                Ok(Some(frame)) => match codec::decode(frame.first_byte, frame.body) {
                    Ok(packet) => {
                        let flow = self.handle_packet(now, slot, &packet);
                        if flow != Flow::Stop {
                            self.counters.packet_in(frame.first_byte);
                            used += frame.len;
                        }
                        flow
                    }
                    Err(_) => Flow::Close(Close::ProtocolError),
                },
                Err(codec::Error::PacketTooLarge { .. }) => Flow::Close(Close::TooLarge),
                Err(_) => Flow::Close(Close::ProtocolError),
            };
            match flow {
                Flow::Done => {}
                Flow::Stop => break,
                Flow::Close(why) => self.close(now, slot, why),
            }
            self.settle(now);
        }
        if used > 0
            && let Some(connection) = self.connections.get_mut(slot)
        {
            connection.last_input = now;
        }
        used
    }

    #[inline]
    fn handle_packet(&mut self, now: Moment, slot: u32, packet: &Packet<'_>) -> Flow {
        match packet {
            Packet::Publish(publish) => self.publish(now, slot, publish),
            Packet::Puback(id) => {
                self.puback(now, slot, *id);
                Flow::Done
            }
            Packet::Subscribe(subscribe) => self.subscribe(now, slot, subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(now, slot, unsubscribe),
            Packet::Pingreq => {
                self.answer(now, slot, Kind::Pingresp, codec::encode_pingresp);
                Flow::Done
            }
            Packet::Disconnect => Flow::Close(Close::ClientDisconnect),
            // QoS 2 is not served, so none of its packets belongs to anything.
            Packet::Pubrec(_) | Packet::Pubrel(_) | Packet::Pubcomp(_) => {
                Flow::Close(Close::Unsupported)
            }
            // A second CONNECT [MQTT-3.1.0-2], and what only a server sends.
            Packet::Connect(_)
            | Packet::Connack(_)
            | Packet::Suback(_)
            | Packet::Unsuback(_)
            | Packet::Pingresp => Flow::Close(Close::ProtocolError),
        }
    }

    fn puback(&mut self, now: Moment, slot: u32, id: PacketId) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.outbound.handle_puback(id) {
            self.counters.inflight_out -= 1;
            connection.last_progress = now;
            self.pump(now, slot);
        }
    }

    /// Stops reading a connection. What it holds back is let go: a session that is held back itself exerts no
    /// backpressure, or two clients that publish to each other would lock.
    pub(super) fn hold(&mut self, now: Moment, slot: u32, hold: Hold) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        connection.hold = hold;
        for answer in std::mem::take(&mut connection.held) {
            self.give_answer(now, answer);
        }
    }

    /// Reads a connection again, if it is held back for that.
    pub(super) fn resume(&mut self, now: Moment, slot: u32, held: Hold) {
        if let Some(connection) = self.connections.get_mut(slot).filter(|c| c.hold == held) {
            connection.hold = Hold::None;
            connection.last_input = now;
            // What waits for acknowledgements among the unread packets starts its time anew.
            connection.last_progress = now;
            self.outbox.resume.push(slot);
            self.watch(now, slot);
        }
    }

    /// Appends a packet that is no PUBLISH.
    #[inline]
    pub(super) fn answer(
        &mut self,
        now: Moment,
        slot: u32,
        kind: Kind,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        let idle = connection.outbound.is_idle();
        connection.outbound.answer(&mut self.pool, write);
        self.counters.packet_out(kind);
        Self::mark(&mut self.outbox, slot, connection);
        self.has_output(now, slot, idle);
    }

    /// Something was added for the client. `was_idle`: it had taken all before, so its time to take this starts now.
    #[inline]
    pub(super) fn has_output(&mut self, now: Moment, slot: u32, was_idle: bool) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if was_idle {
            connection.last_progress = now;
            let deadline = now + self.limits.slow_consumer_timeout;
            self.timers.arm(now, slot, deadline);
        }
        if connection.outbound.is_at_hard(&self.limits) {
            self.doomed.push(slot);
        }
    }
}
