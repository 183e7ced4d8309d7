//! A running incarnation: everything that ends with it.
//!
//! Owned by [`super::Control`] from the own NodeUp to the end. It carries out what the log and the shards
//! say, and in the settle round what follows from all of it.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    control::{
        Desk, Output,
        answers::{self, Claims, Tag},
        duties::Duties,
        local::Local,
        peers::Peers,
        reads::Reads,
        routing::Routing,
        subscribe::{Asked, Reached, Subscribes},
    },
    ids::{Incarnation, Index, NodeSlot, ShardId, ShardSet},
    message::{Event, Request, Ticket},
    proposer::Full,
    replica::{Command, Delivery, Lane, Outcome},
    time::Moment,
};

/// Path changes that wait; one a connection, as many as a node can hold.
const BARRIERS: usize = 128 * 1024;
/// While nothing of the routes changed, reports go out this far apart: only a path change can wait for them,
/// and one frame an applied entry on each link would be most of a link's traffic.
const REPORT_PAUSE: Duration = Duration::from_millis(5);

/// How far the incarnation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Waits for the first lease and the first table.
    Entering,
    Serving,
    /// These shards still have clients.
    Draining {
        waiting: ShardSet,
    },
    /// All clients are gone; the own end is proposed once nothing else waits.
    Leaving {
        is_asked: bool,
    },
}

/// One incarnation of this node.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) incarnation: Incarnation,
    pub(super) slot: NodeSlot,
    pub(super) stage: Stage,
    /// It cannot go on (a shard saw the lease run out, or something owed found no room) and is to be ended.
    pub(super) is_broken: bool,
    pub(super) peers: Peers,
    pub(super) routing: Routing,
    pub(super) reads: Reads,
    pub(super) local: Local,
    pub(super) subscribes: Subscribes,
    pub(super) duties: Duties,
    claims: Claims,
    barriers: BTreeSet<(Index, ShardId, Ticket)>,
    reported: Index,
    report_not_before: Moment,
    /// The index up to which something of the routes changed.
    routed: Index,
}

impl Running {
    pub(super) fn new(incarnation: Incarnation, slot: NodeSlot, first_read: u64) -> Self {
        Self {
            incarnation,
            slot,
            stage: Stage::Entering,
            is_broken: false,
            peers: Peers::default(),
            routing: Routing::new(),
            reads: Reads::new(first_read),
            local: Local::default(),
            subscribes: Subscribes::default(),
            duties: Duties::default(),
            claims: Claims::default(),
            barriers: BTreeSet::new(),
            reported: Index(0),
            report_not_before: Moment(0),
            routed: incarnation.0.index(),
        }
    }

    /// Takes routes and peers from the state: the incarnation began in the run that was just applied.
    pub(super) fn rebuild(&mut self, desk: &Desk<'_>) {
        self.routing.rebuild(desk.state);
        self.peers.rebuild(desk.now, desk.state, desk.config.node);
    }

    /// The log changed something of the routes here.
    pub(super) fn handle_routed(&mut self, index: Index) {
        self.routed = index;
        self.routing.touch();
    }

    pub(super) fn handle_request(&mut self, desk: &mut Desk<'_>, shard: ShardId, request: Request) {
        let done = match request {
            Request::Adopted(index) => {
                self.routing.handle_adopted(shard, index);
                Ok(())
            }
            Request::Claim { claim } => {
                self.claims.add(desk, claim);
                Ok(())
            }
            Request::Release { key, epoch, fire } => desk.owe(
                Lane::Work,
                Command::Release { key, epoch, fire },
                Tag::Unanswered,
            ),
            Request::Subscribe {
                ticket,
                space,
                filters,
            } => self.subscribe(
                desk,
                Asked {
                    shard,
                    ticket,
                    space,
                    filters,
                },
            ),
            Request::Unsubscribe { space, filters } => filters.iter().try_for_each(|filter| {
                self.local
                    .remove(desk, &mut self.routing, shard, space, filter)
            }),
            Request::Store { ticket, store } => {
                answers::store(desk, shard, ticket, store);
                Ok(())
            }
            Request::Barrier { ticket, index } => {
                self.barriers.insert((index, shard, ticket));
                if self.barriers.len() > BARRIERS {
                    Err(Full)
                } else {
                    Ok(())
                }
            }
            Request::Emptied => {
                self.handle_emptied(shard);
                Ok(())
            }
        };
        self.is_broken |= done.is_err();
    }

