//! A topic of a broker space changes its path, log to links or back, and keeps its order (P6).

use super::test_rig::*;
use super::*;
use crate::{
    ids::{Index, NodeSlot, Position},
    message::Ticket,
    replica::Outcome,
    router::Routes,
};

fn rig() -> Rig {
    let mut routes = Routes::default();
    let space = broker().space;
    for topic in ["t", "u"] {
        routes.set_shards(space, &filter(topic), ShardSet(0b10));
        routes.set_nodes(space, &filter(topic), NodeSet(0b10));
    }
    Rig::new(2, Limits::default(), table(1, vec![peer(1, 5)], routes))
}

fn store_ticket(rig: &mut Rig) -> Ticket {
    match rig.requests()[..] {
        [Request::Store { ticket, .. }] => ticket,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn log_then_links_waits_until_every_node_has_applied() {
    let mut rig = rig();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"1", 1, true));
    let ticket = store_ticket(&mut rig);
    let later = publish("t", b"2", 2, false);
    assert_eq!(rig.feed(conn, &later), 0, "it is not stored yet");
    let outcome = Outcome::Done(Position::new(Index(30), 2));
    rig.event(Event::Stored { ticket, outcome });
    assert_eq!(rig.read(conn), [Got::Puback(1)]);
    assert_eq!(rig.resumed(), [conn.slot]);
    assert_eq!(rig.feed(conn, &later), 0, "not every node has applied it");
    let requests = rig.requests();
    let [
        Request::Barrier {
            ticket,
            index: Index(30),
        },
    ] = requests[..]
    else {
        panic!("{requests:?}")
    };
    assert!(rig.sibling(1).0.is_empty() && !rig.shard.wants_input(conn.slot));
    rig.event(Event::BarrierReached { ticket });
    assert_eq!(rig.resumed(), [conn.slot]);
    rig.send(conn, &later);
    assert_eq!((rig.sibling(1).0.len(), rig.node(1, 5).0.len()), (1, 1));
    assert!(rig.requests().is_empty());
}

#[test]
fn links_then_log_waits_for_a_marker_behind_what_was_sent() {
    for id in [0, 1] {
        let mut rig = rig();
        let conn = rig.client(broker(), "p");
        rig.send(conn, &publish("t", b"1", id, false));
        let later = publish("t", b"2", 2, true);
        assert_eq!(rig.feed(conn, &later), 0);
        assert!(rig.requests().is_empty());
        let (sent, _) = rig.sibling(1);
        assert_eq!(rig.node(1, 5).0, sent);
        let [first, marker] = &sent[..] else {
            panic!("{sent:?}")
        };
        assert_eq!((&first.topic[..], &marker.topic[..]), ("t", ""));
        let token = marker.token.expect("a marker asks");
        let now = rig.now;
        rig.shard
            .handle_taken(now, Origin::Sibling(ShardId(1)), &[token]);
        assert!(!rig.shard.wants_input(conn.slot));
        rig.shard
            .handle_taken(now, Origin::Node(NodeSlot(1), incarnation(5)), &[token]);
        assert_eq!(rig.resumed(), [conn.slot]);
        rig.send(conn, &later);
        store_ticket(&mut rig);
    }
}

#[test]
fn a_marker_is_answered_when_every_sibling_has_handled_what_came_before() {
    let mut rig = rig();
    let now = rig.now;
    let space = broker().space;
    let marker = batch(space, &[("", "", crate::codec::QoS::AtMostOnce, Some(8))]);
    rig.shard
        .handle_batch(now, Origin::Sibling(ShardId(1)), &marker);
    assert_eq!(rig.sibling(1).1.len(), 1, "a sibling's at once");
    rig.shard
        .handle_batch(now, Origin::Node(NodeSlot(1), incarnation(5)), &marker);
    let (sent, _) = rig.sibling(1);
    assert_eq!((sent[0].topic.as_str(), rig.node(1, 5).1.len()), ("", 0));
    rig.shard
        .handle_taken(now, Origin::Sibling(ShardId(1)), &[sent[0].token.unwrap()]);
    assert_eq!(rig.node(1, 5).1.len(), 1);
}

#[test]
fn other_topics_and_unchanged_paths_wait_for_nothing() {
    let mut rig = rig();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"1", 1, true));
    rig.send(conn, &publish("t", b"2", 2, true));
    rig.send(conn, &publish("u", b"3", 3, false));
    rig.send(conn, &publish("u", b"4", 4, false));
    rig.send(conn, &publish("t", b"5", 5, true));
    assert_eq!(rig.requests().len(), 3);
    assert_eq!(rig.sibling(1).0.len(), 2);
    let device = rig.client(device(), "d");
    rig.send(device, &publish("$me/device/state", b"1", 1, false));
    rig.send(device, &publish("$me/device/events", b"2", 2, true));
    assert_eq!(
        rig.requests().len(),
        1,
        "RETAIN is ignored in a registry space"
    );
}

#[test]
fn nobody_far_means_nothing_to_wait_for() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"1", 0, false));
    rig.send(conn, &publish("t", b"2", 2, true));
    store_ticket(&mut rig);
}

#[test]
fn a_node_that_ends_does_not_hold_a_path() {
    let mut rig = rig();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"1", 0, false));
    assert_eq!(rig.feed(conn, &publish("t", b"2", 2, true)), 0);
    let token = rig.sibling(1).0[1].token.unwrap();
    let now = rig.now;
    rig.shard
        .handle_taken(now, Origin::Sibling(ShardId(1)), &[token]);
    rig.event(Event::Adopt(table(2, Vec::new(), Routes::default())));
    assert_eq!(rig.resumed(), [conn.slot]);
}
