//! The `dev` command: its options, its errors, and which of its two forms runs.

use std::{io, path::PathBuf, time::Duration};

use crate::{
    app, certificates, config,
    dev::{folder::Folder, parent, secrets::Secrets},
    local,
};

/// The options of `mainstay dev`.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many nodes; 1 unless given, or as the folder was made.
    pub nodes: Option<u16>,
    /// The folder; a temporary one unless given.
    pub data: Option<PathBuf>,
    /// The first port.
    pub port_base: Option<u16>,
    /// Run this one node in the foreground.
    pub node: Option<u16>,
}

/// What can end `mainstay dev`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the folder cannot be read or written.
    #[error("dev folder: {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Certificates cannot be made.
    #[error(transparent)]
    Certificates(#[from] certificates::Error),
    /// The option contradicts what the folder was made for.
    #[error("--{option} {given}: the folder was made with {kept}")]
    Contradiction {
        /// The option.
        option: &'static str,
        /// What was given.
        given: u16,
        /// What the folder has.
        kept: String,
    },
    /// The ports do not fit below 65,536.
    #[error("--port-base {base}: {nodes} nodes need ports up to base + 10 x nodes below 65536")]
    Ports {
        /// The base.
        base: u16,
        /// The nodes.
        nodes: u16,
    },
    /// There is no such node in the folder.
    #[error("--node {given}: the folder has nodes 0 to {last}")]
    NoSuchNode {
        /// What was given.
        given: u16,
        /// The highest.
        last: u16,
    },
    /// `--node` without a folder makes no sense.
    #[error("--node needs --data, the folder of the cluster that it belongs to")]
    NodeNeedsData,
    /// More nodes than a machine is for.
    #[error("--nodes {given}: expected 1 to 9")]
    Nodes {
        /// What was given.
        given: u16,
    },
    /// A node ended before the cluster was ready.
    #[error("node n{node} ended before the cluster was ready ({status}); its log above says why")]
    Died {
        /// Which.
        node: u16,
        /// Its exit status.
        status: String,
    },
    /// The cluster did not become ready.
    #[error("the cluster was not ready after {} s", after.as_secs())]
    NotReady {
        /// How long it was waited.
        after: Duration,
    },
    /// The process of a node cannot be started.
    #[error("starting node n{node}")]
    Spawn {
        /// Which.
        node: u16,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The local socket did not serve.
    #[error(transparent)]
    Local(#[from] local::Error),
    /// The configuration of the node is broken.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The node ended with an error.
    #[error(transparent)]
    App(#[from] app::Error),
    /// The runtime cannot be made.
    #[error("starting the runtime")]
    Runtime(#[source] io::Error),
}

impl Options {
    /// Refuses options that the folder was not made with.
    pub(super) fn check_against(&self, kept: &Secrets) -> Result<(), Error> {
        if let Some(nodes) = self.nodes
            && nodes != kept.nodes
        {
            let kept = format!("{} nodes", kept.nodes);
            return Err(Error::Contradiction {
                option: "nodes",
                given: nodes,
                kept,
            });
        }
        if let Some(base) = self.port_base
            && Some(base) != kept.port_base
        {
            let kept = match kept.port_base {
                Some(base) => format!("port base {base}"),
                None => "the usual ports".to_owned(),
            };
            return Err(Error::Contradiction {
                option: "port-base",
                given: base,
                kept,
            });
        }
        Ok(())
    }
}

/// Runs `mainstay dev` until it is told to end.
///
/// # Errors
/// Names the option, file, port or node that is in the way.
pub fn run(options: &Options) -> Result<(), Error> {
    if let Some(nodes) = options.nodes
        && !(1..=9).contains(&nodes)
    {
        return Err(Error::Nodes { given: nodes });
    }
    let temporary = std::env::temp_dir().join(format!("mainstay-dev-{}", std::process::id()));
    match (&options.data, options.node) {
        (None, Some(_)) => Err(Error::NodeNeedsData),
        (Some(data), Some(node)) => {
            let folder = Folder::prepare(data, options)?;
            if node >= folder.secrets.nodes {
                return Err(Error::NoSuchNode {
                    given: node,
                    last: folder.secrets.nodes - 1,
                });
            }
            parent::run_one(folder, node)
        }
        (Some(data), None) => parent::run_all(&Folder::prepare(data, options)?),
        (None, None) => {
            let folder = Folder::prepare(&temporary, options)?;
            let ended = parent::run_all(&folder);
            let removed = std::fs::remove_dir_all(&folder.path);
            ended.and(removed.map_err(|source| Error::File {
                path: temporary,
                source,
            }))
        }
    }
}
