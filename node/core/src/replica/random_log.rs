//! Random logs for the properties of the replica: repeats, gaps, ends, takeovers in any order.
//!
//! A plan of actions becomes a log: actions refer to what exists when they are reached, and each lane keeps
//! its commands so that a number always means the same command, as a proposer's lane does.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::testing::*;
use crate::{
    catalog::Credential,
    ids::{Epoch, Incarnation, Index, NodeId, SessionKey},
    replica::{Command, Effect, Entry, Lane, Outcome, Replica, Will},
    topic::TopicName,
};

/// One step of a plan; numbers choose among what there is.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Up {
        node: u64,
        repeat: bool,
    },
    /// Makes the next commands of a lane, and sends or loses them.
    Issue {
        who: usize,
        lane: Lane,
        commands: Vec<Act>,
        lost: bool,
    },
    /// Sends a lane from what it waits for, as its proposer does after a gap.
    Resume {
        who: usize,
        lane: Lane,
    },
    /// Sends a range of a lane's commands, whatever was applied of it.
    Send {
        who: usize,
        lane: Lane,
        first: u64,
        count: usize,
    },
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    Claim {
        client: u8,
        will: bool,
        stores: bool,
        good: bool,
    },
    Release {
        claim: usize,
        fire: bool,
    },
    Store {
        claim: usize,
        topic: u8,
        payload: bool,
    },
    Add(u8),
    Remove(u8),
    End {
        who: usize,
    },
    Sweep {
        who: usize,
    },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..5_u8, any::<bool>(), any::<bool>(), 0..8_u8).prop_map(
            |(client, will, stores, good)| Act::Claim { client, will, stores, good: good > 0 }
        ),
        3 => (any::<usize>(), any::<bool>()).prop_map(|(claim, fire)| Act::Release { claim, fire }),
        3 => (any::<usize>(), 0..4_u8, any::<bool>())
            .prop_map(|(claim, topic, payload)| Act::Store { claim, topic, payload }),
        3 => (0..4_u8).prop_map(Act::Add),
        2 => (0..4_u8).prop_map(Act::Remove),
        1 => any::<usize>().prop_map(|who| Act::End { who }),
        2 => any::<usize>().prop_map(|who| Act::Sweep { who }),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let lane = prop_oneof![Just(Lane::Liveness), Just(Lane::Work)];
    prop_oneof![
        1 => (1..5_u64, any::<bool>()).prop_map(|(node, repeat)| Action::Up { node, repeat }),
        6 => (any::<usize>(), lane.clone(), prop::collection::vec(act(), 1..6), 0..5_u8).prop_map(
            |(who, lane, commands, lost)| Action::Issue { who, lane, commands, lost: lost == 0 }
        ),
        2 => (any::<usize>(), lane.clone()).prop_map(|(who, lane)| Action::Resume { who, lane }),
        4 => (any::<usize>(), lane, 0..40_u64, 0..12_usize)
            .prop_map(|(who, lane, first, count)| Action::Send { who, lane, first, count }),
    ]
}

pub(super) fn plan() -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(), 1..80)
}

/// What a plan came to.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) log: Log,
    pub(super) effects: Vec<Vec<Effect>>,
    incarnations: Vec<(u64, Incarnation)>,
    nonces: BTreeMap<u64, u64>,
    pub(super) lanes: BTreeMap<(Incarnation, Lane), Vec<Command>>,
    answered: BTreeMap<(Incarnation, Lane), u64>,
    /// Applied claims in order.
    pub(super) claims: Vec<Claimed>,
    /// Claims ever issued: makes each will's topic one of its own.
    wills: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Claimed {
    client: SessionKey,
    epoch: Epoch,
    pub(super) will: Option<TopicName>,
    pub(super) released_silently: bool,
}

impl Run {
    pub(super) fn of(plan: &[Action]) -> Self {
        let mut run = Self::default();
        let (log, one) = Log::start();
        // what Log::start sent in its lane
        let Some(Entry::Batch { commands, .. }) = log.entries.last().cloned() else {
            panic!("the catalog comes last")
        };
        run.answered
            .insert((one, Lane::Work), commands.len() as u64);
        run.lanes.insert((one, Lane::Work), commands);
        run.incarnations.push((1, one));
        run.nonces.insert(1, 1);
        run.log = log;
        // the first two entries
        run.effects = vec![Vec::new(); 2];
        for action in plan {
            run.step(action);
        }
        run
    }

    fn step(&mut self, action: &Action) {
        match action {
            Action::Up { node, repeat } => {
                let nonce = self.nonces.entry(*node).or_default();
                *nonce += u64::from(!repeat || *nonce == 0);
                let nonce = *nonce;
                self.push(Entry::NodeUp {
                    node: NodeId(*node),
                    name: "n".into(),
                    nonce,
                });
            }
            Action::Issue {
                who,
                lane,
                commands,
                lost,
            } => {
                let incarnation = self.incarnation(*who);
                let commands: Vec<_> = commands.iter().map(|act| self.command(act)).collect();
                let issued = self.lanes.entry((incarnation, *lane)).or_default();
                let first = issued.len() as u64 + 1;
                let count = commands.len();
                issued.extend(commands);
                if !lost {
                    self.send(incarnation, *lane, first, count);
                }
            }
            Action::Resume { who, lane } => {
                let incarnation = self.incarnation(*who);
                let next = self
                    .answered
                    .get(&(incarnation, *lane))
                    .map_or(1, |last| last + 1);
                self.send(incarnation, *lane, next, usize::MAX);
            }
            Action::Send {
                who,
                lane,
                first,
                count,
            } => {
                let incarnation = self.incarnation(*who);
                let issued = self.lanes.get(&(incarnation, *lane)).map_or(0, Vec::len) as u64;
                self.send(incarnation, *lane, 1 + first % (issued + 1), *count);
            }
        }
    }

