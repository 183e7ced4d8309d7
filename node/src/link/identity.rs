//! A node's identity among nodes: the cluster's CA, the node's certificate and key.
//!
//! Loaded once at start by `app`, used by channels and server. The key is never logged.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use rustls::pki_types::{CertificateDer, pem::PemObject};
use tonic::transport::{Certificate, ClientTlsConfig, ServerTlsConfig};

use super::{caller::names, error::Error};

/// Where the identity lies; PEM files. The CA is of the cluster alone: whoever holds a certificate of it and
/// a node's name is that node.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// The certificate of the cluster's CA.
    pub ca_file: PathBuf,
    /// The node's certificate, which names the node, and its chain.
    pub certificate_file: PathBuf,
    /// The node's private key.
    pub key_file: PathBuf,
}

/// A loaded identity.
#[derive(Clone)]
pub struct Credentials {
    name: String,
    ca: Certificate,
    own: tonic::transport::Identity,
}

impl Identity {
    /// Reads the files and checks that the certificate names `name`.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, holds no certificate, or names another node.
    pub fn load(&self, name: &str) -> Result<Credentials, Error> {
        let ca = read("the CA certificate", &self.ca_file)?;
        first_certificate("CA certificate", &self.ca_file, &ca)?;
        let certificate = read("the node certificate", &self.certificate_file)?;
        let der = first_certificate("node certificate", &self.certificate_file, &certificate)?;
        if !names(&der, name) {
            let path = self.certificate_file.clone();
            return Err(Error::WrongName {
                path,
                name: name.to_owned(),
            });
        }
        let key = read("the node key", &self.key_file)?;
        Ok(Credentials {
            name: name.to_owned(),
            ca: Certificate::from_pem(ca),
            own: tonic::transport::Identity::from_pem(certificate, key),
        })
    }
}

impl Credentials {
    /// The name of this node.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// TLS towards the node `peer`; a server that proves another name is refused.
    pub(super) fn client(&self, peer: &str) -> ClientTlsConfig {
        install_provider();
        ClientTlsConfig::new()
            .ca_certificate(self.ca.clone())
            .identity(self.own.clone())
            .domain_name(peer)
    }

    /// TLS for the server; a client without a certificate of the CA is refused in the handshake.
    pub(super) fn server(&self) -> ServerTlsConfig {
        install_provider();
        ServerTlsConfig::new()
            .identity(self.own.clone())
            .client_ca_root(self.ca.clone())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The one cryptography of the process is ring; whoever installed it first wins, which is the same one.
fn install_provider() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::ReadFile {
        what,
        path: path.to_owned(),
        source,
    })
}

fn first_certificate(
    what: &'static str,
    path: &Path,
    pem: &[u8],
) -> Result<CertificateDer<'static>, Error> {
    CertificateDer::pem_slice_iter(pem)
        .next()
        .and_then(Result::ok)
        .ok_or_else(|| Error::BadFile {
            what,
            path: path.to_owned(),
        })
}
