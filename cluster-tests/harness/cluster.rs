//! A `mainstay dev` cluster on free ports.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde::Deserialize;

use super::{DevFile, Ended, Process, Temporary, free_base, http_get, mainstay, process, until};

/// From the start to `dev.json`; the promise is 2 s on an idle machine, which one test looks at.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A killed process is gone at once, and a zombie until its parent looks.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// What `mainstay cluster status --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// The cluster's ID.
    pub cluster_id: String,
    /// The leader's name.
    pub leader: Option<String>,
    /// All members.
    pub members: Vec<Member>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Its random ID.
    pub id: String,
    /// `leader`, `voter` or `learner`.
    pub role: String,
    /// `up` or `down`.
    pub state: String,
    /// The log index of its NodeUp.
    pub incarnation: u64,
    /// How far it has applied.
    pub applied_index: u64,
}

/// The cluster; all of it ends with this value.
#[derive(Debug)]
pub struct DevCluster {
    folder: Temporary,
    parent: Option<Process>,
    /// Nodes that were started again, each in the foreground.
    own: Vec<Option<Process>>,
    file: DevFile,
    starts: u32,
}

impl DevCluster {
    /// Starts `nodes` nodes and waits for `dev.json`.
    ///
    /// # Panics
    /// If they are not ready in time.
    pub async fn start(story: &str, nodes: u16) -> Self {
        let folder = Temporary::new(story);
        let log = folder.path().join("dev-0.log");
        let (nodes_text, base) = (nodes.to_string(), free_base(nodes).to_string());
        let mut command = dev(&folder.path().join("data"));
        let mut parent = Process::start(
            command.args(["--nodes", &nodes_text, "--port-base", &base]),
            &log,
        );
        let file = wait_for_file(&folder.path().join("data"), &mut parent).await;
        let own = (0..nodes).map(|_| None).collect();
        Self {
            folder,
            parent: Some(parent),
            own,
            file,
            starts: 0,
        }
    }

    /// The `dev` folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder of the test, for files of its own.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// `dev.json` as it was when the cluster started.
    pub fn file(&self) -> &DevFile {
        &self.file
    }

    /// The plain MQTT door of a node.
    pub fn mqtt(&self, node: usize) -> String {
        self.file.nodes[node].mqtt.clone()
    }

    /// The process of a node.
    pub fn pid(&self, node: usize) -> u32 {
        self.own[node]
            .as_ref()
            .map_or(self.file.nodes[node].pid, Process::pid)
    }

    /// The process that started all nodes.
    ///
    /// # Panics
    /// After `kill_all`.
    pub fn parent(&mut self) -> &mut Process {
        self.parent.as_mut().expect("the cluster was not killed")
    }

    /// Kills a node with SIGKILL.
    pub async fn kill_node(&mut self, node: usize) {
        let pid = self.pid(node);
        process::send(pid, Signal::KILL);
        self.gone(node, pid).await;
    }

    /// Stops a node with SIGSTOP; `wake_node` lets it go on.
    pub fn stop_node(&self, node: usize) {
        process::send(self.pid(node), Signal::STOP);
    }

    /// Lets a stopped node go on.
    pub fn wake_node(&self, node: usize) {
        process::send(self.pid(node), Signal::CONT);
    }

    /// Ends a node with SIGTERM; gives how it ended where that can be known: nodes that were started again.
    pub async fn term_node(&mut self, node: usize, within: Duration) -> Option<Ended> {
        let pid = self.pid(node);
        process::send(pid, Signal::TERM);
        if let Some(own) = &mut self.own[node] {
            return Some(own.ended(within).await);
        }
        until("the node has ended", within, || async {
            (!process::is_alive(pid)).then_some(())
        })
        .await;
        None
    }

    /// Starts a node again, in the foreground, without waiting for it.
    pub fn restart_node(&mut self, node: usize) {
        self.starts += 1;
        let log = self
            .folder
            .path()
            .join(format!("n{node}-{}.log", self.starts));
        let mut command = dev(&self.data());
        self.own[node] = Some(Process::start(
            command.args(["--node", &node.to_string()]),
            &log,
        ));
    }

    /// The process of a node that was started again.
    pub fn own(&mut self, node: usize) -> Option<&mut Process> {
        self.own[node].as_mut()
    }

