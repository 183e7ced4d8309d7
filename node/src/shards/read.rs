//! The round's reading: sockets into core, until a short read, the work limit or backpressure.

use mainstay_core::{reason::Close, shard::Shard, time::Moment};

use super::{
    conn::{Conn, Moved},
    driver::{Driver, ROUND_BYTES, Scratch},
};

/// Requests held back above which no socket is read: they are made by what is read.
const HELD_REQUESTS: usize = 1024;

/// What one look at a socket came to.
enum Look {
    /// Nothing more now; an event will say when.
    Drained,
    /// There may be more: again in the next round.
    More,
    /// Core does not want more; it will say when.
    Paused,
    /// The connection is over.
    Lost(Close),
}

impl Driver {
    /// Reads the ready sockets, each once, up to the round's work limit.
    pub(super) fn read_ready(&mut self) {
        let mut budget = ROUND_BYTES;
        for _ in 0..self.ready.len() {
            if budget == 0 || !self.may_read() {
                return;
            }
            let Some(slot) = self.ready.pop_front() else {
                return;
            };
            let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
                continue;
            };
            conn.state.listed = false;
            if conn.state.lost.is_some() || self.core.closing(slot).is_some() {
                continue;
            }
            let (look, bytes) = look(&mut self.core, conn, &mut self.scratch, self.now, slot);
            self.meter.received(conn.guest.door, bytes);
            budget = budget.saturating_sub(bytes);
            if conn.has_pending() && !conn.state.blocked && !conn.state.dirty {
                conn.state.dirty = true;
                self.dirty.push(slot);
            }
            match look {
                Look::More => self.relist(slot),
                Look::Drained if conn.state.read_closed => self.relist(slot),
                Look::Drained => {}
                Look::Paused => {}
                Look::Lost(why) => {
                    conn.state.lost = Some(why);
                    self.lost.push(slot);
                }
            }
        }
    }

    /// Puts a connection at the back of the ready list.
    pub(super) fn relist(&mut self, slot: u32) {
        let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
            return;
        };
        if !conn.state.listed {
            conn.state.listed = true;
            self.ready.push_back(slot);
        }
    }

    /// Whether what reading makes has somewhere to go.
    pub(super) fn may_read(&self) -> bool {
        let own = usize::from(self.id.0);
        self.held.len() < HELD_REQUESTS
            && self
                .mailboxes
                .iter()
                .enumerate()
                .all(|(id, mailbox)| id == own || !mailbox.is_full())
    }

    /// Connections that core wants to hear of again.
    pub(super) fn collect_resumed(&mut self) {
        let mut resume = std::mem::take(&mut self.core.outbox().resume);
        for slot in resume.drain(..) {
            self.relist(slot);
        }
        if self.core.outbox().resume.is_empty() {
            self.core.outbox().resume = resume;
        }
    }
}

/// Handles what waits, then reads once; the bytes that were read.
fn look(
    core: &mut Shard,
    conn: &mut Conn,
    scratch: &mut Scratch,
    now: Moment,
    slot: u32,
) -> (Look, usize) {
    if conn
        .rest
        .as_ref()
        .is_some_and(|rest| !rest.plain.is_empty())
    {
        feed_rest(core, conn, now, slot);
    }
    if !core.wants_input(slot) {
        return (Look::Paused, 0);
    }
    if conn.state.peer_ended {
        return (Look::Lost(Close::IoError), 0);
    }
    let held = match (&conn.tls, &conn.rest) {
        (Some(_), Some(rest)) => {
            scratch.read[..rest.cipher.len()].copy_from_slice(&rest.cipher);
            rest.cipher.len()
        }
        _ => 0,
    };
    let bytes = match conn.read(&mut scratch.read[held..]) {
        Moved::Bytes(bytes) => bytes,
        Moved::WouldBlock => {
            conn.state.read_closed = false;
            return (Look::Drained, 0);
        }
        Moved::End | Moved::Failed => return (Look::Lost(Close::IoError), 0),
    };
    let filled = held + bytes;
    let ended = if conn.tls.is_some() {
        match decrypt(conn, scratch, filled) {
            Ok(ended) => {
                feed_plain(core, conn, now, slot, &scratch.plain);
                ended
            }
            Err(why) => return (Look::Lost(why), bytes),
        }
    } else {
        feed_plain(core, conn, now, slot, &scratch.read[..filled]);
        false
    };
    let look = if ended && !core.wants_input(slot) && core.closing(slot).is_none() {
        // It is held back: what it sent before its end, a DISCONNECT perhaps, is handled first.
        conn.state.peer_ended = true;
        Look::Paused
    } else if ended {
        Look::Lost(Close::IoError)
    } else if filled == scratch.read.len() {
        Look::More
    } else {
        Look::Drained
    };
    (look, bytes)
}

/// Decrypts the first `filled` bytes of the read buffer into `scratch.plain`; whether the peer has ended.
fn decrypt(conn: &mut Conn, scratch: &mut Scratch, filled: usize) -> Result<bool, Close> {
    scratch.plain.clear();
    let Some(tls) = &mut conn.tls else {
        return Ok(false);
    };
    let incoming = &mut scratch.read[..filled];
    let result = tls
        .session
        .receive(incoming, &mut scratch.plain, &mut tls.pending);
    let progress = result.map_err(|_| Close::ProtocolError)?;
    let left = &scratch.read[progress.consumed..filled];
    if !left.is_empty() || conn.rest.is_some() {
        let rest = conn.rest();
        rest.cipher.clear();
        rest.cipher.extend_from_slice(left);
        if left.is_empty() {
            rest.cipher = Vec::new();
        }
        conn.tidy_rest();
    }
    Ok(progress.closed)
}

/// Gives core what was just read, behind what waits, and keeps what it does not take.
fn feed_plain(core: &mut Shard, conn: &mut Conn, now: Moment, slot: u32, bytes: &[u8]) {
    if conn
        .rest
        .as_ref()
        .is_some_and(|rest| !rest.plain.is_empty())
    {
        conn.rest().plain.extend_from_slice(bytes);
        feed_rest(core, conn, now, slot);
        return;
    }
    if bytes.is_empty() {
        return;
    }
    let consumed = core.handle_input(now, slot, bytes);
    if consumed < bytes.len() && core.closing(slot).is_none() {
        conn.rest().plain.extend_from_slice(&bytes[consumed..]);
    }
}

/// Gives core what waits.
fn feed_rest(core: &mut Shard, conn: &mut Conn, now: Moment, slot: u32) {
    let Some(rest) = &mut conn.rest else { return };
    rest.at += core.handle_input(now, slot, &rest.plain[rest.at..]);
    // Moving is worth it only when much is handled; or a held-back client would move its bytes for each packet.
    if rest.at >= rest.plain.len() / 2 {
        rest.plain.drain(..rest.at);
        rest.at = 0;
    }
    conn.tidy_rest();
}
