//! SUBSCRIBE, interest, tables, reports and path changes, on the outputs.

use std::sync::Arc;

use bytes::Bytes;

use super::{testing::*, *};
use crate::{
    catalog::{Credential, Password, Resource},
    codec::QoS,
    ids::{Actor, ClientId, ConnId, Epoch, Principal, ResourceId, SessionKey, SpaceId},
    message::{Request, Ticket},
    reason::Close,
    replica::{Claim, Command, Delivery, Effect, Entry, Lane, Outcome, Refusal, Store},
    router::Table,
    topic::TopicName,
};

fn topic(text: &str) -> TopicName {
    TopicName::new(text).unwrap()
}

fn delivery(text: &str) -> Effect {
    Effect::Deliver(Arc::new(Delivery {
        space: SPACE(),
        topic: topic(text),
        payload: Bytes::from_static(b"x"),
        qos: QoS::AtLeastOnce,
    }))
}

fn last_table(world: &World, n: usize) -> Arc<Table> {
    let tables = world.nodes[n]
        .events
        .iter()
        .rev()
        .filter_map(|(_, event)| match event {
            Event::Adopt(table) => Some(Arc::clone(table)),
            _ => None,
        });
    tables.take(1).next().unwrap()
}

fn count(world: &World, n: usize, is: impl Fn(&Event) -> bool) -> usize {
    world.nodes[n]
        .events
        .iter()
        .filter(|(_, event)| is(event))
        .count()
}

#[test]
fn a_first_subscription_is_answered_after_interest_masks_and_reports() {
    let mut world = World::serving(2, None);
    world.subscribe(0, 1, 7, &["a", "b"]);
    assert!(world.is_subscribed(0, 7));
    let events = &world.nodes[0].events;
    let answered = events
        .iter()
        .position(|(_, e)| matches!(e, Event::Subscribed { .. }))
        .unwrap();
    let masks = events.iter().position(|(_, event)| match event {
        Event::Adopt(table) => table.routes.find(&SPACE(), "a").shards.contains(ShardId(1)),
        _ => false,
    });
    assert!(masks.unwrap() < answered);
    assert_eq!(world.commands().len(), 2);
    let at_peer = last_table(&world, 1).routes.find(&SPACE(), "a");
    assert!(at_peer.nodes.contains(world.slot(0)) && at_peer.shards.is_empty());
    let reads = world.nodes[0]
        .outputs
        .iter()
        .filter(|o| matches!(o, Output::ReadIndex { .. }));
    assert_eq!(reads.count(), 0, "its own interest is the read index");
}

#[test]
fn no_answer_before_own_shards_have_adopted_the_mask() {
    let mut world = World::serving(1, None);
    world.nodes[0].does.adopt = false;
    world.subscribe(0, 0, 1, &["a"]);
    world.adopt(0);
    assert!(
        !world.is_subscribed(0, 1),
        "the table with the interest is still to be adopted"
    );
    world.adopt(0);
    assert!(world.is_subscribed(0, 1));
    world.subscribe(0, 1, 2, &["a"]);
    assert!(!world.is_subscribed(0, 2));
    world.adopt(0);
    assert!(world.is_subscribed(0, 2));
}

#[test]
fn no_answer_before_every_node_that_is_up_has_reported_the_interest_also_an_old_one() {
    let mut world = World::serving(3, None);
    world.nodes[2].does.report = false;
    world.subscribe(0, 0, 1, &["a"]);
    world.subscribe(0, 0, 2, &["a"]);
    world.advance(200);
    assert!(!world.is_subscribed(0, 1) && !world.is_subscribed(0, 2));
    world.deliver_report(2);
    world.settle();
    assert!(world.is_subscribed(0, 1) && world.is_subscribed(0, 2));
}

/// Whether node 0's SUBSCRIBE is answered while a shard of node 1 does not yet route to it.
fn answered_before_adoption(plant: Option<Plant>) -> bool {
    let mut world = World::serving(2, plant);
    world.nodes[1].does.adopt = false;
    world.subscribe(0, 0, 1, &["a"]);
    world.advance(100);
    world.is_subscribed(0, 1)
}

