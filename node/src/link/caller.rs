//! Who calls: the node name that a call claims, checked against the certificate of its connection.
//!
//! The client side stamps each call, the server side verifies it before any handler runs.

use rustls::pki_types::{CertificateDer, ServerName};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::Interceptor,
};
use webpki::EndEntityCert;

use super::cluster_id::{ClusterId, Home};

const NODE: &str = "mainstay-node";
const CLUSTER: &str = "mainstay-cluster";

/// The node behind a call, proven by its certificate; an extension of every request that a handler sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name.
    pub name: String,
    /// The cluster that it belongs to, if it belongs to one.
    pub cluster: Option<ClusterId>,
}

impl Caller {
    /// The caller of a request that passed the server's check.
    ///
    /// # Errors
    ///
    /// `unauthenticated`, if the service runs without the check.
    pub fn of<T>(request: &Request<T>) -> Result<Self, Status> {
        request
            .extensions()
            .get::<Self>()
            .cloned()
            .ok_or_else(|| Status::unauthenticated("the caller was not verified"))
    }
}

/// Puts this node's name and cluster on each call.
#[derive(Clone, Debug)]
pub struct Stamp {
    name: MetadataValue<Ascii>,
    home: Home,
}

impl Stamp {
    /// `None` if the name is not printable ASCII.
    pub(super) fn new(name: &str, home: Home) -> Option<Self> {
        Some(Self {
            name: name.parse().ok()?,
            home,
        })
    }
}

impl Interceptor for Stamp {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert(NODE, self.name.clone());
        if let Some(cluster) = self.home.cluster()
            && let Ok(value) = cluster.as_str().parse()
        {
            request.metadata_mut().insert(CLUSTER, value);
        }
        Ok(request)
    }
}

/// Refuses a call whose certificate does not name the node that it claims, and a call from another cluster.
#[derive(Clone, Debug)]
pub(super) struct Verify {
    pub(super) home: Home,
}

impl Interceptor for Verify {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let name = text(&request, NODE)?
            .ok_or_else(|| Status::unauthenticated("the call names no node"))?
            .to_owned();
        let certificates = request
            .peer_certs()
            .ok_or_else(|| Status::unauthenticated("the connection has no client certificate"))?;
        let proven = certificates
            .first()
            .is_some_and(|first| names(first, &name));
        if !proven {
            tracing::warn!(
                claimed = name,
                "call refused: the certificate names another node"
            );
            return Err(Status::permission_denied(
                "the certificate names another node",
            ));
        }
        let cluster = match text(&request, CLUSTER)? {
            None => None,
            Some(id) => Some(
                id.parse::<ClusterId>()
                    .map_err(|_| Status::invalid_argument("the cluster id is malformed"))?,
            ),
        };
        if let (Some(theirs), Some(ours)) = (&cluster, self.home.cluster())
            && *theirs != ours
        {
            tracing::warn!(node = name, cluster = %theirs, "call refused: it is of another cluster");
            return Err(Status::failed_precondition(
                "this node belongs to another cluster",
            ));
        }
        request.extensions_mut().insert(Caller { name, cluster });
        Ok(request)
    }
}

/// Whether a certificate carries the name; its chain was checked in the handshake.
pub(super) fn names(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(certificate), Ok(name)) = (
        EndEntityCert::try_from(certificate),
        ServerName::try_from(name),
    ) else {
        return false;
    };
    certificate.verify_is_valid_for_subject_name(&name).is_ok()
}

fn text<'a>(request: &'a Request<()>, key: &str) -> Result<Option<&'a str>, Status> {
    request
        .metadata()
        .get(key)
        .map(MetadataValue::to_str)
        .transpose()
        .map_err(|_| Status::invalid_argument("metadata is not printable ASCII"))
}
