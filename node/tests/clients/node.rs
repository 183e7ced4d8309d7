//! A node without consensus: listeners, shards, and a control that answers at once.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay::{
    auth::{Authenticator, hash_password},
    config::ProxyProtocol,
    listener::{Bounds, Gate, Listener, Options, Rooms, bind},
    shards::{self, Shards},
    tasks::{Kind, Tasks, clock},
    tls,
};
use mainstay_core::{
    catalog::{Catalog, Password, Resource},
    ids::{
        Epoch, Incarnation, Index, NodeSet, NodeSlot, Position, ResourceId, ShardId, ShardSet,
        SpaceId,
    },
    lease::Window,
    limits::Limits,
    message::{Event, Request, Ticket},
    replica::Outcome,
    router::{Routes, Table},
    stored::{Values, View},
    time::Moment,
    topic::TopicFilter,
};
use tokio::sync::mpsc;

pub(crate) const PASSWORD: &str = "correct horse";

/// The node; stops when it is dropped.
pub(crate) struct Node {
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) proxied: SocketAddr,
    pub(crate) window: Window,
    pub(crate) shards: Shards,
    pub(crate) gate: Gate,
    pub(crate) brokers: Vec<ResourceId>,
    pub(crate) certificate: rustls::pki_types::CertificateDer<'static>,
    pub(crate) emptied: Arc<Mutex<HashSet<ShardId>>>,
    tasks: Tasks,
    runtime: tokio::runtime::Runtime,
}

impl Node {
    pub(crate) fn start(shards: u8) -> Self {
        Self::with_bounds(shards, Bounds::default())
    }

    pub(crate) fn with_bounds(shards: u8, bounds: Bounds) -> Self {
        // `RUST_LOG=debug` shows why connections end.
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let tasks = Tasks::new(runtime.handle().clone());
        let window = Window::default();
        window.set(Moment(u64::MAX));
        let (sender, requests) = mpsc::channel(shards::REQUESTS);
        let handle = Shards::spawn(
            &tasks,
            shards::Options {
                shards,
                limits: Limits::default(),
                window: window.clone(),
                hash_key: [1, 2],
                requests: sender,
                peers: shards::peer_queue::PeerQueues::default(),
            },
        )
        .unwrap();
        let brokers: Vec<_> = (10..30).map(|n| ResourceId::from_random([n; 17])).collect();
        let emptied = Arc::new(Mutex::new(HashSet::new()));
        let control = Control::new(handle.clone(), catalog(&brokers), emptied.clone());
        tasks.spawn(Kind::Watch, async move {
            control.run(requests).await;
            Ok::<(), Infallible>(())
        });
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let server = tls::Server::from_parts(vec![made.cert.der().clone()], key).unwrap();
        let rooms = Rooms {
            tasks: tasks.clone(),
            auth: Authenticator::spawn(&tasks).unwrap(),
            shards: handle.clone(),
            gate: Gate::new(bounds),
        };
        let open = |options: Options| {
            let sockets = bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
            let address = sockets[0].local_addr().unwrap();
            Listener::spawn(sockets, options, rooms.clone()).unwrap();
            address
        };
        let trusted = vec!["127.0.0.0/8".parse().unwrap()];
        let plain = open(Options::default());
        let tls = open(Options {
            proxy: ProxyProtocol::Optional,
            trusted_networks: trusted.clone(),
            tls: Some(server),
        });
        let proxied = open(Options {
            proxy: ProxyProtocol::Required,
            trusted_networks: trusted,
            tls: None,
        });
        let certificate = made.cert.der().clone();
        let node = Self {
            plain,
            tls,
            proxied,
            window,
            gate: rooms.gate.clone(),
            shards: handle,
            brokers,
            certificate,
            emptied,
            tasks,
            runtime,
        };
        wait_for("the node to serve", || node.shards.serving().is_some());
        node
    }

    /// Gives all shards an event.
    pub(crate) fn tell(&self, event: &Event) {
        for shard in (0..self.shards.count()).map(ShardId) {
            self.shards.push_event(shard, event.clone());
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.tasks.stop().cancel();
        let ended = self
            .runtime
            .block_on(self.tasks.ended(Duration::from_secs(10)));
        assert!(ended || std::thread::panicking(), "everything ends");
        assert!(self.tasks.failure().is_none() || std::thread::panicking());
    }
}

/// Waits for a condition, at most 20 s.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = clock::now();
    while !condition() {
        assert!(
            clock::now().since(start) < Duration::from_secs(20),
            "waited for {what}"
        );
        std::thread::yield_now();
    }
}

