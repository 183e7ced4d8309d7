//! Incarnations from NodeUp to the empty shards, on the outputs.

use std::sync::Arc;

use bytes::Bytes;

use super::{testing::*, *};
use crate::{
    codec::QoS,
    ids::{ConnId, Epoch, Position},
    message::Request,
    reason::Close,
    replica::{Command, Delivery, Effect, Entry},
    topic::TopicName,
};

fn names(world: &World, n: usize) -> Vec<&'static str> {
    let name = |event: &Event| match event {
        Event::Adopt(_) => "adopt",
        Event::Serve(_) => "serve",
        Event::Fence => "fence",
        Event::Drain => "drain",
        Event::Deliver(_) => "deliver",
        Event::Ended { .. } => "ended",
        _ => "other",
    };
    world.nodes[n]
        .events
        .iter()
        .map(|(_, event)| name(event))
        .collect()
}

fn delivery() -> Effect {
    Effect::Deliver(Arc::new(Delivery {
        space: SPACE(),
        topic: TopicName::new("t").unwrap(),
        payload: Bytes::from_static(b"x"),
        qos: QoS::AtLeastOnce,
    }))
}

#[test]
fn serves_only_with_a_lease_and_a_table_that_all_shards_have_adopted() {
    let mut world = World::new(1);
    world.nodes[0].does.adopt = false;
    world.nodes[0].does.renew = false;
    world.start();
    assert!(matches!(world.nodes[0].outputs[0], Output::Propose { .. }));
    assert!(
        matches!(&world.nodes[0].outputs[1], Output::Links { links: Some((_, peers)) } if peers.is_empty())
    );
    assert_eq!(names(&world, 0), ["adopt", "adopt"]);
    world.adopt(0);
    assert_eq!(names(&world, 0), ["adopt", "adopt"], "no lease yet");
    world.nodes[0].does.renew = true;
    world.advance(300);
    assert_eq!(names(&world, 0), ["adopt", "adopt", "serve", "serve"]);
    assert!(world.nodes[0].control.is_ready(world.now));

    let mut world = World::new(1);
    world.nodes[0].does.adopt = false;
    world.start();
    assert_eq!(
        names(&world, 0),
        ["adopt", "adopt"],
        "nobody has adopted a table yet"
    );
    world.adopt(0);
    assert_eq!(names(&world, 0)[2..], ["serve", "serve"]);
}

#[test]
fn replay_before_the_own_node_up_is_silent() {
    let mut world = World::new(1);
    world.nodes[0].does.propose = false;
    let conn = ConnId {
        shard: ShardId(0),
        slot: 1,
        generation: 1,
    };
    let old = Incarnation::default();
    let ended = Effect::Ended {
        incarnation: old,
        conn,
        epoch: Epoch(Position(1)),
        why: Close::Takeover,
    };
    world.inject(0, vec![delivery(), ended, Effect::Catalog]);
    assert_eq!(names(&world, 0), [""; 0]);
    assert!(matches!(
        world.nodes[0].outputs[..],
        [Output::Propose { .. }]
    ));
}

#[test]
fn the_end_of_the_lease_fences_and_a_new_incarnation_follows_the_empty_shards() {
    let mut world = World::serving(1, None);
    let before = world.incarnation(0);
    world.nodes[0].does.renew = false;
    world.nodes[0].does.empty = false;
    world.advance(1_499);
    assert!(world.nodes[0].control.is_ready(world.now));
    world.advance(1);
    assert!(
        !world.nodes[0].control.is_ready(world.now) && world.nodes[0].control.is_serving(world.now)
    );
    world.clear();
    world.advance(1_500);
    assert_eq!(names(&world, 0), ["fence", "fence"]);
    assert!(
        world.nodes[0]
            .outputs
            .iter()
            .any(|o| matches!(o, Output::Links { links: None }))
    );
    assert!(!world.nodes[0].window.is_open(Moment(0)));
    world.subscribe(0, 0, 1, &["late"]);
    world.nodes[0].does.renew = true;
    world.advance(5_000);
    assert_eq!(
        world.nodes[0].control.incarnation(),
        None,
        "shards still have clients"
    );
    world.request(0, 0, Request::Emptied);
    assert_eq!(world.nodes[0].control.incarnation(), None);
    world.request(0, 1, Request::Emptied);
    assert!(world.incarnation(0) > before && world.nodes[0].control.is_serving(world.now));
    assert!(
        !world.is_subscribed(0, 1),
        "nothing of the old incarnation lives on"
    );
}

#[test]
fn the_own_node_down_ends_the_incarnation_at_once() {
    let mut world = World::serving(2, None);
    let (node, incarnation) = (NodeId(2), world.incarnation(1));
    world.nodes[1].does.empty = false;
    let slot = world.slot(1);
    world.inject(
        1,
        vec![Effect::NodeDown {
            node,
            slot,
            incarnation: Incarnation::default(),
        }],
    );
    assert_eq!(names(&world, 1), [""; 0], "of an older incarnation");
    world.inject(
        1,
        vec![
            delivery(),
            Effect::NodeDown {
                node,
                slot,
                incarnation,
            },
            delivery(),
        ],
    );
    assert_eq!(names(&world, 1), ["fence", "fence"]);
    assert!(!world.nodes[1].window.is_open(Moment(0)));
}

