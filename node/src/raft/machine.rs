//! The state machine under openraft: owns the replica, applies committed entries, writes and reads snapshots.
//!
//! openraft's worker is the one caller. What apply yields goes to control as ordered [`AppliedRun`]s through
//! one bounded channel; a full channel holds apply back, and a node that does not apply loses its lease.
//! Nothing here waits for clients, but for the one question before a snapshot replaces the state.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use mainstay_core::{
    ids::Index,
    replica::{Applied, Entry as Command, Replica},
};
use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder,
    storage::{ApplyResponder, EntryResponder, RaftStateMachine},
};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{Stream, StreamExt};

use super::{
    codec, metrics,
    snapshot::{self, SnapshotOf},
    types::{Entry, LogId, SnapshotMeta, StoredMembership, TypeConfig},
};
use crate::store::{Snapshot, Snapshots};

/// Entries that go to control at once: a wake-up each would cost more than they do.
const RUN_ENTRIES: usize = 64;

/// What apply did, in order; to control.
#[derive(Clone, Debug)]
pub struct AppliedRun {
    /// The entries, also those that are openraft's own (they have no effects). Empty when a snapshot took the
    /// place of the state: then `state` says everything.
    pub applied: Vec<Applied>,
    /// The state after the last of them.
    pub state: Replica,
    /// The index of the last entry in the state.
    pub index: Index,
}

/// Asks control to end the node's incarnation and to close its clients, because a snapshot is about to replace
/// the state; a node never installs one while it has clients.
#[derive(Debug)]
pub struct PrepareInstall {
    /// The index that the snapshot leads to.
    pub index: Index,
    /// Said when nobody is served any more.
    pub answer: oneshot::Sender<()>,
}

/// The state machine.
#[derive(Debug)]
pub(super) struct Machine {
    replica: Replica,
    applied: Option<LogId>,
    membership: StoredMembership,
    snapshots: Snapshots,
    /// The newest snapshot; the builder is apart from the machine and shares it.
    current: Current,
    runs: mpsc::Sender<AppliedRun>,
    prepare: mpsc::Sender<PrepareInstall>,
    /// Whether control is told of what is applied. It begins after openraft has replayed the log, however long that
    /// is: were it told before, apply would wait for it and it for the replay.
    tells: bool,
}

type Current = Arc<Mutex<Option<(SnapshotMeta, Snapshot)>>>;

impl Machine {
    /// Loads the newest snapshot; blocks on the disk.
    ///
    /// # Errors
    ///
    /// A snapshot that cannot be read: the log was purged up to it, so there is nothing to go on with.
    pub(super) fn open(
        snapshots: Snapshots,
        runs: mpsc::Sender<AppliedRun>,
        prepare: mpsc::Sender<PrepareInstall>,
    ) -> io::Result<Self> {
        let mut machine = Self {
            replica: Replica::default(),
            applied: None,
            membership: StoredMembership::default(),
            snapshots,
            current: Current::default(),
            runs,
            prepare,
            tells: false,
        };
        if let Some(latest) = machine.snapshots.latest().map_err(io::Error::from)? {
            let meta: SnapshotMeta = codec::decode(latest.meta())?;
            machine.replica = snapshot::read(&latest)?;
            machine.adopt(meta, latest);
        }
        Ok(machine)
    }

    /// Begins to tell control what is applied, with the state as it is now: what was replayed has no effects, since
    /// it lies below the NodeUp of this life. Gives what sends that state; nothing is applied before it has ended.
    pub(super) fn begin_telling(&mut self) -> impl Future<Output = io::Result<()>> + use<> {
        self.tells = true;
        let first = self.applied.is_some().then(|| self.run(Vec::new()));
        let runs = self.runs.clone();
        async move {
            match first {
                Some(run) => runs.send(run).await.map_err(|_| control_has_ended()),
                None => Ok(()),
            }
        }
    }

    fn adopt(&mut self, meta: SnapshotMeta, snapshot: Snapshot) {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some((meta, snapshot));
    }

