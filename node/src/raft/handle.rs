//! What other rooms hold of the consensus: propose, read, confirm, renew, and how it stands.
//!
//! Cheap to clone; each call may be made from any runtime and ends in bounded time. Nothing of openraft shows.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use mainstay_core::{
    control::Renewal,
    ids::{Incarnation, Index, NodeId, Position},
    replica::Entry,
};
use mainstay_proto::internal::v1::{ReadIndexRequest, RenewRequest};
use openraft::{LinearizerOption, async_runtime::WatchReceiver};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    leadership::Leadership,
    machine::Machine,
    proposals::{Proposal, ProposeError},
    types::Raft,
    wire::GROUP,
};
use crate::link::{Channels, Client, Endpoint, Home, Purpose};

/// openraft with our state machine.
pub(super) type RaftNode = Raft<Machine>;

/// An answer of the leader is waited for this long; control asks again after half a second anyway.
const ASK_PATIENCE: Duration = Duration::from_secs(1);

/// A renewal that reached this node, with the way back.
pub type IncomingRenewal = (Renewal, oneshot::Sender<bool>);

/// The consensus, as other rooms see it.
#[derive(Clone)]
pub struct Handle {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) raft: RaftNode,
    pub(super) channels: Arc<Channels>,
    pub(super) home: Home,
    pub(super) proposals: mpsc::Sender<Proposal>,
    pub(super) renewals: mpsc::Sender<IncomingRenewal>,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) failure: watch::Receiver<Option<Arc<str>>>,
    pub(super) incarnation: AtomicU64,
    pub(super) stop: CancellationToken,
    pub(super) tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// What a member may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It votes.
    Voter,
    /// It follows.
    Learner,
}

/// A member of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The node.
    pub node: NodeId,
    /// Its name.
    pub name: String,
    /// host:port of its cluster listener.
    pub address: String,
    /// What it may do.
    pub role: Role,
    /// On the leader, how many entries it lacks.
    pub lag: Option<u64>,
}

/// How the consensus stands, as this node knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub node: NodeId,
    /// The term.
    pub term: u64,
    /// The leader, if one is known.
    pub leader: Option<NodeId>,
    /// All members.
    pub members: Vec<Member>,
    /// The last entry that this node has applied.
    pub applied: Index,
    /// The last entry that this node knows to be committed.
    pub committed: Index,
    /// The last entry in this node's log.
    pub last_log: Index,
    /// The last entry of the newest snapshot.
    pub snapshot: Index,
    /// The last entry that was purged from the log.
    pub purged: Index,
}

