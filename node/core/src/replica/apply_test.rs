//! Apply, rule by rule, on the list of effects.

use bytes::Bytes;

use super::testing::*;
use crate::{
    catalog::{Credential, Resource},
    codec::QoS,
    ids::{Epoch, Incarnation, Index, NodeId, NodeSet, NodeSlot, Position, SpaceId},
    limits::{BATCH_COMMANDS, SWEEP_BATCH},
    reason::Close,
    replica::{Command, Effect, Entry, Lane, Outcome, Refusal, Replica, Will},
    topic::TopicFilter,
};

fn batch(incarnation: Incarnation, lane: Lane, first: u64, commands: Vec<Command>) -> Entry {
    Entry::Batch {
        incarnation,
        lane,
        first,
        commands,
    }
}

fn end(node: u64, incarnation: Incarnation) -> Command {
    Command::EndNode {
        node: NodeId(node),
        incarnation,
    }
}

fn down(node: u64, slot: u8, incarnation: Incarnation) -> Effect {
    Effect::NodeDown {
        node: NodeId(node),
        slot: NodeSlot(slot),
        incarnation,
    }
}

fn interest(filter: &str, slots: &[u8]) -> Effect {
    let nodes = slots
        .iter()
        .fold(NodeSet::default(), |set, slot| set.with(NodeSlot(*slot)));
    Effect::Interest {
        space: space(),
        filter: TopicFilter::new(filter).unwrap(),
        nodes,
    }
}

fn sequences(effects: &[Effect]) -> Vec<u64> {
    let answer = |effect: &Effect| match effect {
        Effect::Answer { sequence, .. } => Some(*sequence),
        _ => None,
    };
    effects.iter().filter_map(answer).collect()
}

#[test]
fn an_entry_that_was_applied_does_nothing_again() {
    let (mut log, one) = Log::start();
    let before = log.replica.hash();
    let again = Entry::NodeUp {
        node: NodeId(9),
        name: "nine".into(),
        nonce: 1,
    };
    assert_eq!(log.replica.apply(log.index(), &again).effects, []);
    assert_eq!(log.replica.hash(), before);
    assert_eq!(log.replica.pass(Index(1)).effects, []);
    assert_eq!(log.replica.applied(), log.index());
    log.replica.pass(Index(100));
    assert_eq!(log.replica.applied(), Index(100));
    assert_eq!(log.replica.node(NodeId(1)).unwrap().incarnation, Some(one));
}

#[test]
fn a_node_comes_up_in_the_lowest_free_slot_and_keeps_it() {
    let (mut log, _) = Log::start();
    log.entries.push(Entry::NodeUp {
        node: NodeId(2),
        name: "two".into(),
        nonce: 7,
    });
    let effects = log
        .replica
        .apply(log.index(), log.entries.last().unwrap())
        .effects;
    let two = Incarnation(log.position());
    let (node, slot) = (NodeId(2), NodeSlot(1));
    assert_eq!(
        effects,
        [Effect::NodeUp {
            node,
            slot,
            incarnation: two,
            nonce: 7
        }]
    );
    assert_eq!(log.replica.up(), NodeSet::of(NodeSlot(0)).with(slot));

    let again = Entry::NodeUp {
        node,
        name: "renamed".into(),
        nonce: 7,
    };
    assert_eq!(log.push(again), []);
    assert_eq!(&**log.replica.node(node).unwrap().name, "two");

    let effects = log.push(Entry::NodeUp {
        node,
        name: "renamed".into(),
        nonce: 8,
    });
    let incarnation = Incarnation(log.position());
    let up = Effect::NodeUp {
        node,
        slot,
        incarnation,
        nonce: 8,
    };
    assert_eq!(effects, [down(2, 1, two), up]);
    assert_eq!(&**log.replica.node(node).unwrap().name, "renamed");
    assert_eq!(log.replica.ended().count(), 0);
}

#[test]
fn a_nonce_of_an_ended_incarnation_starts_a_new_one() {
    let (mut log, one) = Log::start();
    log.run(one, vec![end(1, one)]);
    assert_ne!(log.up(1, 1), one);
    assert_eq!(log.replica.nodes().count(), 1);
}

