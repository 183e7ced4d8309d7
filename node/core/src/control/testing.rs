//! A small cluster of controls over one agreed log, for the unit tests of this room.
//!
//! Everything is carried out at once and in order unless a test holds it back.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    control::{Config, Control, LinkState, Output, Plant, Renewal},
    ids::{Incarnation, Index, NodeId, NodeSlot, ResourceId, ShardId, SpaceId},
    lease::Window,
    message::{Event, Request, Ticket},
    replica::{Applied, Command, Entry, Replica},
    router::Table,
    time::{Moment, Timing},
    topic::TopicFilter,
};

pub(super) const SPACE: fn() -> SpaceId = || SpaceId::Broker(ResourceId::from_random([3; 17]));

pub(super) fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

/// What a node's driver does by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Does {
    pub(super) apply: bool,
    pub(super) adopt: bool,
    pub(super) report: bool,
    pub(super) read: bool,
    pub(super) renew: bool,
    pub(super) empty: bool,
    pub(super) propose: bool,
    pub(super) link: bool,
}

impl Does {
    pub(super) fn everything() -> Self {
        Self {
            apply: true,
            adopt: true,
            report: true,
            read: true,
            renew: true,
            empty: true,
            propose: true,
            link: true,
        }
    }
}

pub(super) struct Node {
    pub(super) control: Control,
    pub(super) window: Window,
    pub(super) replica: Replica,
    pub(super) does: Does,
    /// What went to the shards, and everything else.
    pub(super) events: Vec<(ShardId, Event)>,
    pub(super) outputs: Vec<Output>,
    /// Held back, in order.
    pub(super) proposals: Vec<(u64, Entry)>,
    pub(super) renewals: Vec<(u64, Renewal)>,
    pub(super) reads: Vec<u64>,
    pub(super) adopted: Vec<(ShardId, Arc<Table>)>,
    /// What each shard routes by.
    pub(super) tables: BTreeMap<ShardId, Arc<Table>>,
    pub(super) report: Index,
}

pub(super) struct World {
    pub(super) now: Moment,
    pub(super) log: Vec<Entry>,
    pub(super) nodes: Vec<Node>,
    pub(super) leader: usize,
    pub(super) has_majority: bool,
    replies: BTreeMap<u64, (usize, u64)>,
}

impl World {
    /// As many nodes, two shards each, none started; node 0 leads in term 1.
    pub(super) fn new(nodes: usize) -> Self {
        Self::planted(nodes, None)
    }

    pub(super) fn planted(nodes: usize, plant: Option<Plant>) -> Self {
        let node = |n: usize| {
            let config = Config {
                node: NodeId(n as u64 + 1),
                name: format!("n{n}").into(),
                shards: 2,
                timing: Timing::default(),
                voters: nodes,
            };
            let window = Window::default();
            let mut control = Control::new(config, window.clone(), n as u64);
            if let Some(plant) = plant {
                control.plant(plant);
            }
            let does = Does::everything();
            Node {
                control,
                window,
                replica: Replica::default(),
                does,
                events: Vec::new(),
                outputs: Vec::new(),
                proposals: Vec::new(),
                renewals: Vec::new(),
                reads: Vec::new(),
                adopted: Vec::new(),
                tables: BTreeMap::new(),
                report: Index(0),
            }
        };
        Self {
            now: Moment(10_000),
            log: Vec::new(),
            nodes: (0..nodes).map(node).collect(),
            leader: 0,
            has_majority: true,
            replies: BTreeMap::new(),
        }
    }

    /// All nodes up and serving.
    pub(super) fn serving(nodes: usize, plant: Option<Plant>) -> Self {
        let mut world = Self::planted(nodes, plant);
        world.start();
        for n in 0..nodes {
            assert!(
                world.nodes[n].control.is_serving(world.now),
                "node {n} serves"
            );
        }
        world.clear();
        world
    }

    pub(super) fn start(&mut self) {
        let now = self.now;
        self.nodes[0].control.handle_leadership(now, true, 1);
        for node in &mut self.nodes {
            node.control.handle_tick(now);
        }
        self.settle();
    }