    /// Applies one entry. An entry that cannot be decoded stops the node on purpose: to skip it would make
    /// this state differ from the others', and nobody would notice.
    fn take(&mut self, entry: Entry) -> io::Result<Applied> {
        let index = Index(entry.log_id.index);
        let applied = match entry.payload {
            EntryPayload::Blank => Applied {
                index,
                effects: Vec::new(),
            },
            EntryPayload::Membership(membership) => {
                self.membership = StoredMembership::new(Some(entry.log_id), membership);
                Applied {
                    index,
                    effects: Vec::new(),
                }
            }
            EntryPayload::Normal(payload) => {
                let command = Command::decode(&payload.0).map_err(|error| {
                    tracing::error!(index = index.0, %error, "a committed entry cannot be decoded");
                    io::Error::new(io::ErrorKind::InvalidData, error)
                })?;
                self.replica.apply(index, &command)
            }
        };
        self.applied = Some(entry.log_id);
        Ok(applied)
    }

    /// Control hears of the entries before their proposers do.
    async fn hand_over(&self, run: &mut Run) -> io::Result<()> {
        if !run.applied.is_empty() {
            self.send(std::mem::take(&mut run.applied)).await?;
        }
        for responder in run.responders.drain(..) {
            responder.send(());
        }
        Ok(())
    }

    async fn send(&self, applied: Vec<Applied>) -> io::Result<()> {
        if !self.tells {
            return Ok(());
        }
        self.runs
            .send(self.run(applied))
            .await
            .map_err(|_| control_has_ended())
    }

    fn run(&self, applied: Vec<Applied>) -> AppliedRun {
        AppliedRun {
            applied,
            state: self.replica.clone(),
            index: Index(self.applied.map_or(0, |id| id.index)),
        }
    }
}

fn control_has_ended() -> io::Error {
    io::Error::other("control has ended")
}

#[derive(Default)]
struct Run {
    applied: Vec<Applied>,
    responders: Vec<ApplyResponder<TypeConfig>>,
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Snapshot;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        let mut run = Run::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            run.applied.push(self.take(entry)?);
            run.responders.extend(responder);
            if run.applied.len() >= RUN_ENTRIES {
                self.hand_over(&mut run).await?;
            }
        }
        self.hand_over(&mut run).await
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder {
            replica: self.replica.clone(),
            meta: SnapshotMeta {
                last_log_id: self.applied,
                last_membership: self.membership.clone(),
            },
            snapshots: self.snapshots.clone(),
            current: Arc::clone(&self.current),
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Snapshot,
    ) -> io::Result<()> {
        let index = Index(meta.last_log_id.map_or(0, |id| id.index));
        let (answer, prepared) = oneshot::channel();
        let gone = |_| io::Error::other("control has ended");
        self.prepare
            .send(PrepareInstall { index, answer })
            .await
            .map_err(|_| gone(()))?;
        prepared.await.map_err(|_| gone(()))?;
        let from = snapshot.clone();
        self.replica = tokio::task::spawn_blocking(move || snapshot::read(&from)).await??;
        let (snapshots, keep) = (self.snapshots.clone(), snapshot.clone());
        self.adopt(meta.clone(), snapshot);
        tokio::task::spawn_blocking(move || snapshots.remove_older(&keep)).await??;
        tracing::info!(
            index = index.0,
            "state replaced by a snapshot of the leader"
        );
        self.send(Vec::new()).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf>> {
        let current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(current
            .clone()
            .map(|(meta, snapshot)| SnapshotOf { meta, snapshot }))
    }
}

/// Writes a snapshot of the state at the moment it was made, while the machine goes on.
#[derive(Debug)]
pub(super) struct Builder {
    replica: Replica,
    meta: SnapshotMeta,
    snapshots: Snapshots,
    current: Current,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = Snapshot;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf> {
        let (replica, meta, snapshots) = (
            self.replica.clone(),
            self.meta.clone(),
            self.snapshots.clone(),
        );
        let built = tokio::task::spawn_blocking(move || -> io::Result<Snapshot> {
            let snapshot = snapshot::write(&replica, &meta, &snapshots)?;
            snapshots.remove_older(&snapshot)?;
            Ok(snapshot)
        });
        let built = built.await?;
        metrics::snapshot(metrics::Direction::Built, built.is_ok());
        let snapshot = built?;
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((self.meta.clone(), snapshot.clone()));
        Ok(SnapshotOf {
            meta: self.meta.clone(),
            snapshot,
        })
    }
}
