//! Nodes run by `mainstay serve` with configuration files of their own, whose peers are dialled through the proxy.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use super::{
    Ended, Login, Process, Proxy, Status, Temporary,
    cluster::{leader, logs, status},
    free_base, http_get, mainstay, until,
};

const FOLDER: &str = "b1gtestfolder0000000";
const REGISTRY: &str = "aretestregistry00000";
const DEVICE: &str = "aretestdevice0000000";
const BROKER: &str = "aretestbroker0000000";
const PASSWORD: &str = "Test-password-0001";

/// The cluster; all of it ends with this value.
#[derive(Debug)]
pub struct ServedCluster {
    folder: Temporary,
    base: u16,
    nodes: Vec<Option<Process>>,
    proxy: Proxy,
    starts: u32,
}

impl ServedCluster {
    /// Starts `nodes` nodes with more lines of configuration, waits until all are ready, and seeds them.
    ///
    /// # Panics
    /// If they are not ready in time.
    pub async fn start(story: &str, nodes: u16, more: &str) -> Self {
        let folder = Temporary::new(story);
        let base = free_base(nodes);
        let proxy = Proxy::start(
            (0..nodes)
                .map(|node| format!("127.0.0.1:{}", base + 10 * node + 4))
                .collect(),
        )
        .await;
        let names: Vec<String> = (0..nodes).map(|node| format!("n{node}")).collect();
        let certificates = folder.path().join("certificates");
        run(Command::new(mainstay())
            .args(["config", "certs", "--names", &names.join(",")])
            .arg("--out")
            .arg(&certificates));
        let mut cluster = Self {
            folder,
            base,
            nodes: (0..nodes).map(|_| None).collect(),
            proxy,
            starts: 0,
        };
        for node in 0..usize::from(nodes) {
            std::fs::create_dir_all(cluster.data(node)).expect("the test's folder is writable");
            std::fs::write(
                cluster.config_file(node),
                cluster.config(node, &certificates, more),
            )
            .expect("the test's folder is writable");
            cluster.start_node(node);
        }
        for node in 0..usize::from(nodes) {
            cluster.ready(node, Duration::from_secs(60)).await;
        }
        let seed = cluster.folder.path().join("seed.toml");
        std::fs::write(&seed, seed_file()).expect("the test's folder is writable");
        run(Command::new(mainstay())
            .args(["node", "seed", "--data"])
            .arg(cluster.data(0))
            .arg("--file")
            .arg(&seed));
        cluster
    }

    /// The proxy between the nodes.
    pub fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    /// The plain MQTT door of a node.
    pub fn mqtt(&self, node: usize) -> String {
        format!("127.0.0.1:{}", self.port(node, 0))
    }

    /// The data folder of a node.
    pub fn data(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}"))
    }

    /// The device's login.
    pub fn device(&self) -> Login {
        login(DEVICE)
    }

    /// The registry's login.
    pub fn registry(&self) -> Login {
        login(REGISTRY)
    }

    /// The broker's login.
    pub fn broker(&self) -> Login {
        login(BROKER)
    }

    /// A topic of the device, such as `events/a`.
    pub fn device_topic(&self, rest: &str) -> String {
        format!("$devices/{DEVICE}/{rest}")
    }

    /// Starts a node that does not run.
    pub fn start_node(&mut self, node: usize) {
        self.starts += 1;
        let log = self
            .folder
            .path()
            .join(format!("n{node}-{}.log", self.starts));
        let mut command = Command::new(mainstay());
        let process = Process::start(
            command
                .arg("serve")
                .arg("--config")
                .arg(self.config_file(node)),
            &log,
        );
        self.proxy.set_pid(node, process.pid());
        self.nodes[node] = Some(process);
    }

    /// Sends a signal to a node.
    pub fn signal(&self, node: usize, signal: Signal) {
        self.nodes[node]
            .iter()
            .for_each(|process| process.signal(signal));
    }

    /// Kills a node with SIGKILL.
    pub async fn kill_node(&mut self, node: usize) -> Option<Ended> {
        let mut process = self.nodes[node].take()?;
        process.signal(Signal::KILL);
        Some(process.ended(Duration::from_secs(10)).await)
    }

    /// Whether a node takes clients.
    pub async fn is_ready(&self, node: usize) -> bool {
        let admin = format!("127.0.0.1:{}", self.port(node, 3));
        http_get(&admin, "/readyz")
            .await
            .is_some_and(|answer| answer.status == 200)
    }

    /// Waits until a node takes clients; gives how long that took.
    ///
    /// # Panics
    /// If it does not within `most`.
    pub async fn ready(&self, node: usize, most: Duration) -> Duration {
        let what = format!("n{node} is ready\n{}", self.folder.path().display());
        until(&what, most, || async {
            self.is_ready(node).await.then_some(())
        })
        .await
        .1
    }

    /// What a node says of the cluster.
    pub async fn status(&self, node: usize) -> Option<Status> {
        status(&self.data(node)).await
    }

    /// The number of the leader, as a node knows it.
    pub async fn leader(&self, asked: usize) -> usize {
        leader(&self.data(asked)).await
    }

    /// All that the nodes have logged.
    pub fn logs(&self) -> String {
        logs(self.folder.path())
    }

    fn port(&self, node: usize, door: u16) -> u16 {
        self.base + 10 * node as u16 + door
    }

    fn config_file(&self, node: usize) -> PathBuf {
        self.folder.path().join(format!("n{node}.toml"))
    }

    fn config(&self, node: usize, certificates: &Path, more: &str) -> String {
        let seeds: Vec<String> = (0..self.nodes.len())
            .map(|other| format!("\"n{other}={}\"", self.proxy.address(other)))
            .collect();
        format!(
            "[node]\nname = \"n{node}\"\ndata = \"{data}\"\n\n\
             [listeners.mqtt]\naddresses = [\"127.0.0.1:{mqtt}\"]\n\n\
             [admin]\naddresses = [\"127.0.0.1:{admin}\"]\n\n\
             [cluster]\nlisten = [\"127.0.0.1:{peer}\"]\nadvertise = \"{advertise}\"\nseeds = [{seeds}]\n\
             ca_file = \"{peer_files}/ca.crt\"\ncertificate_file = \"{peer_files}/tls.crt\"\n\
             key_file = \"{peer_files}/tls.key\"\n\n{more}\n",
            data = self.data(node).display(),
            mqtt = self.port(node, 0),
            admin = self.port(node, 3),
            peer = self.port(node, 4),
            advertise = self.proxy.address(node),
            seeds = seeds.join(", "),
            peer_files = certificates.join("peer").display(),
        )
    }
}

fn login(id: &str) -> Login {
    Login {
        username: id.to_owned(),
        password: PASSWORD.to_owned(),
    }
}

fn seed_file() -> String {
    format!(
        "folder = \"{FOLDER}\"\n\n[[registry]]\nid = \"{REGISTRY}\"\nname = \"r\"\npassword = \"{PASSWORD}\"\n\n\
         [[registry.device]]\nid = \"{DEVICE}\"\nname = \"d\"\npassword = \"{PASSWORD}\"\n\n\
         [[broker]]\nid = \"{BROKER}\"\nname = \"b\"\npassword = \"{PASSWORD}\"\n"
    )
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = [output.stdout, output.stderr].concat();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&text)
    );
}
