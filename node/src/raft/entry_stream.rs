//! Entries of a range as a stream that reads the log piece by piece.
//!
//! openraft applies committed entries from it; at a restart the range may be the whole log, which
//! must not be in memory at once. Ends where the log ends.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::vec;

use openraft::entry::RaftEntry;
use tokio_stream::Stream;

use super::log_store::LogReader;
use super::types::Entry;
use crate::store::{ByteCount, Index};

type Reading = Pin<Box<dyn Future<Output = io::Result<Vec<Entry>>> + Send>>;

/// The stream. At most one piece is in memory.
pub(super) struct EntryStream {
    reader: LogReader,
    next: Index,
    to: Index,
    piece: ByteCount,
    ready: vec::IntoIter<Entry>,
    reading: Option<Reading>,
}

impl EntryStream {
    pub(super) fn new(reader: LogReader, from: Index, to: Index, piece: ByteCount) -> Self {
        Self {
            reader,
            next: from,
            to,
            piece,
            ready: Vec::new().into_iter(),
            reading: None,
        }
    }
}

impl fmt::Debug for EntryStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryStream")
            .field("next", &self.next)
            .field("to", &self.to)
            .finish_non_exhaustive()
    }
}

impl Stream for EntryStream {
    type Item = io::Result<Entry>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.ready.next() {
                self.next = Index(entry.index()).next();
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.next >= self.to {
                return Poll::Ready(None);
            }
            let this = &mut *self;
            let reading = this.reading.get_or_insert_with(|| {
                let (reader, from, to, piece) =
                    (this.reader.clone(), this.next, this.to, this.piece);
                Box::pin(async move { reader.read(from, to, piece).await })
            });
            let result = ready!(reading.as_mut().poll(cx));
            self.reading = None;
            match result {
                Ok(entries) if entries.is_empty() => self.to = self.next,
                Ok(entries) => self.ready = entries.into_iter(),
                Err(error) => {
                    // One error ends the stream: going on would leave a hole.
                    self.to = self.next;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