#[test]
fn the_cluster_has_64_nodes_and_no_more() {
    let mut log = Log::default();
    for node in 1..=64 {
        log.up(node, node);
    }
    assert_eq!(log.replica.up(), NodeSet(u64::MAX));
    let before = log.replica.hash();
    let one_more = Entry::NodeUp {
        node: NodeId(65),
        name: "65".into(),
        nonce: 1,
    };
    assert_eq!(log.push(one_more), []);
    assert_eq!(log.replica.nodes().count(), 64);
    assert_ne!(log.replica.hash(), before, "only the index moved on");
    assert_eq!(
        log.push(Entry::NodeUp {
            node: NodeId(64),
            name: "".into(),
            nonce: 9
        })
        .len(),
        2
    );
}

#[test]
fn a_lane_is_applied_in_order_and_once() {
    let (mut log, _) = Log::start();
    let two = log.up(2, 1);
    let lane = Lane::Liveness;
    let filters = |names: &[&str]| names.iter().map(|name| add(name)).collect::<Vec<_>>();

    assert_eq!(
        sequences(&log.push(batch(two, lane, 1, filters(&["a", "b"])))),
        [1, 2]
    );
    assert_eq!(log.push(batch(two, lane, 1, filters(&["a", "b"]))), []);
    let gap = Effect::Gap {
        incarnation: two,
        lane,
        expected: 3,
    };
    assert_eq!(log.push(batch(two, lane, 4, filters(&["d"]))), [gap]);
    assert_eq!(log.replica.interest_count(), 2);
    // a part of it is new
    let effects = log.push(batch(two, lane, 2, filters(&["b", "c", "d"])));
    assert_eq!(sequences(&effects), [3, 4]);
    assert_eq!(log.replica.interest_count(), 4);
    // the other lane counts for itself
    assert_eq!(
        sequences(&log.push(batch(two, Lane::Work, 1, filters(&["e"])))),
        [1]
    );
    assert_eq!(log.push(batch(two, lane, 0, filters(&["x"]))), []);
    assert_eq!(log.push(batch(two, lane, u64::MAX, vec![])).len(), 1);
}

#[test]
fn a_batch_that_is_too_long_is_applied_up_to_its_bound() {
    let (mut log, _) = Log::start();
    let two = log.up(2, 1);
    let commands = vec![add("a"); BATCH_COMMANDS + 3];
    let effects = log.push(batch(two, Lane::Work, 1, commands));
    let expected = BATCH_COMMANDS as u64 + 1;
    assert_eq!(
        effects.last(),
        Some(&Effect::Gap {
            incarnation: two,
            lane: Lane::Work,
            expected
        })
    );
    assert_eq!(sequences(&effects).len(), BATCH_COMMANDS);
}

#[test]
fn nothing_of_an_ended_or_unknown_incarnation_is_applied() {
    let (mut log, one) = Log::start();
    let (_, epoch) = log.claim(one, claim("client", 1, None));
    log.up(1, 2);
    let commands = vec![add("a"), store(epoch, "t", b"x"), end(1, one)];
    assert_eq!(log.run(one, commands), []);
    let unknown = Incarnation(Position::new(Index(1000), 0));
    assert_eq!(log.push(batch(unknown, Lane::Work, 1, vec![add("a")])), []);
    assert_eq!(
        (log.replica.interest_count(), log.replica.stored_count()),
        (0, 0)
    );
}

#[test]
fn what_follows_a_nodes_own_end_in_its_batch_is_not_applied() {
    let (mut log, _) = Log::start();
    let two = log.up(2, 1);
    let effects = log.push(batch(
        two,
        Lane::Work,
        1,
        vec![add("a"), end(2, two), add("b")],
    ));
    let done = |offset| Outcome::Done(Position::new(log.index(), offset));
    let answer = |sequence, outcome| Effect::Answer {
        incarnation: two,
        lane: Lane::Work,
        sequence,
        outcome,
    };
    assert_eq!(
        effects,
        [
            interest("a", &[1]),
            answer(1, done(0)),
            down(2, 1, two),
            answer(2, done(1))
        ]
    );
}

