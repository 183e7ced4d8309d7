//! The end of every run: all faults are removed, and within bounded time everything must settle.

use std::collections::BTreeSet;

use mainstay_core::{codec::QoS, ids::SpaceId, time::Moment, topic::TopicFilter};

use crate::{
    client::ClientNo,
    node::{NodeNo, Part},
    params::SHARDS,
    trace::note,
    world::World,
};

/// Until every node serves: an election, a node's end, its new beginning, twice over.
const SERVING: u64 = 20_000;
/// Until every client has connected, subscribed and published: a claim's and a barrier's patience.
const CLIENTS: u64 = 30_000;
/// Until nothing is on its way any more.
const QUIET: u64 = 15_000;

/// How far the healing has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Healing {
    stage: Stage,
    since: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Serving,
    Clients,
    Quiet,
}

impl World {
    pub(crate) fn begin_healing(&mut self) {
        self.counts.add("heal phase");
        note!(self, "all faults are removed");
        self.is_healing = true;
        self.net.heal();
        self.healing = Healing {
            stage: Stage::Serving,
            since: self.now,
        };
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            node.paused_until = 0;
            node.lags_until = 0;
            for actor in &mut node.actors {
                actor.stalled_until = 0;
            }
            self.boot(n);
            for part in [Part::Control, Part::Links, Part::Shard(0), Part::Shard(1)] {
                self.wake_soon(n, part);
            }
        }
        let mut names = BTreeSet::new();
        for c in 0..self.clients.len() {
            self.clients[c].is_slow = false;
            self.set_lazy(c, false);
            if !names.insert(self.clients[c].key.clone()) {
                self.clients[c].is_away = true;
                if let Some(conn) = self.clients[c].conn {
                    self.client_closes(c, conn, true);
                }
            }
        }
    }

    fn go_on(&mut self, stage: Stage) {
        note!(self, "healing: {stage:?}");
        self.healing = Healing {
            stage,
            since: self.now,
        };
    }

    pub(crate) fn look_at_healing(&mut self) {
        let spent = self.now - self.healing.since;
        match self.healing.stage {
            Stage::Serving => {
                let now = Moment(self.now);
                let idle = self
                    .nodes
                    .iter()
                    .position(|n| !n.is_alive || !n.control.is_serving(now));
                match idle {
                    None => {
                        for client in &mut self.clients {
                            (client.has_suback, client.has_puback) = (false, false);
                        }
                        self.go_on(Stage::Clients);
                    }
                    Some(n) if spent > SERVING => {
                        self.violate("heal", &format!("n{n} does not serve"));
                    }
                    Some(_) => {}
                }
            }
            Stage::Clients => {
                let open = self
                    .clients
                    .iter()
                    .position(|c| !(c.is_away || c.has_suback && c.has_puback));
                match open {
                    None => {
                        self.clients
                            .iter_mut()
                            .for_each(|client| client.is_quiet = true);
                        self.go_on(Stage::Quiet);
                    }
                    Some(c) if spent > CLIENTS => {
                        let client = &self.clients[c];
                        let text = format!(
                            "client {c} gets no service: conn {:?}, SUBACK {}, PUBACK {}",
                            client.conn, client.has_suback, client.has_puback
                        );
                        self.violate("heal", &text);
                    }
                    Some(_) => {}
                }
            }
            Stage::Quiet => match self.find_unsettled() {
                None => {
                    self.final_checks();
                    self.is_done = true;
                }
                Some(what) if spent > QUIET => {
                    self.violate("heal", &format!("it does not settle: {what}"));
                }
                Some(_) => {}
            },
        }
    }

    /// A client's turn while all heals.
    pub(crate) fn client_heals(&mut self, c: ClientNo) {
        if self.clients[c].is_away {
            return;
        }
        let Some(conn) = self.clients[c].conn else {
            if self.healing.stage != Stage::Serving {
                let n = (c + self.rng.place(2)) % self.nodes.len();
                self.client_connects(c, n);
            }
            return;
        };
        self.client_reads(conn);
        if self.clients[c].conn != Some(conn) {
            return;
        }
        self.client_acks(c, conn);
        self.client_pings(c);
        if self.healing.stage != Stage::Clients || !self.conns[conn].is_accepted {
            return;
        }
        if !self.clients[c].has_suback && self.rng.chance(1, 4) {
            let text = self.clients[c].filters[0].clone();
            self.subscribe_to(c, conn, &text, QoS::AtLeastOnce);
        }
        if !self.clients[c].has_puback && self.rng.chance(1, 4) {
            self.client_publishes(c, conn);
        }
    }

    /// Something that is still on its way.
    fn find_unsettled(&mut self) -> Option<String> {
        let last = self.raft.log.len() as u64;
        if !self.is_log_quiet() {
            return Some("proposals are on their way".to_owned());
        }
        if self.truth().ended().next().is_some() {
            return Some("an ended incarnation is not swept".to_owned());
        }
        for n in 0..self.nodes.len() {
            let node = &self.nodes[n];
            if node.replica.applied().0 != last {
                return Some(format!("n{n} has not applied all"));
            }
            let waiting = (node.control.unanswered(), node.control.waiting_subscribes());
            if waiting != (0, 0) {
                return Some(format!(
                    "n{n} has unanswered commands and subscribes {waiting:?}"
                ));
            }
            if let Some(shard) = node.shards.iter().position(|shard| !shard.is_idle()) {
                return Some(format!("shard {shard} of n{n} has work"));
            }
            let sockets = node.shards.iter().flat_map(|shard| shard.sockets.values());
            if let Some(socket) = sockets.into_iter().find(|socket| !socket.rest.is_empty()) {
                return Some(format!(
                    "conn {} has packets that are not handled",
                    socket.conn
                ));
            }
            if node.links.len() + 1 != self.nodes.len() {
                return Some(format!("n{n} has {} links", node.links.len()));
            }
            if !node.links.values().all(Self::is_link_idle) {
                return Some(format!("a link of n{n} has something to send"));
            }
        }
        let busy = (0..self.clients.len()).find(|c| match self.clients[*c].conn {
            Some(conn) => {
                let record = &self.conns[conn];
                !record.unacked.is_empty() || !record.is_accepted || !record.is_quiet()
            }
            None => !self.clients[*c].is_away,
        });
        if let Some(c) = busy {
            return Some(format!("client {c} waits, conn {:?}", self.clients[c].conn));
        }
        let owing = self.open_conns().find(|conn| {
            let record = &self.conns[*conn];
            !record.owed.is_empty() || !record.expects.is_empty()
        });
        owing.map(|conn| {
            let record = &self.conns[conn];
            format!(
                "conn {conn} of client {} on n{} never got {:?}, {:?}",
                record.client, record.node, record.owed, record.expects
            )
        })
    }

    /// Connections that a client and a node hold.
    pub(crate) fn open_conns(&self) -> impl Iterator<Item = usize> {
        let held = self.clients.iter().filter_map(|client| client.conn);
        held.filter(|conn| self.conns[*conn].is_open())
    }

    fn final_checks(&mut self) {
        let hashes: BTreeSet<u64> = self
            .nodes
            .iter()
            .map(|node| node.replica.hash().0)
            .collect();
        let truth = self.truth().hash().0;
        if hashes != BTreeSet::from([truth]) {
            self.violate("P2", "the replicas differ");
        }
        self.check_interest();
        self.check_sessions();
        self.check_wills();
        self.check_conservation();
        self.counts.add("run that healed");
    }

    /// What the log says that nodes want is what live subscriptions want.
    fn check_interest(&mut self) {
        for n in 0..self.nodes.len() {
            let Some(slot) = self.nodes[n].control.slot() else {
                continue;
            };
            let stated: BTreeSet<(SpaceId, TopicFilter)> = self
                .truth()
                .interest()
                .filter(|(_, _, nodes)| nodes.contains(slot))
                .map(|(space, filter, _)| (space, filter.clone()))
                .collect();
            let wanted = self.wanted(n);
            if stated != wanted {
                let text = format!("n{n} wants {wanted:?}, the log says {stated:?}");
                self.violate("P4", &text);
            }
        }
    }

    fn wanted(&self, n: NodeNo) -> BTreeSet<(SpaceId, TopicFilter)> {
        let own = self.open_conns().filter(|conn| self.conns[*conn].node == n);
        own.flat_map(|conn| {
            let space = self.clients[self.conns[conn].client].key.principal.space;
            let live = self.conns[conn].subs.iter().filter(|sub| !sub.has_ended);
            live.flat_map(move |sub| sub.canonical.iter().map(move |f| (space, f.clone())))
        })
        .collect()
    }

    fn check_sessions(&mut self) {
        let open: Vec<usize> = self.open_conns().collect();
        if self.truth().session_count() != open.len() {
            let text = format!(
                "{} sessions have owners, {} connections are open",
                self.truth().session_count(),
                open.len()
            );
            self.violate("P5", &text);
        }
        for conn in open {
            let key = &self.clients[self.conns[conn].client].key;
            let owner = self.truth().session(key).map(|session| session.epoch);
            if owner != self.conns[conn].epoch {
                self.violate("P5", &format!("conn {conn} does not own its session"));
            }
        }
    }

    fn check_conservation(&mut self) {
        for n in 0..self.nodes.len() {
            for shard in 0..usize::from(SHARDS) {
                self.check_counters(n, shard);
            }
        }
    }
}
