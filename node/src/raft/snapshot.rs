//! Snapshots of the replica as files, and as the pieces that go from the leader to a node that lags.
//!
//! The machine writes and reads files, the network sends them, the service receives them. A received file is
//! whole, checked and durable before openraft hears of it.

use std::io::{self, Write};

use bytes::Bytes;
use mainstay_core::replica::Replica;
use mainstay_proto::internal::v1::SnapshotChunk;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    codec,
    types::{NodeId, SnapshotMeta, TypeConfig, Vote},
};
use crate::store::{self, Index, Snapshot, SnapshotWriter, Snapshots};

/// openraft's snapshot over our files.
pub(super) type SnapshotOf = openraft::type_config::alias::SnapshotOf<TypeConfig, Snapshot>;

/// Chunks of 1 MiB between disk and network, each way: one read ahead and one under way.
pub(super) const CHUNKS_AHEAD: usize = 2;

/// What the first chunk says about the rest.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    /// Bytes of all chunks.
    pub(super) length: u64,
}

/// Writes the state to a file that is whole and durable at the return; blocks on the disk.
pub(super) fn write(
    replica: &Replica,
    meta: &SnapshotMeta,
    snapshots: &Snapshots,
) -> io::Result<Snapshot> {
    let index = Index(meta.last_log_id.map_or(0, |id| id.index));
    let mut sink = Sink(snapshots.create(index, &codec::encode(meta)?)?);
    replica.write_snapshot_to(&mut sink)?;
    Ok(sink.0.finish()?)
}

/// Reads the state of a file; blocks on the disk. Takes the file's length in memory beside the state, for as long
/// as it reads.
pub(super) fn read(snapshot: &Snapshot) -> io::Result<Replica> {
    let mut bytes = Vec::with_capacity(usize::try_from(snapshot.length().0).unwrap_or(0));
    let mut reader = snapshot.reader();
    while let Some(chunk) = reader.next_chunk()? {
        bytes.extend_from_slice(&chunk);
    }
    Replica::read_snapshot(&bytes).map_err(io::Error::other)
}

/// Reads a file's chunks into the channel, the first with the head; blocks on the disk and the channel. Ends
/// early when nobody listens any more.
pub(super) fn feed(
    snapshot: &Snapshot,
    vote: Vote,
    meta: SnapshotMeta,
    (from, to): (NodeId, NodeId),
    chunks: &mpsc::Sender<SnapshotChunk>,
) -> io::Result<()> {
    let head = codec::encode(&Head {
        vote,
        meta,
        length: snapshot.length().0,
    })?;
    let piece = |head, data: Bytes| SnapshotChunk {
        group: 0,
        from,
        to,
        head,
        crc32c: crc32c::crc32c(&data),
        data,
    };
    if chunks.blocking_send(piece(head, Bytes::new())).is_err() {
        return Ok(());
    }
    let mut reader = snapshot.reader();
    while let Some(data) = reader.next_chunk()? {
        if chunks
            .blocking_send(piece(Bytes::new(), data.into()))
            .is_err()
        {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes the chunks after the first one and makes a file of them.
pub(super) async fn receive(
    head: &Head,
    chunks: &mut Streaming<SnapshotChunk>,
    snapshots: Snapshots,
) -> Result<Snapshot, Status> {
    let index = Index(head.meta.last_log_id.map_or(0, |id| id.index));
    let meta = codec::encode(&head.meta).map_err(internal)?;
    let length = head.length;
    let (data, incoming) = mpsc::channel(CHUNKS_AHEAD);
    let writing = tokio::task::spawn_blocking(move || {
        let writer = snapshots.create(index, &meta)?;
        save(writer, incoming, length)
    });
    while let Some(chunk) = chunks.message().await? {
        if crc32c::crc32c(&chunk.data) != chunk.crc32c {
            return Err(Status::data_loss(
                "the checksum of a snapshot chunk is wrong",
            ));
        }
        if data.send(chunk.data).await.is_err() {
            // The writer failed, and says why.
            break;
        }
    }
    drop(data);
    match writing.await.map_err(internal)?.map_err(internal)? {
        Some(snapshot) => Ok(snapshot),
        None => Err(Status::data_loss("the snapshot ended early")),
    }
}

fn save(
    mut writer: SnapshotWriter,
    mut incoming: mpsc::Receiver<Bytes>,
    length: u64,
) -> Result<Option<Snapshot>, store::Error> {
    let mut written = 0;
    while let Some(data) = incoming.blocking_recv() {
        written += data.len() as u64;
        writer.write(&data)?;
    }
    if written == length {
        writer.finish().map(Some)
    } else {
        Ok(None)
    }
}

fn internal(error: impl std::error::Error + 'static) -> Status {
    tracing::error!(
        error = &error as &dyn std::error::Error,
        "receive a snapshot"
    );
    Status::internal("the snapshot could not be written")
}

struct Sink(SnapshotWriter);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