impl Handle {
    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.me
    }

    /// The cluster that this node belongs to; `None` before there is one.
    pub fn cluster_id(&self) -> Option<String> {
        self.shared.home.cluster().map(|id| id.as_str().to_owned())
    }

    /// Proposes an entry through the leader; the index once it is committed and applied there.
    ///
    /// # Errors
    ///
    /// `NotLeader`: it was certainly not proposed. `Unknown`: it may be committed, now or later.
    pub fn propose(
        &self,
        entry: &Entry,
    ) -> impl Future<Output = Result<Index, ProposeError>> + Send + use<> {
        // Queued by the call, not by the first poll: callers keep an order by the order of their calls.
        let (answer, result) = oneshot::channel();
        let queued = self.shared.proposals.try_send(Proposal {
            entry: entry.encode(),
            answer,
        });
        async move {
            match queued {
                Ok(()) => result.await.unwrap_or(Err(ProposeError::Unknown)),
                Err(_) => Err(ProposeError::NotLeader),
            }
        }
    }

    /// The leader's committed index, confirmed by a majority since this call; state at or above it is
    /// linearizable.
    pub async fn read_index(&self) -> Option<Index> {
        if self.leads() {
            return self.shared.read_index_here().await;
        }
        let mut leader = self.leader_client()?;
        let ask = leader.read_index(ReadIndexRequest { group: GROUP });
        let answer = tokio::time::timeout(ASK_PATIENCE, ask).await.ok()?.ok()?;
        Some(Index(answer.into_inner().index))
    }

    /// Whether a majority has confirmed, since this call, that this node leads.
    pub async fn confirm(&self) -> bool {
        self.leads() && self.shared.read_index_here().await.is_some()
    }

    /// Asks the leader for a lease; on the leader itself, the local control.
    pub async fn renew(&self, renewal: Renewal) -> bool {
        if self.leads() {
            return self.shared.renew_here(renewal).await;
        }
        let Some(mut leader) = self.leader_client() else {
            return false;
        };
        let ask = leader.renew(RenewRequest {
            group: GROUP,
            node_id: renewal.node.0,
            incarnation: renewal.incarnation.0.0,
            applied: renewal.applied.0,
            unreachable: renewal.unreachable.0,
        });
        let answer = tokio::time::timeout(ASK_PATIENCE, ask).await;
        answer.is_ok_and(|answer| answer.is_ok_and(|answer| answer.into_inner().granted))
    }

    /// Who leads, from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.shared.leadership.clone()
    }

    /// Waits until the consensus has failed for good, and says why; never returns as long as it has not. The node
    /// must then stop.
    pub async fn failed(&self) -> Arc<str> {
        let mut failure = self.shared.failure.clone();
        let failed = failure.wait_for(Option::is_some).await;
        failed
            .ok()
            .and_then(|why| why.clone())
            .unwrap_or_else(|| "raft has stopped".into())
    }

    /// Says which incarnation others are told when they probe.
    pub fn set_incarnation(&self, incarnation: Incarnation) {
        self.shared
            .incarnation
            .store(incarnation.0.0, Ordering::Relaxed);
    }

    /// All members.
    pub fn members(&self) -> Vec<Member> {
        self.status().members
    }

    /// The last entry that this node knows to be committed.
    pub fn committed(&self) -> Index {
        let metrics = self.shared.raft.metrics();
        let committed = metrics.borrow_watched().local_committed;
        Index(committed.map_or(0, |id| id.index))
    }

    /// Where a member is reached.
    pub fn endpoint(&self, node: NodeId) -> Option<Endpoint> {
        let member = self
            .members()
            .into_iter()
            .find(|member| member.node == node)?;
        Some(Endpoint {
            name: member.name,
            address: member.address,
        })
    }

    /// How the consensus stands.
    pub fn status(&self) -> Status {
        self.shared.status()
    }

    /// Hands the leadership to the voter that has the most of the log; whether another node leads soon after.
    /// Nothing happens on a node that does not lead.
    pub async fn transfer_leader(&self) -> bool {
        let status = self.status();
        let others = status.members.iter().filter(|m| m.node != self.shared.me);
        let target = others
            .filter(|m| m.role == Role::Voter)
            .min_by_key(|m| (m.lag.unwrap_or(u64::MAX), m.node));
        let Some(target) = target.filter(|_| self.leads()) else {
            return false;
        };
        if self
            .shared
            .raft
            .trigger()
            .transfer_leader(target.node.0)
            .await
            .is_err()
        {
            return false;
        }
        let me = self.shared.me;
        let mut leadership = self.leadership();
        let moved = leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != me));
        tokio::time::timeout(ASK_PATIENCE * 2, moved)
            .await
            .is_ok_and(|moved| moved.is_ok())
    }

    /// Starts a snapshot now, for tests and backups; the log behind it is purged as by the settings.
    pub async fn trigger_snapshot(&self) -> bool {
        self.shared.raft.trigger().snapshot().await.is_ok()
    }

    /// Stops the consensus on this node; the log is whole and closed at the return.
    pub async fn shutdown(&self) {
        self.shared.stop.cancel();
        if let Err(error) = self.shared.raft.shutdown().await {
            tracing::warn!(error = &error as &dyn std::error::Error, "stop raft");
        }
        let tasks = std::mem::take(
            &mut *self
                .shared
                .tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for task in tasks {
            // A task that panicked has said so already.
            let _ = task.await;
        }
    }

    fn leads(&self) -> bool {
        self.shared.leadership.borrow().leads
    }

    fn leader_client(&self) -> Option<Client> {
        let endpoint = self.shared.leadership.borrow().endpoint.clone()?;
        self.shared.channels.client(&endpoint, Purpose::Raft).ok()
    }
}

impl Shared {
    pub(super) async fn read_index_here(&self) -> Option<Index> {
        // A majority must answer a heartbeat that goes out after this call: no earlier answer counts.
        let option =
            LinearizerOption::new(Some(Duration::ZERO), true).with_wait_timeout(ASK_PATIENCE);
        let ask = self.raft.get_read_linearizer(option);
        let linearizer = tokio::time::timeout(ASK_PATIENCE, ask).await.ok()?.ok()?;
        Some(Index(linearizer.read_log_id().index()))
    }

    pub(super) async fn renew_here(&self, renewal: Renewal) -> bool {
        let (answer, granted) = oneshot::channel();
        if self.renewals.send((renewal, answer)).await.is_err() {
            return false;
        }
        tokio::time::timeout(ASK_PATIENCE, granted)
            .await
            .is_ok_and(|granted| granted.unwrap_or(false))
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        Incarnation(Position(self.incarnation.load(Ordering::Relaxed)))
    }

    pub(super) fn spawn(
        &self,
        runtime: &tokio::runtime::Handle,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let task = runtime.spawn(task);
        self.tasks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    fn status(&self) -> Status {
        let receiver = self.raft.metrics();
        let metrics = receiver.borrow_watched();
        let index = |id: Option<super::types::LogId>| Index(id.map_or(0, |id| id.index));
        let last = metrics.last_log_index.unwrap_or(0);
        let membership = metrics.membership_config.membership();
        let voters: Vec<_> = membership.voter_ids().collect();
        let members = membership.nodes().map(|(id, peer)| Member {
            node: NodeId(*id),
            name: peer.name.clone(),
            address: peer.addr.clone(),
            role: if voters.contains(id) {
                Role::Voter
            } else {
                Role::Learner
            },
            lag: metrics
                .replication
                .as_ref()
                .and_then(|all| all.get(id))
                .map(|matched| last.saturating_sub(index(*matched).0)),
        });
        Status {
            node: self.me,
            term: metrics.current_term,
            leader: metrics.current_leader.map(NodeId),
            members: members.collect(),
            applied: index(metrics.last_applied),
            committed: index(metrics.local_committed),
            last_log: Index(last),
            snapshot: index(metrics.snapshot),
            purged: index(metrics.purged),
        }
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("node", &self.shared.me)
            .finish_non_exhaustive()
    }
}