#[test]
fn an_index_is_reported_only_when_every_shard_has_adopted_it() {
    assert!(!answered_before_adoption(None));
    assert!(
        answered_before_adoption(Some(Plant::ReportBeforeAdoption)),
        "planted bug not seen"
    );
}

#[test]
fn a_renewal_carries_only_what_every_shard_has_adopted() {
    let mut world = World::serving(2, None);
    world.nodes[1].does.adopt = false;
    let before = world.log.len() as u64;
    world.subscribe(0, 0, 1, &["a"]);
    world.nodes[1].does.renew = false;
    world.advance(400);
    assert_eq!(world.nodes[1].renewals[0].1.applied, Index(before));
    world.adopt(1);
    world.advance(300);
    assert_eq!(
        world.nodes[1].renewals.last().unwrap().1.applied,
        Index(before + 1)
    );
}

#[test]
fn entries_that_change_no_route_are_reported_without_a_table() {
    let mut world = World::serving(1, None);
    world.nodes[0].does.adopt = false;
    world.commit_nothing();
    world.settle();
    world.advance(10);
    assert_eq!(
        world.nodes[0].control.covered(),
        Index(world.log.len() as u64)
    );
    assert_eq!(count(&world, 0, |e| matches!(e, Event::Adopt(_))), 0);
    assert_eq!(world.nodes[0].report, Index(world.log.len() as u64));
}

#[test]
fn while_a_table_is_on_its_way_changes_join_in_the_next_one() {
    let mut world = World::serving(1, None);
    world.nodes[0].does.adopt = false;
    for n in 0..50 {
        world.subscribe(0, 0, n, &[&format!("f/{n}")]);
    }
    assert_eq!(
        count(&world, 0, |e| matches!(e, Event::Adopt(_))),
        2,
        "one a shard"
    );
    world.adopt(0);
    world.adopt(0);
    assert_eq!(count(&world, 0, |e| matches!(e, Event::Adopt(_))), 4);
    assert!((0..50).all(|n| world.is_subscribed(0, n)));
}

/// Whether a second subscriber on a lagging node is answered by a view that is older than its SUBSCRIBE.
fn has_stale_view(plant: Option<Plant>) -> bool {
    let mut world = World::serving(2, plant);
    world.subscribe(1, 0, 1, &["a"]);
    world.nodes[1].does.apply = false;
    world.commit_nothing();
    world.settle();
    let acknowledged = world.log.len() as u64;
    world.subscribe(1, 1, 2, &["a"]);
    let stale = world.is_subscribed(1, 2) && world.nodes[1].replica.applied().0 < acknowledged;
    world.nodes[1].does.apply = true;
    world.settle();
    assert!(world.is_subscribed(1, 2));
    stale
}

#[test]
fn a_second_subscriber_gets_its_view_at_a_read_index() {
    assert!(!has_stale_view(None));
    assert!(
        has_stale_view(Some(Plant::ViewWithoutReadIndex)),
        "planted bug not seen"
    );
}

#[test]
fn one_read_index_round_serves_all_that_came_before_it_was_asked() {
    let mut world = World::serving(1, None);
    world.subscribe(0, 0, 1, &["a"]);
    world.nodes[0].does.read = false;
    for ticket in 2..6 {
        world.subscribe(0, 0, ticket, &["a"]);
    }
    assert_eq!(world.nodes[0].reads.len(), 1);
    let (now, first) = (world.now, world.nodes[0].reads[0]);
    world.nodes[0]
        .control
        .handle_read_index(now, first, Some(Index(1)));
    world.settle();
    assert!(world.is_subscribed(0, 2) && !world.is_subscribed(0, 3));
    assert_eq!(world.nodes[0].reads.len(), 2);
    let second = world.nodes[0].reads[1];
    world.nodes[0].control.handle_read_index(now, second, None);
    world.settle();
    world.nodes[0].does.read = true;
    world.advance(100);
    assert!(
        (3..6).all(|ticket| world.is_subscribed(0, ticket)),
        "asked again after a failure"
    );
}

