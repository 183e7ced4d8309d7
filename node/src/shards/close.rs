//! The end of connections: what failed at once, what core closes when its output has left.

use std::time::Duration;

use mainstay_core::reason::Close;

use super::{
    conn::{Conn, write_bytes},
    driver::Driver,
};
use crate::tasks::clock;

/// How long a connection that core has closed may take to read its last bytes.
const LINGER: Duration = Duration::from_secs(5);

impl Driver {
    /// Notes that the socket is gone.
    pub(super) fn mark_lost(&mut self, slot: u32) {
        let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
            return;
        };
        if conn.state.lost.is_none() {
            conn.state.lost = Some(Close::IoError);
            self.lost.push(slot);
        }
    }

    /// Closes what failed in this round, and what core has closed.
    pub(super) fn close_ended(&mut self) {
        let mut lost = std::mem::take(&mut self.lost);
        for slot in lost.drain(..) {
            let Some(Some(conn)) = self.conns.get(slot as usize) else {
                continue;
            };
            let why = conn.state.lost.unwrap_or(Close::IoError);
            if self.core.closing(slot).is_none() {
                self.core.handle_lost(self.now, slot, why);
            }
            self.finish(slot, why);
        }
        self.lost = lost;
        let mut ended = std::mem::take(&mut self.ended);
        for slot in ended.drain(..) {
            self.close_if_ended(slot);
        }
        self.ended = ended;
        self.close_lingering();
    }

    fn close_if_ended(&mut self, slot: u32) {
        let Some(why) = self.core.closing(slot) else {
            return;
        };
        let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
            return;
        };
        let waits = conn.has_pending() || self.core.output(slot).is_some_and(|out| !out.is_empty());
        if !waits || why == Close::Fence {
            self.finish(slot, why);
        } else if !conn.state.lingering {
            conn.state.lingering = true;
            self.lingering.push((self.now + LINGER, slot));
        }
    }

    fn close_lingering(&mut self) {
        if self
            .lingering
            .first()
            .is_none_or(|(until, _)| *until > self.now)
        {
            return;
        }
        // All linger equally long, so the list is in order of its moments.
        let due = self
            .lingering
            .partition_point(|(until, _)| *until <= self.now);
        for (_, slot) in self.lingering.drain(..due).collect::<Vec<_>>() {
            let Some(Some(conn)) = self.conns.get(slot as usize) else {
                continue;
            };
            if let (true, Some(why)) = (conn.state.lingering, self.core.closing(slot)) {
                self.finish(slot, why);
            }
        }
    }

    /// Drops the socket and lets core forget it.
    fn finish(&mut self, slot: u32, why: Close) {
        let Some(Some(mut conn)) = self.conns.get_mut(slot as usize).map(Option::take) else {
            return;
        };
        let why = self.core.closing(slot).unwrap_or(why);
        self.core.forget(slot);
        if conn.state.lingering {
            self.lingering.retain(|(_, other)| *other != slot);
        }
        if conn.state.lost.is_none() && self.core.may_flush(clock::now()) {
            send_end(&mut conn);
        }
        self.meter.closed(conn.guest.door, why);
        tracing::debug!(
            client = %conn.guest.client,
            client_id = &*conn.guest.client_id.0,
            door = conn.guest.door.label(),
            why = why.label(),
            "connection closed"
        );
    }
}

fn send_end(conn: &mut Conn) {
    let Some(tls) = &mut conn.tls else { return };
    if !tls.pending.is_empty() {
        return;
    }
    let mut record = Vec::new();
    tls.session.send_end(&mut record);
    let _ = write_bytes(&mut conn.stream, &record);
}
