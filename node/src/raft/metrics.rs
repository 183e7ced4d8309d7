//! Names of the metrics that `raft` records, their labels and descriptions.
//!
//! `describe_metrics` is called once by `telemetry`. There is one group, whose kind is `meta`.

use std::time::Duration;

use metrics::Unit;

/// Gauge: 1 when this node knows a leader.
pub const HAS_LEADER: &str = "mainstay_raft_has_leader";
/// Gauge: groups of this node by its role.
pub const GROUPS: &str = "mainstay_raft_groups";
/// Gauge: members by role.
pub const MEMBERS: &str = "mainstay_raft_members";
/// Counter: leader changes seen.
pub const LEADER_CHANGES: &str = "mainstay_raft_leader_changes_total";
/// Counter: proposals by result.
pub const PROPOSALS: &str = "mainstay_raft_proposals_total";
/// Gauge: proposals under way.
pub const PROPOSALS_PENDING: &str = "mainstay_raft_proposals_pending";
/// Histogram, seconds: from the proposal to its commit.
pub const COMMIT_DURATION: &str = "mainstay_raft_commit_duration_seconds";
/// Gauge: committed and not yet applied entries.
pub const APPLY_LAG: &str = "mainstay_raft_apply_lag_entries";
/// Gauge, leader only: entries that a peer has not got yet.
pub const REPLICATION_LAG: &str = "mainstay_raft_replication_lag_entries";
/// Histogram, seconds: heartbeat round trips.
pub const PEER_RTT: &str = "mainstay_raft_peer_rtt_seconds";
/// Counter: snapshots by direction and result.
pub const SNAPSHOTS: &str = "mainstay_raft_snapshots_total";

const KIND: (&str, &str) = ("group_kind", "meta");

/// What this node is in the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It votes.
    Follower,
    /// It only follows.
    Learner,
}

impl Role {
    const ALL: [Self; 3] = [Self::Leader, Self::Follower, Self::Learner];

    fn label(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Learner => "learner",
        }
    }
}

/// Which way a snapshot went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Built,
    Sent,
    Received,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Committed,
    Failed,
    Timeout,
    NotLeader,
}

pub(super) fn snapshot(direction: Direction, succeeded: bool) {
    let direction = match direction {
        Direction::Built => "built",
        Direction::Sent => "sent",
        Direction::Received => "received",
    };
    let result = if succeeded { "ok" } else { "failed" };
    let labels = [KIND, ("direction", direction), ("result", result)];
    metrics::counter!(SNAPSHOTS, &labels).increment(1);
}

pub(super) fn round_trip(peer: &str, took: Duration) {
    metrics::histogram!(PEER_RTT, "peer" => peer.to_owned()).record(took.as_secs_f64());
}

pub(super) fn proposal(outcome: Outcome, took: Duration) {
    let result = match outcome {
        Outcome::Committed => "committed",
        Outcome::Failed => "failed",
        Outcome::Timeout => "timeout",
        Outcome::NotLeader => "not_leader",
    };
    metrics::counter!(PROPOSALS, &[KIND, ("result", result)]).increment(1);
    if outcome == Outcome::Committed {
        metrics::histogram!(COMMIT_DURATION, &[KIND]).record(took.as_secs_f64());
    }
}

/// One more proposal is under way, until the value is dropped.
#[derive(Debug)]
pub(super) struct Pending(());

impl Pending {
    pub(super) fn new() -> Self {
        metrics::gauge!(PROPOSALS_PENDING, &[KIND]).increment(1.0);
        Self(())
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        metrics::gauge!(PROPOSALS_PENDING, &[KIND]).decrement(1.0);
    }
}

pub(super) fn leader_changed() {
    metrics::counter!(LEADER_CHANGES, &[KIND]).increment(1);
}

/// The state of the group, as this node sees it.
pub(super) fn group(has_leader: bool, role: Role, voters: usize, learners: usize, apply_lag: u64) {
    metrics::gauge!(HAS_LEADER, &[KIND]).set(if has_leader { 1.0 } else { 0.0 });
    for each in Role::ALL {
        let groups = metrics::gauge!(GROUPS, &[KIND, ("role", each.label())]);
        groups.set(if each == role { 1.0 } else { 0.0 });
    }
    metrics::gauge!(MEMBERS, &[KIND, ("role", "voter")]).set(voters as f64);
    metrics::gauge!(MEMBERS, &[KIND, ("role", "learner")]).set(learners as f64);
    metrics::gauge!(APPLY_LAG, &[KIND]).set(apply_lag as f64);
}

pub(super) fn replication_lag(peer: &str, entries: u64) {
    let labels = [("group_kind", "meta".to_owned()), ("peer", peer.to_owned())];
    metrics::gauge!(REPLICATION_LAG, &labels).set(entries as f64);
}

/// Describes every metric of this room.
pub fn describe_metrics() {
    use metrics::{describe_counter, describe_gauge, describe_histogram};
    describe_gauge!(
        HAS_LEADER,
        "1 when every local group of the kind knows a leader"
    );
    describe_gauge!(GROUPS, "Local groups by role");
    describe_gauge!(MEMBERS, "Members of the group by role");
    describe_counter!(LEADER_CHANGES, "Leader changes seen");
    describe_counter!(PROPOSALS, "Proposals by result");
    describe_gauge!(PROPOSALS_PENDING, "Proposals under way");
    describe_histogram!(
        COMMIT_DURATION,
        Unit::Seconds,
        "Time from a proposal to its commit"
    );
    describe_gauge!(APPLY_LAG, "Committed entries that are not applied yet");
    describe_gauge!(
        REPLICATION_LAG,
        "On the leader, entries that a peer has not got yet"
    );
    describe_histogram!(PEER_RTT, Unit::Seconds, "Heartbeat round trips to peers");
    describe_counter!(SNAPSHOTS, "Snapshots by direction and result");
}
