//! Lease, fence and drain (P9).

use std::time::Duration;

use super::test_rig::*;
use super::*;
use crate::{
    codec::{ConnackCode, QoS},
    ids::{Epoch, Index, NodeSlot, Position},
    message::Ticket,
    replica::Outcome,
    router::Routes,
};

const Q1: QoS = QoS::AtLeastOnce;

#[test]
fn nothing_may_leave_without_a_lease() {
    let mut rig = Rig::alone();
    rig.window.set(Moment(0));
    assert!(!rig.shard.may_flush(rig.now));
    rig.window.set(rig.now + Duration::from_millis(1));
    assert!(rig.shard.may_flush(rig.now));
    let late = rig.now + Duration::from_millis(1);
    assert!(!rig.shard.may_flush(late));
    // Seed 9141 of the simulation: a paused node heard `Serve` after the lease that it came with.
    let login = rig.login(broker(), "late");
    assert_eq!(rig.shard.handle_login(late, login), Err(Close::NoQuorum));
}

#[test]
fn a_fence_closes_all_forgets_all_and_keeps_no_byte() {
    let mut routes = Routes::default();
    routes.set_nodes(broker().space, &filter("t"), NodeSet(0b10));
    let mut rig = Rig::new(2, Limits::default(), table(1, vec![peer(1, 5)], routes));
    let reader = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("s", b"x", 1, true));
    rig.send(publisher, &publish("t", b"x", 2, false));
    rig.send(publisher, &subscribe(3, &[("later", Q1)]));
    let login = rig.login(broker(), "claiming");
    let claiming = rig.shard.handle_login(rig.now, login).unwrap();
    let login = rig.login(broker(), "refused");
    let refused = rig.shard.handle_login(rig.now, login).unwrap();
    rig.event(Event::ClaimFailed {
        conn: refused,
        why: Close::NoQuorum,
    });
    let asked = rig.requests();
    rig.event(Event::Fence);
    assert!(matches!(rig.requests()[..], [Request::Emptied]));
    assert!(rig.shard.outbox().siblings.iter().all(Parcel::is_empty));
    assert!(rig.shard.outbox().peers.is_empty());
    for conn in [reader, publisher, claiming, refused] {
        assert!(rig.is_closed(conn).is_some());
        assert_eq!(rig.read(conn), []);
    }
    assert_eq!(rig.shard.counters().closed_for(Close::Fence), 3);
    let login = rig.login(broker(), "new");
    assert_eq!(rig.shard.handle_login(rig.now, login), Err(Close::NoQuorum));
    // Answers to what was forgotten find nothing, also once the node serves again.
    rig.event(Event::Serve(incarnation(2)));
    let position = Position::new(Index(50), 0);
    for request in asked {
        match request {
            Request::Store { ticket, .. } => {
                rig.event(Event::Stored {
                    ticket,
                    outcome: Outcome::Done(position),
                });
            }
            Request::Subscribe { ticket, .. } => {
                rig.event(Event::Subscribed {
                    ticket,
                    views: Vec::new(),
                });
            }
            _ => {}
        }
    }
    rig.event(Event::Claimed {
        conn: claiming,
        epoch: Epoch(position),
    });
    rig.event(Event::BarrierReached { ticket: Ticket(0) });
    for conn in [reader, publisher, claiming, refused] {
        assert_eq!(rig.read(conn), []);
        rig.shard.forget(conn.slot);
    }
    assert!(rig.requests().is_empty());
    let counters = rig.shard.counters();
    let gauges = [
        counters.connections,
        counters.subscriptions,
        counters.inflight_in,
        counters.inflight_out,
    ];
    assert_eq!(gauges, [0; 4]);
    assert_eq!(rig.client(broker(), "again").slot, refused.slot);
}

#[test]
fn while_fenced_batches_are_neither_delivered_nor_answered() {
    let mut rig = Rig::new(
        2,
        Limits::default(),
        table(1, vec![peer(1, 5)], Routes::default()),
    );
    rig.event(Event::Fence);
    let now = rig.now;
    let messages = batch(broker().space, &[("t", "x", Q1, Some(1))]);
    rig.shard
        .handle_batch(now, Origin::Node(NodeSlot(1), incarnation(5)), &messages);
    assert_eq!(rig.node(1, 5).1.len(), 0);
}