    /// Kills every process of the cluster with SIGKILL.
    pub async fn kill_all(&mut self) {
        let pids: Vec<u32> = (0..self.own.len()).map(|node| self.pid(node)).collect();
        // The parent first, or it would see its children die.
        if let Some(mut parent) = self.parent.take() {
            parent.signal(Signal::KILL);
            pids.iter()
                .for_each(|pid| process::send(*pid, Signal::KILL));
            parent.ended(GONE_WITHIN).await;
        }
        pids.iter()
            .for_each(|pid| process::send(*pid, Signal::KILL));
        for own in &mut self.own {
            if let Some(mut own) = own.take() {
                own.ended(GONE_WITHIN).await;
            }
        }
        for pid in pids {
            until("a killed node is gone", GONE_WITHIN, || async {
                (!process::is_alive(pid)).then_some(())
            })
            .await;
        }
    }

    /// Starts `dev` again on the same folder after `kill_all`.
    pub async fn start_again(&mut self) {
        self.starts += 1;
        let log = self.folder.path().join(format!("dev-{}.log", self.starts));
        let data = self.data();
        // Only a new file says that the nodes are ready now.
        let _was_never_written = std::fs::remove_file(data.join("dev.json"));
        let mut parent = Process::start(&mut dev(&data), &log);
        self.file = wait_for_file(&data, &mut parent).await;
        self.parent = Some(parent);
    }

    /// Whether a node takes clients.
    pub async fn is_ready(&self, node: usize) -> bool {
        http_get(&self.file.nodes[node].admin, "/readyz")
            .await
            .is_some_and(|answer| answer.status == 200)
    }

    /// Waits until a node takes clients; gives how long that took.
    ///
    /// # Panics
    /// If it does not within `most`.
    pub async fn ready(&self, node: usize, most: Duration) -> Duration {
        until(&format!("n{node} is ready"), most, || async {
            self.is_ready(node).await.then_some(())
        })
        .await
        .1
    }

    /// What the cluster says of itself.
    pub async fn status(&self) -> Option<Status> {
        status(&self.data()).await
    }

    /// The number of the leader, as soon as there is one.
    ///
    /// # Panics
    /// If there is none for 15 s.
    pub async fn leader(&self) -> usize {
        leader(&self.data()).await
    }

    /// All that the processes have logged.
    pub fn logs(&self) -> String {
        logs(self.folder.path())
    }

    async fn gone(&mut self, node: usize, pid: u32) {
        if let Some(own) = &mut self.own[node] {
            own.ended(GONE_WITHIN).await;
            return;
        }
        until("a killed node is gone", GONE_WITHIN, || async {
            (!process::is_alive(pid)).then_some(())
        })
        .await;
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        // A stopped parent's group is ended by `Process`; a node that was stopped must not survive it.
        for node in 0..self.own.len() {
            if self.parent.is_some() || self.own[node].is_some() {
                process::send(self.pid(node), Signal::KILL);
            }
        }
    }
}

/// All log files of a test's folder, one behind the other.
pub(super) fn logs(folder: &Path) -> String {
    let mut names: Vec<PathBuf> = std::fs::read_dir(folder)
        .map(|all| all.flatten().map(|file| file.path()).collect())
        .unwrap_or_default();
    names.retain(|name| name.extension().is_some_and(|extension| extension == "log"));
    names.sort();
    names
        .iter()
        .map(|name| String::from_utf8_lossy(&std::fs::read(name).unwrap_or_default()).into_owned())
        .collect()
}

pub(super) async fn status(data: &Path) -> Option<Status> {
    let output = tokio::process::Command::new(mainstay())
        .args(["cluster", "status", "--json", "--data"])
        .arg(data)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .ok()?;
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("cluster status: {error}\n{text}")),
    )
}

pub(super) async fn leader(data: &Path) -> usize {
    let found = until("there is a leader", Duration::from_secs(15), || async {
        status(data).await?.leader?.strip_prefix('n')?.parse().ok()
    });
    found.await.0
}

fn dev(data: &Path) -> Command {
    let mut command = Command::new(mainstay());
    command.arg("dev").arg("--data").arg(data);
    command
}

async fn wait_for_file(data: &Path, parent: &mut Process) -> DevFile {
    let start = std::time::Instant::now();
    loop {
        if let Some(file) = DevFile::read(data) {
            return file;
        }
        assert!(
            parent.is_running(),
            "`dev` ended before the cluster was ready:\n{}",
            parent.output()
        );
        assert!(
            start.elapsed() < READY_WITHIN,
            "no dev.json within {READY_WITHIN:?}:\n{}",
            parent.output()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
