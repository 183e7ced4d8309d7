//! A CA and identities for tests, made anew each time.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::identity::{Credentials, Identity};

/// A CA whose certificates the nodes of one test share.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The files of a node with a certificate for `name`, in `folder`.
    pub(crate) fn issue(&self, folder: &Path, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let identity = Identity {
            ca_file: folder.join(format!("{name}.ca.pem")),
            certificate_file: folder.join(format!("{name}.pem")),
            key_file: folder.join(format!("{name}.key.pem")),
        };
        fs::write(&identity.ca_file, self.0.pem()).unwrap();
        fs::write(&identity.certificate_file, certificate.pem()).unwrap();
        fs::write(&identity.key_file, key.serialize_pem()).unwrap();
        identity
    }

    pub(crate) fn credentials(&self, folder: &Path, name: &str) -> Credentials {
        self.issue(folder, name).load(name).unwrap()
    }
}

/// A folder of its own for one test, removed at its end.
pub(crate) struct Folder(std::path::PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("mainstay-{}-{next}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
