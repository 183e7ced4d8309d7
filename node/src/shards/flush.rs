//! The round's sending: every dirty connection once, under the lease.

use std::io::IoSlice;

use mainstay_core::{reason::Close, shard::Shard};

use super::{
    conn::{Conn, Moved, Tls, write_bytes, write_pieces},
    driver::{Driver, Scratch},
};
use crate::tasks::clock;

/// Pieces in one write; the kernel takes up to 1,024, and more than this would only wait in its buffer.
const PIECES: usize = 64;
/// Plain bytes encrypted at once: the socket takes so much in one write as a rule, and what it does not take is
/// held in memory twice.
const LOT: usize = 32 * 1024;

/// How a flush ended.
enum Flush {
    /// All has left.
    Done,
    /// The socket takes no more now.
    Blocked,
    /// The lease is over: nothing may leave.
    Fenced,
    /// The connection is broken.
    Failed,
}

impl Driver {
    /// Flushes what core and the socket events have marked. Without a lease all stay marked.
    pub(super) fn flush_dirty(&mut self) {
        self.collect_dirty();
        if self.dirty.is_empty() {
            return;
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut fenced = false;
        dirty.retain(|&slot| {
            let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
                return false;
            };
            if conn.state.blocked {
                conn.state.dirty = false;
                return false;
            }
            // Whatever core has cleared is not sent, and records of it that wait are not either.
            fenced |= self.core.closing(slot) == Some(Close::Fence);
            if fenced {
                self.ended.push(slot);
                return true;
            }
            let (flush, bytes) = flush(&mut self.core, conn, &mut self.scratch, slot);
            if bytes > 0 {
                self.meter.sent(conn, bytes, self.now);
            }
            match flush {
                Flush::Done => {}
                Flush::Blocked => conn.state.blocked = true,
                Flush::Fenced => {
                    fenced = true;
                    self.ended.push(slot);
                    return true;
                }
                Flush::Failed => {
                    if conn.state.lost.is_none() {
                        conn.state.lost = Some(Close::IoError);
                        self.lost.push(slot);
                    }
                }
            }
            conn.state.dirty = false;
            self.ended.push(slot);
            false
        });
        self.dirty = dirty;
    }

    fn collect_dirty(&mut self) {
        let mut marked = std::mem::take(&mut self.core.outbox().dirty);
        for slot in marked.drain(..) {
            let Some(Some(conn)) = self.conns.get_mut(slot as usize) else {
                continue;
            };
            if conn.state.blocked {
                // Its output waits for the socket, but core may have closed it. Asking for the output lets core
                // mark it again.
                self.core.output(slot);
                self.ended.push(slot);
            } else if !conn.state.dirty {
                conn.state.dirty = true;
                self.dirty.push(slot);
            }
        }
        self.core.outbox().dirty = marked;
    }
}

fn flush(core: &mut Shard, conn: &mut Conn, scratch: &mut Scratch, slot: u32) -> (Flush, usize) {
    let mut sent = 0;
    core.output(slot);
    loop {
        let step = match &mut conn.tls {
            None => plain_step(core, &mut conn.stream, slot, &mut sent),
            Some(tls) => tls_step(core, &mut conn.stream, tls, scratch, slot, &mut sent),
        };
        if let Some(end) = step {
            return (end, sent);
        }
    }
}

/// One write of plain pieces; `None` if there may be more to do.
fn plain_step(
    core: &mut Shard,
    stream: &mut mio::net::TcpStream,
    slot: u32,
    sent: &mut usize,
) -> Option<Flush> {
    let now = clock::now();
    if !core.may_flush(now) {
        return Some(Flush::Fenced);
    }
    let Some(output) = core.output(slot) else {
        return Some(Flush::Done);
    };
    let mut pieces = [IoSlice::new(&[]); PIECES];
    let (mut count, mut offered) = (0, 0);
    for (piece, chunk) in pieces.iter_mut().zip(output.chunks()) {
        *piece = IoSlice::new(chunk);
        offered += chunk.len();
        count += 1;
    }
    if offered == 0 {
        return Some(Flush::Done);
    }
    match write_pieces(stream, &pieces[..count]) {
        Moved::Bytes(bytes) => {
            output.consume(bytes);
            let done = output.is_empty();
            core.handle_flushed(now, slot, bytes);
            *sent += bytes;
            // A short write means that the socket is full, and its next event is armed.
            match (done, bytes < offered) {
                (true, _) => Some(Flush::Done),
                (false, true) => Some(Flush::Blocked),
                (false, false) => None,
            }
        }
        Moved::WouldBlock => Some(Flush::Blocked),
        Moved::End | Moved::Failed => Some(Flush::Failed),
    }
}

/// Sends the rest of a lot, or encrypts the next and sends it; `None` if there may be more to do.
fn tls_step(
    core: &mut Shard,
    stream: &mut mio::net::TcpStream,
    tls: &mut Tls,
    scratch: &mut Scratch,
    slot: u32,
    sent: &mut usize,
) -> Option<Flush> {
    if tls.pending.is_empty() {
        match encrypt_lot(core, tls, scratch, slot) {
            Ok(true) => {}
            Ok(false) => return Some(Flush::Done),
            Err(end) => return Some(end),
        }
    } else {
        scratch.cipher.clear();
        scratch.cipher.extend_from_slice(&tls.pending);
        tls.pending = Vec::new();
    }
    // The records are in the scratch buffer now, from `tls.at` on.
    while tls.at < scratch.cipher.len() {
        let now = clock::now();
        let end = if core.may_flush(now) {
            match write_bytes(stream, &scratch.cipher[tls.at..]) {
                Moved::Bytes(bytes) => {
                    tls.at += bytes;
                    *sent += bytes;
                    continue;
                }
                Moved::WouldBlock => Flush::Blocked,
                Moved::End | Moved::Failed => Flush::Failed,
            }
        } else {
            Flush::Fenced
        };
        tls.pending = scratch.cipher[tls.at..].to_vec();
        tls.at = 0;
        return Some(end);
    }
    tls.at = 0;
    let lot = std::mem::take(&mut tls.lot);
    if lot > 0 {
        if let Some(output) = core.output(slot) {
            output.consume(lot);
        }
        core.handle_flushed(clock::now(), slot, lot);
    }
    None
}

/// Encrypts the next lot of core's output into the scratch buffer; false if there is none.
fn encrypt_lot(
    core: &mut Shard,
    tls: &mut Tls,
    scratch: &mut Scratch,
    slot: u32,
) -> Result<bool, Flush> {
    scratch.cipher.clear();
    let Some(output) = core.output(slot) else {
        return Ok(false);
    };
    if output.is_empty() {
        return Ok(false);
    }
    scratch.plain.clear();
    for chunk in output.chunks() {
        let room = LOT - scratch.plain.len();
        scratch
            .plain
            .extend_from_slice(&chunk[..chunk.len().min(room)]);
        if scratch.plain.len() == LOT {
            break;
        }
    }
    tls.session
        .send(&scratch.plain, &mut scratch.cipher)
        .map_err(|_| Flush::Failed)?;
    tls.lot = scratch.plain.len();
    Ok(true)
}
