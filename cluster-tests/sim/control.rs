//! The driver of a node's control: its queue in, its outputs carried out.

use mainstay_core::{control::Output, lease::Window, time::Moment};

use crate::{
    node::{ControlIn, NodeNo, Part},
    raft::Body,
    shard::Item,
    trace::note,
    world::World,
};

/// Inputs handled in one step at most.
const INPUTS: u64 = 12;
/// Inputs that may wait for control: as much as its clients and peers can have under way, and then some.
pub(crate) const QUEUE: usize = 4_096;

impl World {
    pub(crate) fn step_control(&mut self, n: NodeNo) {
        let inputs = self.rng.within(1, INPUTS);
        for _ in 0..inputs {
            let Some(input) = self.nodes[n].control_in.pop_front() else {
                break;
            };
            self.handle_control(n, input);
            self.carry_out(n);
            if self.may_stall(n, Part::Control) {
                break;
            }
        }
        let now = Moment(self.now);
        if self.nodes[n].control.next_deadline() <= now {
            self.nodes[n].control.handle_tick(now);
            self.carry_out(n);
        }
        if !self.nodes[n].is_alive {
            return;
        }
        if self.nodes[n].control_in.is_empty() {
            let next = self.nodes[n].control.next_deadline();
            if next.0 < u64::MAX {
                self.wake(n, Part::Control, next.0.max(self.now + 1));
            }
        } else {
            self.wake_soon(n, Part::Control);
        }
    }

    fn handle_control(&mut self, n: NodeNo, input: ControlIn) {
        let now = Moment(self.now);
        let node = &mut self.nodes[n];
        match input {
            ControlIn::Applied(run, state) => {
                node.runs -= 1;
                node.control.handle_applied(now, run, *state);
            }
            ControlIn::Request(shard, request) => node.control.handle_request(now, shard, *request),
            ControlIn::Proposed(ticket, outcome) => {
                node.control.handle_proposed(now, ticket, outcome);
            }
            ControlIn::ReadIndex(ticket, index) => {
                node.control.handle_read_index(now, ticket, index);
            }
            ControlIn::Renewed(ticket, granted) => self.handle_renewed(n, ticket, granted),
            ControlIn::Leadership(leads, term) => node.control.handle_leadership(now, leads, term),
            ControlIn::Renewal(reply, renewal) => node.control.handle_renewal(now, reply, renewal),
            ControlIn::Confirmed(ticket, confirmed) => {
                node.control.handle_confirmed(now, ticket, confirmed);
            }
            ControlIn::Report(slot, life, index) => {
                node.control.handle_report(now, slot, life, index);
            }
            ControlIn::Link(slot, life, state) => node.control.handle_link(now, slot, life, state),
            ControlIn::Committed(index) => node.control.handle_committed(index),
            ControlIn::Drain => node.control.handle_drain(now),
            ControlIn::SnapshotRequest => node.control.handle_snapshot_request(now),
        }
    }

    fn handle_renewed(&mut self, n: NodeNo, ticket: u64, granted: bool) {
        let fence = self.p.timing.fence_after.as_millis() as u64;
        let node = &mut self.nodes[n];
        if granted && let Some(sent) = node.renewals.remove(&ticket) {
            node.leased_until = node.leased_until.max(sent + fence);
        }
        node.control
            .handle_renewed(Moment(self.now), ticket, granted);
        self.counts.add(if granted {
            "lease granted"
        } else {
            "lease refused"
        });
    }

    fn carry_out(&mut self, n: NodeNo) {
        while let Some(output) = self.nodes[n].control.poll_output() {
            match output {
                Output::Shard(shard, event) => {
                    self.note_event(n, &event);
                    self.give(n, usize::from(shard.0), Item::Event(event));
                }
                Output::Propose { ticket, entry } => self.propose(n, ticket, &entry),
                Output::ReadIndex { ticket } => {
                    self.counts.add("read index asked");
                    self.ask_leader(n, Body::ReadIndex { ticket });
                }
                Output::Renew { ticket, renewal } => {
                    self.nodes[n].renewals.insert(ticket, self.now);
                    self.ask_leader(n, Body::Renew { ticket, renewal });
                }
                Output::Confirm { ticket } => self.confirm(n, ticket),
                Output::Grant { reply, granted } => self.answer_renewal(n, reply, granted),
                Output::Links { links } => self.set_links(n, links),
                Output::Report(index) => self.report(n, index),
                // The simulation has no API that proposes commands.
                Output::Answer { .. } => {}
                Output::Drained => {
                    self.counts.add("node drained");
                    self.nodes[n].has_drained = true;
                    let again = self.now + self.rng.within(10, 2_000);
                    self.crash(n, Some(again));
                    return;
                }
            }
        }
    }

    fn note_event(&mut self, n: NodeNo, event: &mainstay_core::message::Event) {
        use mainstay_core::message::Event;
        let name = match event {
            Event::Serve(_) => "incarnation served",
            Event::Fence => "incarnation fenced or ended",
            Event::ClaimFailed { .. } => "claim failed",
            Event::SubscribeFailed { .. } => "subscribe failed",
            Event::Ended { .. } => "connection lost its session",
            Event::BarrierReached { .. } => "path changed at a barrier",
            _ => return,
        };
        self.counts.add(name);
        note!(self, "n{n}: {name} {event:?}");
    }

    /// Whether the node may let something out now.
    pub(crate) fn is_open(&self, n: NodeNo) -> bool {
        Window::is_open(&self.nodes[n].window, Moment(self.now))
    }
}