fn catalog(brokers: &[ResourceId]) -> Catalog {
    let folder = ResourceId::from_random([1; 17]);
    let phc: Arc<str> = hash_password(PASSWORD.as_bytes()).unwrap().into();
    let mut catalog = Catalog::default();
    catalog.create(Resource::Folder { id: folder }).unwrap();
    for (number, &id) in brokers.iter().enumerate() {
        let password = Password {
            id: ResourceId::from_random([100 + number as u8; 17]),
            phc: phc.clone(),
        };
        let name = format!("b{number}").into();
        let broker = Resource::Broker {
            id,
            folder,
            name,
            passwords: vec![password],
        };
        catalog.create(broker).unwrap();
    }
    catalog
}

/// Says yes, and keeps the routes between the shards.
struct Control {
    shards: Shards,
    table: Table,
    wanted: HashMap<(SpaceId, TopicFilter, ShardId), u32>,
    /// Answers that wait until all shards route by an index.
    waiting: Vec<(Index, ShardId, Event)>,
    adopted: HashMap<ShardId, Index>,
    emptied: Arc<Mutex<HashSet<ShardId>>>,
    epoch: u64,
}

impl Control {
    fn new(shards: Shards, catalog: Catalog, emptied: Arc<Mutex<HashSet<ShardId>>>) -> Self {
        let table = Table {
            index: Index(1),
            me: NodeSlot(0),
            incarnation: Incarnation(Position::new(Index(1), 0)),
            peers: Vec::new(),
            up: NodeSet::default(),
            routes: Routes::default(),
            catalog,
        };
        let control = Self {
            shards,
            table,
            wanted: HashMap::new(),
            waiting: Vec::new(),
            adopted: HashMap::new(),
            emptied,
            epoch: 1_000,
        };
        control.publish();
        for shard in (0..control.shards.count()).map(ShardId) {
            control
                .shards
                .push_event(shard, Event::Serve(control.table.incarnation));
        }
        control
    }

    fn publish(&self) {
        let table = Arc::new(self.table.clone());
        for shard in (0..self.shards.count()).map(ShardId) {
            self.shards.push_event(shard, Event::Adopt(table.clone()));
        }
    }

    async fn run(mut self, mut requests: mpsc::Receiver<(ShardId, Request)>) {
        while let Some((shard, request)) = requests.recv().await {
            self.handle(shard, request);
        }
    }

    fn handle(&mut self, shard: ShardId, request: Request) {
        let answer = |event| self.shards.push_event(shard, event);
        match request {
            Request::Claim { claim } => {
                self.epoch += 1;
                let epoch = Epoch(Position::new(Index(self.epoch), 0));
                answer(Event::Claimed {
                    conn: claim.conn,
                    epoch,
                });
            }
            Request::Subscribe {
                ticket,
                space,
                filters,
            } => self.subscribe(shard, ticket, space, filters),
            Request::Unsubscribe { space, filters } => {
                for filter in filters {
                    self.want(shard, space, &filter, -1);
                }
                self.table.index.0 += 1;
                self.publish();
            }
            Request::Store { ticket, .. } => {
                let outcome = Outcome::Done(Position::new(self.table.index, 0));
                answer(Event::Stored { ticket, outcome });
            }
            Request::Barrier { ticket, .. } => answer(Event::BarrierReached { ticket }),
            Request::Adopted(index) => {
                self.adopted.insert(shard, index);
                self.answer_waiting();
            }
            Request::Emptied => {
                self.emptied.lock().unwrap().insert(shard);
            }
            Request::Release { .. } => {}
        }
    }

    fn subscribe(
        &mut self,
        shard: ShardId,
        ticket: Ticket,
        space: SpaceId,
        filters: Vec<TopicFilter>,
    ) {
        let view = |filter: &TopicFilter| View::new(Values::default(), filter.clone());
        let views = filters.iter().map(view).collect();
        for filter in filters {
            self.want(shard, space, &filter, 1);
        }
        self.table.index.0 += 1;
        self.waiting
            .push((self.table.index, shard, Event::Subscribed { ticket, views }));
        self.publish();
    }

    fn want(&mut self, shard: ShardId, space: SpaceId, filter: &TopicFilter, change: i32) {
        let count = self
            .wanted
            .entry((space, filter.clone(), shard))
            .or_default();
        *count = count.saturating_add_signed(change);
        let wanting = |shard: &ShardId| {
            self.wanted
                .get(&(space, filter.clone(), *shard))
                .is_some_and(|count| *count > 0)
        };
        let shards = (0..self.shards.count()).map(ShardId).filter(wanting);
        let shards = shards.fold(ShardSet::default(), ShardSet::with);
        self.table.routes.set_shards(space, filter, shards);
    }

    fn answer_waiting(&mut self) {
        let reached = |index: Index| {
            let mut all = (0..self.shards.count()).map(ShardId);
            all.all(|shard| {
                self.adopted
                    .get(&shard)
                    .is_some_and(|adopted| *adopted >= index)
            })
        };
        let (ready, waiting) = std::mem::take(&mut self.waiting)
            .into_iter()
            .partition(|(index, ..)| reached(*index));
        self.waiting = waiting;
        for (_, shard, event) in ready {
            self.shards.push_event(shard, event);
        }
    }
}
