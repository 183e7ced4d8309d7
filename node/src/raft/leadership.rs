//! Who leads, as this node knows it, and the gauges that follow from openraft's metrics.
//!
//! One task reads openraft's metrics and publishes; control, the submitter and the service watch. A borrow of
//! the metrics is never held across a wait: openraft's core would stand still.

use std::sync::Arc;

use mainstay_core::ids::NodeId;
use openraft::{RaftMetrics, ServerState, async_runtime::WatchReceiver};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    handle::RaftNode,
    metrics::{self, Role},
    types::TypeConfig,
};
use crate::link::Endpoint;

/// Who leads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    /// Whether this node does.
    pub leads: bool,
    /// The term.
    pub term: u64,
    /// The leader, if one is known; this node too.
    pub leader: Option<NodeId>,
    /// Where the leader is reached.
    pub(super) endpoint: Option<Endpoint>,
}

/// Publishes until openraft or the node stops.
pub(super) struct Watcher {
    pub(super) raft: RaftNode,
    pub(super) leadership: watch::Sender<Leadership>,
    /// Why openraft stopped, once it did.
    pub(super) failure: watch::Sender<Option<Arc<str>>>,
    pub(super) stop: CancellationToken,
}

impl Watcher {
    pub(super) async fn run(self) {
        let mut metrics = self.raft.metrics();
        loop {
            let failed = self.publish(&metrics.borrow_watched());
            if failed {
                return;
            }
            tokio::select! {
                changed = metrics.changed() => if changed.is_err() {
                    self.fail("raft has stopped");
                    return;
                },
                () = self.stop.cancelled() => return,
            }
        }
    }

    fn publish(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let next = leadership(metrics);
        self.leadership.send_if_modified(|now| {
            if *now == next {
                return false;
            }
            if now.leader != next.leader && next.leader.is_some() {
                metrics::leader_changed();
            }
            tracing::info!(term = next.term, leads = next.leads, leader = ?next.leader, "leadership");
            *now = next;
            true
        });
        gauges(metrics);
        match &metrics.running_state {
            Err(fatal) if !self.stop.is_cancelled() => {
                self.fail(&fatal.to_string());
                true
            }
            Err(_) => true,
            Ok(()) => false,
        }
    }

    fn fail(&self, why: &str) {
        if !self.stop.is_cancelled() {
            tracing::error!(why, "raft stopped, the node cannot go on");
        }
        self.leadership.send_replace(Leadership::default());
        self.failure.send_replace(Some(why.into()));
    }
}

fn leadership(metrics: &RaftMetrics<TypeConfig>) -> Leadership {
    let leader = metrics.current_leader;
    let membership = metrics.membership_config.membership();
    let endpoint = leader
        .and_then(|id| membership.get_node(&id))
        .map(|peer| Endpoint {
            name: peer.name.clone(),
            address: peer.addr.clone(),
        });
    Leadership {
        leads: metrics.state == ServerState::Leader && leader == Some(metrics.id),
        term: metrics.current_term,
        leader: leader.map(NodeId),
        endpoint,
    }
}

fn gauges(metrics: &RaftMetrics<TypeConfig>) {
    let membership = metrics.membership_config.membership();
    let role = match metrics.state {
        ServerState::Leader => Role::Leader,
        ServerState::Learner | ServerState::Shutdown => Role::Learner,
        ServerState::Follower | ServerState::Candidate => Role::Follower,
    };
    let index = |id: &Option<super::types::LogId>| id.map_or(0, |id| id.index);
    let apply_lag = index(&metrics.local_committed).saturating_sub(index(&metrics.last_applied));
    metrics::group(
        metrics.current_leader.is_some(),
        role,
        membership.voter_ids().count(),
        membership.learner_ids().count(),
        apply_lag,
    );
    let last = metrics.last_log_index.unwrap_or(0);
    for (id, matched) in metrics.replication.iter().flatten() {
        if *id != metrics.id
            && let Some(peer) = membership.get_node(id)
        {
            metrics::replication_lag(&peer.name, last.saturating_sub(index(matched)));
        }
    }
}
