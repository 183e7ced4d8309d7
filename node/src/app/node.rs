//! One node from start to end.

use std::{
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use mainstay_core::{control::Config as ControlConfig, lease::Window, limits};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::{runtime, sync::mpsc, time::timeout};

use crate::{
    admin,
    app::{DataLock, Error, signals},
    auth::{self, Authenticator},
    certificates,
    config::Config,
    control::{self, Driver, Inbox, Parts},
    link::{Channels, Credentials, Endpoint, Identity, Server},
    listener::{self, Bounds, Gate},
    local,
    peer::{self, Hub},
    raft::{self, NodeFile, Settings},
    random,
    shards::{self, Shards, peer_queue::PeerQueues},
    store,
    tasks::{Kind, Tasks},
    telemetry, tls,
};

/// Buckets of all histograms, in seconds: from a tenth of a millisecond to an election and more.
const BUCKETS: [f64; 14] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];
/// Threads of the raft runtime: one keeps heartbeats and applies going while another encodes a batch.
const RAFT_THREADS: usize = 2;
/// Reports and states of links that wait for control: a report a frame, states rarely.
const PEER_EVENTS: usize = 1024;
/// Threads of the links' runtime. One, so that a frame's way from its link to the socket and back wakes nobody: with
/// links on the general runtime and their sockets on raft's, a message to another node cost 1.5 us, so 1.1 to 1.3.
const LINK_THREADS: usize = 1;
/// Between two merges of histogram samples: at some thousand samples a second some hundred KiB wait.
const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// All stages of a drain together; SIGTERM promises an end within 10 s.
const DRAIN_LEADERSHIP: Duration = Duration::from_secs(1);
const DRAIN_CLIENTS: Duration = Duration::from_secs(6);
const DRAIN_REST: Duration = Duration::from_secs(1);

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
#[expect(
    clippy::needless_pass_by_value,
    reason = "the caller has no use for it afterwards"
)]
pub fn run(config: Config, options: Options) -> Result<(), Error> {
    if let Some(key) = config.missing_to_serve().first() {
        return Err(Error::Missing { key });
    }
    let data = prepare_data(&config.node.data)?;
    let _lock = DataLock::acquire(&data)?;
    let general = build_runtime("general", None)?;
    let raft_runtime = build_runtime("raft", Some(RAFT_THREADS))?;
    let link_runtime = build_runtime("link", Some(LINK_THREADS))?;
    let runtimes = Runtimes {
        raft: raft_runtime.handle().clone(),
        link: link_runtime.handle().clone(),
    };
    let outcome = general.block_on(async {
        let mut node = Node::start(&config, &data, runtimes).await?;
        node.run(options).await
    });
    // What still waits on a socket or the disk is not waited for: everything that was promised is synced.
    general.shutdown_timeout(Duration::from_millis(100));
    link_runtime.shutdown_timeout(Duration::from_millis(100));
    raft_runtime.shutdown_timeout(Duration::from_millis(500));
    outcome
}

fn prepare_data(path: &Path) -> Result<PathBuf, Error> {
    let data_error = |source| Error::Data {
        path: path.to_owned(),
        source,
    };
    // What is made here is the owner's alone: it holds hashes, keys and the local socket.
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(data_error)?;
    path.canonicalize().map_err(data_error)
}

fn build_runtime(what: &'static str, threads: Option<usize>) -> Result<runtime::Runtime, Error> {
    let mut builder = runtime::Builder::new_multi_thread();
    builder.thread_name(what).enable_all();
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    builder
        .build()
        .map_err(|source| Error::Start { what, source })
}

/// The runtimes beside the general one.
#[derive(Clone)]
struct Runtimes {
    raft: runtime::Handle,
    /// Links, their channels, and the server for other nodes.
    link: runtime::Handle,
}

/// The running parts.
struct Node {
    name: Arc<str>,
    tasks: Tasks,
    control: control::Handle,
    raft: raft::Handle,
    gate: Gate,
    admin: admin::State,
}

