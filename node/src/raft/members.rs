//! Who is in the group: founding the cluster once, and, on the leader, taking nodes in and choosing voters.
//!
//! One task a node. A node with an empty folder founds only if all of the first seeds answer, are empty too, and
//! it has the lowest name of them; anything else waits until a leader has taken it in. What to do is decided in
//! `voters`, from plain values.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use mainstay_core::ids::NodeId;
use mainstay_proto::internal::v1::{ProbeRequest, ProbeResponse};
use openraft::{ChangeMembers, Instant as _, async_runtime::WatchReceiver};
use tokio::task::JoinSet;

use super::{
    handle::Shared,
    node_file::{Founder, NodeFile, NodeFileError, random_cluster},
    settings::Settings,
    types::Peer,
    voters::{Candidate, choose, ordinal, promotable},
};
use crate::link::{Endpoint, Purpose};

/// Between two looks at the seeds before the cluster exists.
const FOUND_PERIOD: Duration = Duration::from_millis(200);
/// Between two looks at the members.
const KEEP_PERIOD: Duration = Duration::from_secs(1);
/// A seed that is up answers in milliseconds.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// A change of members that takes longer lacks a majority; it may still come true, and is looked at again.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);
/// A member that has not answered a heartbeat for so long is asked who it is: it may be a new folder.
const SILENT_AFTER: Duration = Duration::from_secs(2);
/// A voter is replaced after so long a silence; a restart or a short cut must not move votes about.
const LOST_AFTER: Duration = Duration::from_secs(30);

/// The task.
pub(super) struct Members {
    shared: Arc<Shared>,
    file: Arc<NodeFile>,
    settings: Settings,
}

impl Members {
    pub(super) fn new(shared: Arc<Shared>, file: Arc<NodeFile>, mut settings: Settings) -> Self {
        if settings.seeds.is_empty() {
            let name = shared.channels.name().to_owned();
            settings.seeds = vec![Endpoint {
                name,
                address: settings.advertise.clone(),
            }];
        }
        settings.bootstrap_expect = settings.bootstrap_expect.clamp(1, settings.seeds.len());
        Self {
            shared,
            file,
            settings,
        }
    }