    fn send(&mut self, incarnation: Incarnation, lane: Lane, first: u64, count: usize) {
        let issued = self.lanes.entry((incarnation, lane)).or_default();
        let commands = issued
            .iter()
            .skip(first as usize - 1)
            .take(count)
            .cloned()
            .collect();
        self.push(Entry::Batch {
            incarnation,
            lane,
            first,
            commands,
        });
    }

    /// The incarnation that made the catalog.
    pub(super) fn first(&self) -> Incarnation {
        self.incarnations[0].1
    }

    /// Newer ones are more likely.
    fn incarnation(&self, who: usize) -> Incarnation {
        let recent = self.incarnations.len().min(1 + who % 8);
        self.incarnations[self.incarnations.len() - recent].1
    }

    fn command(&mut self, act: &Act) -> Command {
        let epoch = |claim: usize| match self.claims.len() {
            0 => (key("nobody"), Epoch::default()),
            n => {
                let claimed = &self.claims[n - n.min(1 + claim % 6)];
                (claimed.client.clone(), claimed.epoch)
            }
        };
        match act {
            Act::Claim {
                client,
                will,
                stores,
                good,
            } => {
                self.wills += 1;
                let topic = format!("will/{}", self.wills);
                let mut claim = claim(&format!("client-{client}"), 1, will.then_some(&topic));
                if let Some(will) = claim.will.take() {
                    claim.will = Some(
                        Will {
                            stores: *stores,
                            ..(*will).clone()
                        }
                        .into(),
                    );
                }
                if !good {
                    claim.credential = Credential::Password(id("nothing"));
                }
                Command::Claim(claim)
            }
            Act::Release { claim, fire } => {
                let (key, epoch) = epoch(*claim);
                Command::Release {
                    key,
                    epoch,
                    fire: *fire,
                }
            }
            Act::Store {
                claim,
                topic,
                payload,
            } => {
                let payload: &[u8] = if *payload { b"x" } else { b"" };
                store(epoch(*claim).1, &format!("topic/{topic}"), payload)
            }
            Act::Add(filter) => add(&format!("filter/{filter}")),
            Act::Remove(filter) => remove(&format!("filter/{filter}")),
            Act::End { who } => {
                let incarnation = self.incarnation(*who);
                let (node, _) = self
                    .incarnations
                    .iter()
                    .find(|(_, i)| *i == incarnation)
                    .unwrap();
                Command::EndNode {
                    node: NodeId(*node),
                    incarnation,
                }
            }
            Act::Sweep { who } => Command::Sweep {
                incarnation: self.incarnation(*who),
            },
        }
    }

    fn push(&mut self, entry: Entry) {
        let effects = self.log.push(entry);
        for effect in &effects {
            match effect {
                Effect::NodeUp {
                    node, incarnation, ..
                } => {
                    self.incarnations.push((node.0, *incarnation));
                }
                Effect::Answer {
                    incarnation,
                    lane,
                    sequence,
                    outcome,
                } => {
                    self.answered.insert((*incarnation, *lane), *sequence);
                    let lane = &self.lanes[&(*incarnation, *lane)];
                    let command = lane[*sequence as usize - 1].clone();
                    self.applied(&command, *outcome);
                }
                _ => {}
            }
        }
        self.effects.push(effects);
    }

    fn applied(&mut self, command: &Command, outcome: Outcome) {
        match (command, outcome) {
            (Command::Claim(claim), Outcome::Done(position)) => self.claims.push(Claimed {
                client: claim.key.clone(),
                epoch: Epoch(position),
                will: claim.will.as_ref().map(|will| will.topic.clone()),
                released_silently: false,
            }),
            (
                Command::Release {
                    epoch, fire: false, ..
                },
                Outcome::Done(_),
            ) => {
                let claimed = self
                    .claims
                    .iter_mut()
                    .find(|claimed| claimed.epoch == *epoch);
                claimed.unwrap().released_silently = true;
            }
            _ => {}
        }
    }

    /// A last node ends all others and sweeps until nothing is left.
    pub(super) fn settle(&mut self) {
        self.push(Entry::NodeUp {
            node: NodeId(99),
            name: "n".into(),
            nonce: u64::MAX,
        });
        let last = self.incarnations.last().unwrap().1;
        let others: Vec<_> = self
            .log
            .replica
            .nodes()
            .map(|n| (n.id, n.incarnation))
            .collect();
        for (node, incarnation) in others {
            if let Some(incarnation) = incarnation.filter(|i| *i != last) {
                self.issue(last, Command::EndNode { node, incarnation });
            }
        }
        for _ in 0..1000 {
            let Some(incarnation) = self.log.replica.ended().next() else {
                return;
            };
            self.issue(last, Command::Sweep { incarnation });
        }
        panic!("sweeping does not end");
    }

    fn issue(&mut self, incarnation: Incarnation, command: Command) {
        let issued = self.lanes.entry((incarnation, Lane::Liveness)).or_default();
        issued.push(command.clone());
        let first = issued.len() as u64;
        let commands = vec![command];
        self.push(Entry::Batch {
            incarnation,
            lane: Lane::Liveness,
            first,
            commands,
        });
    }

    pub(super) fn replay(&self, replica: &mut Replica, from: usize) -> Vec<Vec<Effect>> {
        let entries = self.log.entries.iter().enumerate().skip(from);
        entries
            .map(|(n, entry)| replica.apply(Index(n as u64 + 1), entry).effects)
            .collect()
    }
}