    /// Forgets what was recorded.
    pub(super) fn clear(&mut self) {
        for node in &mut self.nodes {
            node.events.clear();
            node.outputs.clear();
        }
    }

    pub(super) fn incarnation(&self, n: usize) -> Incarnation {
        self.nodes[n].control.incarnation().unwrap()
    }

    pub(super) fn slot(&self, n: usize) -> NodeSlot {
        self.nodes[n].control.slot().unwrap()
    }

    pub(super) fn request(&mut self, n: usize, shard: u8, request: Request) {
        let now = self.now;
        self.nodes[n]
            .control
            .handle_request(now, ShardId(shard), request);
        self.settle();
    }

    pub(super) fn subscribe(&mut self, n: usize, shard: u8, ticket: u64, texts: &[&str]) {
        let filters = texts.iter().map(|text| filter(text)).collect();
        let ticket = Ticket(ticket);
        self.request(
            n,
            shard,
            Request::Subscribe {
                ticket,
                space: SPACE(),
                filters,
            },
        );
    }

    pub(super) fn unsubscribe(&mut self, n: usize, shard: u8, texts: &[&str]) {
        let filters = texts.iter().map(|text| filter(text)).collect();
        self.request(
            n,
            shard,
            Request::Unsubscribe {
                space: SPACE(),
                filters,
            },
        );
    }

    /// Whether the SUBSCRIBE was answered.
    pub(super) fn is_subscribed(&self, n: usize, ticket: u64) -> bool {
        let answers =
            |event: &Event| matches!(event, Event::Subscribed { ticket: of, .. } if of.0 == ticket);
        self.nodes[n].events.iter().any(|(_, event)| answers(event))
    }

    /// Hands over effects that no entry of the log has, at the next index.
    pub(super) fn inject(&mut self, n: usize, effects: Vec<crate::replica::Effect>) {
        let index = Index(self.log.len() as u64);
        let state = self.nodes[n].replica.clone();
        let now = self.now;
        self.nodes[n]
            .control
            .handle_applied(now, vec![Applied { index, effects }], state);
        self.settle();
    }

    /// Commits commands that no node proposed: an entry of a node with an unused incarnation changes nothing
    /// but the index.
    pub(super) fn commit_nothing(&mut self) {
        self.log.push(Entry::Batch {
            incarnation: Incarnation::default(),
            lane: crate::replica::Lane::Work,
            first: 1,
            commands: Vec::new(),
        });
    }

    /// Lets time pass, tick by tick.
    pub(super) fn advance(&mut self, millis: u64) {
        let until = Moment(self.now.0 + millis);
        loop {
            let next = self
                .nodes
                .iter_mut()
                .map(|node| node.control.next_deadline())
                .min();
            let next = next.unwrap_or(until).max(Moment(self.now.0 + 1));
            if next > until {
                break;
            }
            self.now = next;
            self.tick();
        }
        self.now = until;
        self.tick();
    }

    pub(super) fn tick(&mut self) {
        for node in &mut self.nodes {
            node.control.handle_tick(self.now);
        }
        self.settle();
        for node in &mut self.nodes {
            assert!(
                node.control.next_deadline() > self.now,
                "a driver would spin"
            );
        }
    }

    /// Carries out everything until nothing is left to do.
    pub(super) fn settle(&mut self) {
        for _ in 0..10_000 {
            let mut is_quiet = true;
            for n in 0..self.nodes.len() {
                while let Some(output) = self.nodes[n].control.poll_output() {
                    is_quiet = false;
                    self.carry_out(n, output);
                }
                is_quiet &= !self.apply(n);
            }
            if is_quiet {
                return;
            }
        }
        panic!("the cluster never comes to rest");
    }

    fn apply(&mut self, n: usize) -> bool {
        let node = &mut self.nodes[n];
        let from = usize::try_from(node.replica.applied().0).unwrap();
        if !node.does.apply || from == self.log.len() {
            return false;
        }
        let applied = (from..self.log.len())
            .map(|at| node.replica.apply(Index(at as u64 + 1), &self.log[at]))
            .collect();
        node.control
            .handle_applied(self.now, applied, node.replica.clone());
        true
    }