impl Node {
    async fn start(config: &Config, data: &Path, runtimes: Runtimes) -> Result<Self, Error> {
        let name: Arc<str> = config.node.name.as_deref().unwrap_or_default().into();
        let tasks = Tasks::new(runtime::Handle::current());
        let metrics = install_metrics()?;
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

        let Consensus {
            raft,
            channels,
            feeds,
        } = Consensus::start(config, data, &name, &tasks, &runtimes).await?;
        let (events, peer_events) = mpsc::channel(PEER_EVENTS);
        let members = raft.clone();
        let parts = peer::Parts {
            node: raft.node(),
            channels,
            directory: Arc::new(move |node| members.endpoint(node)),
            queues: peers,
            inbox: Arc::new(shards.clone()),
            shards: shards.count(),
            runtime: runtimes.link.clone(),
            window: window.clone(),
            trust_refused: config
                .cluster
                .as_ref()
                .is_some_and(|cluster| cluster.trust_refused),
            events,
        };
        let (hub, links) = Hub::new(parts, feeds.links, tasks.clone());
        tasks.spawn(Kind::Links, async move {
            hub.run().await;
            Ok::<(), std::convert::Infallible>(())
        });
        let control_config = ControlConfig {
            node: raft.node(),
            name: name.clone(),
            shards: config.shards(),
            timing: config.timing(),
            voters: voters(config),
        };
        let seed = random::number().map_err(random("randomness"))?;
        let (driver, control) = Driver::new(
            control_config,
            seed,
            Parts {
                raft: raft.clone(),
                shards: shards.clone(),
                hub: links,
                window,
                inbox: Inbox {
                    applied: feeds.runs,
                    installs: feeds.prepare,
                    renewals: feeds.renewals,
                    leadership: raft.leadership(),
                    requests: request_receiver,
                    peers: peer_events,
                },
                tasks: tasks.clone(),
                runtime: runtimes.raft.clone(),
            },
        );
        tasks.spawn_on(&runtimes.raft, Kind::Control, driver.run());

        let gate = open_listeners(config, &tasks, &shards)?;
        let admin = admin::State::new(control.clone());
        // Histograms keep every sample until the upkeep, also where nobody scrapes.
        let upkeep = metrics.clone();
        tasks.spawn(Kind::Watch, async move {
            let mut ticks = tokio::time::interval(METRICS_UPKEEP);
            loop {
                ticks.tick().await;
                upkeep.run_upkeep();
            }
            #[expect(
                unreachable_code,
                reason = "names the error type of a task that never ends"
            )]
            Ok::<(), std::convert::Infallible>(())
        });
        let render: admin::Render = Arc::new(move || metrics.render());
        let served = admin::serve(&config.admin.addresses, admin.clone(), render).await?;
        tasks.spawn(Kind::Admin, async move {
            served.await;
            Ok::<(), std::convert::Infallible>(())
        });
        let service = local::Service {
            name: name.clone(),
            control: control.clone(),
            raft: raft.clone(),
        };
        let socket = local::serve(data, service).map_err(|source| Error::Data {
            path: local::socket_path(data),
            source,
        })?;
        tasks.spawn(Kind::LocalSocket, socket);
        Ok(Self {
            name,
            tasks,
            control,
            raft,
            gate,
            admin,
        })
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
        self.gate.close();
        let transfer = timeout(DRAIN_LEADERSHIP, self.raft.transfer_leader());
        if transfer.await.is_ok_and(|moved| moved) {
            tracing::info!("leadership handed over");
        }
        let clients = async {
            self.control.drain().await;
            self.control.drained().await;
        };
        if timeout(DRAIN_CLIENTS, clients).await.is_err() {
            tracing::warn!("not drained in time; the others end this node after down_after");
        }
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
    feeds: raft::Feeds,
}

impl Consensus {
    async fn start(
        config: &Config,
        data: &Path,
        name: &str,
        tasks: &Tasks,
        runtimes: &Runtimes,
    ) -> Result<Self, Error> {
        let file = Arc::new(NodeFile::open(data).map_err(Error::NodeFile)?);
        let credentials = credentials(config, data, name)?;
        let home = file.home().clone();
        let channels = Channels::new(credentials.clone(), home.clone(), runtimes.raft.clone());
        let channels = channels.map_err(Error::Identity)?;
        let channels = Arc::new(channels.with_links_on(runtimes.link.clone()));
        let (starter, feeds) = raft::feeds();
        let settings = settings(config, data);
        let mut servers = Vec::new();
        for address in config.cluster.iter().flat_map(|cluster| &cluster.listen) {
            let server = Server::bind(*address, credentials.clone(), home.clone()).await;
            servers.push(server.map_err(Error::Peers)?);
        }
        let (raft, service) = starter
            .start(settings, file, channels.clone(), runtimes.raft.clone())
            .await?;
        let service = Arc::new(service);
        for server in servers {
            let stop = tasks.stop().clone().cancelled_owned();
            tasks.spawn_on(
                &runtimes.link,
                Kind::PeerServer,
                server.serve(service.clone(), stop),
            );
        }
        Ok(Self {
            raft,
            channels,
            feeds,
        })
    }
}

