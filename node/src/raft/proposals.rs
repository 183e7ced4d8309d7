//! Hands proposals to the leader, in the order in which they came.
//!
//! One task submits; up to [`IN_FLIGHT`] wait for their commit. On the leader they go straight into openraft,
//! elsewhere over the network. The order is kept as far as a network of single calls keeps it: core's lanes
//! mend what is left (a batch that comes too early is answered `Gap`).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::{Duration, Instant},
};

use bytes::Bytes;
use mainstay_core::ids::Index;
use mainstay_proto::internal::v1::ProposeRequest;
use openraft::{
    errors::{ClientWriteError, ForwardReason, ForwardToLeader, RaftError},
    impls::ProgressResponder,
    raft::ClientWriteResult,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::{
    handle::RaftNode,
    leadership::Leadership,
    metrics::{self, Outcome, Pending},
    types::{Payload, TypeConfig},
    wire::GROUP,
};
use crate::link::{Channels, Endpoint, Purpose, is_refused};

/// Entries under way at once: four of each of core's two lanes (`BATCHES_IN_FLIGHT`).
pub(super) const IN_FLIGHT: usize = 8;
/// Entries that wait to be submitted; core never has more than [`IN_FLIGHT`], so this is slack for callers that
/// come at the same moment.
pub(super) const QUEUE: usize = 32;
/// After this the fate of a proposal is called unknown. It is above an election, so that a leader change
/// settles what it can, and far below what would fill all of [`IN_FLIGHT`] for long.
const PATIENCE: Duration = Duration::from_secs(2);
/// A leader that was elected a moment ago refuses writes until its lease stands.
const LEASE_PAUSE: Duration = Duration::from_millis(5);
/// … which takes a round of heartbeats; longer than this is another illness.
const LEASE_PATIENCE: Duration = Duration::from_millis(500);

/// Why a proposal has no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was not proposed: no leader is known, or who was thought to lead does not. Worth a retry.
    #[error("no leader took the proposal")]
    NotLeader,
    /// It may be committed or not, now or later.
    #[error("the fate of the proposal is unknown")]
    Unknown,
}

/// One entry on its way.
#[derive(Debug)]
pub(super) struct Proposal {
    pub(super) entry: Bytes,
    pub(super) answer: oneshot::Sender<Result<Index, ProposeError>>,
}

/// The submitting task.
pub(super) struct Submitter {
    pub(super) raft: RaftNode,
    pub(super) channels: Arc<Channels>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) queue: mpsc::Receiver<Proposal>,
    pub(super) stop: CancellationToken,
}

type Waiting = Pin<Box<dyn Future<Output = Result<Index, ProposeError>> + Send>>;

impl Submitter {
    pub(super) async fn run(mut self) {
        let room = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut waiting = JoinSet::new();
        loop {
            let next = tokio::select! {
                next = self.queue.recv() => next,
                Some(_) = waiting.join_next(), if !waiting.is_empty() => continue,
                () = self.stop.cancelled() => None,
            };
            let (Some(Proposal { entry, answer }), Ok(permit)) =
                (next, Arc::clone(&room).acquire_owned().await)
            else {
                return;
            };
            let mut result = self.submit(entry).await;
            // The first poll hands the request over, before the next proposal is looked at.
            let first = std::future::poll_fn(|cx| Poll::Ready(result.as_mut().poll(cx))).await;
            let started = Instant::now();
            match first {
                Poll::Ready(result) => settle(result, answer, started, None),
                Poll::Pending => {
                    let pending = Some((Pending::new(), permit));
                    waiting.spawn(async move { settle(result.await, answer, started, pending) });
                }
            }
        }
    }

    /// Starts one proposal; what is returned waits for its commit.
    async fn submit(&self, entry: Bytes) -> Waiting {
        let (leads, endpoint) = {
            let now = self.leadership.borrow();
            (now.leads, now.endpoint.clone())
        };
        if leads {
            let (responder, committed) = ProgressResponder::complete_only();
            let submitted = self
                .raft
                .client_write_ff(Payload(entry.clone()), Some(responder))
                .await;
            let raft = self.raft.clone();
            return Box::pin(bounded(async move {
                if submitted.is_err() {
                    return Err(ProposeError::NotLeader);
                }
                let first = committed.await.map_err(|_| ProposeError::Unknown)?;
                finish(&raft, entry, first).await
            }));
        }
        let channels = Arc::clone(&self.channels);
        match endpoint {
            Some(leader) => Box::pin(bounded(forward(channels, leader, entry))),
            None => Box::pin(std::future::ready(Err(ProposeError::NotLeader))),
        }
    }
}