#[test]
fn a_node_up_that_was_lost_to_a_snapshot_is_made_again_with_another_nonce() {
    let mut world = World::new(1);
    world.nodes[0].does.propose = false;
    world.start();
    let (ticket, entry) = world.nodes[0].proposals.remove(0);
    let Entry::NodeUp { nonce, .. } = entry else {
        panic!("not a NodeUp")
    };
    world.commit_nothing();
    world.nodes[0]
        .control
        .handle_proposed(world.now, ticket, Ok(Index(1)));
    world.settle();
    world.advance(600);
    let again = world.nodes[0].proposals.iter().map(|(_, entry)| entry);
    let nonces: Vec<u64> = again
        .map(|entry| match entry {
            Entry::NodeUp { nonce, .. } => *nonce,
            Entry::Batch { .. } => 0,
        })
        .collect();
    assert!(!nonces.is_empty() && !nonces.contains(&nonce));
}

#[test]
fn an_unanswered_node_up_is_repeated_with_the_same_nonce() {
    let mut world = World::new(1);
    world.nodes[0].does.propose = false;
    world.start();
    world.advance(500);
    let proposals = &world.nodes[0].proposals;
    assert_eq!(proposals.len(), 2);
    assert_eq!(proposals[0].1, proposals[1].1);
}

#[test]
fn draining_empties_the_shards_answers_the_rest_and_then_ends_itself() {
    let mut world = World::serving(2, None);
    world.nodes[1].does.empty = false;
    world.nodes[1].does.propose = false;
    let now = world.now;
    world.subscribe(1, 0, 1, &["a"]);
    world.nodes[1].control.handle_drain(now);
    world.settle();
    assert!(!world.nodes[1].control.is_ready(now));
    assert!(names(&world, 1).ends_with(&["drain", "drain"]));
    world.request(1, 0, Request::Emptied);
    world.request(1, 1, Request::Emptied);
    assert_eq!(
        world.nodes[1].proposals.len(),
        1,
        "the end waits for what is unanswered"
    );
    let (ticket, entry) = world.nodes[1].proposals.remove(0);
    world.nodes[1].does.propose = true;
    world.commit(1, ticket, entry);
    world.settle();
    assert!(matches!(
        world.commands()[..],
        [Command::AddInterest { .. }, Command::EndNode { .. }, ..]
    ));
    assert!(
        world.nodes[1]
            .outputs
            .iter()
            .any(|o| matches!(o, Output::Drained))
    );
    assert!(!names(&world, 1).contains(&"fence"));
    world.advance(10_000);
    assert_eq!(world.nodes[1].control.incarnation(), None, "for good");
}

#[test]
fn a_snapshot_waits_for_the_end_of_the_incarnation_and_holds_the_next_one() {
    let mut world = World::serving(1, None);
    world.nodes[0].does.empty = false;
    assert!(!world.nodes[0].control.may_install());
    world.nodes[0].control.handle_snapshot_request(world.now);
    world.settle();
    assert_eq!(names(&world, 0), ["fence", "fence"]);
    world.request(0, 0, Request::Emptied);
    assert!(!world.nodes[0].control.may_install());
    world.request(0, 1, Request::Emptied);
    assert!(world.nodes[0].control.may_install());
    assert_eq!(world.log.len(), 1, "no NodeUp before it is installed");
    world.nodes[0].replica.pass(Index(7));
    world.nodes[0].does.apply = false;
    let state = world.nodes[0].replica.clone();
    world.nodes[0]
        .control
        .handle_applied(world.now, Vec::new(), state);
    world.settle();
    assert_eq!(world.log.len(), 2);
}

#[test]
fn streams_reset_to_a_majority_give_the_lease_up_at_once() {
    let mut world = World::serving(3, None);
    let now = world.now;
    for n in [1, 2] {
        let (slot, incarnation) = (world.slot(n), world.incarnation(n));
        world.nodes[0]
            .control
            .handle_link(now, slot, incarnation, LinkState::Connected);
    }
    world.nodes[0].does.empty = false;
    for n in [1, 2] {
        assert!(world.nodes[0].control.is_serving(now));
        let (slot, incarnation) = (world.slot(n), world.incarnation(n));
        world.nodes[0]
            .control
            .handle_link(now, slot, incarnation, LinkState::Reset);
    }
    assert!(!world.nodes[0].control.is_serving(now) && !world.nodes[0].window.is_open(Moment(0)));
}

#[test]
fn a_shard_that_found_the_lease_run_out_ends_the_incarnation() {
    let mut world = World::serving(1, None);
    let before = world.incarnation(0);
    world.request(0, 1, Request::Emptied);
    assert_eq!(names(&world, 0)[..2], ["fence", "fence"]);
    assert!(world.incarnation(0) > before);
}

/// How long a node serves on whose first two renewals are answered 2,900 ms after their sending.
fn serves_at_fence(plant: Option<Plant>) -> bool {
    let mut world = World::serving(2, plant);
    world.nodes[1].does.renew = false;
    world.nodes[1].does.empty = false;
    world.advance(300);
    let (ticket, _) = world.nodes[1].renewals[0];
    let sent = world.now;
    world.advance(2_600);
    world.nodes[1]
        .control
        .handle_renewed(world.now, ticket, true);
    world.settle();
    world.now = sent + world.nodes[1].control.config.timing.fence_after;
    world.tick();
    world.nodes[1].window.is_open(world.now)
}

#[test]
fn an_old_answer_extends_the_lease_from_its_own_sending() {
    assert!(!serves_at_fence(None));
    assert!(
        serves_at_fence(Some(Plant::LeaseByOldAnswer)),
        "planted bug not seen"
    );
}
