//! A process with its output in a file, ended with all its children when it is dropped.

use std::{
    fs::File,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// A running child in a process group of its own, whose children are in it too.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// How long it was waited for.
    pub after: Duration,
}

impl Process {
    /// Starts a command with both outputs into `log`.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> Self {
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("the log file is writable");
        let errors = out.try_clone().expect("a file can be opened twice");
        let child = command
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(errors)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("starting {command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
            ended: None,
        }
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Sends a signal to this process alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            send(self.pid(), signal);
        }
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.poll().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it has not ended within `most`.
    pub async fn ended(&mut self, most: Duration) -> Ended {
        let start = Instant::now();
        loop {
            if let Some(status) = self.poll() {
                return Ended {
                    code: status.code(),
                    signal: status.signal(),
                    after: start.elapsed(),
                };
            }
            assert!(
                start.elapsed() < most,
                "process {} still runs after {most:?}:\n{}",
                self.pid(),
                self.output()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn poll(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The group may outlive its leader: children of a killed `dev` end by themselves, but not at once.
        if let Some(group) = Pid::from_raw(self.child.id().cast_signed()) {
            let _gone_already = kill_process_group(group, Signal::KILL);
        }
        if self.ended.is_none() {
            let _already_waited_for = self.child.wait();
        }
    }
}

/// Sends a signal to a process that a test started.
pub(super) fn send(pid: u32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid.cast_signed()) {
        let _gone_already = kill_process(pid, signal);
    }
}

/// Whether a process exists and may still hold files. A zombie holds none, but the first thread of a killed process
/// is one already while the others are still ending: only then are the locks of its files free.
pub(super) fn is_alive(pid: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    !state.starts_with('Z') || threads > 1
}
