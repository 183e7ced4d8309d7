//! Why a node does not start, or stops by itself.

use std::{io, path::PathBuf};

use crate::{admin, auth, certificates, link, listener, raft, tasks, tls};

/// What ends a node; each variant names file, address or part.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A key that is needed to serve is missing.
    #[error("configuration key {key} is required to serve")]
    Missing {
        /// The key.
        key: &'static str,
    },
    /// A file of the data folder cannot be used.
    #[error("data folder: {}", path.display())]
    Data {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Another process uses the data folder.
    #[error("data folder {} is used by {holder}", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// Who.
        holder: String,
    },
    /// The runtimes, threads or signals cannot be had.
    #[error("starting {what}")]
    Start {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The identity of the node among its peers cannot be used.
    #[error("identity of the node")]
    Identity(#[source] link::Error),
    /// A peer address cannot be bound.
    #[error("cluster listener")]
    Peers(#[source] link::Error),
    /// The node's own file cannot be used.
    #[error("node file")]
    NodeFile(#[source] raft::NodeFileError),
    /// The consensus did not start.
    #[error("consensus")]
    Raft(#[from] raft::StartError),
    /// The server certificate cannot be used.
    #[error("server certificate")]
    Tls(#[from] tls::ConfigError),
    /// A client address cannot be bound.
    #[error(transparent)]
    Listener(#[from] listener::BindError),
    /// A node without peers cannot make itself an identity.
    #[error("identity of a node without peers")]
    Certificates(#[source] certificates::Error),
    /// The admin address cannot be bound.
    #[error(transparent)]
    Admin(#[from] admin::Error),
    /// The password checker did not start.
    #[error("password checks")]
    Auth(#[from] auth::StartError),
    /// A part without which the node cannot keep its promises has failed.
    #[error(transparent)]
    Failed(#[from] tasks::Failure),
    /// The consensus failed for good.
    #[error("the consensus has stopped: {why}")]
    Consensus {
        /// Its words.
        why: String,
    },
}
