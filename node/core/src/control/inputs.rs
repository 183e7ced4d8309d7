//! The inputs of control, one method each.
//!
//! Called by the driver with the moment of handling. Each looks at the lease first: what comes for an
//! incarnation whose lease ran out is not handled in it.

use crate::{
    control::{Control, LinkState, Output, Renewal, answers::Tag, life::Life, reads::Round},
    ids::{Incarnation, Index, NodeSlot, ShardId},
    lease::Ask,
    message::{Event, Request},
    proposer::ProposeError,
    replica::{Applied, Command, Effect, Lane, Replica},
    router::Peer,
    time::Moment,
};

impl Control {
    /// A run of applied entries and the state after the last of them. An empty run with a newer state is an
    /// installed snapshot.
    pub fn handle_applied(&mut self, now: Moment, applied: Vec<Applied>, state: Replica) {
        self.look_at_lease(now);
        let incarnation = self.incarnation();
        let is_install = applied.is_empty() && state.applied() > self.state.applied();
        // The first state may hold nodes that no effect tells of.
        let mut has_nodes_changed = is_install || self.state.applied() == Index(0);
        self.state = state;
        for entry in applied {
            for effect in &entry.effects {
                has_nodes_changed |=
                    matches!(effect, Effect::NodeUp { .. } | Effect::NodeDown { .. });
                self.handle_effect(now, entry.index, effect);
            }
        }
        if is_install {
            self.installing = None;
            // No state may change under clients unseen; the driver asks `may_install` first.
            if let Some((running, ..)) = self.desk(now) {
                running.is_broken = true;
            }
        }
        if has_nodes_changed {
            let up = self
                .state
                .nodes()
                .filter_map(|n| Some((n.id, n.slot, n.incarnation?)));
            self.grantor.handle_nodes(now, up);
        }
        self.proposer.handle_applied(self.state.applied());
        self.grantor.handle_applied(now, self.state.applied());
        let is_new = self.incarnation() != incarnation;
        if is_new && let Some((running, desk, _)) = self.desk(now) {
            running.rebuild(&desk);
        }
        self.do_duties(now);
        self.settle(now);
    }

    /// What a shard asks.
    pub fn handle_request(&mut self, now: Moment, shard: ShardId, request: Request) {
        self.look_at_lease(now);
        if let Some((running, mut desk, _)) = self.desk(now) {
            running.handle_request(&mut desk, shard, request);
        } else if matches!(request, Request::Emptied) {
            self.handle_emptied(now, shard);
        }
        self.settle(now);
    }

    /// A command of the node's own doors (API, local socket); answered by an `Answer` with the same `reply`
    /// once it is applied here. `false`: it was not taken, since no incarnation runs or its lanes are full; one
    /// that was taken is not answered if the incarnation ends first, and may or may not be applied.
    pub fn handle_command(&mut self, now: Moment, reply: u64, command: Command) -> bool {
        self.look_at_lease(now);
        let taken = self.desk(now).is_some_and(|(_, desk, _)| {
            desk.proposer
                .submit(Lane::Work, command, Tag::Command(reply))
                .is_ok()
        });
        self.settle(now);
        taken
    }

    /// What became of a proposal.
    pub fn handle_proposed(
        &mut self,
        now: Moment,
        ticket: u64,
        outcome: Result<Index, ProposeError>,
    ) {
        self.look_at_lease(now);
        self.proposer.handle_proposed(now, ticket, outcome);
        if let Life::Starting(starting) = &mut self.life {
            starting.handle_proposed(
                now,
                ticket,
                outcome.ok(),
                self.config.timing.retry_after / 8,
            );
        }
        self.settle(now);
    }

    /// The answer to a `ReadIndex`; `None` if the leader could not be asked or confirmed.
    pub fn handle_read_index(&mut self, now: Moment, ticket: u64, index: Option<Index>) {
        self.look_at_lease(now);
        if let Some((running, desk, _)) = self.desk(now) {
            match index {
                Some(index) => {
                    running.reads.handle_answered(Round(ticket));
                    running.subscribes.handle_read(Round(ticket), index);
                }
                None => running.reads.handle_failed(&desk, Round(ticket)),
            }
        }
        self.settle(now);
    }

    /// The leader's answer to a `Renew`; `false` also if none came.
    pub fn handle_renewed(&mut self, now: Moment, ticket: u64, granted: bool) {
        self.look_at_lease(now);
        self.holder.handle_renewed(now, ticket, granted);
        self.settle(now);
    }

    /// Whether this node leads, and in which term; on every change of either.
    pub fn handle_leadership(&mut self, now: Moment, leads: bool, term: u64) {
        self.look_at_lease(now);
        if leads {
            self.grantor.became_leader(now, term);
        } else {
            self.grantor.lost_leadership();
        }
        self.do_duties(now);
        self.settle(now);
    }

    /// What the consensus has committed, as this node knows it: on a leader whenever it changes, or at least some
    /// times within `stall_after`. Leases are measured by it, so that also a leader whose replica falls behind
    /// loses its own.
    pub fn handle_committed(&mut self, index: Index) {
        self.grantor.handle_committed(index);
    }

    /// A node (maybe this one) asks for a lease; answered by a `Grant` with the same `reply`.
    pub fn handle_renewal(&mut self, now: Moment, reply: u64, renewal: Renewal) {
        self.look_at_lease(now);
        let Renewal {
            node,
            incarnation,
            applied,
            unreachable,
        } = renewal;
        let ask = Ask {
            node,
            incarnation,
            applied,
            unreachable,
        };
        self.grantor.handle_renewal(now, reply, ask);
        self.settle(now);
    }

