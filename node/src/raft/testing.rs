//! Nodes of one process for tests: real TLS on loopback, real folders, a control that takes all it is given.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use mainstay_core::{
    ids::{Index, NodeId},
    replica::{Entry, Replica},
};
use tokio::{sync::watch, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{AppliedRun, Feeds, Handle, Leadership, NodeFile, ProposeError, Settings, feeds};
use crate::link::{
    Channels, Endpoint, Server,
    testing::{Ca, Folder},
};

/// Everything that a test waits for comes within this, on a busy machine too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// What a node's control has been given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) state: Replica,
    pub(crate) index: Index,
    pub(crate) applied: usize,
    pub(crate) installs: usize,
    pub(crate) renewals: usize,
}

pub(crate) struct Node {
    pub(crate) handle: Handle,
    pub(crate) file: Arc<NodeFile>,
    pub(crate) seen: watch::Receiver<Seen>,
    stop: CancellationToken,
    control: JoinHandle<()>,
    serving: JoinHandle<()>,
}

/// Nodes that share a CA, each with a folder and an address that outlive a restart.
pub(crate) struct Nodes {
    pub(crate) folder: Folder,
    pub(crate) ca: Ca,
    pub(crate) seeds: Vec<Endpoint>,
    pub(crate) expect: usize,
    pub(crate) tune: fn(&mut Settings),
    running: Mutex<Vec<Option<Server>>>,
}

impl Nodes {
    pub(crate) async fn new(test: &str, count: usize, tune: fn(&mut Settings)) -> Self {
        // With RUST_LOG set a failed test can be read.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let logs = tracing_subscriber::fmt().with_env_filter(filter);
        let _ = logs.with_test_writer().try_init();
        let folder = Folder::new(test);
        let ca = Ca::new();
        let (mut seeds, mut servers) = (Vec::new(), Vec::new());
        for at in 0..count {
            let name = format!("node-{at}");
            let data = folder.path().join(&name);
            std::fs::create_dir_all(&data).unwrap();
            let credentials = ca.credentials(&data, &name);
            let home = NodeFile::open(&data).unwrap().home().clone();
            let any = "127.0.0.1:0".parse().unwrap();
            let server = Server::bind(any, credentials, home).await.unwrap();
            seeds.push(Endpoint {
                name,
                address: server.address().to_string(),
            });
            servers.push(Some(server));
        }
        Self {
            folder,
            ca,
            seeds,
            expect: count,
            tune,
            running: Mutex::new(servers),
        }
    }

    pub(crate) async fn start_all(&self) -> Vec<Node> {
        let mut nodes = Vec::new();
        for at in 0..self.seeds.len() {
            nodes.push(self.start(at).await);
        }
        nodes
    }

    /// Starts a node on its folder and its address.
    pub(crate) async fn start(&self, at: usize) -> Node {
        let seed = &self.seeds[at];
        let data = self.folder.path().join(&seed.name);
        let credentials = self.ca.credentials(&data, &seed.name);
        let file = Arc::new(NodeFile::open(&data).unwrap());
        // The port was only reserved with a file of its own, which is not the one that the node will use.
        drop(self.running.lock().unwrap()[at].take());
        let address: SocketAddr = seed.address.parse().unwrap();
        let home = file.home().clone();
        let server = Server::bind(address, credentials.clone(), home.clone())
            .await
            .unwrap();
        let runtime = tokio::runtime::Handle::current();
        let channels = Arc::new(Channels::new(credentials, home, runtime.clone()).unwrap());
        let mut settings = Settings::new(data, seed.address.clone());
        settings.seeds = self.seeds.clone();
        settings.bootstrap_expect = self.expect;
        (self.tune)(&mut settings);
        let (starter, feeds) = feeds();
        let (seen_in, seen) = watch::channel(Seen::default());
        let control = tokio::spawn(control(feeds, seen_in));
        let (handle, service) = starter
            .start(settings, Arc::clone(&file), channels, runtime)
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let stopping = stop.clone().cancelled_owned();
        let serving =
            tokio::spawn(async move { server.serve(Arc::new(service), stopping).await.unwrap() });
        Node {
            handle,
            file,
            seen,
            stop,
            control,
            serving,
        }
    }
}

impl Node {
    /// Ends the node, as far as others can see at once.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.handle.shutdown().await;
        self.serving.await.unwrap();
        self.control.abort();
        let _ = self.control.await;
    }

    /// Waits for a leader that this node knows.
    pub(crate) async fn leader(&self) -> NodeId {
        self.leadership(|now| now.leader.is_some())
            .await
            .leader
            .unwrap()
    }

    pub(crate) async fn leadership(&self, fits: impl FnMut(&Leadership) -> bool) -> Leadership {
        let mut leadership = self.handle.leadership();
        let waited = tokio::time::timeout(DEADLINE, leadership.wait_for(fits)).await;
        waited.expect("leadership in time").unwrap().clone()
    }

    pub(crate) async fn seen(&self, what: &str, fits: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let waited = tokio::time::timeout(DEADLINE, seen.wait_for(fits)).await;
        match waited {
            Ok(seen) => seen.unwrap().clone(),
            Err(_) => panic!("{what} not seen in time: {:?}", self.handle.status()),
        }
    }

    /// Proposes until it is committed; the entry may then be in the log more than once, which changes nothing.
    pub(crate) async fn write(&self, nonce: u64) -> Index {
        let write = async {
            loop {
                match self.handle.propose(&entry(nonce)).await {
                    Ok(index) => return index,
                    Err(ProposeError::NotLeader | ProposeError::Unknown) => {
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        tokio::time::timeout(DEADLINE, write)
            .await
            .expect("a write in time")
    }
}

/// A condition that another process step brings about; looked at often.
pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(
        tokio::time::timeout(DEADLINE, waiting).await.is_ok(),
        "{what} did not come in time"
    );
}

pub(crate) fn entry(nonce: u64) -> Arc<Entry> {
    Arc::new(Entry::NodeUp {
        node: NodeId(7),
        name: "seven".into(),
        nonce,
    })
}

async fn control(mut feeds: Feeds, seen: watch::Sender<Seen>) {
    loop {
        tokio::select! {
            Some(AppliedRun { applied, state, index }) = feeds.runs.recv() => seen.send_modify(|seen| {
                seen.applied += applied.len();
                seen.state = state;
                seen.index = index;
            }),
            Some(prepare) = feeds.prepare.recv() => {
                seen.send_modify(|seen| seen.installs += 1);
                let _ = prepare.answer.send(());
            }
            Some((_, answer)) = feeds.renewals.recv() => {
                seen.send_modify(|seen| seen.renewals += 1);
                let _ = answer.send(true);
            }
            else => return,
        }
    }
}
