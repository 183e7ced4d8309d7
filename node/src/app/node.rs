//! One node from start to end.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use mainstay_core::{control::Config as ControlConfig, lease::Window, limits, router::Table};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{runtime, sync::mpsc, time::timeout};

use crate::{
    admin,
    app::{DataLock, Error, signals},
    auth::{self, Authenticator},
    config::{Config, Listener},
    control::{self, Driver, Inbox, Parts},
    link::{Channels, Endpoint, Identity, Server},
    listener::{self, Listeners},
    local,
    peer::{self, Hub, HubOptions},
    raft::{self, NodeFile, Settings},
    random,
    shards::{self, PeerQueues, Shards},
    tasks::{Kind, Tasks},
    tls,
};

/// Threads of the raft runtime: one keeps heartbeats and applies going while another encodes a batch.
const RAFT_THREADS: usize = 2;
/// All stages of a drain together; SIGTERM promises an end within 10 s.
const DRAIN_CLIENTS: Duration = Duration::from_secs(6);
const DRAIN_REST: Duration = Duration::from_secs(2);

/// How the process is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Drain and exit when standard input ends: the parent is gone.
    pub exit_with_stdin: bool,
}

/// Runs the node of a configuration until it is told to end, and drains it.
///
/// # Errors
/// If the node cannot start, or a part of it failed that it cannot go on without.
#[expect(clippy::needless_pass_by_value, reason = "the caller has no use for it afterwards")]
pub fn run(config: Config, options: Options) -> Result<(), Error> {
    if let Some(key) = config.missing_to_serve().first() {
        return Err(Error::Missing { key });
    }
    let data = prepare_data(&config.node.data)?;
    let _lock = DataLock::acquire(&data)?;
    let general = build_runtime("general", None)?;
    let raft_runtime = build_runtime("raft", Some(RAFT_THREADS))?;
    let outcome = general.block_on(async {
        let mut node = Node::start(&config, &data, raft_runtime.handle().clone()).await?;
        node.run(options).await
    });
    // What still waits on a socket or the disk is not waited for: everything that was promised is synced.
    general.shutdown_timeout(Duration::from_millis(100));
    raft_runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

fn prepare_data(path: &Path) -> Result<PathBuf, Error> {
    let data_error = |source| Error::Data { path: path.to_owned(), source };
    std::fs::create_dir_all(path).map_err(data_error)?;
    path.canonicalize().map_err(data_error)
}

fn build_runtime(what: &'static str, threads: Option<usize>) -> Result<runtime::Runtime, Error> {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.thread_name(what).enable_all();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder.build().map_err(|source| Error::Start { what, source })
}

/// The running parts.
struct Node {
    name: Arc<str>,
    tasks: Tasks,
    control: control::Handle,
    raft: raft::Handle,
    shards: Shards,
    listeners: Listeners,
    admin: admin::State,
}

impl Node {
    async fn start(
        config: &Config,
        data: &Path,
        raft_runtime: runtime::Handle,
    ) -> Result<Self, Error> {
        let name: Arc<str> = config.node.name.as_deref().unwrap_or_default().into();
        let tasks = Tasks::new(runtime::Handle::current());
        let metrics = install_metrics();
        let random = |what| move |source| Error::Start { what, source };

        let (requests, request_receiver) = mpsc::channel(shards::REQUESTS);
        let window = Window::default();
        let peers = PeerQueues::default();
        let shards = Shards::spawn(
            &tasks,
            shards::Options {
                shards: config.shards(),
                limits: core_limits(config),
                window: window.clone(),
                hash_key: [
                    random::number().map_err(random("randomness"))?,
                    random::number().map_err(random("randomness"))?,
                ],
                requests,
                peers: peers.clone(),
            },
        )
        .map_err(random("shards"))?;

        let consensus = Consensus::start(config, data, &name, &tasks, &raft_runtime).await?;
        let table = Arc::new(ArcSwap::from_pointee(Table::empty()));
        let (hub, peer_events) = Hub::start(HubOptions {
            node: consensus.raft.node(),
            channels: consensus.channels.clone(),
            raft: consensus.raft.clone(),
            incoming: consensus.links,
            queues: peers,
            inbox: Arc::new(shards.clone()),
            table: table.clone(),
            window: window.clone(),
            trust_refused: config.cluster.as_ref().is_some_and(|cluster| cluster.trust_refused),
            tasks: tasks.clone(),
        });
        let control_config = ControlConfig {
            node: consensus.raft.node(),
            name: name.clone(),
            shards: config.shards(),
            timing: config.timing(),
        };
        let seed = random::number().map_err(random("randomness"))?;
        let (driver, control) = Driver::new(
            control_config,
            seed,
            Parts {
                raft: consensus.raft.clone(),
                shards: shards.clone(),
                hub,
                table,
                window,
                inbox: Inbox {
                    applied: consensus.runs,
                    installs: consensus.prepare,
                    renewals: consensus.renewals,
                    leadership: consensus.raft.leadership(),
                    requests: request_receiver,
                    peers: peer_events,
                },
                tasks: tasks.clone(),
                runtime: raft_runtime.clone(),
            },
        );
        tasks.spawn_on(&raft_runtime, Kind::Control, driver.run());

        let listeners = open_listeners(config, &tasks, &shards).await?;
        let admin = admin::State::new(control.clone());
        let served = admin::serve(&config.admin.addresses, admin.clone(), move || {
            metrics.run_upkeep();
            metrics.render()
        });
        let served = served.await?;
        tasks.spawn(Kind::Admin, async move {
            served.await;
            Ok::<(), std::convert::Infallible>(())
        });
        let service = local::Service {
            name: name.clone(),
            control: control.clone(),
            raft: consensus.raft.clone(),
        };
        let socket = local::serve(data, service)
            .map_err(|source| Error::Data { path: local::socket_path(data), source })?;
        tasks.spawn(Kind::LocalSocket, socket);
        Ok(Self { name, tasks, control, raft: consensus.raft, shards, listeners, admin })
    }

    async fn run(&mut self, options: Options) -> Result<(), Error> {
        tracing::info!(node = %self.name, version = env!("CARGO_PKG_VERSION"), "started");
        let failed = tokio::select! {
            signal = signals::wait(options.exit_with_stdin) => {
                let signal = signal.map_err(|source| Error::Start { what: "signals", source })?;
                tracing::info!(signal, "draining");
                None
            }
            () = self.tasks.stop().cancelled() => self.tasks.failure().map(Error::Failed),
            why = self.raft.failed() => Some(Error::Consensus { why: why.to_string() }),
        };
        match failed {
            Some(error) => Err(error),
            None => {
                self.drain().await;
                Ok(())
            }
        }
    }

    /// Unready, no new clients, leadership handed over, what is in flight answered, clients closed, the own end
    /// committed. Each stage is bounded; what is not done by then is left to the others' `down_after`.
    async fn drain(&self) {
        self.admin.set_draining();
        self.listeners.stop();
        if self.raft.transfer_leader().await {
            tracing::info!("leadership handed over");
        }
        self.control.drain().await;
        if timeout(DRAIN_CLIENTS, self.control.drained()).await.is_err() {
            tracing::warn!("not drained in time; the others end this node after down_after");
        }
        self.shards.stop();
        self.tasks.stop().cancel();
        if timeout(DRAIN_REST, self.raft.shutdown()).await.is_err() {
            tracing::warn!("the consensus did not stop in time");
        }
        tracing::info!("drained");
    }
}

/// The consensus with its channels, and the server that other nodes talk to.
struct Consensus {
    raft: raft::Handle,
    channels: Arc<Channels>,
    runs: mpsc::Receiver<raft::AppliedRun>,
    prepare: mpsc::Receiver<raft::PrepareInstall>,
    renewals: mpsc::Receiver<raft::IncomingRenewal>,
    links: mpsc::Receiver<crate::link::Incoming>,
}
