//! What is to be written to one socket.
//!
//! Small packets lie one behind the other in a pooled buffer, large payloads are shared. The driver writes
//! [`OutBuf::chunks`] and says with [`OutBuf::consume`] how far it came. An empty one holds no memory once
//! [`OutBuf::release`] was called.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::session::Pool;

/// What was written is cut off the front of a buffer that never gets empty once it is this much, in bytes:
/// above the cost of moving what remains.
const COMPACT_BYTES: usize = 64 * 1024;

/// The bytes to be written to a socket, in order.
#[derive(Debug, Default)]
pub struct OutBuf {
    /// Comes before `rest`; where it is empty, the front of `rest` is the front.
    first: Vec<u8>,
    /// There only while shared payloads are on their way.
    #[expect(
        clippy::box_collection,
        reason = "an idle connection has none, and every byte of it counts"
    )]
    rest: Option<Box<VecDeque<Chunk>>>,
    /// Bytes of the front chunk that were written.
    sent: usize,
    len: usize,
}

#[derive(Debug)]
enum Chunk {
    Own(Vec<u8>),
    Shared(Bytes),
}

impl Chunk {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

impl OutBuf {
    /// How many bytes are to be written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is to be written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes in order, in pieces for one vectored write; none is empty.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let rest = self
            .rest
            .iter()
            .flat_map(|rest| rest.iter().map(Chunk::as_slice));
        let whole = std::iter::once(self.first.as_slice()).chain(rest);
        whole
            .filter(|chunk| !chunk.is_empty())
            .enumerate()
            .filter_map(|(at, chunk)| {
                let chunk = if at == 0 {
                    chunk.get(self.sent..)?
                } else {
                    chunk
                };
                (!chunk.is_empty()).then_some(chunk)
            })
    }

    /// Takes off the first `written` bytes, which the socket took.
    pub fn consume(&mut self, written: usize) {
        let written = written.min(self.len);
        self.len -= written;
        self.sent += written;
        loop {
            if self.first.is_empty() {
                let front = self.rest.as_ref().and_then(|rest| rest.front());
                let Some(front) = front.map(|chunk| chunk.as_slice().len()) else {
                    break;
                };
                if self.sent < front {
                    break;
                }
                self.sent -= front;
                self.rest.as_mut().and_then(|rest| rest.pop_front());
            } else {
                if self.sent < self.first.len() {
                    break;
                }
                self.sent -= self.first.len();
                self.first.clear();
            }
        }
        if self.sent >= COMPACT_BYTES && self.sent < self.first.len() {
            self.first.drain(..self.sent);
            self.sent = 0;
        }
    }

    /// Appends what `write` appends to the buffer that it is given.
    #[inline]
    pub(crate) fn append(&mut self, pool: &mut Pool, write: impl FnOnce(&mut Vec<u8>)) {
        let buffer = self.tail(pool);
        let before = buffer.len();
        write(buffer);
        self.len += buffer.len() - before;
    }

    /// Appends shared bytes.
    pub(crate) fn append_shared(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.len += bytes.len();
            self.rest
                .get_or_insert_default()
                .push_back(Chunk::Shared(bytes));
        }
    }

    /// Gives all memory back if nothing is to be written.
    pub(crate) fn release(&mut self, pool: &mut Pool) {
        if self.len == 0 {
            self.clear(pool);
        }
    }

    /// Forgets what was to be written.
    pub(crate) fn clear(&mut self, pool: &mut Pool) {
        pool.put(std::mem::take(&mut self.first));
        self.rest = None;
        self.sent = 0;
        self.len = 0;
    }

    #[inline]
    fn tail(&mut self, pool: &mut Pool) -> &mut Vec<u8> {
        let Some(rest) = self.rest.as_mut().filter(|rest| !rest.is_empty()) else {
            if self.first.capacity() == 0 {
                self.first = pool.take();
            }
            return &mut self.first;
        };
        if !matches!(rest.back(), Some(Chunk::Own(_))) {
            rest.push_back(Chunk::Own(pool.take()));
        }
        match rest.back_mut() {
            Some(Chunk::Own(buffer)) => buffer,
            _ => &mut self.first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn content(out: &OutBuf) -> Vec<u8> {
        out.chunks().flatten().copied().collect()
    }

    #[test]
    fn order_is_kept_over_shared_and_own_bytes_wherever_the_socket_stops() {
        for step in 1..12 {
            let mut pool = Pool::default();
            let mut out = OutBuf::default();
            out.append(&mut pool, |buffer| buffer.extend_from_slice(b"abc"));
            out.append_shared(Bytes::from_static(b"DEFGH"));
            out.append(&mut pool, |buffer| buffer.extend_from_slice(b"ij"));
            let mut read = Vec::new();
            while !out.is_empty() {
                let all = content(&out);
                assert_eq!(all.len(), out.len());
                let written = step.min(all.len());
                read.extend_from_slice(&all[..written]);
                out.consume(written);
                if read.len() == 6 {
                    out.append(&mut pool, |buffer| buffer.push(b'k'));
                }
            }
            let want: &[u8] = if matches!(step, 1 | 2 | 3 | 6) {
                b"abcDEFGHijk"
            } else {
                b"abcDEFGHij"
            };
            assert_eq!(read, want, "step {step}");
            out.release(&mut pool);
            assert!(out.rest.is_none() && out.first.capacity() == 0);
        }
    }

    #[test]
    fn a_buffer_that_never_gets_empty_does_not_keep_what_was_written() {
        let mut pool = Pool::default();
        let mut out = OutBuf::default();
        for _ in 0..1_000 {
            out.append(&mut pool, |buffer| buffer.extend_from_slice(&[7; 1_000]));
            if out.len() > 10_000 {
                out.consume(1_000);
            }
        }
        assert!(out.first.len() < COMPACT_BYTES + 20_000);
    }
}
