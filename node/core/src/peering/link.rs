//! One direction each way between two incarnations: sequence, ack, window, resume.
//!
//! The peer's driver owns one [`Link`] for each peer of its incarnation and carries frames; a stream that
//! breaks loses nothing here. It decides neither what is sent nor what becomes of it, and drops nothing:
//! whoever pushes looks at [`Link::is_full`] first.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    ids::{Incarnation, Index},
    limits::{FRAME_BYTES, LINK_QUEUE_BYTES, LINK_WINDOW_BYTES, LINK_WINDOW_FRAMES},
    peering::{Batch, Frame, Token},
};

/// A link to one incarnation of a peer, from one of this node. Both ends are alike.
///
/// - Content is numbered from 1 when it is first sent, is kept until the peer acknowledged it, and goes to the
///   peer's sessions exactly once and in order.
/// - Not more than [`LINK_WINDOW_FRAMES`] and [`LINK_WINDOW_BYTES`] (or one frame) are unacknowledged.
/// - An ack says *received*; `taken` answers are content, so that they survive a reconnect.
#[derive(Debug)]
pub struct Link {
    me: Incarnation,
    peer: Incarnation,
    /// Waits for the window; each fits a frame, or is one message.
    queue: VecDeque<Content>,
    queued_bytes: usize,
    /// Sent and not acknowledged; the first has the number `acked + 1`.
    window: VecDeque<Content>,
    window_bytes: usize,
    acked: u64,
    /// How many of the window were sent on the standing stream.
    sent: usize,
    /// The number of the last frame with content that was received.
    received: u64,
    report: Index,
    peer_report: Index,
    /// The peer waits to be told `received` or `report` at once.
    owes_frame: bool,
    /// What was received since the peer was last told; it rides on the next frame with content.
    owed_frames: usize,
}

#[derive(Clone, Debug)]
struct Content {
    batch: Arc<Batch>,
    taken: Arc<[Token]>,
}

impl Content {
    fn bytes(&self) -> usize {
        self.batch.as_bytes().len() + TOKEN_BYTES * self.taken.len()
    }
}

const TOKEN_BYTES: usize = 8;
/// With so many frames unacknowledged, content below [`SMALL_BYTES`] waits for an ack and is joined meanwhile. An
/// idle or slow link sends at once; a busy one sends fewer and larger frames, whose cost is mostly by the frame.
const FRAMES_AHEAD: usize = 4;
/// From this size on a frame costs by its bytes.
const SMALL_BYTES: usize = 16 * 1024;
/// An ack that has no content to ride on goes alone after so many frames: half of [`FRAMES_AHEAD`], so that what
/// waits at the peer never waits for a pause of this side.
const ACK_FRAMES: usize = FRAMES_AHEAD / 2;

/// What a frame brought.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// Messages for this node's sessions, and answers to messages of its own.
    New(Batch, Vec<Token>),
    /// Content that had come before.
    Duplicate,
    /// Only an ack and a report.
    Nothing,
}

/// A frame or a resume that breaks the rules; the stream is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It is of or to another incarnation.
    #[error("receive frame: it is from {from:?} to {to:?}, another incarnation")]
    OtherIncarnation {
        /// The frame's sender.
        from: Incarnation,
        /// The frame's receiver.
        to: Incarnation,
    },
    /// A frame before it is missing; a new stream resumes there.
    #[error("receive frame: number {found} came where {expected} was expected")]
    Gap {
        /// The next that is needed.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The peer acknowledges what was never sent.
    #[error("receive ack {ack}: only {sent} frames were sent")]
    AckAhead {
        /// The ack.
        ack: u64,
        /// The last number given.
        sent: u64,
    },
    /// The peer wants to resume where nothing is kept, or beyond what was sent.
    #[error("resume link at {expects}: what is kept is {first} to {last}")]
    CannotResume {
        /// What the peer expects.
        expects: u64,
        /// The first number that can be sent.
        first: u64,
        /// The first number that is not yet given.
        last: u64,
    },
}

impl LinkError {
    /// Whether a new stream between the same incarnations can help.
    pub fn is_retryable(self) -> bool {
        matches!(self, Self::Gap { .. })
    }
}

impl Link {
    /// A link from this node's incarnation to the peer's.
    pub fn new(me: Incarnation, peer: Incarnation) -> Self {
        Self {
            me,
            peer,
            queue: VecDeque::new(),
            queued_bytes: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            acked: 0,
            sent: 0,
            received: 0,
            report: Index(0),
            peer_report: Index(0),
            owes_frame: false,
            owed_frames: 0,
        }
    }

    /// Queues messages and `taken` answers. Takes them always; the caller holds back or drops what it can
    /// while [`Link::is_full`].
    pub fn push(&mut self, batch: Batch, taken: &[Token]) {
        if batch.as_bytes().len() <= FRAME_BYTES {
            self.enqueue(batch, Vec::new());
        } else {
            for piece in batch.split(FRAME_BYTES) {
                self.enqueue(piece, Vec::new());
            }
        }
        for some in taken.chunks(FRAME_BYTES / TOKEN_BYTES) {
            self.enqueue(Batch::default(), some.to_vec());
        }
    }

    /// Whether [`LINK_QUEUE_BYTES`] wait.
    pub fn is_full(&self) -> bool {
        self.queued_bytes >= LINK_QUEUE_BYTES
    }

    /// The bytes that wait for the window.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// The bytes that are sent and not acknowledged.
    pub fn window_bytes(&self) -> usize {
        self.window_bytes
    }

