//! Programs that nobody here wrote: mosquitto's clients, HAProxy, Prometheus, strace.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use super::Login;

/// A program of the distribution.
#[derive(Clone, Debug)]
pub struct Tool(PathBuf);

impl Tool {
    /// Looks for it on the path and in the folders for administrators.
    ///
    /// Without it a person's run says SKIPPED and goes on; with `CI` set it is a failure.
    ///
    /// # Panics
    /// If it is missing and `CI` is set.
    pub fn find(name: &str) -> Option<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let more = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let found = std::env::split_paths(&path)
            .chain(more)
            .map(|folder| folder.join(name))
            .find(|at| at.is_file());
        if found.is_none() {
            assert!(std::env::var_os("CI").is_none(), "{name} is not installed");
            eprintln!("SKIPPED: {name} is not installed");
        }
        found.map(Self)
    }

    /// A command of it.
    pub fn command(&self) -> Command {
        Command::new(&self.0)
    }
}

/// `mosquitto_sub` over TLS at `door` (`host:port`), for `count` messages within 30 s.
pub fn mosquitto_sub(
    tool: &Tool,
    door: &str,
    ca: &Path,
    login: &Login,
    topic: &str,
    count: u32,
) -> Command {
    let mut command = client(tool, door, ca, login, topic);
    command.args(["-v", "-W", "30", "-C", &count.to_string()]);
    command
}

/// `mosquitto_pub` of one message over TLS at `door`.
pub fn mosquitto_pub(
    tool: &Tool,
    door: &str,
    ca: &Path,
    login: &Login,
    topic: &str,
    message: &str,
) -> Command {
    let mut command = client(tool, door, ca, login, topic);
    command.args(["-m", message]);
    command
}

fn client(tool: &Tool, door: &str, ca: &Path, login: &Login, topic: &str) -> Command {
    let (host, port) = door.rsplit_once(':').expect("a door is host:port");
    // Line by line, or what it says of its subscription would lie in a buffer.
    let mut command = Command::new("stdbuf");
    command
        .arg("-oL")
        .arg(&tool.0)
        .args([
            "-h",
            host,
            "-p",
            port,
            "-q",
            "1",
            "-u",
            &login.username,
            "-P",
            &login.password,
            "-t",
            topic,
        ])
        .arg("--cafile")
        .arg(ca);
    command
}
