//! A standing stream of frames, whichever side opened it.

use mainstay_core::peering::Frame;
use mainstay_proto::internal::v1::LinkFrame;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

/// Frames between a link and the transport: enough to keep it busy, at 256 KiB each little to lose track of.
pub(super) const FRAMES_AHEAD: usize = 4;

/// The sending side.
#[derive(Debug)]
pub(super) enum Outgoing {
    /// This node opened the stream.
    Dialled(mpsc::Sender<LinkFrame>),
    /// The peer opened it.
    Accepted(mpsc::Sender<Result<LinkFrame, Status>>),
}

/// A stream after both hellos.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) outgoing: Outgoing,
    pub(super) incoming: Streaming<LinkFrame>,
    /// The peer's hello: the number that it expects next.
    pub(super) peer_expects: u64,
}

/// Room for one frame.
pub(super) enum Room<'a> {
    Dialled(mpsc::Permit<'a, LinkFrame>),
    Accepted(mpsc::Permit<'a, Result<LinkFrame, Status>>),
}

impl Outgoing {
    /// Waits for room; `None` when the stream has ended.
    pub(super) async fn room(&self) -> Option<Room<'_>> {
        match self {
            Self::Dialled(frames) => frames.reserve().await.ok().map(Room::Dialled),
            Self::Accepted(frames) => frames.reserve().await.ok().map(Room::Accepted),
        }
    }
}

impl Room<'_> {
    pub(super) fn send(self, frame: &Frame) {
        let mut body = Vec::new();
        frame.encode(&mut body);
        let frame = LinkFrame { body: body.into() };
        match self {
            Self::Dialled(permit) => permit.send(frame),
            Self::Accepted(permit) => permit.send(Ok(frame)),
        }
    }
}
