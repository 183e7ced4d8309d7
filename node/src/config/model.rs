//! The keys of the configuration, with unit, default and bounds.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize};

use crate::config::Network;

/// The whole configuration of one node.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node itself.
    pub node: Node,
    /// The doors for clients.
    #[serde(default)]
    pub listeners: Listeners,
    /// The door for probes and Prometheus.
    #[serde(default)]
    pub admin: Admin,
    /// The other nodes; absent: this node is a cluster of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// Time-outs of the cluster.
    #[serde(default)]
    pub timing: Timing,
    /// Bounds.
    #[serde(default)]
    pub limits: Limits,
    /// Logging.
    #[serde(default)]
    pub log: Log,
}

/// `[node]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// The node's name, unique in the cluster; letters, digits, `.` and `-`. Required to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The data folder; one process uses it.
    pub data: PathBuf,
    /// Threads that serve clients; 0: one a core. At most 64.
    #[serde(default)]
    pub shards: u8,
}

/// `[listeners]`
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listeners {
    /// MQTT over TLS; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtts: Option<Listener>,
    /// Plain MQTT; absent: off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mqtt: Option<Listener>,
}

/// `[listeners.mqtts]` and `[listeners.mqtt]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// IP addresses and ports to listen at.
    pub addresses: Vec<SocketAddr>,
    /// The server certificate with its chain, PEM. TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The certificate's private key, PEM. TLS only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Whether a PROXY protocol header (v1 or v2) stands before the connection. Default: off.
    #[serde(default)]
    pub proxy_protocol: ProxyProtocol,
    /// Who may send such a header; required unless it is off.
    #[serde(default)]
    pub trusted_networks: Vec<Network>,
}

/// Whether a PROXY protocol header is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// Never.
    #[default]
    Off,
    /// From trusted networks, if there is one.
    Optional,
    /// Always; a connection without one, or from elsewhere, is closed.
    Required,
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// IP addresses and ports of `/livez`, `/readyz`, `/startupz` and `/metrics`. Default: 127.0.0.1:9464.
    pub addresses: Vec<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            addresses: vec![SocketAddr::from(([127, 0, 0, 1], 9464))],
        }
    }
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Cluster {
    /// IP addresses and ports where other nodes connect.
    pub listen: Vec<SocketAddr>,
    /// The `host:port` that other nodes dial. Required to serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advertise: Option<String>,
    /// The first members, this one included: `name=host:port`.
    pub seeds: Vec<Seed>,
    /// How many of the first seeds must answer, all of them empty, before the cluster is created. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_expect: Option<usize>,
    /// At most so many nodes vote: 1, 3 or 5. Default: 3.
    #[serde(default = "default_max_voters")]
    pub max_voters: usize,
    /// The CA of the nodes' certificates, PEM.
    pub ca_file: PathBuf,
    /// This node's certificate, PEM; it names `node.name`.
    pub certificate_file: PathBuf,
    /// Its private key, PEM.
    pub key_file: PathBuf,
    /// A refused connection means that the peer's process is gone, also off loopback: only where no proxy or
    /// load balancer stands between the nodes. Default: false.
    #[serde(default)]
    pub trust_refused: bool,
}

fn default_max_voters() -> usize {
    3
}

/// A first member: `name=host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seed {
    /// The node's name.
    pub name: String,
    /// Where it listens for other nodes.
    pub address: String,
}

/// `[timing]`, all in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timing {
    /// Between two renewals of the lease. Default: 300.
    pub renew_ms: u64,
    /// A node that has not applied what was committed so long ago gets no lease. Default: 2,000.
    pub stall_after_ms: u64,
    /// How long a lease lasts; at least two elections (2,400). Default: 3,000.
    pub fence_after_ms: u64,
    /// The leader ends a silent node after so long; at least 1.5 x `fence_after_ms`. Default: 4,500.
    pub down_after_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            renew_ms: 300,
            stall_after_ms: 2_000,
            fence_after_ms: 3_000,
            down_after_ms: 4_500,
        }
    }
}

/// `[limits]`
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Client connections of this node. Default: 100,000.
    pub max_connections: usize,
    /// Bytes of a message's payload. Default: 262,144; at most 16,777,216.
    pub max_payload_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_payload_bytes: 256 * 1024,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `auto` is text on a terminal and JSON otherwise. Default: auto.
    pub format: LogFormat,
    /// A level or a filter such as `info,mainstay::raft=debug`. Default: info.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Auto,
            level: "info".into(),
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for Seed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("expected name=host:port, found {text:?}");
        let (name, address) = text.split_once('=').ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if name.is_empty() || host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        Ok(Self {
            name: name.to_owned(),
            address: address.to_owned(),
        })
    }
}

impl fmt::Display for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.address)
    }
}

impl<'de> Deserialize<'de> for Seed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl Serialize for Seed {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
