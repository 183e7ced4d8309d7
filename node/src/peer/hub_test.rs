//! Two nodes' links over loopback TLS, with a proxy between them that cuts.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_core::{
    codec::QoS,
    control::LinkState,
    ids::{Incarnation, Index, NodeId, NodeSlot, Position, ResourceId, ShardId, SpaceId},
    lease::Window,
    peering::{Batch, Message, Token},
    router::Peer,
    shard::Origin,
    time::Moment,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{Hub, HubHandle, Parts, PeerEvent};
use crate::{
    link::{
        Channels, Endpoint, Home, Server,
        testing::{Ca, Door, Folder},
    },
    shards::peer_queue::{PeerQueues, ShardInbox},
    tasks::Tasks,
};

const DEADLINE: Duration = Duration::from_secs(30);
const FOR_EVER: Moment = Moment(u64::MAX);

fn life(n: u64) -> Incarnation {
    Incarnation(Position(n))
}

#[derive(Clone, Debug, Default)]
struct Got {
    numbers: Vec<u32>,
    tokens: Vec<u64>,
}

/// A shard that writes down what comes.
struct Inbox(watch::Sender<Got>);

impl ShardInbox for Inbox {
    fn push_batch(&self, _: ShardId, _: Origin, batch: Batch) {
        let numbers = batch
            .iter()
            .map(|message| u32::from_le_bytes(message.unwrap().payload[..4].try_into().unwrap()));
        self.0.send_modify(|got| got.numbers.extend(numbers));
    }

    fn push_taken(&self, shard: ShardId, _: Origin, tokens: Vec<Token>) {
        assert!(tokens.iter().all(|token| token.shard() == shard));
        self.0
            .send_modify(|got| got.tokens.extend(tokens.iter().map(|token| token.rest())));
    }

    fn is_full(&self, _: ShardId) -> bool {
        false
    }

    fn home(&self, _: SpaceId) -> ShardId {
        ShardId(0)
    }
}

struct Side {
    hub: HubHandle,
    queues: PeerQueues,
    got: watch::Receiver<Got>,
    events: mpsc::Receiver<PeerEvent>,
    window: Window,
    tasks: Tasks,
    server: CancellationToken,
}

type Addresses = Arc<Mutex<Vec<Endpoint>>>;

async fn side(
    ca: &Ca,
    folder: &Folder,
    node: NodeId,
    name: &str,
    addresses: &Addresses,
) -> (Side, SocketAddr) {
    let credentials = ca.credentials(folder.path(), name);
    let runtime = tokio::runtime::Handle::current();
    let any = "127.0.0.1:0".parse().unwrap();
    let server = Server::bind(any, credentials.clone(), Home::default())
        .await
        .unwrap();
    let address = server.address();
    let (door, incoming) = mpsc::channel(8);
    let stop = CancellationToken::new();
    let stopping = stop.clone().cancelled_owned();
    tokio::spawn(server.serve(Arc::new(Door(Some(door))), stopping));
    let (got_in, got) = watch::channel(Got::default());
    let (events_in, events) = mpsc::channel(64);
    let (queues, window) = (PeerQueues::default(), Window::default());
    window.set(FOR_EVER);
    let addresses = Arc::clone(addresses);
    let tasks = Tasks::new(runtime.clone());
    let links = runtime.clone();
    let parts = Parts {
        node,
        channels: Arc::new(Channels::new(credentials, Home::default(), runtime).unwrap()),
        directory: Arc::new(move |node: NodeId| {
            addresses
                .lock()
                .unwrap()
                .get(usize::try_from(node.0).ok()? - 1)
                .cloned()
        }),
        queues: queues.clone(),
        inbox: Arc::new(Inbox(got_in)),
        shards: 2,
        runtime: links,
        window: window.clone(),
        trust_refused: false,
        events: events_in,
    };
    let (running, hub) = Hub::new(parts, incoming, tasks.clone());
    tokio::spawn(running.run());
    (
        Side {
            hub,
            queues,
            got,
            events,
            window,
            tasks,
            server: stop,
        },
        address,
    )
}

impl Side {
    async fn got(&self, what: &str, fits: impl FnMut(&Got) -> bool) -> Got {
        let mut got = self.got.clone();
        let waited = tokio::time::timeout(DEADLINE, got.wait_for(fits)).await;
        match waited {
            Ok(got) => got.unwrap().clone(),
            Err(_) => panic!(
                "{what} did not come in time: {:?}",
                self.got.borrow().numbers.len()
            ),
        }
    }

    async fn event(&mut self, wanted: PeerEvent) {
        let waiting = async { while self.events.recv().await.unwrap() != wanted {} };
        assert!(
            tokio::time::timeout(DEADLINE, waiting).await.is_ok(),
            "{wanted:?} did not come"
        );
    }

    fn push(&self, to: NodeSlot, incarnation: Incarnation, number: u32) {
        let mut batch = Batch::default();
        batch.push(&Message {
            space: SpaceId::Broker(ResourceId::from_random([1; 17])),
            topic: "numbers",
            payload: &number.to_le_bytes(),
            qos: QoS::AtLeastOnce,
            token: Some(Token::new(ShardId(1), u64::from(number))),
        });
        let taken = vec![Token::new(ShardId(0), u64::from(number))];
        self.queues.get(to).unwrap().push(incarnation, batch, taken);
    }
}

/// Forwards bytes, and cuts all that it forwards.
struct Proxy {
    address: SocketAddr,
    cut: mpsc::Sender<()>,
}

