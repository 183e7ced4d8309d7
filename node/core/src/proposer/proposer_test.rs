//! The lanes on a log that loses, repeats, delays and reorders proposals, with the real replica.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    ids::{NodeId, Position, ResourceId, SpaceId},
    limits::{BATCH_BYTES, BATCH_COMMANDS, BATCHES_IN_FLIGHT},
    replica::{Effect, Outcome, Replica},
    topic::TopicFilter,
};

const RUNNING: Incarnation = Incarnation(Position(1 << Position::OFFSET_BITS));

fn started() -> Proposer<u64> {
    let mut proposer = Proposer::new(&Timing::default(), 1);
    proposer.start(RUNNING);
    proposer
}

fn interest(number: u64) -> Command {
    let space = SpaceId::Broker(ResourceId::from_random([1; 17]));
    Command::AddInterest {
        space,
        filter: TopicFilter::new(&format!("f/{number}")).unwrap(),
    }
}

fn submit(proposer: &mut Proposer<u64>, lane: Lane, numbers: std::ops::Range<u64>) {
    for number in numbers {
        proposer.submit(lane, interest(number), number).unwrap();
    }
}

fn poll_all(proposer: &mut Proposer<u64>, now: u64) -> Vec<(u64, Lane, u64, usize)> {
    std::iter::from_fn(|| proposer.poll(Moment(now)))
        .map(|(ticket, entry)| match &*entry {
            Entry::Batch {
                lane,
                first,
                commands,
                ..
            } => (ticket, *lane, *first, commands.len()),
            Entry::NodeUp { .. } => panic!("the proposer makes no NodeUp"),
        })
        .collect()
}

#[test]
fn liveness_goes_first_and_batches_are_bounded_in_commands_and_flights() {
    let mut proposer = started();
    let many = (BATCH_COMMANDS * (BATCHES_IN_FLIGHT + 2)) as u64;
    submit(&mut proposer, Lane::Work, 0..many);
    submit(&mut proposer, Lane::Liveness, 0..1);
    let sent = poll_all(&mut proposer, 0);
    assert_eq!(sent[0], (1, Lane::Liveness, 1, 1));
    assert_eq!(sent.len(), 1 + BATCHES_IN_FLIGHT);
    assert!(sent[1..].iter().all(|(.., count)| *count == BATCH_COMMANDS));
    for number in 1..=BATCH_COMMANDS as u64 {
        assert_eq!(proposer.handle_answer(Lane::Work, number), Some(number - 1));
    }
    assert_eq!(
        poll_all(&mut proposer, 0).len(),
        1,
        "an answered batch frees its place"
    );
}

#[test]
fn batches_are_bounded_in_bytes_but_for_one_command() {
    let mut proposer = started();
    let space = SpaceId::Broker(ResourceId::from_random([1; 17]));
    for size in [BATCH_BYTES * 2, 10, BATCH_BYTES / 2, BATCH_BYTES / 2] {
        let store = crate::replica::Store {
            space,
            epoch: crate::ids::Epoch::default(),
            topic: crate::topic::TopicName::new("t").unwrap(),
            payload: vec![0; size].into(),
            qos: crate::codec::QoS::AtLeastOnce,
        };
        proposer
            .submit(Lane::Work, Command::Store(store), 0)
            .unwrap();
    }
    let counts: Vec<_> = poll_all(&mut proposer, 0)
        .iter()
        .map(|(.., count)| *count)
        .collect();
    assert_eq!(counts, [1, 2, 1]);
}

#[test]
fn a_full_queue_refuses_clients_but_has_room_for_what_is_owed() {
    let mut proposer = started();
    submit(&mut proposer, Lane::Work, 0..PROPOSER_QUEUE as u64);
    assert_eq!(proposer.submit(Lane::Work, interest(0), 0), Err(Full));
    assert_eq!(proposer.submit_owed(Lane::Work, interest(0), 0), Ok(()));
    proposer.stop();
    assert_eq!(
        proposer.submit_owed(Lane::Work, interest(0), 0),
        Err(Full),
        "stopped"
    );
}