#[test]
fn an_end_of_another_incarnation_changes_nothing() {
    let (mut log, one) = Log::start();
    let old = log.up(2, 1);
    let two = log.up(2, 2);
    assert_eq!(log.one(one, end(2, old)), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(one, end(3, two)), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(one, end(1, two)), (vec![], Outcome::Unchanged));
    let (effects, outcome) = log.one(one, end(2, two));
    assert_eq!(
        (effects, outcome),
        (vec![down(2, 1, two)], Outcome::Done(log.position()))
    );
    assert_eq!(log.one(one, end(2, two)), (vec![], Outcome::Unchanged));
    assert_eq!(log.replica.up(), NodeSet::of(NodeSlot(0)));
    assert_eq!(log.replica.node(NodeId(2)).unwrap().incarnation, None);
}

#[test]
fn a_resource_is_created_once() {
    let (mut log, one) = Log::start();
    let create = |folder| Command::Create(Resource::Folder { id: id(folder) });
    let (effects, outcome) = log.one(one, create("other"));
    assert_eq!(
        (effects, outcome),
        (vec![Effect::Catalog], Outcome::Done(log.position()))
    );
    assert_eq!(log.one(one, create("other")), (vec![], Outcome::Unchanged));
    let taken = Outcome::Refused(Refusal::IdTaken);
    assert_eq!(log.one(one, create("device")), (vec![], taken));
}

#[test]
fn a_claim_takes_over_with_the_will_before_the_end() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (effects, first) = log.claim(one, claim("client", 1, Some("will/first")));
    assert_eq!(effects, []);
    let (effects, second) = log.claim(two, claim("client", 2, None));
    let ended = Effect::Ended {
        incarnation: one,
        conn: conn(1),
        epoch: first,
        why: Close::Takeover,
    };
    assert_eq!(effects, [deliver("will/first", b"gone"), ended]);
    let session = log.replica.session(&key("client")).unwrap();
    assert_eq!(
        (session.incarnation, session.epoch, session.conn),
        (two, second, conn(2))
    );
    assert_eq!(log.replica.session_count(), 1);
    // another client ID is another session
    assert_eq!(log.claim(two, claim("other", 3, None)).0, []);
    assert_eq!(log.replica.session_count(), 2);
}

#[test]
fn a_claim_with_a_credential_that_is_gone_is_refused() {
    let (mut log, one) = Log::start();
    let (_, epoch) = log.claim(one, claim("client", 1, Some("will")));
    let mut other = claim("client", 2, None);
    other.credential = Credential::Password(id("pwregistry"));
    let refused = Outcome::Refused(Refusal::CredentialGone);
    assert_eq!(log.one(one, Command::Claim(other)), (vec![], refused));
    assert_eq!(log.replica.session(&key("client")).unwrap().epoch, epoch);
}

#[test]
fn a_release_fires_the_will_if_it_says_so() {
    for fire in [false, true] {
        let (mut log, one) = Log::start();
        let (_, epoch) = log.claim(one, claim("client", 1, Some("will")));
        let release = Command::Release {
            key: key("client"),
            epoch,
            fire,
        };
        let (effects, outcome) = log.one(one, release.clone());
        let fired = if fire {
            vec![deliver("will", b"gone")]
        } else {
            vec![]
        };
        assert_eq!((effects, outcome), (fired, Outcome::Done(log.position())));
        assert_eq!(log.replica.session_count(), 0);
        let stale = Outcome::Refused(Refusal::StaleEpoch);
        assert_eq!(log.one(one, release), (vec![], stale));
    }
}

#[test]
fn a_release_of_an_older_epoch_or_another_node_is_refused() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, first) = log.claim(one, claim("client", 1, Some("will")));
    let (_, second) = log.claim(one, claim("client", 2, Some("will")));
    let (_, other) = log.claim(one, claim("other", 3, Some("will")));
    let stale = Outcome::Refused(Refusal::StaleEpoch);
    for (incarnation, epoch) in [(one, first), (two, second), (one, other)] {
        let release = Command::Release {
            key: key("client"),
            epoch,
            fire: true,
        };
        assert_eq!(log.one(incarnation, release), (vec![], stale));
    }
    assert_eq!(log.replica.session(&key("client")).unwrap().epoch, second);
}

