//! The whole world of a run, and its loop.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::Arc,
};

use mainstay_core::{
    catalog::{Credential, Password, Resource},
    ids::{Actor, ClientId, Incarnation, NodeId, Principal, ResourceId, SessionKey, SpaceId},
    ids::{Index, Position},
    replica::{Command, Entry, Lane, Replica},
};

use crate::{
    agenda::{Agenda, Ev},
    client::Client,
    conn::{Conn, Pub},
    counts::Counts,
    heal::Healing,
    link::{Stream, StreamNo},
    net::Net,
    node::Node,
    params::Params,
    plant::Plant,
    raft::Raft,
    rng::Rng,
    trace::{Trace, note},
};

/// Between two looks at what holds at all times.
const LOOK: u64 = 100;

/// Everything of a run.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    pub(crate) p: Params,
    pub(crate) plant: Option<Plant>,
    pub(crate) agenda: Agenda,
    pub(crate) net: Net,
    pub(crate) raft: Raft,
    pub(crate) nodes: Vec<Node>,
    pub(crate) streams: BTreeMap<StreamNo, Stream>,
    pub(crate) next_stream: StreamNo,
    pub(crate) clients: Vec<Client>,
    pub(crate) conns: Vec<Conn>,
    pub(crate) pubs: Vec<Pub>,
    /// The newest acknowledged version of each stored topic.
    pub(crate) acked: BTreeMap<(SpaceId, Rc<str>), u64>,
    /// The incarnations that run, by the order of NodeUp and NodeDown alone.
    pub(crate) running: BTreeSet<Incarnation>,
    /// Until when each node is hurt by a fault.
    pub(crate) hurt_until: Vec<u64>,
    /// Since when each node has no lease though it could act.
    pub(crate) closed_since: Vec<Option<u64>>,
    order: u64,
    pub(crate) is_healing: bool,
    pub(crate) healing: Healing,
    pub(crate) is_done: bool,
    pub(crate) counts: Counts,
    pub(crate) trace: Trace,
    pub(crate) failed: Option<String>,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) failed: Option<String>,
    pub(crate) counts: Counts,
    pub(crate) lines: Vec<String>,
}

/// Runs a seed to its end.
pub(crate) fn run(seed: u64, plant: Option<Plant>, trace: Trace) -> Outcome {
    let mut world = World::new(seed, plant, trace);
    world.begin();
    while world.failed.is_none() && !world.is_done {
        let Some((at, ev)) = world.agenda.pop() else {
            world.violate("sim", "nothing is left to happen");
            break;
        };
        world.now = at;
        world.happen(ev);
    }
    world.counts.add_many("virtual seconds", world.now / 1_000);
    let lines = world.trace.lines().map(str::to_owned).collect();
    Outcome {
        failed: world.failed,
        counts: world.counts,
        lines,
    }
}

impl World {
    fn new(seed: u64, plant: Option<Plant>, trace: Trace) -> Self {
        let mut rng = Rng::new(seed);
        let p = Params::draw(&mut rng);
        let mut world = Self {
            now: 0,
            rng,
            plant,
            agenda: Agenda::default(),
            net: Net::new(p.nodes),
            raft: Raft::default(),
            nodes: Vec::new(),
            streams: BTreeMap::new(),
            next_stream: 1,
            clients: Vec::new(),
            conns: Vec::new(),
            pubs: Vec::new(),
            acked: BTreeMap::new(),
            running: BTreeSet::new(),
            hurt_until: vec![0; p.nodes],
            closed_since: vec![None; p.nodes],
            order: 0,
            is_healing: false,
            healing: Healing::default(),
            is_done: false,
            counts: Counts::default(),
            trace,
            failed: None,
            p,
        };
        note!(world, "{:?}", world.p);
        for n in 0..world.p.nodes {
            let node = Node::new(&world, n);
            world.nodes.push(node);
        }
        let start = world.planted(Replica::default());
        world.raft.states.push(start);
        world
    }

    /// The catalog, the nodes, the clients, and the first appointments.
    fn begin(&mut self) {
        self.seed_catalog();
        for n in 0..self.nodes.len() {
            let at = self.rng.within(0, 300);
            self.agenda.put(at, Ev::Boot(n));
        }
        for c in 0..self.clients.len() {
            let at = self.rng.within(500, 3_000);
            self.agenda.put(at, Ev::Client(c));
        }
        self.agenda.put(1, Ev::RaftTick);
        self.agenda.put(LOOK, Ev::Look);
        let first = self.rng.within(1_500, 4_000);
        self.agenda.put(first, Ev::Fault);
        if self.p.nodes == 5 {
            self.counts.add("run with five nodes");
        }
        self.counts.add("run");
    }