    /// What this node has applied and adopted; goes out with the next frame, which is due at once.
    pub fn set_report(&mut self, index: Index) {
        if index > self.report {
            self.report = index;
            self.owes_frame = true;
        }
    }

    /// The newest report of the peer.
    pub fn peer_report(&self) -> Index {
        self.peer_report
    }

    /// The number that the next frame with content must have; for this node's hello.
    pub fn expects(&self) -> u64 {
        self.received + 1
    }

    /// Whether the peer has not been told all that was received, or the newest report.
    pub fn needs_ack(&self) -> bool {
        self.owes_frame || self.owed_frames > 0
    }

    /// Lets what is owed go with the next frame, content or not: nothing came for a while that it could ride on.
    pub fn force_ack(&mut self) {
        self.owes_frame |= self.owed_frames > 0;
    }

    /// A stream stands, new or again; the peer's hello said what it expects, and sending goes on from there.
    ///
    /// # Errors
    /// [`LinkError::CannotResume`]: one side has lost what it must not lose; the link cannot go on between
    /// these incarnations.
    pub fn handle_connected(&mut self, peer_expects: u64) -> Result<(), LinkError> {
        let first = self.acked + 1;
        let last = self.next_sequence();
        if !(first..=last).contains(&peer_expects) {
            return Err(LinkError::CannotResume {
                expects: peer_expects,
                first,
                last,
            });
        }
        self.forget_to(peer_expects - 1);
        self.sent = 0;
        self.owes_frame = true;
        Ok(())
    }

    /// The next frame to send on the standing stream, while the window allows.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        if self.sent == self.window.len() {
            self.fill_window();
        }
        let (sequence, content) = match self.window.get(self.sent) {
            Some(content) => {
                self.sent += 1;
                (self.acked + self.sent as u64, content.clone())
            }
            None if self.is_ack_due() => (
                0,
                Content {
                    batch: Arc::default(),
                    taken: Arc::default(),
                },
            ),
            None => return None,
        };
        self.owes_frame = false;
        self.owed_frames = 0;
        Some(Frame {
            from: self.me,
            to: self.peer,
            sequence,
            ack: self.received,
            report: self.report,
            batch: content.batch,
            taken: content.taken,
        })
    }

    /// Takes a frame from the peer.
    ///
    /// # Errors
    /// A [`LinkError`]; nothing of the frame was taken, and the stream is to be closed.
    pub fn handle_frame(&mut self, frame: Frame) -> Result<Received, LinkError> {
        if frame.from != self.peer || frame.to != self.me {
            return Err(LinkError::OtherIncarnation {
                from: frame.from,
                to: frame.to,
            });
        }
        let sent = self.next_sequence() - 1;
        if frame.ack > sent {
            return Err(LinkError::AckAhead {
                ack: frame.ack,
                sent,
            });
        }
        if frame.sequence > self.expects() {
            return Err(LinkError::Gap {
                expected: self.expects(),
                found: frame.sequence,
            });
        }
        self.forget_to(frame.ack);
        self.peer_report = self.peer_report.max(frame.report);
        if frame.sequence == 0 {
            return Ok(Received::Nothing);
        }
        if frame.sequence < self.expects() {
            self.owes_frame = true;
            return Ok(Received::Duplicate);
        }
        self.received += 1;
        self.owed_frames += 1;
        Ok(Received::New(
            Arc::unwrap_or_clone(frame.batch),
            frame.taken.to_vec(),
        ))
    }

    fn is_ack_due(&self) -> bool {
        self.owes_frame || self.owed_frames >= ACK_FRAMES
    }

    fn enqueue(&mut self, batch: Batch, taken: Vec<Token>) {
        if batch.is_empty() && taken.is_empty() {
            return;
        }
        let content = Content {
            batch: Arc::new(batch),
            taken: taken.into(),
        };
        self.queued_bytes += content.bytes();
        self.queue.push_back(content);
    }

    /// Moves the next frame's content, joined of what waits, into the window if that has room.
    fn fill_window(&mut self) {
        let Some(first) = self.queue.front() else {
            return;
        };
        if self.window.len() >= FRAMES_AHEAD && self.queued_bytes < SMALL_BYTES {
            return;
        }
        let full = self.window.len() >= LINK_WINDOW_FRAMES
            || self.window_bytes + first.bytes() > LINK_WINDOW_BYTES;
        if full && !self.window.is_empty() {
            return;
        }
        let Some(mut content) = self.queue.pop_front() else {
            return;
        };
        self.queued_bytes -= content.bytes();
        let fits = |total: usize, next: &Content| total + next.bytes() <= FRAME_BYTES;
        if self
            .queue
            .front()
            .is_some_and(|next| fits(content.bytes(), next))
        {
            let mut batch = Arc::unwrap_or_clone(content.batch);
            let mut taken = content.taken.to_vec();
            let mut total = batch.as_bytes().len() + TOKEN_BYTES * taken.len();
            while let Some(next) = self.queue.pop_front_if(|next| fits(total, next)) {
                total += next.bytes();
                self.queued_bytes -= next.bytes();
                batch.append(&next.batch);
                taken.extend_from_slice(&next.taken);
            }
            content = Content {
                batch: Arc::new(batch),
                taken: taken.into(),
            };
        }
        self.window_bytes += content.bytes();
        self.window.push_back(content);
    }

    fn next_sequence(&self) -> u64 {
        self.acked + self.window.len() as u64 + 1
    }

    fn forget_to(&mut self, ack: u64) {
        while self.acked < ack {
            let Some(content) = self.window.pop_front() else {
                break;
            };
            self.window_bytes -= content.bytes();
            self.acked += 1;
            self.sent = self.sent.saturating_sub(1);
        }
    }
}
