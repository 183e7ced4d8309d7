//! What can go wrong before a link between nodes stands.

use std::{io, net::SocketAddr, path::PathBuf};

/// A failure of the room `link`; none of them is worth a retry without a changed configuration, but for
/// `Listen`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the node's identity could not be read.
    #[error("read {what} from {}", path.display())]
    ReadFile {
        /// Which of the three files.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// The certificate does not carry the configured node name.
    #[error("certificate {} does not name node {name:?}", path.display())]
    WrongName {
        /// The certificate.
        path: PathBuf,
        /// The configured name.
        name: String,
    },
    /// A file of the node's identity is not what it should be.
    #[error("no usable {what} in {}", path.display())]
    BadFile {
        /// Which of the three files.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// TLS could not be set up from the identity.
    #[error("set up tls between nodes")]
    Tls(#[source] tonic::transport::Error),
    /// The address of a peer is not of the form host:port.
    #[error("peer address {address:?} is not host:port")]
    BadAddress {
        /// What was configured.
        address: String,
    },
    /// The listener could not be opened.
    #[error("listen on {address} for nodes")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}
