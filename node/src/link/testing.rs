//! A CA and identities for tests, made anew each time, and a service that only shows who was let in.

use std::{fs, path::Path};

use mainstay_proto::internal::v1::{
    LinkFrame, ProbeRequest, ProbeResponse, ProposeRequest, ProposeResponse, RaftRequest,
    RaftResponse, ReadIndexRequest, ReadIndexResponse, RenewRequest, RenewResponse, SnapshotChunk,
    cluster_server::Cluster,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Caller, Incoming,
    identity::{Credentials, Identity},
};

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

/// Serves probes, and links if somebody takes them.
pub(crate) struct Door(pub(crate) Option<mpsc::Sender<Incoming>>);

#[tonic::async_trait]
impl Cluster for Door {
    type LinkStream = ReceiverStream<Result<LinkFrame, Status>>;

    async fn link(
        &self,
        request: Request<Streaming<LinkFrame>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let caller = Caller::of(&request)?;
        let (answer, accepted) = oneshot::channel();
        let incoming = Incoming {
            caller,
            frames: request.into_inner(),
            answer,
        };
        let links = self.0.as_ref().ok_or_else(|| Status::unimplemented(""))?;
        links
            .send(incoming)
            .await
            .map_err(|_| Status::unavailable("gone"))?;
        accepted
            .await
            .map_err(|_| Status::unavailable("gone"))?
            .map(Response::new)
    }

    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        Ok(Response::new(ProbeResponse::default()))
    }

    async fn raft(&self, _: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn install_snapshot(
        &self,
        _: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn propose(
        &self,
        _: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn read_index(
        &self,
        _: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn renew(&self, _: Request<RenewRequest>) -> Result<Response<RenewResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