#[test]
fn a_drain_answers_what_is_under_way_then_closes_with_the_will() {
    let mut rig = Rig::alone();
    let idle = rig.client(broker(), "idle");
    let busy = rig.client(broker(), "busy");
    rig.send(busy, &publish("s", b"x", 2, true));
    let Some(Request::Store { ticket, .. }) = rig.requests().pop() else {
        panic!("no Store")
    };
    let login = rig.login(broker(), "claiming");
    let claiming = rig.start(login);
    rig.event(Event::Drain);
    let requests = rig.requests();
    assert!(
        matches!(requests[..], [Request::Release { fire: true, .. }]),
        "{requests:?}"
    );
    assert_eq!(
        (rig.is_closed(idle), rig.is_closed(busy)),
        (Some(Close::Drain), None)
    );
    assert_eq!(
        rig.read(claiming),
        [Got::Connack(ConnackCode::ServerUnavailable)]
    );
    assert!(!rig.shard.wants_input(busy.slot));
    let login = rig.login(broker(), "new");
    assert_eq!(rig.shard.handle_login(rig.now, login), Err(Close::Drain));
    rig.event(Event::Stored {
        ticket,
        outcome: Outcome::Unchanged,
    });
    assert_eq!(rig.is_closed(busy), Some(Close::Drain));
    assert_eq!(rig.read(busy), [Got::Puback(2)], "the answer still leaves");
    assert!(matches!(
        rig.requests()[..],
        [Request::Release { fire: true, .. }]
    ));
    for conn in [idle, busy, claiming] {
        rig.shard.forget(conn.slot);
    }
    assert!(
        matches!(rig.requests()[..], [Request::Emptied]),
        "once nothing can leave"
    );
}

#[test]
fn a_drain_of_an_empty_shard_is_over_at_once() {
    let mut rig = Rig::alone();
    rig.event(Event::Drain);
    assert!(matches!(rig.requests()[..], [Request::Emptied]));
}

#[test]
fn a_refused_client_that_does_not_read_is_given_up() {
    let mut rig = Rig::alone();
    let login = rig.login(broker(), "a");
    let conn = rig.start(login);
    rig.event(Event::ClaimFailed {
        conn,
        why: Close::NoQuorum,
    });
    rig.pass(Duration::from_secs(11));
    assert!(
        rig.shard
            .output(conn.slot)
            .is_some_and(|out| out.is_empty())
    );
}

#[test]
fn the_driver_is_not_left_asleep_over_what_a_flush_added() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    rig.shard.outbox().dirty.clear();
    assert!(rig.shard.next_deadline().is_some_and(|due| due > rig.now));
    rig.shard.forget(conn.slot);
    assert_eq!(rig.shard.next_deadline(), Some(Moment(0)));
}

#[test]
fn a_message_before_the_node_serves_is_answered_since_nobody_is_there_to_take_it() {
    let mut shard = Shard::new(
        ShardId(0),
        2,
        Limits::default(),
        lease::Window::default(),
        [1, 2],
    );
    let now = Moment(1);
    shard.handle_event(
        now,
        Event::Adopt(table(1, vec![peer(1, 5)], Routes::default())),
    );
    let messages = batch(
        broker().space,
        &[("t", "x", Q1, Some(7)), ("t", "y", QoS::AtMostOnce, None)],
    );
    for from in [
        Origin::Node(NodeSlot(1), incarnation(5)),
        Origin::Sibling(ShardId(1)),
    ] {
        shard.handle_batch(now, from, &messages);
    }
    let token = crate::peering::Token::new(ShardId(3), 7);
    assert_eq!(shard.outbox().peers[0].2.taken, [token]);
    assert_eq!(shard.outbox().siblings[1].taken, [token]);
}

#[test]
fn a_shard_that_has_drained_still_passes_on_to_siblings_that_have_not() {
    let mut routes = Routes::default();
    routes.set_shards(broker().space, &filter("t"), crate::ids::ShardSet(0b10));
    let mut rig = Rig::new(2, Limits::default(), table(1, vec![peer(1, 5)], routes));
    rig.event(Event::Drain);
    assert!(matches!(rig.requests()[..], [Request::Emptied]));
    let messages = batch(broker().space, &[("t", "x", Q1, Some(7))]);
    let now = rig.now;
    rig.shard
        .handle_batch(now, Origin::Node(NodeSlot(1), incarnation(5)), &messages);
    assert_eq!(rig.node(1, 5).1, []);
    assert_eq!(rig.sibling(1).0.len(), 1);
}

#[test]
fn what_a_drain_left_to_be_written_is_forgotten_when_another_owns_the_session() {
    let mut rig = Rig::alone();
    let client = rig.client(broker(), "c");
    let epoch = rig.shard.connections.get(client.slot).unwrap().epoch;
    rig.send(client, &publish("t", b"x", 2, false));
    rig.event(Event::Drain);
    assert_eq!(rig.is_closed(client), Some(Close::Drain));
    rig.event(Event::Ended {
        conn: client,
        epoch,
        why: Close::Takeover,
    });
    assert_eq!(rig.read(client), []);
}