/// Whether node 1 still routes to a subscriber that came right after the last one went, when the liveness
/// lane's proposals come late.
fn is_routed_after_a_change(plant: Option<Plant>) -> bool {
    let mut world = World::serving(2, plant);
    world.subscribe(0, 0, 1, &["a"]);
    world.nodes[0].does.propose = false;
    world.unsubscribe(0, 0, &["a"]);
    world.subscribe(0, 0, 2, &["a"]);
    let mut held = std::mem::take(&mut world.nodes[0].proposals);
    held.sort_by_key(|(_, entry)| {
        matches!(
            entry,
            Entry::Batch {
                lane: Lane::Liveness,
                ..
            }
        )
    });
    world.nodes[0].does.propose = true;
    for (ticket, entry) in held {
        world.commit(0, ticket, entry);
        world.settle();
    }
    assert!(world.is_subscribed(0, 2));
    last_table(&world, 1)
        .routes
        .find(&SPACE(), "a")
        .nodes
        .contains(world.slot(0))
}

#[test]
fn the_end_of_an_interest_never_overtakes_its_next_beginning() {
    assert!(is_routed_after_a_change(None));
    assert!(
        !is_routed_after_a_change(Some(Plant::RemoveOvertakesAdd)),
        "planted bug not seen"
    );
}

#[test]
fn only_the_first_and_the_last_subscriber_of_a_filter_make_a_command() {
    let mut world = World::serving(1, None);
    world.subscribe(0, 0, 1, &["a", "a"]);
    world.subscribe(0, 1, 2, &["a"]);
    world.unsubscribe(0, 0, &["a"]);
    assert!(
        last_table(&world, 0)
            .routes
            .find(&SPACE(), "a")
            .shards
            .contains(ShardId(0))
    );
    world.unsubscribe(0, 0, &["a"]);
    assert!(
        !last_table(&world, 0)
            .routes
            .find(&SPACE(), "a")
            .shards
            .contains(ShardId(0))
    );
    assert_eq!(world.commands().len(), 1);
    world.unsubscribe(0, 1, &["a", "a", "b"]);
    assert!(matches!(
        world.commands()[..],
        [Command::AddInterest { .. }, Command::RemoveInterest { .. }]
    ));
}

#[test]
fn deliveries_go_to_the_shards_that_want_them_now_and_after_the_views_before_them() {
    let mut world = World::serving(1, None);
    world.subscribe(0, 1, 1, &["a"]);
    world.inject(0, vec![delivery("a"), delivery("b")]);
    let delivered: Vec<_> = world.nodes[0]
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::Subscribed { .. } | Event::Deliver(_)))
        .map(|(shard, event)| (*shard, matches!(event, Event::Deliver(_))))
        .collect();
    assert_eq!(delivered, [(ShardId(1), false), (ShardId(1), true)]);
}

#[test]
fn a_subscriber_that_nobody_can_serve_fails_in_the_end() {
    let mut world = World::serving(2, None);
    world.nodes[1].does.report = false;
    world.subscribe(0, 0, 1, &["a"]);
    world.advance(9_100);
    assert_eq!(
        count(&world, 0, |e| matches!(
            e,
            Event::SubscribeFailed { ticket: Ticket(1) }
        )),
        1
    );
    world.deliver_report(1);
    world.settle();
    assert!(!world.is_subscribed(0, 1));
}

#[test]
fn a_path_change_waits_for_the_report_of_all_nodes() {
    let mut world = World::serving(2, None);
    world.nodes[1].does.report = false;
    world.commit_nothing();
    world.settle();
    let index = Index(world.log.len() as u64);
    world.request(
        0,
        0,
        Request::Barrier {
            ticket: Ticket(5),
            index,
        },
    );
    world.advance(50);
    let reached = |world: &World| count(world, 0, |e| matches!(e, Event::BarrierReached { .. }));
    assert_eq!(reached(&world), 0);
    world.deliver_report(1);
    world.settle();
    assert_eq!(reached(&world), 1);
}

fn id(n: u8) -> ResourceId {
    ResourceId::from_random([n; 17])
}

