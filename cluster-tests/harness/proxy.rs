//! Stands before the peer port of a node and cuts, delays or resets what other nodes send to it and get from it.
//!
//! TLS passes through untouched. It never refuses a connection, so that a node behind it is never taken for dead by a
//! refusal. Who has connected is read from the system (`owner`); each ordered pair of nodes has a wire of its own.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, sleep_until},
};

use super::owner;

/// Bytes of one read.
const PIECE: usize = 64 * 1024;
/// Pieces on the way at once; above it the sender is not read, as a full network would.
const ON_THE_WAY: usize = 64;
/// A call to a dead node is accepted and ends after this, as behind a load balancer.
const DEAD_PAUSE: Duration = Duration::from_millis(100);
/// How long a caller may remain unknown: its socket is in the system's table as soon as it has connected.
const KNOWN_WITHIN: Duration = Duration::from_millis(500);

/// What happens on the way from one node to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wire {
    /// All passes.
    #[default]
    Pass,
    /// All passes, later.
    Delay(Duration),
    /// Nothing passes, nobody is told; what is on the way arrives when the wire passes again.
    Silent,
    /// Connections are reset, new ones too, after they were accepted.
    Reset,
}

type Pair = (usize, usize);

/// The proxies of all nodes.
#[derive(Debug)]
pub struct Proxy {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wires: HashMap<Pair, watch::Sender<Wire>>,
    /// Where each node listens for its peers.
    targets: Vec<String>,
    pids: Mutex<Vec<u32>>,
}

impl Proxy {
    /// Listens for each of the nodes whose peer ports are `targets`.
    ///
    /// # Panics
    /// If there is no port.
    pub async fn start(targets: Vec<String>) -> Self {
        let nodes = targets.len();
        let pairs = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let shared = Arc::new(Shared {
            wires: pairs
                .map(|pair| (pair, watch::Sender::new(Wire::Pass)))
                .collect(),
            targets,
            pids: Mutex::new(vec![0; nodes]),
        });
        let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
        for to in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0")
                .await
                .expect("a port can be had");
            addresses.push(listener.local_addr().expect("it is bound"));
            tasks.push(tokio::spawn(accept_all(Arc::clone(&shared), listener, to)));
        }
        Self {
            shared,
            addresses,
            tasks,
        }
    }

    /// The address that others dial to reach a node.
    pub fn address(&self, node: usize) -> SocketAddr {
        self.addresses[node]
    }

    /// Tells who runs as which node.
    pub fn set_pid(&self, node: usize, pid: u32) {
        self.shared.pids()[node] = pid;
    }

    /// Sets the way from one node to another.
    pub fn set(&self, from: usize, to: usize, wire: Wire) {
        self.shared.wires[&(from, to)].send_replace(wire);
    }

    /// Sets all ways from and to a node.
    pub fn set_around(&self, node: usize, wire: Wire) {
        for other in (0..self.addresses.len()).filter(|other| *other != node) {
            self.set(node, other, wire);
            self.set(other, node, wire);
        }
    }

    /// Lets all pass.
    pub fn heal(&self) {
        self.shared.wires.values().for_each(|wire| {
            wire.send_replace(Wire::Pass);
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Shared {
    fn pids(&self) -> MutexGuard<'_, Vec<u32>> {
        self.pids.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node whose process has the socket at `address`.
    async fn node_at(&self, address: SocketAddr) -> Option<usize> {
        let start = Instant::now();
        loop {
            let pids = self.pids().clone();
            if let Some(node) = pids.iter().position(|pid| owner::owns(*pid, address)) {
                return Some(node);
            }
            if start.elapsed() > KNOWN_WITHIN {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

async fn accept_all(shared: Arc<Shared>, listener: TcpListener, to: usize) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, caller)) = accepted {
                    connections.spawn(carry(Arc::clone(&shared), stream, caller, to));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn carry(shared: Arc<Shared>, near: TcpStream, caller: SocketAddr, to: usize) {
    // First, since it is cheap and the table of sockets is not: a dead node's peers call often.
    let Ok(far) = TcpStream::connect(&shared.targets[to]).await else {
        tokio::time::sleep(DEAD_PAUSE).await;
        return;
    };
    let Some(from) = shared.node_at(caller).await else {
        return;
    };
    let (mut up, mut down) = (
        shared.wires[&(from, to)].subscribe(),
        shared.wires[&(to, from)].subscribe(),
    );
    // A call that cannot get through, or whose answer cannot, is left waiting, not refused.
    if passes(&mut up).await.is_err() || passes(&mut down).await.is_err() {
        reset(&near);
        return;
    }
    for stream in [&near, &far] {
        let _an_old_kernel = stream.set_nodelay(true);
    }
    let resetting = async {
        let reset = |wire: &Wire| *wire == Wire::Reset;
        let (mut up, mut down) = (up.clone(), down.clone());
        tokio::select! { _ = up.wait_for(reset) => {} _ = down.wait_for(reset) => {} }
    };
    // A reset needs both halves of a socket in one hand, so its linger is set beforehand: every close of a carried
    // connection is then a reset, which is what a peer sees that a dead process leaves behind.
    reset(&near);
    reset(&far);
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    tokio::select! {
        () = resetting => {}
        _ = async { tokio::join!(pump(near_read, far_write, up.clone()), pump(far_read, near_write, down.clone())) } => {}
    }
}

/// Waits until a wire lets something through.
async fn passes(wire: &mut watch::Receiver<Wire>) -> Result<(), Wire> {
    match wire.wait_for(|wire| *wire != Wire::Silent).await {
        Ok(wire) if *wire != Wire::Reset => Ok(()),
        _ => Err(Wire::Reset),
    }
}

/// Closing the stream will reset it.
fn reset(stream: &TcpStream) {
    let _gone_already = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Carries one direction until its end, which is passed on as well.
async fn pump(mut read: OwnedReadHalf, mut write: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    let delays = wire.clone();
    let reading = async move {
        let mut buffer = vec![0; PIECE];
        while let Ok(count) = read.read(&mut buffer).await {
            if count == 0 {
                break;
            }
            let delay = match *delays.borrow() {
                Wire::Delay(delay) => delay,
                _ => Duration::ZERO,
            };
            if sender
                .send((Instant::now() + delay, buffer[..count].to_vec()))
                .await
                .is_err()
            {
                break;
            }
        }
    };
    let writing = async move {
        while let Some((due, bytes)) = receiver.recv().await {
            sleep_until(due).await;
            if passes(&mut wire).await.is_err() || write.write_all(&bytes).await.is_err() {
                return;
            }
        }
        // The end of a connection is a message too, and a cut wire does not carry it.
        if passes(&mut wire).await.is_ok() {
            let _gone_already = write.shutdown().await;
        }
    };
    tokio::join!(reading, writing);
}