#[test]
fn a_failed_proposal_is_sent_again_with_its_numbers_after_a_pause() {
    let mut proposer = started();
    submit(&mut proposer, Lane::Work, 0..3);
    assert_eq!(poll_all(&mut proposer, 0), [(1, Lane::Work, 1, 3)]);
    submit(&mut proposer, Lane::Work, 3..5);
    assert_eq!(poll_all(&mut proposer, 1), [(2, Lane::Work, 4, 2)]);
    proposer.handle_proposed(Moment(2), 1, Err(ProposeError::NotLeader));
    assert_eq!(poll_all(&mut proposer, 2), []);
    let again = proposer.next_deadline().unwrap();
    assert!(again > Moment(2) && again < Moment(502));
    assert_eq!(poll_all(&mut proposer, again.0), [(3, Lane::Work, 1, 5)]);
    proposer.handle_proposed(again, 2, Err(ProposeError::Unknown));
    assert_eq!(
        poll_all(&mut proposer, again.0),
        [],
        "the old proposal no longer counts"
    );
}

#[test]
fn silence_is_answered_by_sending_again_from_the_first_unanswered() {
    let mut proposer = started();
    submit(&mut proposer, Lane::Work, 0..3);
    let _ = poll_all(&mut proposer, 0);
    assert_eq!(proposer.handle_answer(Lane::Work, 1), Some(0));
    assert_eq!(poll_all(&mut proposer, 499), []);
    assert_eq!(poll_all(&mut proposer, 500), [(2, Lane::Work, 2, 2)]);
}

#[test]
fn one_gap_sends_the_lane_again_once() {
    let mut proposer = started();
    for n in 0..3 {
        submit(&mut proposer, Lane::Work, n..n + 1);
        let _ = poll_all(&mut proposer, 0);
    }
    proposer.handle_gap(Moment(1), Lane::Work, 1);
    assert_eq!(poll_all(&mut proposer, 1), [(4, Lane::Work, 1, 3)]);
    proposer.handle_gap(Moment(2), Lane::Work, 1);
    assert_eq!(
        poll_all(&mut proposer, 2),
        [],
        "the third batch of the same run reports it too"
    );
}

#[test]
fn a_committed_batch_that_apply_passed_without_an_answer_is_sent_again() {
    let mut proposer = started();
    submit(&mut proposer, Lane::Work, 0..1);
    let _ = poll_all(&mut proposer, 0);
    proposer.handle_applied(Index(7));
    proposer.handle_proposed(Moment(1), 1, Ok(Index(8)));
    assert_eq!(poll_all(&mut proposer, 1), []);
    proposer.handle_applied(Index(8));
    assert_eq!(poll_all(&mut proposer, 1), [(2, Lane::Work, 1, 1)]);
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        lane: Lane,
        count: u64,
    },
    Wait {
        millis: u64,
    },
    Send,
    Commit {
        which: usize,
        tell: Tell,
        keep: bool,
    },
    Lose {
        which: usize,
        tell: Tell,
    },
}

#[derive(Clone, Copy, Debug)]
enum Tell {
    Truth,
    Unknown,
    Nothing,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop_oneof![Just(Lane::Work), Just(Lane::Liveness)];
    let tell =
        || prop_oneof![3 => Just(Tell::Truth), 1 => Just(Tell::Unknown), 1 => Just(Tell::Nothing)];
    prop_oneof![
        2 => (lane, prop_oneof![1..5_u64, Just(700)])
            .prop_map(|(lane, count)| Step::Submit { lane, count }),
        2 => (0..400_u64).prop_map(|millis| Step::Wait { millis }),
        4 => Just(Step::Send),
        6 => (any::<usize>(), tell(), any::<bool>())
            .prop_map(|(which, tell, keep)| Step::Commit { which, tell, keep }),
        1 => (any::<usize>(), tell()).prop_map(|(which, tell)| Step::Lose { which, tell }),
    ]
}

