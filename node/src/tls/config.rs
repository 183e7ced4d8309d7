//! The server's side of TLS from PEM files.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

/// Reading certificate and key failed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The certificate file cannot be read or holds no certificate.
    #[error("cannot read certificates from {}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The key file cannot be read or holds no key.
    #[error("cannot read the private key from {}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key are not usable together.
    #[error("certificate and key do not make a server")]
    Unusable(#[source] rustls::Error),
    /// The system gave no randomness for the ticket keys.
    #[error("cannot make keys for session tickets")]
    Tickets(#[source] rustls::Error),
}

/// What the server's side of a handshake needs; a clone is cheap.
#[derive(Clone, Debug)]
pub struct Server {
    config: Arc<ServerConfig>,
}

impl Server {
    /// Reads a certificate chain and its key, both PEM. TLS 1.2 and 1.3, tickets for resumption, no client
    /// certificates.
    ///
    /// # Errors
    ///
    /// A file that cannot be read or holds nothing usable, named.
    pub fn from_files(certificates: &Path, key: &Path) -> Result<Self, ConfigError> {
        let in_certificate = |source| ConfigError::Certificate {
            path: certificates.to_owned(),
            source,
        };
        let chain = CertificateDer::pem_file_iter(certificates)
            .map_err(in_certificate)?
            .collect::<Result<Vec<_>, _>>()
            .map_err(in_certificate)?;
        if chain.is_empty() {
            let none = io::Error::new(io::ErrorKind::InvalidData, "no certificate in it");
            return Err(in_certificate(rustls::pki_types::pem::Error::Io(none)));
        }
        let key = PrivateKeyDer::from_pem_file(key).map_err(|source| ConfigError::Key {
            path: key.to_owned(),
            source,
        })?;
        Self::from_parts(chain, key)
    }

    /// Makes it of a chain and a key.
    ///
    /// # Errors
    ///
    /// If they do not belong together.
    pub fn from_parts(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ConfigError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(ConfigError::Unusable)?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(ConfigError::Unusable)?;
        config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(ConfigError::Tickets)?;
        // One ticket is enough for one client; each costs a record after the handshake.
        config.send_tls13_tickets = 1;
        Ok(Self {
            config: Arc::new(config),
        })
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}