#[test]
fn a_will_that_stores_sets_the_value_at_qos_1_at_most() {
    let (mut log, one) = Log::start();
    let mut with_will = claim("client", 1, Some("will"));
    let will = with_will.will.take().unwrap();
    with_will.will = Some(
        Will {
            stores: true,
            ..(*will).clone()
        }
        .into(),
    );
    let (_, epoch) = log.claim(one, with_will);
    let release = Command::Release {
        key: key("client"),
        epoch,
        fire: true,
    };
    assert_eq!(log.one(one, release).0, [deliver("will", b"gone")]);
    let values = log.replica.values(space());
    let value = values.get(&will.topic).unwrap();
    assert_eq!(
        (&value.payload[..], value.qos),
        (&b"gone"[..], QoS::AtLeastOnce)
    );
}

#[test]
fn a_store_sets_and_clears_the_value_for_a_live_owner_only() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, epoch) = log.claim(one, claim("client", 1, None));
    let (effects, outcome) = log.one(one, store(epoch, "t", b"value"));
    assert_eq!(effects, [deliver("t", b"value")]);
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(
        (log.replica.stored_count(), log.replica.stored_bytes()),
        (1, 6)
    );

    let stale = Outcome::Refused(Refusal::StaleEpoch);
    assert_eq!(
        log.one(two, store(epoch, "t", b"other node")),
        (vec![], stale)
    );
    assert_eq!(
        log.one(one, store(Epoch::default(), "t", b"no epoch")),
        (vec![], stale)
    );
    let mut elsewhere = store(epoch, "t", b"other space");
    if let Command::Store(store) = &mut elsewhere {
        store.space = SpaceId::Broker(id("registry"));
    }
    assert_eq!(log.one(one, elsewhere), (vec![], stale));

    assert_eq!(log.one(one, store(epoch, "t", b"")).0, [deliver("t", b"")]);
    assert_eq!(
        (log.replica.stored_count(), log.replica.stored_bytes()),
        (0, 0)
    );
    log.claim(two, claim("client", 2, None));
    assert_eq!(
        log.one(one, store(epoch, "t", b"after takeover")),
        (vec![], stale)
    );
}

#[test]
fn interest_changes_once_for_each_node() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (effects, outcome) = log.one(one, add("a/#"));
    assert_eq!(effects, [interest("a/#", &[0])]);
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(log.one(one, add("a/#")), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(two, add("a/#")).0, [interest("a/#", &[0, 1])]);
    assert_eq!(log.one(one, remove("a/#")).0, [interest("a/#", &[1])]);
    assert_eq!(log.one(one, remove("a/#")), (vec![], Outcome::Unchanged));
    assert_eq!(log.one(two, remove("a/#")).0, [interest("a/#", &[])]);
    assert_eq!(log.replica.interest().count(), 0);
}

#[test]
fn a_sweep_of_what_runs_or_is_unknown_changes_nothing() {
    let (mut log, one) = Log::start();
    log.claim(one, claim("client", 1, Some("will")));
    for incarnation in [one, Incarnation::default()] {
        let sweep = Command::Sweep { incarnation };
        assert_eq!(log.one(one, sweep), (vec![], Outcome::Unchanged));
    }
    assert_eq!(log.replica.session_count(), 1);
}

