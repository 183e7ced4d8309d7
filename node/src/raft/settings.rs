//! How the consensus runs: what an operator sets, and openraft's configuration made of it.

use std::{path::PathBuf, sync::Arc};

use openraft::{Config, ConfigError, SnapshotPolicy};

use crate::link::Endpoint;

/// Between two heartbeats of the leader, in milliseconds.
const HEARTBEAT: u64 = 150;
/// Without a heartbeat for a time between these (and the leader's lease, which is the longer one), a voter asks
/// to be elected, in milliseconds.
const ELECTION: (u64, u64) = (400, 600);
/// Entries in one append: at 64 KiB each, a megabyte.
const APPEND_ENTRIES: u64 = 16;
/// Purges reach into the log's files in steps of this many entries.
const PURGE_BATCH: u64 = 256;
/// A snapshot of gigabytes over a slow network takes minutes; a dead peer is noticed by the connection.
const SNAPSHOT_PATIENCE_MS: u64 = 15 * 60 * 1_000;

/// What `Raft::start` is given.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The data folder; the log, the snapshots and the node file lie in it.
    pub folder: PathBuf,
    /// Where others reach this node's cluster listener, host:port.
    pub advertise: String,
    /// The nodes that make up the cluster, this one too.
    pub seeds: Vec<Endpoint>,
    /// How many of the first seeds must answer, all empty, before the cluster is founded; at least 1.
    pub bootstrap_expect: usize,
    /// The most voters; odd.
    pub max_voters: usize,
    /// Entries after which a snapshot is taken.
    pub snapshot_entries: u64,
    /// Entries that stay in the log behind a snapshot, for members that were away for a moment.
    pub keep_entries: u64,
}

impl Settings {
    /// The defaults for a node alone.
    pub fn new(folder: PathBuf, advertise: String) -> Self {
        Self {
            folder,
            advertise,
            seeds: Vec::new(),
            bootstrap_expect: 1,
            max_voters: 3,
            snapshot_entries: 50_000,
            keep_entries: 10_000,
        }
    }

    pub(super) fn config(&self) -> Result<Arc<Config>, ConfigError> {
        let config = Config {
            cluster_name: "mainstay".to_owned(),
            heartbeat_interval: HEARTBEAT,
            election_timeout_min: ELECTION.0,
            election_timeout_max: ELECTION.1,
            max_payload_entries: APPEND_ENTRIES,
            replication_lag_threshold: self.snapshot_entries.saturating_add(self.keep_entries),
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: PURGE_BATCH.min(self.snapshot_entries.max(2)),
            install_snapshot_timeout: SNAPSHOT_PATIENCE_MS,
            enable_pre_vote: Some(true),
            ..Config::default()
        };
        Ok(Arc::new(config.validate()?))
    }
}