/// The node's identity among its peers; a node that is a cluster of its own makes itself one that nobody else
/// trusts.
fn credentials(config: &Config, data: &Path, name: &str) -> Result<Credentials, Error> {
    let identity = if let Some(cluster) = &config.cluster {
        Identity {
            ca_file: cluster.ca_file.clone(),
            certificate_file: cluster.certificate_file.clone(),
            key_file: cluster.key_file.clone(),
        }
    } else {
        let folder = data.join("identity");
        let make = || -> Result<(), certificates::Error> {
            certificates::Authority::open_or_make(&folder)?
                .issue(&[name.to_owned()], &[])?
                .write(&folder, "tls")
        };
        make().map_err(Error::Certificates)?;
        Identity {
            ca_file: folder.join("ca.crt"),
            certificate_file: folder.join("tls.crt"),
            key_file: folder.join("tls.key"),
        }
    };
    identity.load(name).map_err(Error::Identity)
}

fn settings(config: &Config, data: &Path) -> Settings {
    let Some(cluster) = &config.cluster else {
        return Settings::new(data.to_owned(), String::new());
    };
    let seeds = cluster.seeds.iter().map(|seed| Endpoint {
        name: seed.name.clone(),
        address: seed.address.clone(),
    });
    Settings {
        seeds: seeds.collect(),
        bootstrap_expect: cluster.bootstrap_expect.unwrap_or(cluster.seeds.len()),
        max_voters: cluster.max_voters,
        ..Settings::new(
            data.to_owned(),
            cluster.advertise.clone().unwrap_or_default(),
        )
    }
}

/// How many nodes vote: the largest odd number up to the bound and to the first members.
fn voters(config: &Config) -> usize {
    let Some(cluster) = &config.cluster else {
        return 1;
    };
    let members = cluster
        .bootstrap_expect
        .unwrap_or(cluster.seeds.len())
        .min(cluster.max_voters);
    if members.is_multiple_of(2) {
        members - 1
    } else {
        members
    }
}

fn core_limits(config: &Config) -> limits::Limits {
    limits::Limits {
        max_payload: config.limits.max_payload_bytes,
        ..limits::Limits::default()
    }
}

/// Opens the doors for clients; whoever comes before the node serves is told so (CONNACK 3).
fn open_listeners(config: &Config, tasks: &Tasks, shards: &Shards) -> Result<Gate, Error> {
    let bounds = Bounds {
        max_connections: config.limits.max_connections,
        ..Bounds::default()
    };
    let rooms = listener::Rooms {
        tasks: tasks.clone(),
        auth: Authenticator::spawn(tasks)?,
        shards: shards.clone(),
        gate: Gate::new(bounds),
    };
    let doors = [
        config.listeners.mqtts.as_ref(),
        config.listeners.mqtt.as_ref(),
    ];
    for door in doors.into_iter().flatten() {
        let tls = match (&door.certificate_file, &door.key_file) {
            (Some(certificate), Some(key)) => Some(tls::Server::from_files(certificate, key)?),
            _ => None,
        };
        let options = listener::Options {
            proxy: door.proxy_protocol,
            trusted_networks: door.trusted_networks.clone(),
            tls,
        };
        let sockets = listener::bind(&door.addresses)?;
        listener::Listener::spawn(sockets, options, rooms.clone()).map_err(|source| {
            Error::Start {
                what: "listener",
                source,
            }
        })?;
    }
    Ok(rooms.gate)
}

fn install_metrics() -> Result<PrometheusHandle, Error> {
    let recorder = PrometheusBuilder::new().set_buckets(&BUCKETS);
    let handle = recorder
        .and_then(PrometheusBuilder::install_recorder)
        .map_err(|source| Error::Start {
            what: "metrics",
            source: io::Error::other(source),
        })?;
    auth::metrics::describe();
    listener::metrics::describe();
    raft::metrics::describe_metrics();
    shards::metrics::describe();
    store::metrics::describe_metrics();
    tls::metrics::describe();
    telemetry::describe_process();
    Ok(handle)
}