    fn happen(&mut self, ev: Ev) {
        match ev {
            Ev::Step(n, life, part) => self.step(n, life, part),
            Ev::Feed(n, life) => self.feed(n, life),
            Ev::Mail(mail) => self.handle_mail(*mail),
            Ev::Commit => self.commit(),
            Ev::RaftTick => self.raft_tick(),
            Ev::Dial(n, life) => self.dial(n, life),
            Ev::Frame(stream, way) => self.frame_arrives(stream, way),
            Ev::StreamLost(n, life, stream) => self.stream_lost(n, life, stream),
            Ev::ToNode(conn) => self.arrives_at_node(conn),
            Ev::ToClient(conn) => self.arrives_at_client(conn),
            Ev::Client(c) => self.client_turn(c),
            Ev::Fault => self.fault(),
            Ev::EndDrain(n, life) => {
                if self.nodes[n].life == life && self.nodes[n].is_alive {
                    self.crash(n, Some(self.now + 100));
                }
            }
            Ev::Boot(n) => self.boot(n),
            Ev::Look => self.look(),
        }
    }

    fn look(&mut self) {
        self.agenda.put(self.now + LOOK, Ev::Look);
        self.watch_streams();
        self.look_at_leases();
        self.look_at_bounds();
        if self.is_healing {
            self.look_at_healing();
        } else if self.now >= self.p.active {
            self.begin_healing();
        }
    }

    /// Numbers what happens, for questions of before and after.
    pub(crate) fn order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }

    /// A promise was broken; the run ends.
    pub(crate) fn violate(&mut self, promise: &str, what: &str) {
        note!(self, "VIOLATED {promise}: {what}");
        self.failed
            .get_or_insert_with(|| format!("{promise} at {} ms: {what}", self.now));
    }

    /// One registry with two devices, one broker; made by a node that ends itself.
    fn seed_catalog(&mut self) {
        let id = |n: u8| ResourceId::from_random([n; 17]);
        let (folder, registry, broker) = (id(1), id(2), id(3));
        let (first, second) = (id(4), id(5));
        let password = |n: u8| {
            vec![Password {
                id: id(n),
                phc: Arc::from("x"),
            }]
        };
        let seeder = NodeId(1);
        let incarnation = Incarnation(Position::new(Index(1), 0));
        let name = |name: &str| Arc::from(name);
        let device = |id, text, n| {
            Command::Create(Resource::Device {
                id,
                registry,
                name: name(text),
                passwords: password(n),
            })
        };
        let commands = vec![
            Command::Create(Resource::Folder { id: folder }),
            Command::Create(Resource::Registry {
                id: registry,
                folder,
                name: name("r"),
                passwords: password(10),
            }),
            device(first, "one", 11),
            device(second, "two", 12),
            Command::Create(Resource::Broker {
                id: broker,
                folder,
                name: name("b"),
                passwords: password(13),
            }),
            Command::EndNode {
                node: seeder,
                incarnation,
            },
        ];
        self.append(Arc::new(Entry::NodeUp {
            node: seeder,
            name: name("seeder"),
            nonce: 1,
        }));
        self.append(Arc::new(Entry::Batch {
            incarnation,
            lane: Lane::Work,
            first: 1,
            commands,
        }));
        let space = SpaceId::Registry(registry);
        let back_end = Principal {
            space,
            actor: Actor::Registry,
        };
        let one = Principal {
            space,
            actor: Actor::Device(first),
        };
        let two = Principal {
            space,
            actor: Actor::Device(second),
        };
        let all = Principal {
            space: SpaceId::Broker(broker),
            actor: Actor::Broker,
        };
        let of = |text: &str| {
            text.replace("{1}", first.as_str())
                .replace("{2}", second.as_str())
        };
        let credential = |n: u8| Credential::Password(id(n));
        let mut add = |principal, n, client: &str, topics: &[&str], filters: &[&str]| {
            let key = SessionKey {
                principal,
                client_id: ClientId(Arc::from(client)),
            };
            let list = |texts: &[&str]| texts.iter().map(|text| of(text)).collect();
            self.clients
                .push(Client::new(key, credential(n), list(topics), list(filters)));
        };
        let down = [
            "$devices/{1}/commands",
            "$devices/{1}/config",
            "$devices/{2}/config/a",
        ];
        let up = [
            "$devices/+/state",
            "$devices/+/events/#",
            "$devices/#",
            "$devices/{1}/state",
        ];
        add(back_end, 10, "back-1", &down, &up);
        add(back_end, 10, "back-2", &down, &up);
        let mine = [
            "$me/device/events",
            "$devices/{1}/state",
            "$me/device/state/x",
        ];
        let to_me = ["$me/device/config", "$me/device/commands/#", "$me/device/+"];
        add(one, 11, "one", &mine, &to_me);
        add(one, 11, "one", &mine, &to_me);
        let own = [
            "$devices/{2}/events/y",
            "$devices/{2}/state",
            "$devices/{2}/events",
        ];
        let to_own = ["$devices/{2}/config/#", "$devices/{2}/commands"];
        add(two, 12, "two", &own, &to_own);
        let topics = ["a", "b/1", "b/2", "c/x/y"];
        let filters = ["b/+", "#", "a", "b/1", "c/#", "+/x/y"];
        for client in ["p", "q", "r", "s", "p", "q"] {
            add(all, 13, client, &topics, &filters);
        }
    }
}
