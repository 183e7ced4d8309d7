//! The serving side of all calls between nodes, but for the link itself, which is passed on to `peer`.
//!
//! `link::Server` has checked who calls; here it is checked that the call is for this node, and that the node
//! it names is the one that called. Handlers are thin: decode, hand over, answer.

use std::sync::Arc;

use mainstay_core::{
    control::Renewal,
    ids::{Incarnation, Index, NodeId, NodeSet, Position},
    replica::Entry,
};
use mainstay_proto::internal::v1::{
    LinkFrame, ProbeRequest, ProbeResponse, ProposeRequest, ProposeResponse, RaftRequest,
    RaftResponse, ReadIndexRequest, ReadIndexResponse, RenewRequest, RenewResponse, SnapshotChunk,
    cluster_server::Cluster,
};
use openraft::{async_runtime::WatchReceiver, errors::Fatal};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    handle::Shared,
    metrics::{self, Direction},
    node_file::NodeFile,
    proposals::{propose_here, status_of},
    snapshot::{self, Head, SnapshotOf},
    types::TypeConfig,
    wire::{self, GROUP, Kind},
};
use crate::{
    link::{Caller, ClusterId, Incoming},
    store::Snapshots,
};

/// The one service of the cluster listener.
pub struct Service {
    pub(super) shared: Arc<Shared>,
    pub(super) file: Arc<NodeFile>,
    pub(super) links: mpsc::Sender<Incoming>,
    pub(super) snapshots: Snapshots,
    /// One snapshot is received at a time: a second would write the same file, and be of no use.
    pub(super) installing: Mutex<()>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("node", &self.shared.me)
            .finish_non_exhaustive()
    }
}

impl Service {
    /// Refuses a message that is for another node or group, or names another node than the one that called. A
    /// node that belongs to no cluster yet joins that of the first message that knows its ID: IDs are random, so
    /// the sender has been told of this very folder.
    async fn admit(&self, caller: &Caller, group: u32, from: u64, to: u64) -> Result<(), Status> {
        if group != GROUP {
            return Err(Status::invalid_argument("the group does not exist"));
        }
        if to != self.shared.me.0 {
            return Err(Status::failed_precondition(
                "the message is for another node",
            ));
        }
        self.is_named(caller, from)?;
        match &caller.cluster {
            Some(cluster) => self.join(cluster).await,
            None => Err(Status::failed_precondition(
                "the caller belongs to no cluster",
            )),
        }
    }

    fn is_named(&self, caller: &Caller, node: u64) -> Result<(), Status> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        match metrics.membership_config.membership().get_node(&node) {
            Some(peer) if peer.name != caller.name => {
                Err(Status::permission_denied("the node has another name"))
            }
            // The membership itself may come with this message.
            _ => Ok(()),
        }
    }

    async fn join(&self, cluster: &ClusterId) -> Result<(), Status> {
        if self.shared.home.cluster().is_some() {
            // The check of the caller has compared them.
            return Ok(());
        }
        let (file, cluster) = (Arc::clone(&self.file), cluster.clone());
        tokio::task::spawn_blocking(move || file.join(&cluster))
            .await
            .map_err(|_| Status::internal("the node file could not be written"))?
            .map_err(|error| {
                tracing::error!(error = &error as &dyn std::error::Error, "join the cluster");
                Status::internal("the node file could not be written")
            })
    }

    fn is_member_call(caller: &Caller, group: u32) -> Result<(), Status> {
        if group != GROUP || caller.cluster.is_none() {
            return Err(Status::failed_precondition("the caller is no member"));
        }
        Ok(())
    }
}

#[tonic::async_trait]
impl Cluster for Service {
    async fn probe(&self, _: Request<ProbeRequest>) -> Result<Response<ProbeResponse>, Status> {
        let cluster = self.shared.home.cluster();
        Ok(Response::new(ProbeResponse {
            name: self.shared.channels.name().to_owned(),
            node_id: self.shared.me.0,
            cluster_id: cluster.map(|id| id.as_str().to_owned()).unwrap_or_default(),
            incarnation: self.shared.incarnation().0.0,
        }))
    }

