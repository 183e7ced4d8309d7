//! The driver's side of writing: buffers out, progress in.

use crate::{session::OutBuf, shard::Shard, time::Moment};

impl Shard {
    /// The write buffer of a connection, to be written as far as the socket takes it.
    pub fn output(&mut self, slot: u32) -> Option<&mut OutBuf> {
        let connection = self.connections.get_mut(slot)?;
        connection.dirty = false;
        Some(connection.outbound.out())
    }

    /// The socket took `bytes`, which were taken off the write buffer. What waits behind it moves up; answers that
    /// were held back are given once the session is below its soft bound.
    pub fn handle_flushed(&mut self, now: Moment, slot: u32, bytes: usize) {
        self.latest = now;
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if bytes > 0 {
            connection.last_progress = now;
        }
        self.pump(now, slot);
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outbound.out().release(&mut self.pool);
        }
        self.settle(now);
    }

    /// Moves what waits for a client into its write buffer, and gives the answers that it need not hold back any more.
    pub(super) fn pump(&mut self, now: Moment, slot: u32) {
        let Some(connection) = self.connections.get_mut(slot) else {
            return;
        };
        if connection.is_closing() {
            return;
        }
        let delivered = connection.outbound.pump(&self.limits, &mut self.pool);
        if connection.outbound.is_scanning() && !self.scanning.contains(&slot) {
            self.scanning.push(slot);
        }
        for (qos, messages) in delivered.0.into_iter().enumerate() {
            if messages > 0 {
                self.counters.delivered(qos, messages);
                Self::mark(&mut self.outbox, slot, connection);
            }
        }
        if !connection.held.is_empty() && !connection.outbound.is_above_soft(&self.limits) {
            for answer in std::mem::take(&mut connection.held) {
                self.give_answer(now, answer);
            }
        }
    }
}
