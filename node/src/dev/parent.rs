//! Starts nodes, waits until they are ready, seeds them, writes `dev.json`, and ends them again.

use std::{
    collections::BTreeMap,
    process::Stdio,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    time::{sleep, timeout},
};

use crate::{
    app, config,
    dev::{Error, folder::Folder, lines},
    local,
};

/// A cold machine needs a second or two; a loaded one much longer.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// A node drains within 10 s; after that it is killed.
const DRAIN_WITHIN: Duration = Duration::from_secs(12);

/// All nodes as children of this process.
pub(super) fn run_all(folder: &Folder) -> Result<(), Error> {
    runtime()?.block_on(async {
        let mut children = Children::start(folder)?;
        let outcome = serve_all(folder, &mut children).await;
        children.end().await;
        outcome
    })
}

async fn serve_all(folder: &Folder, children: &mut Children) -> Result<(), Error> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Runtime)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Runtime)?;
    tokio::select! {
        ready = async {
            until_ready(folder, children).await?;
            local::seed(&folder.node(0), &folder.secrets.seed()).await?;
            Ok::<(), Error>(())
        } => ready?,
        _ = interrupt.recv() => return Ok(()),
        _ = terminate.recv() => return Ok(()),
    }
    let manifest = folder.write_manifest(&children.pids())?;
    println!(
        "{}",
        lines::text(&manifest, &folder.path.display().to_string())
    );
    loop {
        tokio::select! {
            () = children.report_deaths() => {}
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
        }
    }
}

async fn until_ready(folder: &Folder, children: &mut Children) -> Result<(), Error> {
    let deadline = Instant::now() + READY_WITHIN;
    for index in 0..folder.secrets.nodes {
        loop {
            let ready = local::status(&folder.node(index))
                .await
                .is_ok_and(|status| status.ready);
            children.check_alive()?;
            // The answer may be that of an earlier process, on whose folder this child cannot start.
            let holder = app::DataLock::holder(&folder.node(index));
            if ready && holder == children.pids().get(usize::from(index)).copied() {
                break;
            }
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    after: READY_WITHIN,
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

/// One node in this process; `dev.json` gets its new process ID once all nodes are ready.
pub(super) fn run_one(folder: Folder, index: u16) -> Result<(), Error> {
    let config = config::load(&folder.node_config(index), &BTreeMap::new(), &[])?;
    std::thread::Builder::new()
        .name("dev-manifest".into())
        .spawn(move || {
            if let Err(error) = update_manifest(&folder, index) {
                tracing::warn!(%error, "dev.json was not updated");
            }
        })
        .map_err(Error::Runtime)?;
    Ok(app::run(config, app::Options::default())?)
}

/// Enters this process as node `index` as soon as it answers; a file that was deleted is written anew once all
/// nodes are ready.
fn update_manifest(folder: &Folder, index: u16) -> Result<(), Error> {
    runtime()?.block_on(async {
        let deadline = Instant::now() + READY_WITHIN;
        while local::status(&folder.node(index)).await.is_err() {
            if Instant::now() > deadline {
                return Err(Error::NotReady {
                    after: READY_WITHIN,
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
        if folder.enter_pid(index, std::process::id())? {
            return Ok(());
        }
        for other in 0..folder.secrets.nodes {
            while !local::status(&folder.node(other))
                .await
                .is_ok_and(|status| status.ready)
            {
                if Instant::now() > deadline {
                    return Err(Error::NotReady {
                        after: READY_WITHIN,
                    });
                }
                sleep(Duration::from_millis(50)).await;
            }
        }
        local::seed_any(&folder.path, &folder.secrets.seed()).await?;
        folder.write_manifest_of_running()
    })
}

fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(Error::Runtime)
}

/// The processes of the nodes. Each has a pipe from this process as standard input and ends when that closes,
/// so that none outlives its parent, however the parent ends.
#[derive(Debug)]
struct Children {
    children: Vec<Option<Child>>,
    pids: Vec<u32>,
}

impl Children {
    fn start(folder: &Folder) -> Result<Self, Error> {
        let mut all = Self {
            children: Vec::new(),
            pids: Vec::new(),
        };
        for node in 0..folder.secrets.nodes {
            let spawn = |source| Error::Spawn { node, source };
            let child = Command::new(std::env::current_exe().map_err(spawn)?)
                .arg("serve")
                .arg("--exit-with-stdin")
                .arg("--config")
                .arg(folder.node_config(node))
                .stdin(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(spawn)?;
            all.pids.push(child.id().unwrap_or_default());
            all.children.push(Some(child));
        }
        Ok(all)
    }

    fn pids(&self) -> Vec<u32> {
        self.pids.clone()
    }

    fn check_alive(&mut self) -> Result<(), Error> {
        for (node, child) in (0..).zip(&mut self.children) {
            if let Some(running) = child
                && let Ok(Some(status)) = running.try_wait()
            {
                *child = None;
                return Err(Error::Died {
                    node,
                    status: status.to_string(),
                });
            }
        }
        Ok(())
    }

    /// Waits for the next death and says so; never returns when all are gone.
    async fn report_deaths(&mut self) {
        loop {
            if let Err(death) = self.check_alive() {
                let Error::Died { node, status } = death else {
                    return;
                };
                eprintln!(
                    "node n{node} ended ({status}); start it again with --node {node}, the others go on"
                );
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn end(&mut self) {
        for child in self.children.iter().flatten() {
            if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                let _gone_already = kill_process(pid, Signal::TERM);
            }
        }
        let deadline = Instant::now() + DRAIN_WITHIN;
        for mut child in self.children.drain(..).flatten() {
            let left = deadline.saturating_duration_since(Instant::now());
            if timeout(left, child.wait()).await.is_err() {
                eprintln!("a node did not drain in time and is killed");
                let _gone_already = child.kill().await;
            }
        }
    }
}
