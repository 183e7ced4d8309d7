//! The files of a `dev` folder: `ca.*`, `secrets.json`, and for each node `nI/` with certificates,
//! configuration and data.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

use crate::{
    app,
    certificates::Authority,
    config::{
        Admin, Cluster, Config, Limits, Listener, Listeners, Log, Node, ProxyProtocol, Seed, Timing,
    },
    dev::{
        Error, Options,
        manifest::{Manifest, Ports},
        secrets::{Secrets, write_secret_file},
    },
};

/// A prepared `dev` folder.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) secrets: Secrets,
}

impl Folder {
    /// Makes what is missing, under the folder's file lock: several processes may start at once.
    pub(super) fn prepare(path: &Path, options: &Options) -> Result<Self, Error> {
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        fs::create_dir_all(path).map_err(file_error(path))?;
        let path = path.canonicalize().map_err(file_error(path))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(file_error(&path))?;
        let _lock = lock(&path)?;

        let secrets_file = path.join("secrets.json");
        let secrets = if secrets_file.exists() {
            let text = fs::read_to_string(&secrets_file).map_err(file_error(&secrets_file))?;
            let secrets: Secrets = serde_json::from_str(&text).map_err(|source| Error::File {
                path: secrets_file.clone(),
                source: std::io::Error::other(source),
            })?;
            options.check_against(&secrets)?;
            secrets
        } else {
            let nodes = options.nodes.unwrap_or(1);
            let port_base = match (options.port_base, nodes) {
                (None, 1) => None,
                (base, _) => Some(base.unwrap_or(1883)),
            };
            let secrets = Secrets::make(nodes, port_base).map_err(file_error(&secrets_file))?;
            let text = serde_json::to_string_pretty(&secrets).unwrap_or_default();
            write_secret_file(&secrets_file, &text).map_err(file_error(&secrets_file))?;
            secrets
        };
        for index in 0..secrets.nodes {
            Ports::of(secrets.port_base, index).ok_or(Error::Ports {
                base: secrets.port_base.unwrap_or_default(),
                nodes: secrets.nodes,
            })?;
        }
        let folder = Self { path, secrets };
        let authority = Authority::open_or_make(&folder.path)?;
        for index in 0..folder.secrets.nodes {
            folder.prepare_node(&authority, index)?;
        }
        Ok(folder)
    }

    /// The folder of a node.
    pub(super) fn node(&self, index: u16) -> PathBuf {
        self.path.join(format!("n{index}"))
    }

    /// The configuration file of a node.
    pub(super) fn node_config(&self, index: u16) -> PathBuf {
        self.node(index).join("mainstay.toml")
    }

    /// Writes `dev.json`, by rename under the file lock.
    pub(super) fn write_manifest(&self, pids: &[u32]) -> Result<Manifest, Error> {
        let _lock = lock(&self.path)?;
        let ca_file = self.path.join("ca.crt").display().to_string();
        let manifest = Manifest::new(ca_file, &self.secrets, pids);
        self.replace_manifest(&manifest)?;
        Ok(manifest)
    }

    /// As [`Folder::write_manifest`], with the processes that hold the nodes' data folders.
    pub(super) fn write_manifest_of_running(&self) -> Result<(), Error> {
        let pids: Vec<u32> = (0..self.secrets.nodes)
            .map(|index| app::DataLock::holder(&self.node(index)).unwrap_or_default())
            .collect();
        self.write_manifest(&pids).map(|_| ())
    }

    /// Enters the process of one node into `dev.json`; whether there is such a file.
    pub(super) fn enter_pid(&self, index: u16, pid: u32) -> Result<bool, Error> {
        let _lock = lock(&self.path)?;
        let path = self.path.join("dev.json");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            read => read.map_err(|source| Error::File { path, source })?,
        };
        // A file that is not ours to read is written anew, like one that is missing.
        let Ok(mut manifest) = serde_json::from_str::<Manifest>(&text) else {
            return Ok(false);
        };
        if let Some(node) = manifest.nodes.get_mut(usize::from(index)) {
            node.pid = pid;
        }
        self.replace_manifest(&manifest)?;
        Ok(true)
    }

    fn replace_manifest(&self, manifest: &Manifest) -> Result<(), Error> {
        let path = self.path.join("dev.json");
        let text = serde_json::to_string_pretty(manifest).unwrap_or_default();
        write_secret_file(&path, &(text + "\n")).map_err(|source| Error::File { path, source })
    }

    fn prepare_node(&self, authority: &Authority, index: u16) -> Result<(), Error> {
        let folder = self.node(index);
        let file_error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        fs::create_dir_all(&folder).map_err(file_error(&folder))?;
        if !folder.join("peer.crt").exists() {
            let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            authority
                .issue(&["localhost".to_owned()], &loopback)?
                .write(&folder, "server")?;
            let name = format!("n{index}");
            authority
                .issue(&[name, "localhost".to_owned()], &loopback)?
                .write(&folder, "peer")?;
        }
        let config = toml::to_string(&self.config(index)).map_err(|source| Error::File {
            path: self.node_config(index),
            source: std::io::Error::other(source),
        })?;
        let path = self.node_config(index);
        write_secret_file(&path, &config).map_err(|source| Error::File { path, source })
    }

    fn config(&self, index: u16) -> Config {
        let folder = self.node(index);
        let ports = |index| Ports::of(self.secrets.port_base, index).expect("checked by prepare");
        let mine = ports(index);
        let seed = |index: u16| Seed {
            name: format!("n{index}"),
            address: format!("127.0.0.1:{}", ports(index).peer),
        };
        let trusted = vec!["127.0.0.0/8", "::1/128"];
        let trusted: Vec<_> = trusted
            .into_iter()
            .filter_map(|text| text.parse().ok())
            .collect();
        let listener = |port| Listener {
            addresses: loopback(port),
            certificate_file: None,
            key_file: None,
            proxy_protocol: ProxyProtocol::Optional,
            trusted_networks: trusted.clone(),
        };
        Config {
            node: Node {
                name: Some(format!("n{index}")),
                data: folder.clone(),
                shards: 0,
            },
            listeners: Listeners {
                mqtt: Some(listener(mine.mqtt)),
                mqtts: Some(Listener {
                    certificate_file: Some(folder.join("server.crt")),
                    key_file: Some(folder.join("server.key")),
                    ..listener(mine.mqtts)
                }),
            },
            admin: Admin {
                addresses: loopback(mine.admin),
            },
            cluster: Some(Cluster {
                listen: loopback(mine.peer),
                advertise: Some(format!("127.0.0.1:{}", mine.peer)),
                seeds: (0..self.secrets.nodes).map(seed).collect(),
                bootstrap_expect: None,
                max_voters: if self.secrets.nodes >= 5 { 5 } else { 3 },
                ca_file: self.path.join("ca.crt"),
                certificate_file: folder.join("peer.crt"),
                key_file: folder.join("peer.key"),
                trust_refused: false,
            }),
            timing: Timing::default(),
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

/// 127.0.0.1 and, where the machine has it, ::1.
fn loopback(port: u16) -> Vec<SocketAddr> {
    let mut addresses = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        addresses.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    addresses
}

/// Holds the folder's lock until the file is dropped.
fn lock(path: &Path) -> Result<File, Error> {
    let path = path.join("files.lock");
    let locked = || -> std::io::Result<File> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    locked().map_err(|source| Error::File {
        path: path.clone(),
        source,
    })
}
