//! A small cluster under random delays: what is reported is adopted, what is subscribed is routed, and in the
//! end the log's interest is what the shards want.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{testing::*, *};
use crate::replica::Replica;

const TEXTS: [&str; 3] = ["a", "b", "c"];
const NODES: usize = 3;

#[derive(Clone, Copy, Debug)]
enum Knob {
    Apply,
    Adopt,
    Report,
    Read,
    Renew,
    Propose,
}

#[derive(Clone, Debug)]
enum Step {
    Subscribe { node: usize, shard: u8, text: usize },
    Unsubscribe { node: usize, shard: u8, text: usize },
    Turn { node: usize, knob: Knob },
    Adopt { node: usize },
    Propose { node: usize, which: usize },
    Read { node: usize },
    Advance { millis: u64 },
    Elect { node: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let knob = prop_oneof![
        Just(Knob::Apply),
        Just(Knob::Adopt),
        Just(Knob::Report),
        Just(Knob::Read),
        Just(Knob::Renew),
        Just(Knob::Propose)
    ];
    let node = || 0..NODES;
    prop_oneof![
        6 => (node(), 0..2_u8, 0..3_usize)
            .prop_map(|(node, shard, text)| Step::Subscribe { node, shard, text }),
        4 => (node(), 0..2_u8, 0..3_usize)
            .prop_map(|(node, shard, text)| Step::Unsubscribe { node, shard, text }),
        3 => (node(), knob).prop_map(|(node, knob)| Step::Turn { node, knob }),
        3 => node().prop_map(|node| Step::Adopt { node }),
        3 => (node(), any::<usize>()).prop_map(|(node, which)| Step::Propose { node, which }),
        1 => node().prop_map(|node| Step::Read { node }),
        3 => prop_oneof![0..50_u64, 300..1_500_u64].prop_map(|millis| Step::Advance { millis }),
        1 => node().prop_map(|node| Step::Elect { node }),
    ]
}

/// The cluster, what its shards subscribe to, and what was seen of it.
struct Trial {
    world: World,
    term: u64,
    ticket: u64,
    /// The tickets of the subscriptions of (node, incarnation, shard, text), oldest first.
    live: BTreeMap<(usize, Incarnation, u8, usize), Vec<u64>>,
    asked: BTreeMap<u64, (usize, Incarnation, u8, usize)>,
    answered: BTreeSet<u64>,
}

impl Trial {
    fn new(plant: Option<Plant>) -> Self {
        Self {
            world: World::serving(NODES, plant),
            term: 1,
            ticket: 0,
            live: BTreeMap::new(),
            asked: BTreeMap::new(),
            answered: BTreeSet::new(),
        }
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        let now = self.world.now;
        match *step {
            Step::Subscribe { node, shard, text } => {
                let Some(incarnation) = self.world.nodes[node].control.incarnation() else {
                    return Ok(());
                };
                if !self.world.nodes[node].control.is_serving(now) {
                    return Ok(());
                }
                self.ticket += 1;
                let key = (node, incarnation, shard, text);
                self.live.entry(key).or_default().push(self.ticket);
                self.asked.insert(self.ticket, key);
                self.world
                    .subscribe(node, shard, self.ticket, &[TEXTS[text]]);
            }
            Step::Unsubscribe { node, shard, text } => {
                let Some(incarnation) = self.world.nodes[node].control.incarnation() else {
                    return Ok(());
                };
                if let Some(live) = self.live.get_mut(&(node, incarnation, shard, text))
                    && !live.is_empty()
                {
                    live.remove(0);
                    self.world.unsubscribe(node, shard, &[TEXTS[text]]);
                }
            }
            Step::Turn { node, knob } => {
                let does = &mut self.world.nodes[node].does;
                let which = match knob {
                    Knob::Apply => &mut does.apply,
                    Knob::Adopt => &mut does.adopt,
                    Knob::Report => &mut does.report,
                    Knob::Read => &mut does.read,
                    Knob::Renew => &mut does.renew,
                    Knob::Propose => &mut does.propose,
                };
                *which = !*which;
                self.world.settle();
            }
            Step::Adopt { node } => self.world.adopt(node),
            Step::Propose { node, which } => {
                let held = &mut self.world.nodes[node].proposals;
                if !held.is_empty() {
                    let (ticket, entry) = held.remove(which % held.len());
                    self.world.commit(node, ticket, entry);
                    self.world.settle();
                }
            }
            Step::Read { node } => {
                let index = Index(self.world.log.len() as u64);
                for ticket in std::mem::take(&mut self.world.nodes[node].reads) {
                    self.world.nodes[node]
                        .control
                        .handle_read_index(now, ticket, Some(index));
                }
                self.world.settle();
            }
            Step::Advance { millis } => self.world.advance(millis),
            Step::Elect { node } => {
                self.term += 1;
                let (term, before) = (self.term, self.world.leader);
                self.world.nodes[before]
                    .control
                    .handle_leadership(now, false, term);
                self.world.leader = node;
                self.world.nodes[node]
                    .control
                    .handle_leadership(now, true, term);
                self.world.settle();
            }
        }
        self.check()
    }