/// Proposes on this node, which was asked as the leader.
pub(super) async fn propose_here(raft: &RaftNode, entry: Bytes) -> Result<Index, ProposeError> {
    bounded(async {
        let first = match raft.client_write(Payload(entry.clone())).await {
            Ok(written) => Ok(written),
            Err(RaftError::APIError(error)) => Err(error),
            Err(RaftError::Fatal(_)) => return Err(ProposeError::Unknown),
        };
        finish(raft, entry, first).await
    })
    .await
}

/// Tries again while a new leader's lease does not stand yet.
async fn finish(
    raft: &RaftNode,
    entry: Bytes,
    first: ClientWriteResult<TypeConfig>,
) -> Result<Index, ProposeError> {
    let until = Instant::now() + LEASE_PATIENCE;
    let mut result = first;
    loop {
        match result {
            Ok(written) => return Ok(Index(written.log_id.index)),
            Err(ClientWriteError::ForwardToLeader(ForwardToLeader {
                leader_id: None,
                reason: ForwardReason::LeaseExpired,
                ..
            })) if Instant::now() < until => tokio::time::sleep(LEASE_PAUSE).await,
            Err(ClientWriteError::LogEntryDiscarded(_)) => return Err(ProposeError::Unknown),
            Err(_) => return Err(ProposeError::NotLeader),
        }
        result = match raft.client_write(Payload(entry.clone())).await {
            Ok(written) => Ok(written),
            Err(RaftError::APIError(error)) => Err(error),
            Err(RaftError::Fatal(_)) => return Err(ProposeError::Unknown),
        };
    }
}

async fn forward(
    channels: Arc<Channels>,
    leader: Endpoint,
    entry: Bytes,
) -> Result<Index, ProposeError> {
    let client = channels.client(&leader, Purpose::Raft);
    let mut client = client.map_err(|_| ProposeError::NotLeader)?;
    match client
        .propose(ProposeRequest {
            group: GROUP,
            entry,
        })
        .await
    {
        Ok(answer) => Ok(Index(answer.into_inner().index)),
        Err(status) => Err(error_of(&status)),
    }
}

async fn bounded(
    result: impl Future<Output = Result<Index, ProposeError>>,
) -> Result<Index, ProposeError> {
    tokio::time::timeout(PATIENCE, result)
        .await
        .unwrap_or(Err(ProposeError::Unknown))
}

fn settle(
    result: Result<Index, ProposeError>,
    answer: oneshot::Sender<Result<Index, ProposeError>>,
    started: Instant,
    pending: Option<(Pending, OwnedSemaphorePermit)>,
) {
    let took = started.elapsed();
    let outcome = match result {
        Ok(_) => Outcome::Committed,
        Err(ProposeError::NotLeader) => Outcome::NotLeader,
        Err(ProposeError::Unknown) if took >= PATIENCE => Outcome::Timeout,
        Err(ProposeError::Unknown) => Outcome::Failed,
    };
    metrics::proposal(outcome, took);
    drop(pending);
    // Who asked may have gone; the outcome is counted all the same.
    let _ = answer.send(result);
}

/// What the service answers for a proposal that has no index; [`error_of`] reads it.
pub(super) fn status_of(error: ProposeError) -> Status {
    match error {
        ProposeError::NotLeader => Status::failed_precondition("this node does not lead"),
        ProposeError::Unknown => Status::aborted("the fate of the proposal is unknown"),
    }
}

fn error_of(status: &Status) -> ProposeError {
    match status.code() {
        Code::FailedPrecondition | Code::PermissionDenied | Code::Unauthenticated => {
            ProposeError::NotLeader
        }
        // Nobody was there to take it.
        _ if is_refused(status) => ProposeError::NotLeader,
        _ => ProposeError::Unknown,
    }
}