#[test]
fn a_sweep_fires_the_wills_and_then_ends_the_interest() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    log.claim(two, claim("z", 1, Some("will/1")));
    log.claim(two, claim("a", 2, Some("will/2")));
    log.claim(two, claim("m", 3, None));
    log.run(two, vec![add("b"), add("a")]);
    log.one(one, add("a"));
    assert_eq!(log.one(one, end(2, two)).0, [down(2, 1, two)]);
    assert_eq!(log.replica.session_count(), 3, "an end is O(1)");
    assert_eq!(log.replica.ended().collect::<Vec<_>>(), [two]);

    let (effects, outcome) = log.one(one, Command::Sweep { incarnation: two });
    assert_eq!(
        effects,
        [
            deliver("will/1", b"gone"),
            deliver("will/2", b"gone"),
            interest("a", &[0]),
            interest("b", &[])
        ]
    );
    assert_eq!(outcome, Outcome::Done(log.position()));
    assert_eq!(log.replica.ended().count(), 0);
    let again = Command::Sweep { incarnation: two };
    assert_eq!(log.one(one, again), (vec![], Outcome::Unchanged));
}

#[test]
fn a_sweep_is_bounded() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    for n in 0..SWEEP_BATCH as u32 + 10 {
        log.claim(two, claim(&format!("client-{n}"), n, Some("will")));
    }
    for n in 0..SWEEP_BATCH {
        log.one(two, add(&format!("filter/{n}")));
    }
    log.one(one, end(2, two));
    let mut sweep = || {
        let (effects, _) = log.one(one, Command::Sweep { incarnation: two });
        let wills = effects
            .iter()
            .filter(|e| matches!(e, Effect::Deliver(_)))
            .count();
        (wills, effects.len() - wills)
    };
    assert_eq!(sweep(), (SWEEP_BATCH, 0));
    assert_eq!(sweep(), (10, SWEEP_BATCH - 10));
    assert_eq!(sweep(), (0, 10));
    assert_eq!(
        (log.replica.session_count(), log.replica.interest_count()),
        (0, 0)
    );
    assert_eq!(log.replica.ended().count(), 0);
}

#[test]
fn a_claim_of_what_an_ended_incarnation_left_fires_the_will_once() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    let (_, epoch) = log.claim(two, claim("client", 1, Some("will")));
    log.claim(two, claim("other", 2, Some("other/will")));
    log.one(one, end(2, two));
    let (effects, _) = log.claim(one, claim("client", 3, Some("new/will")));
    let ended = Effect::Ended {
        incarnation: two,
        conn: conn(1),
        epoch,
        why: Close::Takeover,
    };
    assert_eq!(effects, [deliver("will", b"gone"), ended]);
    let (effects, _) = log.one(one, Command::Sweep { incarnation: two });
    assert_eq!(effects, [deliver("other/will", b"gone")]);
    assert!(log.replica.session(&key("client")).is_some());
}

#[test]
fn an_ended_incarnation_is_forgotten_when_others_took_all_that_it_left() {
    let (mut log, one) = Log::start();
    let two = log.up(2, 1);
    log.claim(two, claim("client", 1, None));
    log.one(two, add("a"));
    let new = log.up(2, 2);
    assert_eq!(log.replica.ended().collect::<Vec<_>>(), [two]);
    log.claim(one, claim("client", 2, None));
    assert_eq!(log.replica.ended().count(), 1);
    let (effects, outcome) = log.one(new, add("a"));
    assert_eq!((effects, outcome), (vec![], Outcome::Done(log.position())));
    assert_eq!(log.replica.ended().count(), 0);
    let nodes = log
        .replica
        .interest_nodes(space(), &TopicFilter::new("a").unwrap());
    assert_eq!(nodes, NodeSet::of(NodeSlot(1)));
}

#[test]
fn a_clone_stays_as_it_was() {
    let (mut log, one) = Log::start();
    let (_, epoch) = log.claim(one, claim("client", 1, None));
    let view: Replica = log.replica.clone();
    let before = view.hash();
    log.one(one, store(epoch, "t", b"x"));
    log.one(one, add("a"));
    log.up(1, 2);
    assert_eq!(view.hash(), before);
    assert_ne!(log.replica.hash(), before);
    assert_eq!(
        Replica::read_snapshot(&view.write_snapshot())
            .unwrap()
            .hash(),
        before
    );
    let payload = log
        .replica
        .values(space())
        .iter()
        .next()
        .map(|(_, v)| v.payload.clone());
    assert_eq!(payload, Some(Bytes::from_static(b"x")));
}