    fn carry_out(&mut self, n: usize, output: Output) {
        let now = self.now;
        self.nodes[n].outputs.push(output.clone());
        match output {
            Output::Shard(shard, event) => self.tell_shard(n, shard, event),
            Output::Propose { ticket, entry } => {
                if self.nodes[n].does.propose {
                    self.commit(n, ticket, (*entry).clone());
                } else {
                    self.nodes[n].proposals.push((ticket, (*entry).clone()));
                }
            }
            Output::ReadIndex { ticket } => {
                let index = Index(self.log.len() as u64);
                if self.nodes[n].does.read {
                    self.nodes[n]
                        .control
                        .handle_read_index(now, ticket, Some(index));
                } else {
                    self.nodes[n].reads.push(ticket);
                }
            }
            Output::Renew { ticket, renewal } => {
                if self.nodes[n].does.renew {
                    let reply = self.replies.len() as u64;
                    self.replies.insert(reply, (n, ticket));
                    self.nodes[self.leader]
                        .control
                        .handle_renewal(now, reply, renewal);
                } else {
                    self.nodes[n].renewals.push((ticket, renewal));
                }
            }
            Output::Confirm { ticket } => {
                let confirmed = self.has_majority;
                self.nodes[n]
                    .control
                    .handle_confirmed(now, ticket, confirmed);
            }
            Output::Grant { reply, granted } => {
                let (to, ticket) = self.replies[&reply];
                self.nodes[to].control.handle_renewed(now, ticket, granted);
            }
            Output::Report(index) => {
                self.nodes[n].report = index;
                if self.nodes[n].does.report {
                    self.deliver_report(n);
                }
            }
            Output::Links {
                links: Some((_, peers)),
            } => {
                let node = &mut self.nodes[n];
                for peer in peers.iter().filter(|_| node.does.link) {
                    let state = LinkState::Connected;
                    node.control
                        .handle_link(now, peer.slot, peer.incarnation, state);
                }
            }
            Output::Links { links: None } | Output::Drained => {}
        }
    }

    pub(super) fn commit(&mut self, n: usize, ticket: u64, entry: Entry) {
        self.log.push(entry);
        let index = Index(self.log.len() as u64);
        self.nodes[n]
            .control
            .handle_proposed(self.now, ticket, Ok(index));
    }

    /// Gives the last report of a node to all others.
    pub(super) fn deliver_report(&mut self, n: usize) {
        let index = self.nodes[n].report;
        let control = &self.nodes[n].control;
        let (Some(slot), Some(incarnation)) = (control.slot(), control.incarnation()) else {
            return;
        };
        for other in (0..self.nodes.len()).filter(|other| *other != n) {
            self.nodes[other]
                .control
                .handle_report(self.now, slot, incarnation, index);
        }
    }

    fn tell_shard(&mut self, n: usize, shard: ShardId, event: Event) {
        let node = &mut self.nodes[n];
        node.events.push((shard, event.clone()));
        let answer = match event {
            Event::Adopt(table) if node.does.adopt => {
                let index = table.index;
                node.tables.insert(shard, table);
                Request::Adopted(index)
            }
            Event::Adopt(table) => {
                node.adopted.push((shard, table));
                return;
            }
            Event::Fence | Event::Drain if node.does.empty => {
                node.adopted.retain(|(of, _)| *of != shard);
                Request::Emptied
            }
            _ => return,
        };
        node.control.handle_request(self.now, shard, answer);
    }

    /// Lets the shards of a node answer the tables that were held back.
    pub(super) fn adopt(&mut self, n: usize) {
        for (shard, table) in std::mem::take(&mut self.nodes[n].adopted) {
            let index = table.index;
            self.nodes[n].tables.insert(shard, table);
            self.nodes[n]
                .control
                .handle_request(self.now, shard, Request::Adopted(index));
        }
        self.settle();
    }

    /// The commands of a lane that are in the log, in order.
    pub(super) fn commands(&self) -> Vec<&Command> {
        let batches = self.log.iter().map(|entry| match entry {
            Entry::Batch { commands, .. } => commands.as_slice(),
            Entry::NodeUp { .. } => &[],
        });
        batches.flatten().collect()
    }
}
