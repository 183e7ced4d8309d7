//! Properties of the replica under random logs: repeats, gaps, deaths, takeovers in any order.
//!
//! A plan of actions becomes a log: actions refer to what exists when they are reached, and each lane keeps
//! its commands so that a number always means the same command, as a proposer's lane does.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;

use super::testing::*;
use crate::{
    ids::{Epoch, Incarnation, Index, NodeId},
    replica::{Command, Effect, Entry, Lane, Outcome, Refusal, Replica, Will},
    topic::TopicName,
};

/// One step of a plan; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Action {
    Up {
        node: u64,
        repeat: bool,
    },
    Issue {
        who: usize,
        lane: Lane,
        commands: Vec<Act>,
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
enum Act {
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
        6 => (any::<usize>(), lane.clone(), prop::collection::vec(act(), 1..6))
            .prop_map(|(who, lane, commands)| Action::Issue { who, lane, commands }),
        4 => (any::<usize>(), lane, 0..40_u64, 0..12_usize)
            .prop_map(|(who, lane, first, count)| Action::Send { who, lane, first, count }),
    ]
}

fn plan() -> impl Strategy<Value = Vec<Action>> {
    prop::collection::vec(action(), 1..80)
}

/// What a plan came to.
#[derive(Debug, Default)]
struct Run {
    log: Log,
    effects: Vec<Vec<Effect>>,
    incarnations: Vec<(u64, Incarnation)>,
    nonces: BTreeMap<u64, u64>,
    lanes: BTreeMap<(Incarnation, Lane), Vec<Command>>,
    /// Applied claims: the lane and number, the key, the will's topic.
    claims: Vec<Claimed>,
    /// Claims ever issued: makes each will's topic one of its own.
    wills: u64,
}

#[derive(Clone, Debug)]
struct Claimed {
    client: crate::ids::SessionKey,
    epoch: Epoch,
    will: Option<TopicName>,
    released_silently: bool,
}

