//! Apply of what nodes do, on the list of effects: incarnations, lanes, ends, the catalog.

use super::testing::*;
use crate::{
    catalog::Resource,
    ids::{Incarnation, Index, NodeId, NodeSet, NodeSlot, Position},
    limits::BATCH_COMMANDS,
    replica::{Command, Effect, Entry, Lane, Outcome, Refusal},
};

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