impl Proxy {
    async fn new(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (cut, mut cuts) = mpsc::channel(1);
        tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                tokio::select! {
                    Ok((mut client, _)) = listener.accept() => {
                        open.spawn(async move {
                            if let Ok(mut server) = TcpStream::connect(target).await {
                                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                            }
                        });
                    }
                    Some(()) = cuts.recv() => open.abort_all(),
                    else => return,
                }
            }
        });
        Self { address, cut }
    }
}

struct Pair {
    a: Side,
    b: Side,
    proxy: Proxy,
    addresses: Addresses,
    direct: SocketAddr,
    _folder: Folder,
}

const A: Peer = Peer {
    node: NodeId(1),
    slot: NodeSlot(0),
    incarnation: Incarnation(Position(11)),
};
const B: Peer = Peer {
    node: NodeId(2),
    slot: NodeSlot(1),
    incarnation: Incarnation(Position(12)),
};

async fn pair(test: &str) -> Pair {
    let (folder, ca, addresses) = (Folder::new(test), Ca::new(), Addresses::default());
    let (a, at_a) = side(&ca, &folder, A.node, "node-a", &addresses).await;
    let (b, direct) = side(&ca, &folder, B.node, "node-b", &addresses).await;
    let proxy = Proxy::new(direct).await;
    *addresses.lock().unwrap() = vec![
        Endpoint {
            name: "node-a".into(),
            address: at_a.to_string(),
        },
        Endpoint {
            name: "node-b".into(),
            address: proxy.address.to_string(),
        },
    ];
    Pair {
        a,
        b,
        proxy,
        addresses,
        direct,
        _folder: folder,
    }
}

impl Pair {
    async fn link(&mut self) {
        self.a.hub.set_links(Some((A.incarnation, vec![B]))).await;
        self.b.hub.set_links(Some((B.incarnation, vec![A]))).await;
        self.a.event(link_of(B, LinkState::Connected)).await;
        self.b.event(link_of(A, LinkState::Connected)).await;
    }
}

fn link_of(peer: Peer, state: LinkState) -> PeerEvent {
    PeerEvent::Link {
        slot: peer.slot,
        incarnation: peer.incarnation,
        state,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_and_answers_go_both_ways_once_and_in_order_through_cuts() {
    const COUNT: u32 = 3_000;
    let mut pair = pair("cuts").await;
    pair.link().await;
    for number in 0..COUNT {
        pair.a.push(B.slot, B.incarnation, number);
        pair.b.push(A.slot, A.incarnation, number);
        if number % 500 == 250 {
            // Some of it is under way, some was not even taken.
            let reached = number as usize / 2;
            pair.b
                .got("the first part", |got| got.numbers.len() >= reached)
                .await;
            pair.proxy.cut.send(()).await.unwrap();
        }
    }
    let all: Vec<u32> = (0..COUNT).collect();
    for side in [&pair.a, &pair.b] {
        let got = side.got("all", |got| got.numbers.len() >= all.len()).await;
        let got = if got.tokens.len() < all.len() {
            side.got("all answers", |got| got.tokens.len() >= all.len())
                .await
        } else {
            got
        };
        assert_eq!(got.numbers, all);
        assert!(got.tokens.iter().copied().eq((0..COUNT).map(u64::from)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_leaves_without_a_lease_and_all_of_it_with_one() {
    let mut pair = pair("lease").await;
    pair.link().await;
    pair.a.window.set(Moment(0));
    pair.a.push(B.slot, B.incarnation, 7);
    let mut got = pair.b.got.clone();
    let early = tokio::time::timeout(
        Duration::from_millis(300),
        got.wait_for(|g| !g.numbers.is_empty()),
    );
    assert!(early.await.is_err(), "a message left without a lease");
    pair.a.window.set(FOR_EVER);
    assert_eq!(
        pair.b
            .got("the message", |got| !got.numbers.is_empty())
            .await
            .numbers,
        [7]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reports_go_at_once_over_an_idle_link() {
    let mut pair = pair("reports").await;
    pair.link().await;
    for index in [40, 41] {
        pair.a.hub.report(Index(index));
        let (slot, incarnation) = (A.slot, A.incarnation);
        pair.b
            .event(PeerEvent::Report {
                slot,
                incarnation,
                index: Index(index),
            })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_is_a_reset_and_a_process_that_is_gone_is_refused() {
    let mut pair = pair("refused").await;
    pair.link().await;
    pair.proxy.cut.send(()).await.unwrap();
    pair.a.event(link_of(B, LinkState::Reset)).await;
    pair.a.event(link_of(B, LinkState::Connected)).await;

    // Without the proxy in between, whose door stays open.
    pair.addresses.lock().unwrap()[1].address = pair.direct.to_string();
    pair.b.server.cancel();
    pair.b.tasks.stop().cancel();
    pair.proxy.cut.send(()).await.unwrap();
    pair.a.event(link_of(B, LinkState::Reset)).await;
    pair.a.event(link_of(B, LinkState::Refused)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_incarnation_gets_a_new_link_and_nothing_of_the_old_one() {
    let mut pair = pair("incarnation").await;
    pair.link().await;
    let again = Peer {
        incarnation: life(20),
        ..B
    };
    pair.a.window.set(Moment(0));
    pair.a.push(B.slot, B.incarnation, 1);
    // A shard may know of the new life before the link does.
    pair.a.push(B.slot, again.incarnation, 2);
    pair.a
        .hub
        .set_links(Some((A.incarnation, vec![again])))
        .await;
    pair.b
        .hub
        .set_links(Some((again.incarnation, vec![A])))
        .await;
    pair.a.window.set(FOR_EVER);
    pair.a.event(link_of(again, LinkState::Connected)).await;
    assert_eq!(
        pair.b
            .got("the new message", |got| !got.numbers.is_empty())
            .await
            .numbers,
        [2]
    );
}
