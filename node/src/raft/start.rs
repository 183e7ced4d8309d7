//! Starts the consensus: opens log and snapshots, replays, and brings up the tasks around openraft.
//!
//! The channels to control are made first, because the replay already fills them: whoever starts this must take
//! from [`Feeds`] while [`Starter::start`] runs.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, atomic::AtomicU64},
};

use openraft::ConfigError;
use tokio::{
    runtime::Handle as Runtime,
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    handle::{Handle, IncomingRenewal, RaftNode, Shared},
    leadership::{Leadership, Watcher},
    log_store::LogStore,
    machine::{AppliedRun, Machine, PrepareInstall},
    members::Members,
    network::Network,
    node_file::{NodeFile, NodeFileError},
    proposals::{self, Submitter},
    service::Service,
    settings::Settings,
};
use crate::{
    link::{Channels, Incoming},
    store::{self, DiskFolder, Folder, Log, Options, Snapshots},
};

/// Runs of applied entries that control may be behind; with 64 entries each, a few thousand.
const RUNS: usize = 64;
/// Renewals that wait for control: one a node and renewal period.
const RENEWALS: usize = 128;
/// Links that wait to be accepted: at most one a node.
const LINKS: usize = 64;
/// Why the consensus did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings contradict each other.
    #[error("configure raft")]
    Config(#[source] ConfigError),
    /// The log or the snapshots cannot be used.
    #[error("open {what}")]
    Store {
        /// Which.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: store::Error,
    },
    /// The newest snapshot cannot be read.
    #[error("load the newest snapshot")]
    Snapshot(#[source] io::Error),
    /// The node file cannot be used.
    #[error("read the node file")]
    NodeFile(#[source] NodeFileError),
    /// openraft did not start.
    #[error("start raft")]
    Raft(#[source] io::Error),
}

/// What the consensus sends to control, and to `peer`.
#[derive(Debug)]
pub struct Feeds {
    /// What apply did, in order.
    pub runs: mpsc::Receiver<AppliedRun>,
    /// A snapshot is about to replace the state.
    pub prepare: mpsc::Receiver<PrepareInstall>,
    /// Renewals for this node as the leader.
    pub renewals: mpsc::Receiver<IncomingRenewal>,
    /// Links that other nodes opened.
    pub links: mpsc::Receiver<Incoming>,
}

/// The sending ends of [`Feeds`].
#[derive(Debug)]
pub struct Starter {
    runs: mpsc::Sender<AppliedRun>,
    prepare: mpsc::Sender<PrepareInstall>,
    renewals: mpsc::Sender<IncomingRenewal>,
    links: mpsc::Sender<Incoming>,
}

/// Makes the channels between the consensus and the rest of the node.
pub fn feeds() -> (Starter, Feeds) {
    let (runs, runs_out) = mpsc::channel(RUNS);
    let (prepare, prepare_out) = mpsc::channel(1);
    let (renewals, renewals_out) = mpsc::channel(RENEWALS);
    let (links, links_out) = mpsc::channel(LINKS);
    let feeds = Feeds {
        runs: runs_out,
        prepare: prepare_out,
        renewals: renewals_out,
        links: links_out,
    };
    (
        Starter {
            runs,
            prepare,
            renewals,
            links,
        },
        feeds,
    )
}

impl Starter {
    /// Opens and replays what the folder holds and joins or founds the cluster in the background. All of it runs
    /// on `runtime`. The [`Service`] is to be served at once: others wait for its answers.
    ///
    /// # Errors
    ///
    /// Files that cannot be used, or settings that contradict each other.
    pub async fn start(
        self,
        settings: Settings,
        file: Arc<NodeFile>,
        channels: Arc<Channels>,
        runtime: Runtime,
    ) -> Result<(Handle, Service), StartError> {
        let on = runtime.clone();
        // openraft spawns its tasks where it is called.
        let starting = on.spawn(self.start_here(settings, file, channels, runtime));
        starting
            .await
            .map_err(|error| StartError::Raft(io::Error::other(error)))?
    }

    async fn start_here(
        self,
        settings: Settings,
        file: Arc<NodeFile>,
        channels: Arc<Channels>,
        runtime: Runtime,
    ) -> Result<(Handle, Service), StartError> {
        let config = settings.config().map_err(StartError::Config)?;
        let folder = settings.folder.clone();
        let (runs, prepare) = (self.runs, self.prepare);
        let opened = tokio::task::spawn_blocking(move || open(&folder, runs, prepare)).await;
        let (log, snapshots, machine) =
            opened.map_err(|e| StartError::Raft(io::Error::other(e)))??;
        machine.announce().await.map_err(StartError::Raft)?;
        let network = Network {
            me: file.node().0,
            channels: Arc::clone(&channels),
        };
        let raft: RaftNode =
            RaftNode::new(file.node().0, config, network, LogStore::new(log), machine)
                .await
                .map_err(|fatal| StartError::Raft(io::Error::other(fatal)))?;
        // openraft's `wait_for_recovery` would wait for a leader, which may need this node to be served first. It is
        // not needed: a node serves after its own NodeUp of this life, which lies above all that it ever applied.
        let (leadership_in, leadership) = watch::channel(Leadership::default());
        let (failure_in, failure) = watch::channel(None);
        let (proposals, queue) = mpsc::channel(proposals::QUEUE);
        let shared = Arc::new(Shared {
            me: file.node(),
            raft: raft.clone(),
            channels: Arc::clone(&channels),
            home: file.home().clone(),
            proposals,
            renewals: self.renewals,
            leadership: leadership.clone(),
            failure,
            incarnation: AtomicU64::new(0),
            stop: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        let stop = shared.stop.clone();
        let watcher = Watcher {
            raft: raft.clone(),
            leadership: leadership_in,
            failure: failure_in,
            stop,
        };
        shared.spawn(&runtime, watcher.run());
        let stop = shared.stop.clone();
        let submitter = Submitter {
            raft,
            channels,
            leadership,
            queue,
            stop,
        };
        shared.spawn(&runtime, submitter.run());
        let members = Members::new(Arc::clone(&shared), Arc::clone(&file), settings);
        shared.spawn(&runtime, members.run());
        let service = Service {
            shared: Arc::clone(&shared),
            file,
            links: self.links,
            snapshots,
            installing: tokio::sync::Mutex::default(),
        };
        Ok((Handle { shared }, service))
    }
}

type Opened = (Log, Snapshots, Machine);

fn open(
    folder: &Path,
    runs: mpsc::Sender<AppliedRun>,
    prepare: mpsc::Sender<PrepareInstall>,
) -> Result<Opened, StartError> {
    let part = |what: &'static str| -> Result<Arc<dyn Folder>, StartError> {
        let folder = DiskFolder::open(&folder.join(what));
        Ok(Arc::new(
            folder.map_err(|source| StartError::Store { what, source })?,
        ))
    };
    let log = Log::open(part("log")?, Options::default()).map_err(|source| StartError::Store {
        what: "log",
        source,
    })?;
    let snapshots = Snapshots::open(part("snapshots")?).map_err(|source| StartError::Store {
        what: "snapshots",
        source,
    })?;
    let machine = Machine::open(snapshots.clone(), runs, prepare).map_err(StartError::Snapshot)?;
    Ok((log, snapshots, machine))
}