    pub(super) fn handle_outcome(
        &mut self,
        desk: &mut Desk<'_>,
        tag: Tag,
        index: Index,
        outcome: Outcome,
    ) {
        match tag {
            Tag::Claim(id) => {
                self.is_broken |= self.claims.handle_outcome(desk, id, outcome).is_err();
            }
            Tag::Store { shard, ticket } => desk.tell(shard, Event::Stored { ticket, outcome }),
            Tag::Interest(generation) => {
                let at = match outcome {
                    Outcome::Done(position) => position.index(),
                    Outcome::Unchanged => index,
                    Outcome::Refused(_) => {
                        self.subscribes.handle_refused(desk, generation);
                        return;
                    }
                };
                self.local.handle_added(generation, at);
                self.subscribes.handle_added(generation, at);
            }
            Tag::EndNode(incarnation) => self.duties.handle_ended(incarnation),
            Tag::Sweep(incarnation) => self.duties.handle_swept(incarnation),
            Tag::Command(reply) => desk.outputs.push_back(Output::Answer { reply, outcome }),
            Tag::Unanswered => {}
        }
    }

    pub(super) fn deliver(&self, desk: &mut Desk<'_>, delivery: &std::sync::Arc<Delivery>) {
        for shard in self
            .routing
            .shards(delivery.space, delivery.topic.as_str())
            .iter()
        {
            desk.tell(shard, Event::Deliver(delivery.clone()));
        }
    }

    pub(super) fn drain(&mut self, desk: &mut Desk<'_>) {
        if matches!(self.stage, Stage::Entering | Stage::Serving) {
            self.stage = Stage::Draining {
                waiting: desk.config.all_shards(),
            };
            desk.tell_all(&Event::Drain);
        }
    }

    /// Publishes, answers and reports what follows from the inputs so far. `is_held`: the lease.
    pub(super) fn settle(&mut self, desk: &mut Desk<'_>, is_held: bool) {
        self.peers.settle(desk, self.incarnation);
        self.routing
            .settle(desk, self.slot, self.incarnation, &self.peers);
        if self.stage == Stage::Entering && is_held && self.routing.adopted() > 0 {
            self.stage = Stage::Serving;
            desk.tell_all(&Event::Serve(self.incarnation));
        }
        let covered = self.routing.covered(desk);
        let reached = Reached {
            reported: self.peers.lowest_report(covered),
            table: self.routing.adopted(),
        };
        self.subscribes.settle(desk, reached);
        self.settle_barriers(desk, reached.reported);
        self.reads.settle(desk);
        self.claims.settle(desk);
        self.report(desk, covered);
        self.leave(desk);
    }

    pub(super) fn next_deadline(&self, desk: &Desk<'_>) -> Option<Moment> {
        let report = (self.routing.covered(desk) > self.reported).then_some(self.report_not_before);
        let subscribes = self.subscribes.next_deadline(desk.config.timing.down_after);
        [
            report,
            subscribes,
            self.reads.next_deadline(),
            self.claims.next_deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// # Errors
    /// [`Full`]: an interest could not be proposed.
    fn subscribe(&mut self, desk: &mut Desk<'_>, asked: Asked) -> Result<(), Full> {
        let mut standings = Vec::with_capacity(asked.filters.len());
        for filter in &asked.filters {
            let (shard, space) = (asked.shard, asked.space);
            standings.push(
                self.local
                    .add(desk, &mut self.routing, shard, space, filter)?,
            );
        }
        let table = self.routing.table_of_masks();
        self.subscribes
            .add(desk, &mut self.reads, asked, &standings, table);
        Ok(())
    }

    fn handle_emptied(&mut self, shard: ShardId) {
        match &mut self.stage {
            // Nobody asked it to: it found the lease run out.
            Stage::Entering | Stage::Serving => self.is_broken = true,
            Stage::Draining { waiting } => {
                *waiting = waiting.without(shard);
                if waiting.is_empty() {
                    self.stage = Stage::Leaving { is_asked: false };
                }
            }
            Stage::Leaving { .. } => {}
        }
    }

    fn settle_barriers(&mut self, desk: &mut Desk<'_>, reported: Index) {
        while self
            .barriers
            .first()
            .is_some_and(|(index, ..)| *index <= reported)
        {
            let Some((_, shard, ticket)) = self.barriers.pop_first() else {
                break;
            };
            desk.tell(shard, Event::BarrierReached { ticket });
        }
    }

    fn report(&mut self, desk: &mut Desk<'_>, covered: Index) {
        let is_routed = self.reported < self.routed && self.routed <= covered;
        if covered > self.reported && (is_routed || desk.now >= self.report_not_before) {
            self.reported = covered;
            self.report_not_before = desk.now + REPORT_PAUSE;
            desk.outputs.push_back(Output::Report(covered));
        }
    }

    /// Proposes the own end after everything else has its answer, so that a DISCONNECT before the drain is
    /// not taken for a loss.
    fn leave(&mut self, desk: &mut Desk<'_>) {
        if self.stage == (Stage::Leaving { is_asked: false }) && desk.proposer.is_empty() {
            self.stage = Stage::Leaving { is_asked: true };
            let (node, incarnation) = (desk.config.node, self.incarnation);
            let command = Command::EndNode { node, incarnation };
            let done = desk.owe(Lane::Liveness, command, Tag::Unanswered);
            self.is_broken |= done.is_err();
        }
    }
}