/// Node 0 alone, with a broker that has a password.
fn with_broker() -> (World, Claim) {
    let mut world = World::serving(1, None);
    let password = Password {
        id: id(9),
        phc: "$x".into(),
    };
    let commands = vec![
        Command::Create(Resource::Folder { id: id(1) }),
        Command::Create(Resource::Broker {
            id: id(3),
            folder: id(1),
            name: "b".into(),
            passwords: vec![password],
        }),
    ];
    // As another node's lane would bring it.
    world.log.push(Entry::NodeUp {
        node: NodeId(99),
        name: "x".into(),
        nonce: 1,
    });
    let incarnation = Incarnation(crate::ids::Position::new(Index(world.log.len() as u64), 0));
    world.log.push(Entry::Batch {
        incarnation,
        lane: Lane::Work,
        first: 1,
        commands,
    });
    let end = vec![Command::EndNode {
        node: NodeId(99),
        incarnation,
    }];
    world.log.push(Entry::Batch {
        incarnation,
        lane: Lane::Work,
        first: 3,
        commands: end,
    });
    world.settle();
    let principal = Principal {
        space: SpaceId::Broker(id(3)),
        actor: Actor::Broker,
    };
    let claim = Claim {
        key: SessionKey {
            principal,
            client_id: ClientId("c".into()),
        },
        conn: ConnId {
            shard: ShardId(1),
            slot: 4,
            generation: 1,
        },
        credential: Credential::Password(id(9)),
        will: None,
    };
    (world, claim)
}

fn claimed(world: &World) -> Option<Epoch> {
    world.nodes[0]
        .events
        .iter()
        .find_map(|(_, event)| match event {
            Event::Claimed { epoch, .. } => Some(*epoch),
            _ => None,
        })
}

#[test]
fn claims_and_stores_are_answered_to_their_shard() {
    let (mut world, claim) = with_broker();
    world.request(
        0,
        1,
        Request::Claim {
            claim: claim.clone(),
        },
    );
    let epoch = claimed(&world).unwrap();
    let store = Store {
        space: claim.key.principal.space,
        epoch,
        topic: topic("t"),
        payload: Bytes::from_static(b"v"),
        qos: QoS::AtLeastOnce,
    };
    world.request(
        0,
        1,
        Request::Store {
            ticket: Ticket(8),
            store: store.clone(),
        },
    );
    let stale = Store {
        epoch: Epoch::default(),
        ..store
    };
    world.request(
        0,
        1,
        Request::Store {
            ticket: Ticket(9),
            store: stale,
        },
    );
    let stored: Vec<_> = world.nodes[0]
        .events
        .iter()
        .filter_map(|(shard, event)| match event {
            Event::Stored { ticket, outcome } => Some((*shard, *ticket, *outcome)),
            _ => None,
        })
        .collect();
    assert!(matches!(
        stored[..],
        [
            (ShardId(1), Ticket(8), Outcome::Done(_)),
            (ShardId(1), Ticket(9), Outcome::Refused(Refusal::StaleEpoch))
        ]
    ));
    world.request(
        0,
        1,
        Request::Claim {
            claim: Claim {
                credential: Credential::Password(id(1)),
                ..claim
            },
        },
    );
    let is_refused = |e: &Event| {
        matches!(
            e,
            Event::ClaimFailed {
                why: Close::AuthRevoked,
                ..
            }
        )
    };
    assert_eq!(count(&world, 0, is_refused), 1);
}

#[test]
fn a_claim_without_a_quorum_fails_and_is_given_up_if_it_is_applied_later() {
    let (mut world, claim) = with_broker();
    world.nodes[0].does.propose = false;
    world.request(
        0,
        1,
        Request::Claim {
            claim: claim.clone(),
        },
    );
    world.advance(3_000);
    let is_failed = |e: &Event| {
        matches!(
            e,
            Event::ClaimFailed {
                why: Close::NoQuorum,
                ..
            }
        )
    };
    assert_eq!(count(&world, 0, is_failed), 1);
    world.nodes[0].does.propose = true;
    world.advance(5_000);
    assert_eq!(claimed(&world), None);
    assert!(matches!(
        world.commands()[..],
        [.., Command::Claim(_), Command::Release { fire: false, .. }]
    ));
    assert!(world.nodes[0].replica.session(&claim.key).is_none());
}
