//! Time: who was silent for too long, and who does not take what it is sent.

use crate::{
    reason::Close,
    shard::{
        Shard,
        connection::{Connection, Hold, Phase},
    },
    time::Moment,
};

impl Shard {
    /// Closes the connections whose time is over.
    pub fn handle_tick(&mut self, now: Moment) {
        self.latest = now;
        let mut due = std::mem::take(&mut self.scratch.slots);
        due.clear();
        self.timers.fire(now, &mut due);
        for slot in &due {
            self.look_at(now, *slot);
        }
        self.scratch.slots = due;
        for slot in std::mem::take(&mut self.scanning) {
            self.pump(now, slot);
        }
        self.settle(now);
    }

    /// Arms the slot's timer for the nearest of its deadlines.
    pub(super) fn watch(&mut self, now: Moment, slot: u32) {
        if let Some(connection) = self.connections.get(slot)
            && let Some((deadline, _)) = self.deadline(connection)
        {
            self.timers.arm(now, slot, deadline);
        }
    }

    fn look_at(&mut self, now: Moment, slot: u32) {
        let held = |connection: &Connection| connection.hold != Hold::None;
        if let Some(connection) = self.connections.get_mut(slot)
            && held(connection)
        {
            // Its packets are there and not read: it is not silent.
            connection.last_input = now;
        }
        let Some(connection) = self.connections.get(slot) else {
            return;
        };
        match self.deadline(connection) {
            Some((deadline, why)) if deadline <= now => {
                if connection.is_closing() {
                    self.give_up_output(slot);
                } else {
                    self.close(now, slot, why);
                }
            }
            Some((deadline, _)) => self.timers.arm(now, slot, deadline),
            None => {}
        }
    }

    /// The nearest deadline of a connection, and why it is closed then. One that waits for its session has none:
    /// control answers in any case.
    fn deadline(&self, connection: &Connection) -> Option<(Moment, Close)> {
        let silent = match connection.phase {
            Phase::Live => {
                let silence = std::time::Duration::from_millis(u64::from(connection.silence));
                Some((connection.last_input + silence, Close::KeepAliveTimeout))
            }
            Phase::Claiming | Phase::Draining | Phase::Closing(_) => None,
        };
        // What waits for acknowledgements that are not read is not the client's fault.
        let owes = !connection.outbound.is_flushed()
            || (!connection.outbound.is_idle() && connection.hold == Hold::None);
        let slow = owes.then(|| {
            let deadline = connection.last_progress + self.limits.slow_consumer_timeout;
            (deadline, Close::SlowConsumer)
        });
        silent
            .into_iter()
            .chain(slow)
            .min_by_key(|(deadline, _)| *deadline)
    }

    pub(super) fn give_up_output(&mut self, slot: u32) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.outbound.out().clear(&mut self.pool);
            Self::mark(&mut self.outbox, slot, connection);
        }
    }
}