    /// The answer to a `Confirm`.
    pub fn handle_confirmed(&mut self, now: Moment, ticket: u64, confirmed: bool) {
        self.look_at_lease(now);
        self.grantor.handle_confirmed(now, ticket, confirmed);
        self.do_duties(now);
        self.settle(now);
    }

    /// A peer's report, from the head of a frame.
    pub fn handle_report(
        &mut self,
        now: Moment,
        slot: NodeSlot,
        incarnation: Incarnation,
        index: Index,
    ) {
        self.look_at_lease(now);
        if let Some((running, ..)) = self.desk(now) {
            running.peers.handle_report(slot, incarnation, index);
        }
        self.settle(now);
    }

    /// What a link's driver saw.
    pub fn handle_link(
        &mut self,
        now: Moment,
        slot: NodeSlot,
        incarnation: Incarnation,
        state: LinkState,
    ) {
        self.look_at_lease(now);
        let voters = self.config.voters;
        if let Some((running, _, holder)) = self.desk(now)
            && running.peers.handle_link(now, slot, incarnation, state)
        {
            if running.peers.has_lost_majority(voters) && holder.is_held(now) {
                holder.give_up();
            }
            match state {
                LinkState::Connected => self.grantor.handle_hint(incarnation, false),
                LinkState::Refused => self.grantor.handle_hint(incarnation, true),
                LinkState::Reset => {}
            }
        }
        self.do_duties(now);
        self.settle(now);
    }

    /// The process is to exit: clients are closed, then the own end is committed, then `Drained`. The driver
    /// bounds the time.
    pub fn handle_drain(&mut self, now: Moment) {
        self.look_at_lease(now);
        self.is_draining = true;
        if let Some((running, mut desk, _)) = self.desk(now) {
            running.drain(&mut desk);
        } else if matches!(self.life, Life::Starting(_)) {
            self.life = Life::Over;
            self.outputs.push_back(Output::Drained);
        }
        self.settle(now);
    }

    /// The consensus wants to install a snapshot: ends the incarnation; `may_install` says when it may.
    pub fn handle_snapshot_request(&mut self, now: Moment) {
        self.installing = Some(now);
        if let Some((running, ..)) = self.desk(now) {
            running.is_broken = true;
        }
        self.settle(now);
    }

    /// Time passed.
    pub fn handle_tick(&mut self, now: Moment) {
        self.look_at_lease(now);
        self.grantor.handle_applied(now, self.state.applied());
        self.do_duties(now);
        self.settle(now);
    }

    /// Acts on what an entry sends outward, in the running incarnation only: before it, replay is silent.
    fn handle_effect(&mut self, now: Moment, index: Index, effect: &Effect) {
        match *effect {
            Effect::NodeUp {
                node,
                slot,
                incarnation,
                nonce,
            } => {
                self.handle_node_up(
                    now,
                    index,
                    Peer {
                        node,
                        slot,
                        incarnation,
                    },
                    nonce,
                );
                return;
            }
            Effect::NodeDown {
                node,
                slot,
                incarnation,
            } => {
                self.handle_node_down(
                    index,
                    Peer {
                        node,
                        slot,
                        incarnation,
                    },
                );
                return;
            }
            _ => {}
        }
        let Some((running, mut desk, _)) = self.desk(now) else {
            return;
        };
        let own = running.incarnation;
        match effect {
            Effect::Answer {
                incarnation,
                lane,
                sequence,
                outcome,
            } if *incarnation == own => {
                if let Some(tag) = desk.proposer.handle_answer(*lane, *sequence) {
                    running.handle_outcome(&mut desk, tag, index, *outcome);
                }
            }
            Effect::Gap {
                incarnation,
                lane,
                expected,
            } if *incarnation == own => {
                desk.proposer.handle_gap(now, *lane, *expected);
            }
            Effect::Ended {
                incarnation,
                conn,
                epoch,
                why,
            } if *incarnation == own => {
                let event = Event::Ended {
                    conn: *conn,
                    epoch: *epoch,
                    why: *why,
                };
                desk.tell(conn.shard, event);
            }
            Effect::Deliver(delivery) => running.deliver(&mut desk, delivery),
            Effect::Interest {
                space,
                filter,
                nodes,
            } => {
                running.routing.set_nodes(*space, filter, *nodes);
                running.handle_routed(index);
            }
            Effect::Catalog => running.handle_routed(index),
            _ => {}
        }
    }

    fn handle_node_up(&mut self, now: Moment, index: Index, peer: Peer, nonce: u64) {
        if peer.node == self.config.node {
            let is_mine = matches!(&self.life, Life::Starting(own) if own.nonce == nonce);
            if is_mine && self.installing.is_none() {
                self.start(peer.incarnation, peer.slot);
            }
        } else if let Some((running, ..)) = self.desk(now) {
            running.peers.add(now, peer);
            running.handle_routed(index);
        }
    }

    fn handle_node_down(&mut self, index: Index, peer: Peer) {
        if peer.node == self.config.node {
            if self.incarnation() == Some(peer.incarnation) {
                self.end();
            }
        } else if let Some((running, ..)) = self.desk(Moment(0)) {
            running.peers.remove(peer.slot, peer.incarnation);
            running.handle_routed(index);
        }
    }

    /// The leader ends and sweeps. What is due is found also while this node runs no incarnation to propose
    /// it in, so that nobody who is due gets a lease meanwhile.
    fn do_duties(&mut self, now: Moment) {
        let due = self.grantor.due(now);
        if !self.grantor.leads() || self.is_draining {
            return;
        }
        if let Some((running, mut desk, _)) = self.desk(now) {
            running.is_broken |= running.duties.settle(&mut desk, due).is_err();
        }
    }
}