impl Run {
    fn of(plan: &[Action]) -> Self {
        let mut run = Self::default();
        let (log, one) = Log::start();
        // what Log::start sent in its lane
        let Some(Entry::Batch { commands, .. }) = log.entries.last().cloned() else {
            panic!("the catalog comes last")
        };
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
            } => {
                let incarnation = self.incarnation(*who);
                let commands: Vec<_> = commands.iter().map(|act| self.command(act)).collect();
                let issued = self.lanes.entry((incarnation, *lane)).or_default();
                let first = issued.len() as u64 + 1;
                issued.extend(commands.iter().cloned());
                self.push(Entry::Batch {
                    incarnation,
                    lane: *lane,
                    first,
                    commands,
                });
            }
            Action::Send {
                who,
                lane,
                first,
                count,
            } => {
                let incarnation = self.incarnation(*who);
                let issued = self.lanes.entry((incarnation, *lane)).or_default();
                let first = first % (issued.len() as u64 + 1);
                let commands = issued
                    .iter()
                    .skip(first as usize)
                    .take(*count)
                    .cloned()
                    .collect();
                let (lane, first) = (*lane, first + 1);
                self.push(Entry::Batch {
                    incarnation,
                    lane,
                    first,
                    commands,
                });
            }
        }
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
                    claim.credential = crate::catalog::Credential::Password(id("nothing"));
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
    fn settle(&mut self) {
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

    fn replay(&self, replica: &mut Replica, from: usize) -> Vec<Vec<Effect>> {
        let entries = self.log.entries.iter().enumerate().skip(from);
        entries
            .map(|(n, entry)| replica.apply(Index(n as u64 + 1), entry).effects)
            .collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_same_log_gives_the_same_state_and_effects(plan in plan()) {
        let run = Run::of(&plan);
        let mut again = Replica::default();
        let effects = run.replay(&mut again, 0);
        prop_assert_eq!(&effects[2..], &run.effects[2..]);
        prop_assert_eq!(again.hash(), run.log.replica.hash());
        prop_assert_eq!(again.write_snapshot(), run.log.replica.write_snapshot());
    }

    #[test]
    fn a_snapshot_and_the_tail_equal_the_whole_log(plan in plan(), cut in any::<usize>()) {
        let run = Run::of(&plan);
        let cut = cut % run.log.entries.len();
        let mut before = Replica::default();
        for (n, entry) in run.log.entries[..cut].iter().enumerate() {
            before.apply(Index(n as u64 + 1), entry);
        }
        let mut after = Replica::read_snapshot(&before.write_snapshot()).unwrap();
        prop_assert_eq!(after.hash(), before.hash());
        let effects = run.replay(&mut after, cut);
        let known = cut.max(2);
        prop_assert_eq!(&effects[known - cut..], &run.effects[known..]);
        prop_assert_eq!(after.hash(), run.log.replica.hash());
        prop_assert_eq!(after.session_count(), run.log.replica.session_count());
        prop_assert_eq!(after.stored_bytes(), run.log.replica.stored_bytes());
    }

    #[test]
    fn a_lane_is_applied_at_most_once_and_in_order(plan in plan()) {
        let run = Run::of(&plan);
        let mut expected: BTreeMap<(Incarnation, Lane), u64> = BTreeMap::new();
        let mut up = vec![];
        expected.insert((run.incarnations[0].1, Lane::Work), 4);
        up.push(run.incarnations[0].1);
        for effect in run.effects.iter().flatten() {
            match effect {
                Effect::NodeUp { incarnation, .. } => up.push(*incarnation),
                Effect::NodeDown { incarnation, .. } => {
                    // the answer to a node's own end comes right after it, and is its last
                    up.retain(|i| i != incarnation);
                }
                Effect::Answer { incarnation, lane, sequence, .. } => {
                    let next = expected.entry((*incarnation, *lane)).or_insert(1);
                    prop_assert_eq!(*sequence, *next);
                    *next += 1;
                }
                Effect::Gap { incarnation, lane, expected: wanted } => {
                    prop_assert!(up.contains(incarnation));
                    let next = expected.get(&(*incarnation, *lane)).copied().unwrap_or(1);
                    prop_assert_eq!(*wanted, next);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_of_an_incarnation_happens_after_its_end(plan in plan()) {
        let run = Run::of(&plan);
        let mut ended = Vec::new();
        for effects in &run.effects {
            let mut ended_here = Vec::new();
            for effect in effects {
                match effect {
                    Effect::NodeDown { incarnation, .. } => ended_here.push(*incarnation),
                    Effect::Answer { incarnation, .. } | Effect::Gap { incarnation, .. } => {
                        prop_assert!(!ended.contains(incarnation));
                    }
                    _ => {}
                }
            }
            ended.extend(ended_here);
        }
    }

    #[test]
    fn each_will_fires_once_unless_it_was_released(plan in plan()) {
        let mut run = Run::of(&plan);
        run.settle();
        let mut fired: BTreeMap<&str, u32> = BTreeMap::new();
        for effect in run.effects.iter().flatten() {
            if let Effect::Deliver(delivery) = effect
                && delivery.topic.as_str().starts_with("will/")
            {
                *fired.entry(delivery.topic.as_str()).or_default() += 1;
            }
        }
        for claimed in &run.claims {
            if let Some(will) = &claimed.will {
                let times = fired.remove(will.as_str()).unwrap_or(0);
                prop_assert_eq!(times, u32::from(!claimed.released_silently), "{}", will);
            }
        }
        prop_assert!(fired.is_empty(), "wills of nobody fired: {:?}", fired);
        prop_assert_eq!(run.log.replica.session_count(), 0);
        prop_assert_eq!(run.log.replica.interest_count(), 0);
    }

    #[test]
    fn only_the_current_owner_stores_and_releases(plan in plan()) {
        let run = Run::of(&plan);
        let mut owners: BTreeMap<_, (Incarnation, Epoch)> = BTreeMap::new();
        let mut down = Vec::new();
        for effect in run.effects.iter().flatten() {
            match effect {
                Effect::NodeDown { incarnation, .. } => down.push(*incarnation),
                Effect::Answer { incarnation, lane, sequence, outcome } => {
                    let command = &run.lanes[&(*incarnation, *lane)][*sequence as usize - 1];
                    let owns = |epoch| owners.values().any(|o| *o == (*incarnation, epoch));
                    match command {
                        Command::Claim(claim) => {
                            if let Outcome::Done(position) = outcome {
                                owners.insert(claim.key.clone(), (*incarnation, Epoch(*position)));
                            }
                        }
                        Command::Release { key, epoch, .. } => {
                            let own = owners.get(key) == Some(&(*incarnation, *epoch));
                            prop_assert_eq!(matches!(outcome, Outcome::Done(_)), own);
                            if own {
                                owners.remove(key);
                            }
                        }
                        Command::Store(store) => {
                            let stale = *outcome == Outcome::Refused(Refusal::StaleEpoch);
                            prop_assert_eq!(stale, !owns(store.epoch));
                        }
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        for (key, (incarnation, epoch)) in owners {
            match run.log.replica.session(&key) {
                Some(session) => {
                    prop_assert_eq!((session.incarnation, session.epoch), (incarnation, epoch));
                }
                None => prop_assert!(down.contains(&incarnation), "lost while its node is up"),
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        // with the version byte, or the bytes end there
        for first in [None, Some(1)] {
            let bytes: Vec<u8> = first.into_iter().chain(bytes.iter().copied()).collect();
            if let Ok(entry) = Entry::decode(&bytes) {
                prop_assert_eq!(Entry::decode(&entry.encode()), Ok(entry));
            }
            let _ = Replica::read_snapshot(&bytes);
        }
    }

    #[test]
    fn damaged_bytes_never_panic(
        plan in plan(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let run = Run::of(&plan);
        let mut snapshot = run.log.replica.write_snapshot();
        let mut entry = run.log.entries.last().unwrap().encode().to_vec();
        for (at, byte) in damage {
            let place = at.index(snapshot.len());
            snapshot[place] = byte;
            let place = at.index(entry.len());
            entry[place] = byte;
        }
        // what still can be read is applied on without a panic
        let mut replica = Replica::read_snapshot(&snapshot).unwrap_or_default();
        if let Ok(entry) = Entry::decode(&entry) {
            replica.apply(Index(replica.applied().0.saturating_add(1)), &entry);
        }
        let _: Bytes = replica.write_snapshot().into();
    }
}