    async fn raft(&self, request: Request<RaftRequest>) -> Result<Response<RaftResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        let kind = Kind::of(&request)?;
        self.admit(&caller, request.group, request.from, request.to)
            .await?;
        let (raft, body) = (&self.shared.raft, &request.body);
        let response = match kind {
            Kind::Append => {
                let answer = raft.append_entries(wire::decode(body)?).await;
                wire::response(&answer.map_err(|error| stopped(&error.unwrap_fatal()))?)
            }
            Kind::Vote => {
                let answer = raft.vote(wire::decode(body)?).await;
                wire::response(&answer.map_err(|error| stopped(&error.unwrap_fatal()))?)
            }
            Kind::PreVote => {
                let answer = raft.pre_vote(wire::decode(body)?).await;
                wire::response(&answer.map_err(|error| stopped(&error.unwrap_fatal()))?)
            }
            Kind::TransferLeader => {
                let answer = raft.handle_transfer_leader(wire::decode(body)?).await;
                wire::response(&answer.map_err(|fatal| stopped(&fatal))?)
            }
        };
        response.map(Response::new)
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<SnapshotChunk>>,
    ) -> Result<Response<RaftResponse>, Status> {
        let caller = Caller::of(&request)?;
        let mut chunks = request.into_inner();
        let first = chunks.message().await?;
        let first = first.ok_or_else(|| Status::invalid_argument("the snapshot is empty"))?;
        self.admit(&caller, first.group, first.from, first.to)
            .await?;
        let head: Head = wire::decode(&first.head)?;
        let Ok(_installing) = self.installing.try_lock() else {
            return Err(Status::unavailable("another snapshot is being received"));
        };
        let received = snapshot::receive(&head, &mut chunks, self.snapshots.clone()).await;
        metrics::snapshot(Direction::Received, received.is_ok());
        let snapshot = SnapshotOf {
            meta: head.meta,
            snapshot: received?,
        };
        let answer = self
            .shared
            .raft
            .install_full_snapshot(head.vote, snapshot)
            .await;
        wire::response(&answer.map_err(|fatal| stopped(&fatal))?).map(Response::new)
    }

    async fn propose(
        &self,
        request: Request<ProposeRequest>,
    ) -> Result<Response<ProposeResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        Self::is_member_call(&caller, request.group)?;
        // An entry that no node can decode would stop them all: it must not get into the log.
        Entry::decode(&request.entry)
            .map_err(|_| Status::invalid_argument("the entry is malformed"))?;
        match propose_here(&self.shared.raft, request.entry).await {
            Ok(Index(index)) => Ok(Response::new(ProposeResponse { index })),
            Err(error) => Err(status_of(error)),
        }
    }

    async fn read_index(
        &self,
        request: Request<ReadIndexRequest>,
    ) -> Result<Response<ReadIndexResponse>, Status> {
        let caller = Caller::of(&request)?;
        Self::is_member_call(&caller, request.get_ref().group)?;
        match self.shared.read_index_here().await {
            Some(Index(index)) => Ok(Response::new(ReadIndexResponse { index })),
            None => Err(Status::failed_precondition(
                "leadership could not be confirmed",
            )),
        }
    }

    async fn renew(
        &self,
        request: Request<RenewRequest>,
    ) -> Result<Response<RenewResponse>, Status> {
        let caller = Caller::of(&request)?;
        let request = request.into_inner();
        Self::is_member_call(&caller, request.group)?;
        self.is_named(&caller, request.node_id)?;
        if !self.shared.leadership.borrow().leads {
            return Ok(Response::new(RenewResponse { granted: false }));
        }
        let renewal = Renewal {
            node: NodeId(request.node_id),
            incarnation: Incarnation(Position(request.incarnation)),
            applied: Index(request.applied),
            unreachable: NodeSet(request.unreachable),
        };
        let granted = self.shared.renew_here(renewal).await;
        Ok(Response::new(RenewResponse { granted }))
    }

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
        let gone = || Status::unavailable("the node takes no links");
        self.links.send(incoming).await.map_err(|_| gone())?;
        accepted.await.map_err(|_| gone())?.map(Response::new)
    }
}

fn stopped(fatal: &Fatal<TypeConfig>) -> Status {
    tracing::debug!(
        error = fatal as &dyn std::error::Error,
        "raft answers no more"
    );
    Status::unavailable("raft has stopped on this node")
}