    pub(super) async fn run(self) {
        let stop = self.shared.stop.clone();
        tokio::select! {
            () = self.live() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn live(&self) {
        while !self.is_founded().await {
            if let Err(error) = self.found().await {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "found the cluster"
                );
            }
            tokio::time::sleep(FOUND_PERIOD).await;
        }
        self.elect_alone().await;
        loop {
            if self.shared.leadership.borrow().leads {
                self.keep().await;
            }
            tokio::time::sleep(KEEP_PERIOD).await;
        }
    }

    /// Whether nothing is left to do for this node before a leader does the rest.
    async fn is_founded(&self) -> bool {
        let initialized = self.shared.raft.is_initialized().await.unwrap_or(true);
        initialized || (self.shared.home.cluster().is_some() && self.file.founders().is_empty())
    }

    async fn found(&self) -> Result<(), NodeFileError> {
        let mut founders = self.file.founders();
        if founders.is_empty() {
            let Some(planned) = self.plan().await else {
                return Ok(());
            };
            let record = planned
                .iter()
                .map(|(id, peer)| Founder::new(NodeId(*id), peer))
                .collect();
            let (file, cluster) = (Arc::clone(&self.file), random_cluster()?);
            // From here on this node is not empty any more, and finishes what it began also after a crash.
            let recorded = tokio::task::spawn_blocking(move || file.found(&cluster, record)).await;
            recorded.map_err(|_| NodeFileError::Random)??;
            founders = planned;
        }
        let voters: BTreeMap<u64, Peer> = founders.into_iter().collect();
        tracing::info!(?voters, "founding the cluster");
        if let Err(error) = self.shared.raft.initialize(voters).await {
            tracing::warn!(error = &error as &dyn std::error::Error, "initialise raft");
        }
        Ok(())
    }

    /// The first voters, if it is this node's turn to found the cluster.
    async fn plan(&self) -> Option<Vec<(u64, Peer)>> {
        let first = &self.settings.seeds[..self.settings.bootstrap_expect];
        let me = self.shared.channels.name();
        let lowest = first
            .iter()
            .map(|seed| &seed.name)
            .min_by_key(|name| ordinal(name))?;
        if lowest != me {
            return None;
        }
        let answers = self
            .probe(first.iter().filter(|seed| seed.name != me))
            .await;
        let empty = answers
            .values()
            .filter(|(_, answer)| answer.cluster_id.is_empty());
        let mut members: Vec<(u64, Peer)> = empty
            .map(|(seed, answer)| (answer.node_id, peer_of(seed)))
            .collect();
        if members.len() + 1 < first.len() {
            return None;
        }
        let name = me.to_owned();
        members.push((
            self.shared.me.0,
            Peer {
                name,
                addr: self.settings.advertise.clone(),
            },
        ));
        let candidates: Vec<Candidate> = members
            .iter()
            .map(|(id, peer)| Candidate::healthy(*id, &peer.name))
            .collect();
        let voters = choose(&candidates, self.settings.max_voters);
        members.retain(|(id, _)| voters.contains(id));
        Some(members)
    }

    /// The only voter needs to wait for nobody.
    async fn elect_alone(&self) {
        let alone = {
            let metrics = self.shared.raft.metrics();
            let metrics = metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            membership.voter_ids().eq([self.shared.me.0]) && metrics.current_leader.is_none()
        };
        if alone {
            // A raft that has stopped is reported by the watcher.
            let _ = self.shared.raft.trigger().elect(false).await;
        }
    }

    /// One round of the leader: takes seeds in that are not members, chooses voters, drops replaced nodes.
    async fn keep(&self) {
        let candidates = self.candidates();
        let asked = self.settings.seeds.iter().filter(|seed| {
            let known = candidates.iter().find(|c| c.name == seed.name);
            known.is_none_or(|c| c.silent >= SILENT_AFTER)
        });
        for (seed, answer) in self.probe(asked).await.into_values() {
            let ours = self.shared.home.cluster();
            let fits = answer.cluster_id.is_empty()
                || ours.is_some_and(|ours| ours.as_str() == answer.cluster_id);
            if !fits {
                tracing::warn!(node = seed.name, "a seed belongs to another cluster");
            } else if candidates.iter().all(|c| c.id != answer.node_id) {
                tracing::info!(node = seed.name, id = %NodeId(answer.node_id), "taking a node in");
                let nodes = BTreeMap::from([(answer.node_id, peer_of(&seed))]);
                self.change(ChangeMembers::AddNodes(nodes)).await;
            }
        }
        let candidates = self.candidates();
        let voters = choose(&candidates, self.settings.max_voters);
        let now: BTreeSet<u64> = candidates
            .iter()
            .filter(|c| c.votes)
            .map(|c| c.id)
            .collect();
        if voters != now {
            if promotable(&candidates, &voters) {
                tracing::info!(?voters, "changing the voters");
                self.change(ChangeMembers::ReplaceAllVoters(voters)).await;
            }
            return;
        }
        let replaced: BTreeSet<u64> = candidates
            .iter()
            .filter(|c| c.replaced && !c.votes)
            .map(|c| c.id)
            .collect();
        if !replaced.is_empty() {
            tracing::info!(?replaced, "dropping nodes whose name has a new folder");
            self.change(ChangeMembers::RemoveNodes(replaced)).await;
        }
    }

    async fn change(&self, change: ChangeMembers<u64, Peer>) {
        let changing = self.shared.raft.change_membership(change, true);
        match tokio::time::timeout(CHANGE_PATIENCE, changing).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "change the members"
                );
            }
            Err(_) => tracing::warn!("a change of the members takes long"),
        }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let metrics = self.shared.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let mut all: Vec<Candidate> = Vec::new();
        for (id, peer) in membership.nodes() {
            let heard = metrics
                .heartbeat
                .as_ref()
                .and_then(|all| all.get(id))
                .copied()
                .flatten();
            let matched = metrics
                .replication
                .as_ref()
                .and_then(|all| all.get(id))
                .copied()
                .flatten();
            let me = *id == self.shared.me.0;
            let silent = if me {
                Duration::ZERO
            } else {
                heard.map_or(Duration::MAX, |at| at.elapsed())
            };
            all.push(Candidate {
                id: *id,
                name: peer.name.clone(),
                votes: voters.contains(id),
                silent,
                lost: silent >= LOST_AFTER,
                replaced: false,
                lag: if me {
                    0
                } else {
                    last.saturating_sub(matched.map_or(0, |id| id.index))
                },
            });
        }
        Candidate::mark_replaced(&mut all);
        all
    }

    async fn probe(
        &self,
        seeds: impl Iterator<Item = &Endpoint>,
    ) -> BTreeMap<String, (Endpoint, ProbeResponse)> {
        let mut asking = JoinSet::new();
        for seed in seeds
            .filter(|seed| seed.name != self.shared.channels.name())
            .cloned()
        {
            let client = self.shared.channels.client(&seed, Purpose::Raft);
            let name = self.shared.channels.name().to_owned();
            asking.spawn(async move {
                let ask = async { client.ok()?.probe(ProbeRequest { name }).await.ok() };
                let answer = tokio::time::timeout(PROBE_PATIENCE, ask).await.ok()??;
                Some((seed.name.clone(), (seed, answer.into_inner())))
            });
        }
        asking.join_all().await.into_iter().flatten().collect()
    }
}

fn peer_of(seed: &Endpoint) -> Peer {
    Peer {
        name: seed.name.clone(),
        addr: seed.address.clone(),
    }
}
