//! openraft's way to the other members: requests over the RPC `Raft`, snapshots as a stream.
//!
//! Made by openraft, one connection object a peer and use; the channels below are shared. Never connects to this
//! node itself, and never grants a vote that the peer did not grant: openraft's own `pre_vote` would.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use mainstay_proto::internal::v1::RaftRequest;
use openraft::{
    OptionalSend, RPCTypes,
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
        TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::{
    metrics,
    snapshot::{self, CHUNKS_AHEAD, SnapshotOf},
    types::{NodeId, Peer, TypeConfig, Vote},
    wire::{self, Kind},
};
use crate::{
    link::{Channels, Client, Endpoint, Purpose},
    store::Snapshot,
};

/// An append with entries may wait for a slow sync of the peer's disk (178 ms were measured): to cut it short
/// would only send the same entries again. Heartbeats keep openraft's own, shorter time.
const APPEND_PATIENCE: Duration = Duration::from_secs(2);
/// A peer that cannot be reached is tried again after this; short, since it also delays its return.
const UNREACHABLE_PAUSE: Duration = Duration::from_millis(100);

/// Makes connections for openraft.
#[derive(Debug)]
pub(super) struct Network {
    pub(super) me: NodeId,
    pub(super) channels: Arc<Channels>,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> Connection {
        let endpoint = Endpoint {
            name: peer.name.clone(),
            address: peer.addr.clone(),
        };
        Connection {
            me: self.me,
            target,
            endpoint,
            channels: Arc::clone(&self.channels),
        }
    }
}

/// The way to one peer.
#[derive(Debug)]
pub(super) struct Connection {
    me: NodeId,
    target: NodeId,
    endpoint: Endpoint,
    channels: Arc<Channels>,
}

type Failure = RPCError<TypeConfig>;

impl Connection {
    fn client(&self) -> Result<Client, Failure> {
        if self.target == self.me {
            return Err(Unreachable::from_string("a node does not call itself").into());
        }
        self.channels
            .client(&self.endpoint, Purpose::Raft)
            .map_err(|error| Unreachable::new(&error).into())
    }

    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: Kind,
        message: &Q,
        patience: Duration,
    ) -> Result<A, Failure> {
        let mut client = self.client()?;
        let request: RaftRequest =
            wire::request((self.me, self.target), kind, message).map_err(|s| failure(&s))?;
        let answer = tokio::time::timeout(patience, client.raft(request)).await;
        let answer = answer
            .map_err(|_| self.timeout(kind, patience))?
            .map_err(|s| failure(&s))?;
        wire::decode(&answer.into_inner().body).map_err(|s| failure(&s))
    }

    fn timeout(&self, kind: Kind, timeout: Duration) -> Failure {
        let action = match kind {
            Kind::Append => RPCTypes::AppendEntries,
            Kind::Vote | Kind::PreVote => RPCTypes::Vote,
            Kind::TransferLeader => RPCTypes::TransferLeader,
        };
        Timeout {
            action,
            id: self.me,
            target: self.target,
            timeout,
        }
        .into()
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf,
        patience: Duration,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let mut client = self.client()?;
        let (chunks, outgoing) = mpsc::channel(CHUNKS_AHEAD);
        let ids = (self.me, self.target);
        let reading = tokio::task::spawn_blocking(move || {
            snapshot::feed(&snapshot.snapshot, vote, snapshot.meta, ids, &chunks)
        });
        let sending = client.install_snapshot(ReceiverStream::new(outgoing));
        let answer = tokio::time::timeout(patience, sending).await;
        if let Ok(Err(error)) = reading.await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "read a snapshot to send it"
            );
            return Err(NetworkError::new(&error).into());
        }
        let timeout = Timeout {
            action: RPCTypes::InstallSnapshot,
            id: self.me,
            target: self.target,
            timeout: patience,
        };
        let answer = answer.map_err(|_| timeout)?.map_err(|s| failure(&s))?;
        Ok(wire::decode(&answer.into_inner().body).map_err(|s| failure(&s))?)
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = Snapshot;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, Failure> {
        let heartbeat = request.entries.is_empty();
        let patience = if heartbeat {
            option.soft_ttl()
        } else {
            APPEND_PATIENCE
        };
        let sent = Instant::now();
        let answer = self.call(Kind::Append, &request, patience).await?;
        if heartbeat {
            metrics::round_trip(&self.endpoint.name, sent.elapsed());
        }
        Ok(answer)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.call(Kind::Vote, &request, option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, Failure> {
        self.call(Kind::PreVote, &request, option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, Failure> {
        self.call(Kind::TransferLeader, &request, option.soft_ttl())
            .await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = self.send_snapshot(vote, snapshot, option.soft_ttl()) => sent,
        };
        metrics::snapshot(metrics::Direction::Sent, sent.is_ok());
        sent
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(UNREACHABLE_PAUSE)))
    }
}

/// A peer that is down, or refuses us, is left alone for a moment; anything else is tried again at once.
fn failure(status: &Status) -> Failure {
    match status.code() {
        Code::Unavailable
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition => Unreachable::new(status).into(),
        _ => NetworkError::new(status).into(),
    }
}
