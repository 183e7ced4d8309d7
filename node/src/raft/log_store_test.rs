//! openraft's own suite for log stores, on the real store in a real folder, and a small state
//! machine for it that lives in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine, Snapshot};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::TypeConfigExt;
use openraft::{EntryPayload, OptionalSend, RaftLogReader, RaftSnapshotBuilder, StorageError};
use tokio_stream::{Stream, StreamExt};

use super::log_store::LogStore;
use super::types::{
    CommittedLeaderId, Entry, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig,
};
use crate::store::{ByteCount, DiskFolder, Log, Options};

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mainstay-log-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name).join("log"))
    }

    fn open(&self) -> LogStore {
        let folder = Arc::new(DiskFolder::open(&self.0).unwrap());
        let options = Options {
            segment_size: ByteCount::kib(64),
            tail: ByteCount::kib(1),
            ..Options::default()
        };
        LogStore::new(Log::open(folder, options).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Some(own) = self.0.parent() {
            let _ = std::fs::remove_dir_all(own);
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Inner {
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshot: Option<SnapshotMeta>,
}

/// A state machine that remembers what was applied; the suite needs one.
#[derive(Debug, Clone, Default)]
struct Machine(Arc<Mutex<Inner>>);

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = ();

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>> {
        let mut inner = self.0.lock().unwrap();
        let meta = SnapshotMeta {
            last_log_id: inner.applied,
            last_membership: inner.membership.clone(),
        };
        inner.snapshot = Some(meta.clone());
        Ok(Snapshot { meta, snapshot: () })
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = ();
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let inner = self.0.lock().unwrap();
        Ok((inner.applied, inner.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            {
                let mut inner = self.0.lock().unwrap();
                inner.applied = Some(entry.log_id);
                if let EntryPayload::Membership(membership) = entry.payload {
                    inner.membership = StoredMembership::new(Some(entry.log_id), membership);
                }
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, (): ()) -> io::Result<()> {
        let mut inner = self.0.lock().unwrap();
        inner.applied = meta.last_log_id;
        inner.membership = meta.last_membership.clone();
        inner.snapshot = Some(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::type_config::alias::SnapshotOf<TypeConfig, ()>>> {
        let meta = self.0.lock().unwrap().snapshot.clone();
        Ok(meta.map(|meta| Snapshot { meta, snapshot: () }))
    }
}

struct Builder;

impl StoreBuilder<TypeConfig, LogStore, Machine, Folder> for Builder {
    async fn build(&self) -> Result<(Folder, LogStore, Machine), StorageError<TypeConfig>> {
        let folder = Folder::new();
        let store = folder.open();
        Ok((folder, store, Machine::default()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn passes_the_suite_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}

fn command(term: u64, index: u64, length: usize) -> Entry {
    let payload = Payload(Bytes::from(vec![index as u8; length]));
    let term = CommittedLeaderId::new(term);
    Entry::new_normal(LogId::new(term, index), payload)
}

async fn append(store: &mut LogStore, entries: Vec<Entry>) {
    let (tell, told) = TypeConfig::oneshot();
    store
        .append(entries, IOFlushed::signal(tell))
        .await
        .unwrap();
    told.await.unwrap().unwrap();
}

#[tokio::test]
async fn entries_vote_and_committed_are_there_after_a_new_start() {
    let folder = Folder::new();
    let mut store = folder.open();
    let peers = BTreeMap::from([(7, super::types::Peer::default())]);
    let membership = super::types::Membership::new(vec![[7].into()], peers).unwrap();
    let first = LogId::new(CommittedLeaderId::new(0), 0);
    let mut entries = vec![Entry::new_membership(first, membership)];
    entries.extend((1..200).map(|index| command(3, index, 900)));
    append(&mut store, entries.clone()).await;
    let vote = super::types::Vote::new_committed(3, 7);
    store.save_vote(&vote).await.unwrap();
    store
        .save_committed(Some(entries[150].log_id))
        .await
        .unwrap();
    store
        .truncate_after(Some(entries[180].log_id))
        .await
        .unwrap();
    store.purge(entries[9].log_id).await.unwrap();
    drop(store);

    let mut store = folder.open();
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(entries[180].log_id));
    assert_eq!(state.last_purged_log_id, Some(entries[9].log_id));
    assert_eq!(
        store.read_committed().await.unwrap(),
        Some(entries[150].log_id)
    );
    let mut reader = store.get_log_reader().await;
    assert_eq!(reader.read_vote().await.unwrap(), Some(vote));
    let found = reader.try_get_log_entries(..).await.unwrap();
    assert_eq!(found, entries[10..=180]);
    let some = reader.limited_get_log_entries(15, 181).await.unwrap();
    assert_eq!(some, entries[15..=180]);
    let purged = reader.limited_get_log_entries(9, 181).await.unwrap();
    assert_eq!(purged, [], "a hole at the start is no answer");
    let mut stream = Box::pin(reader.entries_stream(20..).await);
    let mut streamed = Vec::new();
    while let Some(entry) = stream.next().await {
        streamed.push(entry.unwrap());
    }
    assert_eq!(streamed, entries[20..=180]);
}

#[test]
fn an_entry_comes_back_as_it_was_and_arbitrary_bytes_do_not_panic() {
    use super::codec;
    use crate::store::Index;
    let entry = command(5, 9, 40);
    let bytes = codec::encode_entry(&entry).unwrap();
    assert_eq!(codec::decode_entry(Index(9), &bytes).unwrap(), entry);
    for length in 0..bytes.len() {
        for byte in 0..=255 {
            let bad = Bytes::from(vec![byte; length]);
            let _ = codec::decode_entry(Index(9), &bad);
        }
    }
}
