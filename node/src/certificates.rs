//! A CA and certificates of its own, for `dev`, `config certs` and nodes without peers.

use std::{
    fs,
    io::Write,
    net::IpAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

/// What can go wrong when certificates are made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The library refused.
    #[error("making certificate {name}")]
    Make {
        /// For whom.
        name: String,
        /// Why.
        #[source]
        source: rcgen::Error,
    },
    /// A file cannot be read or written.
    #[error("certificate file {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A certificate authority with its key.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

/// A certificate and its key, PEM.
#[derive(Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// Opens the CA of a folder (`ca.crt`, `ca.key`), or makes one there.
    ///
    /// # Errors
    /// If a file cannot be read or written, or is no CA.
    pub fn open_or_make(folder: &Path) -> Result<Self, Error> {
        let (certificate_file, key_file) = (folder.join("ca.crt"), folder.join("ca.key"));
        if certificate_file.exists() && key_file.exists() {
            let certificate = read(&certificate_file)?;
            let make = |source| Error::Make {
                name: "ca".into(),
                source,
            };
            let key = KeyPair::from_pem(&read(&key_file)?).map_err(make)?;
            // The issuer's name is all that is taken from a CA, and every CA of ours has the same.
            return Ok(Self {
                issuer: Issuer::new(params(), key),
                certificate,
            });
        }
        let make = |source| Error::Make {
            name: "ca".into(),
            source,
        };
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params().self_signed(&key).map_err(make)?.pem();
        write_secret(&key_file, &key.serialize_pem())?;
        write(&certificate_file, &certificate)?;
        Ok(Self {
            issuer: Issuer::new(params(), key),
            certificate,
        })
    }

    /// The CA's certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Issues a certificate for server and client use that names hosts and addresses.
    ///
    /// # Errors
    /// If a name is no DNS name.
    pub fn issue(&self, names: &[String], addresses: &[IpAddr]) -> Result<Issued, Error> {
        let label = names.first().cloned().unwrap_or_default();
        let make = |source| Error::Make {
            name: label.clone(),
            source,
        };
        let mut params = CertificateParams::new(names.to_vec()).map_err(make)?;
        params
            .subject_alt_names
            .extend(addresses.iter().copied().map(SanType::IpAddress));
        params
            .distinguished_name
            .push(DnType::CommonName, label.as_str());
        params.use_authority_key_identifier_extension = true;
        params.key_usages.push(KeyUsagePurpose::DigitalSignature);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().map_err(make)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(make)?;
        Ok(Issued {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes `<stem>.crt` and, readable by the owner only, `<stem>.key`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<(), Error> {
        write_secret(&folder.join(format!("{stem}.key")), &self.key)?;
        write(&folder.join(format!("{stem}.crt")), &self.certificate)
    }
}

fn params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "Mainstay development CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn write_secret(path: &Path, text: &str) -> Result<(), Error> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })
}