    /// What must hold after each step.
    fn check(&mut self) -> Result<(), String> {
        let history = self.history();
        for n in 0..NODES {
            self.check_report(n, &history)?;
            for (_, event) in std::mem::take(&mut self.world.nodes[n].events) {
                match event {
                    Event::Subscribed { ticket, .. } => {
                        self.answered.insert(ticket.0);
                        self.check_subscribed(ticket.0)?;
                    }
                    Event::SubscribeFailed { ticket } => _ = self.answered.insert(ticket.0),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The state after each entry; 0 is before the first.
    fn history(&self) -> Vec<Replica> {
        let mut state = Replica::default();
        let mut all = vec![state.clone()];
        for (at, entry) in self.world.log.iter().enumerate() {
            state.apply(Index(at as u64 + 1), entry);
            all.push(state.clone());
        }
        all
    }

    /// A report of a serving node covers nothing that its shards do not route by.
    fn check_report(&self, n: usize, history: &[Replica]) -> Result<(), String> {
        let node = &self.world.nodes[n];
        if !node.control.is_serving(self.world.now) {
            return Ok(());
        }
        for (shard, table) in &node.tables {
            let from = usize::try_from(table.index.0).unwrap();
            let to = usize::try_from(node.report.0).unwrap().max(from);
            for text in TEXTS {
                let routed = table.routes.find(&SPACE(), text).nodes;
                for (index, state) in history.iter().enumerate().take(to + 1).skip(from) {
                    if state.interest_nodes(SPACE(), &filter(text)) != routed {
                        return Err(format!("node {n} {shard:?} reported {to}, lacks {index}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// All serving nodes route to a subscriber that was answered, and still is one.
    fn check_subscribed(&self, ticket: u64) -> Result<(), String> {
        let key @ (owner, incarnation, shard, text) = self.asked[&ticket];
        let is_gone = !self.live[&key].contains(&ticket);
        if is_gone || self.world.nodes[owner].control.incarnation() != Some(incarnation) {
            return Ok(());
        }
        let slot = self.world.slot(owner);
        for (n, node) in self.world.nodes.iter().enumerate() {
            // A node that the subscriber's state knows to be down accepts nothing that counts.
            let is_up = node.control.incarnation().is_some_and(|running| {
                let known = self.world.nodes[owner].replica.node(NodeId(n as u64 + 1));
                known.is_some_and(|known| known.incarnation == Some(running))
            });
            if !is_up || !node.control.is_serving(self.world.now) {
                continue;
            }
            for table in node.tables.values() {
                let wanted = table.routes.find(&SPACE(), TEXTS[text]);
                let is_routed = if n == owner {
                    wanted.shards.contains(ShardId(shard))
                } else {
                    wanted.nodes.contains(slot)
                };
                if !is_routed {
                    return Err(format!("node {n} does not route to subscriber {ticket}"));
                }
            }
        }
        Ok(())
    }

    /// All delays end; everything must come to rest as the shards want it.
    fn heal(&mut self) -> Result<(), String> {
        for n in 0..NODES {
            self.world.nodes[n].does = Does::everything();
            self.world.deliver_report(n);
            self.world.adopt(n);
        }
        for _ in 0..30 {
            self.world.advance(500);
            self.check()?;
        }
        let state = &self.world.nodes[0].replica;
        for n in 0..NODES {
            if !self.world.nodes[n].control.is_serving(self.world.now) {
                return Err(format!("node {n} does not serve"));
            }
            let incarnation = self.world.incarnation(n);
            for (text, name) in TEXTS.iter().enumerate() {
                let wants = (0..2).any(|shard| {
                    self.live
                        .get(&(n, incarnation, shard, text))
                        .is_some_and(|all| !all.is_empty())
                });
                let nodes = state.interest_nodes(SPACE(), &filter(name));
                if nodes.contains(self.world.slot(n)) != wants {
                    return Err(format!("interest of node {n} in {name} is not {wants}"));
                }
            }
        }
        let waits = |(ticket, (n, incarnation, ..)): (&u64, &(usize, Incarnation, u8, usize))| {
            self.world.nodes[*n].control.incarnation() == Some(*incarnation)
                && !self.answered.contains(ticket)
        };
        match self.asked.iter().any(waits) {
            true => Err("a subscriber waits for ever".into()),
            false => Ok(()),
        }
    }

    fn run(plant: Option<Plant>, steps: &[Step]) -> Result<(), String> {
        let mut trial = Self::new(plant);
        steps.iter().try_for_each(|step| trial.take(step))?;
        trial.heal()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn reports_are_adopted_subscribers_routed_and_interest_settles(steps in steps()) {
        prop_assert_eq!(Trial::run(None, &steps), Ok(()));
    }
}

#[test]
fn random_delays_find_the_planted_bugs() {
    use proptest::{
        strategy::ValueTree,
        test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
    };
    for plant in [Plant::ReportBeforeAdoption, Plant::RemoveOvertakesAdd] {
        let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let mut draw = || steps().new_tree(&mut runner).unwrap().current();
        assert!(
            (0..1_000).any(|_| Trial::run(Some(plant), &draw()).is_err()),
            "{plant:?} not found"
        );
    }
}