/// The log, what is on its way to it, and what came of it.
struct World {
    now: Moment,
    proposer: Proposer<u64>,
    replica: Replica,
    index: Index,
    under_way: Vec<(u64, Arc<Entry>)>,
    submitted: [u64; 2],
    answered: [Vec<u64>; 2],
    last_position: Position,
}

impl World {
    fn new() -> Self {
        let mut replica = Replica::default();
        let up = Entry::NodeUp {
            node: NodeId(1),
            name: "n".into(),
            nonce: 1,
        };
        replica.apply(Index(1), &up);
        Self {
            now: Moment(0),
            proposer: started(),
            replica,
            index: Index(1),
            under_way: Vec::new(),
            submitted: [0; 2],
            answered: [Vec::new(), Vec::new()],
            last_position: Position(0),
        }
    }

    fn submit(&mut self, lane: Lane, count: u64) {
        let from = self.submitted[place(lane)];
        // Filters of the two lanes differ, so that each command changes something.
        for number in from..from + count {
            let command = interest(number * 2 + place(lane) as u64);
            self.proposer.submit(lane, command, number).unwrap();
        }
        self.submitted[place(lane)] += count;
    }

    fn send(&mut self) {
        while let Some(proposal) = self.proposer.poll(self.now) {
            self.under_way.push(proposal);
        }
    }

    fn commit(&mut self, which: usize, tell: Tell, keep: bool) {
        if self.under_way.is_empty() {
            return;
        }
        let which = which % self.under_way.len();
        let (ticket, entry) = self.under_way[which].clone();
        if !keep {
            self.under_way.remove(which);
        }
        self.index.0 += 1;
        let applied = self.replica.apply(self.index, &entry);
        for effect in applied.effects {
            match effect {
                Effect::Answer {
                    lane,
                    sequence,
                    outcome,
                    ..
                } => {
                    if let Some(number) = self.proposer.handle_answer(lane, sequence) {
                        let Outcome::Done(position) = outcome else {
                            panic!("applied twice")
                        };
                        assert!(position > self.last_position);
                        self.last_position = position;
                        self.answered[place(lane)].push(number);
                    }
                }
                Effect::Gap { lane, expected, .. } => {
                    self.proposer.handle_gap(self.now, lane, expected);
                }
                _ => {}
            }
        }
        self.proposer.handle_applied(self.index);
        self.tell(ticket, tell, Ok(self.index));
    }

    fn tell(&mut self, ticket: u64, tell: Tell, truth: Result<Index, ProposeError>) {
        match tell {
            Tell::Truth => self.proposer.handle_proposed(self.now, ticket, truth),
            Tell::Unknown => {
                self.proposer
                    .handle_proposed(self.now, ticket, Err(ProposeError::Unknown));
            }
            Tell::Nothing => {}
        }
    }
}

proptest! {
    #[test]
    fn each_command_is_applied_once_and_answered_in_order(steps in proptest::collection::vec(step(), 1..150)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Submit { lane, count } => world.submit(lane, count),
                Step::Wait { millis } => world.now = world.now + Duration::from_millis(millis),
                Step::Send => world.send(),
                Step::Commit { which, tell, keep } => world.commit(which, tell, keep),
                Step::Lose { which, tell } => {
                    if !world.under_way.is_empty() {
                        let which = which % world.under_way.len();
                        let (ticket, _) = world.under_way.remove(which);
                        world.tell(ticket, tell, Err(ProposeError::NotLeader));
                    }
                }
            }
        }
        for _ in 0..2_000 {
            world.send();
            while !world.under_way.is_empty() {
                world.commit(0, Tell::Truth, false);
                world.send();
            }
            let Some(deadline) = world.proposer.next_deadline() else { break };
            world.now = world.now.max(deadline);
        }
        prop_assert!(world.proposer.is_empty());
        for lane in [0, 1] {
            let all: Vec<u64> = (0..world.submitted[lane]).collect();
            prop_assert_eq!(&world.answered[lane], &all);
        }
        prop_assert_eq!(world.replica.interest_count() as u64, world.submitted[0] + world.submitted[1]);
    }
}
