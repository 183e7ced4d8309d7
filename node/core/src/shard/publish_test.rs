//! PUBLISH: rights, fan-out, the answers that a PUBACK waits for.

use std::sync::Arc;

use bytes::Bytes;

use super::test_rig::*;
use super::*;
use crate::{
    codec::QoS,
    ids::{Index, NodeSlot, Position},
    limits::COPY_BYTES,
    message::Ticket,
    reason::Drop,
    replica::{Delivery, Outcome, Refusal, Store},
    router::Routes,
    topic::TopicName,
};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;

/// Two shards and two peers that want `t`.
fn wide() -> Rig {
    let mut routes = Routes::default();
    let space = broker().space;
    routes.set_shards(space, &filter("t"), ShardSet(0b11));
    routes.set_nodes(space, &filter("t"), NodeSet(0b111));
    Rig::new(
        2,
        Limits::default(),
        table(1, vec![peer(1, 5), peer(2, 6)], routes),
    )
}

fn stores(rig: &mut Rig) -> Vec<(Ticket, Store)> {
    let stored = rig.requests().into_iter().map(|request| match request {
        Request::Store { ticket, store } => (ticket, store),
        other => panic!("{other:?}"),
    });
    stored.collect()
}

#[test]
fn a_publish_goes_to_everyone_here_at_the_lower_qos_and_is_answered_at_once() {
    // [MQTT-3.8.4-6], [MQTT-3.3.1-9]
    let mut rig = Rig::alone();
    let low = rig.subscriber(broker(), "a/+", Q0);
    let high = rig.subscriber(broker(), "a/#", Q1);
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("a/b", b"x", 9, false));
    assert_eq!(rig.read(publisher), [Got::Puback(9)]);
    assert_eq!(rig.read(low), [got("a/b", "x", Q0, false, None)]);
    assert_eq!(rig.read(high), [got("a/b", "x", Q1, false, Some(1))]);
    rig.send(publisher, &publish("a/b", b"y", 0, false));
    assert_eq!(rig.read(high), [got("a/b", "y", Q0, false, None)]);
    assert_eq!(rig.read(publisher), []);
    let counters = rig.shard.counters();
    assert_eq!(
        (counters.received, counters.delivered),
        ([1, 1, 0], [3, 1, 0])
    );
    assert_eq!(counters.inflight_out, 1);
}

#[test]
fn mqtt_3_3_5_1_a_session_gets_one_copy_for_each_form_at_its_highest_qos() {
    let mut rig = Rig::alone();
    let dev = rig.client(device(), "d");
    let own = format!("$devices/{}/commands", id("dev"));
    let filters = [
        (&own[..], Q0),
        ("$devices/+/commands", Q1),
        ("$me/device/#", Q0),
        ("$me/device/commands", Q0),
    ];
    rig.send(dev, &subscribe(1, &filters));
    rig.grant(Vec::new());
    rig.read(dev);
    let back_end = rig.client(registry(), "r");
    rig.send(back_end, &publish(&own, b"go", 1, false));
    assert_eq!(
        rig.read(dev),
        [
            got(&own, "go", Q1, false, Some(1)),
            got("$me/device/commands", "go", Q0, false, None)
        ]
    );
}

#[test]
fn spaces_never_see_each_other() {
    let mut rig = Rig::alone();
    let all = rig.subscriber(broker(), "#", Q1);
    let mut other = broker();
    other.space = crate::ids::SpaceId::Broker(id("broker2"));
    let stranger = rig.client(other, "p");
    rig.send(stranger, &publish("a", b"x", 1, false));
    assert_eq!(
        (rig.read(stranger), rig.read(all)),
        (vec![Got::Puback(1)], vec![])
    );
    assert_eq!(rig.shard.counters().dropped_for(Drop::NoSubscriber), 1);
}

#[test]
fn a_publish_without_the_right_closes_and_is_not_answered() {
    let mut rig = Rig::alone();
    for topic in [
        "$me/device/commands",
        "other",
        "$SYS/x",
        "$monitoring/x/json",
    ] {
        let conn = rig.client(device(), topic);
        rig.feed(conn, &publish(topic, b"x", 1, false));
        assert_eq!(rig.is_closed(conn), Some(Close::NotAuthorized), "{topic}");
        assert_eq!(rig.read(conn), []);
        rig.requests();
    }
    assert_eq!(rig.shard.counters().denied_publish, 4);
}

#[test]
fn what_is_too_large_or_not_served_closes() {
    let limits = Limits {
        max_payload: 10,
        ..Limits::default()
    };
    let mut rig = Rig::with(limits);
    let conn = rig.client(broker(), "a");
    rig.feed(conn, &publish("a", &[0; 11], 1, false));
    assert_eq!(rig.is_closed(conn), Some(Close::TooLarge));
    rig.requests();
    let conn = rig.client(broker(), "b");
    rig.feed(conn, &publish(&"x".repeat(1_025), b"", 0, false));
    assert_eq!(rig.is_closed(conn), Some(Close::TooLarge));
    rig.requests();
    let conn = rig.client(broker(), "c");
    rig.feed(conn, b"\x34\x05\0\x01a\0\x01");
    assert_eq!(rig.is_closed(conn), Some(Close::Unsupported), "QoS 2");
}

#[test]
fn a_large_payload_is_shared_and_arrives_whole() {
    let mut rig = Rig::alone();
    let subscribers: Vec<_> = (0..3).map(|_| rig.subscriber(broker(), "t", Q1)).collect();
    let publisher = rig.client(broker(), "p");
    let payload = "z".repeat(COPY_BYTES + 1);
    rig.send(publisher, &publish("t", payload.as_bytes(), 1, false));
    rig.send(publisher, &publish("t", b"small", 2, false));
    for conn in subscribers {
        let want = [
            got("t", &payload, Q1, false, Some(1)),
            got("t", "small", Q1, false, Some(2)),
        ];
        assert_eq!(rig.read(conn), want);
    }
}

#[test]
fn mqtt_4_3_2_2_puback_waits_for_every_sibling_and_node() {
    let mut rig = wide();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"x", 7, false));
    let (sent, _) = rig.sibling(1);
    let token = sent[0].token.expect("QoS 1 asks");
    assert_eq!(token.shard(), ShardId(0));
    assert_eq!((rig.node(1, 5).0, rig.node(2, 6).0), (sent.clone(), sent));
    let now = rig.now;
    rig.shard
        .handle_taken(now, Origin::Sibling(ShardId(1)), &[token]);
    rig.shard.handle_taken(
        now,
        Origin::Node(NodeSlot(1), incarnation(5)),
        &[token, token],
    );
    // An answer of a life that ended, and one to a token that never was.
    rig.shard
        .handle_taken(now, Origin::Node(NodeSlot(2), incarnation(4)), &[token]);
    let strange = crate::peering::Token::new(ShardId(0), token.rest() + 1);
    rig.shard
        .handle_taken(now, Origin::Node(NodeSlot(2), incarnation(6)), &[strange]);
    assert_eq!(rig.read(conn), []);
    rig.shard
        .handle_taken(now, Origin::Node(NodeSlot(2), incarnation(6)), &[token]);
    assert_eq!(rig.read(conn), [Got::Puback(7)]);
    rig.shard
        .handle_taken(now, Origin::Node(NodeSlot(2), incarnation(6)), &[token]);
    assert_eq!(rig.read(conn), []);
}

#[test]
fn qos_0_asks_for_nothing() {
    let mut rig = wide();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"x", 0, false));
    assert_eq!(rig.sibling(1).0[0].token, None);
    assert_eq!(rig.node(1, 5).0[0].token, None);
    assert_eq!(rig.shard.counters().inflight_in, 0);
}

#[test]
fn a_node_whose_life_ended_is_not_waited_for() {
    for peers in [vec![peer(1, 5)], vec![peer(1, 5), peer(2, 9)]] {
        let mut rig = wide();
        let conn = rig.client(broker(), "p");
        rig.send(conn, &publish("t", b"x", 7, false));
        let token = rig.sibling(1).0[0].token.expect("QoS 1 asks");
        let now = rig.now;
        rig.shard
            .handle_taken(now, Origin::Sibling(ShardId(1)), &[token]);
        rig.shard
            .handle_taken(now, Origin::Node(NodeSlot(1), incarnation(5)), &[token]);
        rig.event(Event::Adopt(table(2, peers, Routes::default())));
        assert_eq!(rig.read(conn), [Got::Puback(7)]);
        assert!(matches!(rig.requests()[..], [Request::Adopted(Index(2))]));
    }
}

#[test]
fn a_route_to_a_node_that_is_not_up_leads_nowhere() {
    let mut routes = Routes::default();
    routes.set_nodes(broker().space, &filter("t"), NodeSet(0b1110));
    let mut rig = Rig::new(1, Limits::default(), table(1, vec![peer(1, 5)], routes));
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"x", 1, false));
    assert_eq!(rig.node(1, 5).0.len(), 1);
    assert_eq!(rig.shard.outbox().peers.len(), 1);
}

#[test]
fn mqtt_4_6_0_2_pubacks_leave_in_the_order_of_the_publishes() {
    let mut rig = wide();
    let conn = rig.client(broker(), "p");
    rig.send(conn, &publish("t", b"x", 1, false));
    rig.send(conn, &publish("nobody", b"x", 2, false));
    rig.send(conn, &publish("t", b"y", 3, false));
    let tokens: Vec<_> = rig
        .sibling(1)
        .0
        .iter()
        .filter_map(|sent| sent.token)
        .collect();
    rig.event(Event::Adopt(table(2, Vec::new(), Routes::default())));
    let now = rig.now;
    rig.shard
        .handle_taken(now, Origin::Sibling(ShardId(1)), &[tokens[1]]);
    assert_eq!(rig.read(conn), []);
    rig.shard
        .handle_taken(now, Origin::Sibling(ShardId(1)), &[tokens[0]]);
    assert_eq!(
        rig.read(conn),
        [Got::Puback(1), Got::Puback(2), Got::Puback(3)]
    );
    assert_eq!(rig.shard.counters().inflight_in, 0);
}

#[test]
fn a_permanent_topic_goes_by_the_log_and_is_answered_when_stored() {
    let mut rig = wide();
    let dev = rig.client(device(), "d");
    let reader = rig.subscriber(registry(), "$devices/#", Q1);
    let topic = format!("$devices/{}/state", id("dev"));
    rig.send(dev, &publish("$me/device/state", b"on", 4, false));
    rig.send(dev, &publish("$me/device/state", b"off", 0, false));
    let stored = stores(&mut rig);
    assert_eq!(stored[0].1.topic.as_str(), topic);
    assert_eq!((stored[0].1.qos, stored[1].1.qos), (Q1, Q0));
    assert_eq!(
        (rig.read(dev), rig.read(reader)),
        (vec![], vec![]),
        "not before the log has it"
    );
    assert_eq!(rig.shard.counters().inflight_in, 2);
    let delivery = |qos| Delivery {
        space: device().space,
        topic: TopicName::new(&topic).unwrap(),
        payload: Bytes::from_static(b"on"),
        qos,
    };
    rig.event(Event::Deliver(Arc::new(delivery(Q1))));
    assert_eq!(rig.read(reader), [got(&topic, "on", Q1, false, Some(1))]);
    rig.event(Event::Stored {
        ticket: stored[0].0,
        outcome: Outcome::Unchanged,
    });
    let position = Position::new(Index(9), 0);
    rig.event(Event::Stored {
        ticket: stored[1].0,
        outcome: Outcome::Done(position),
    });
    assert_eq!(rig.read(dev), [Got::Puback(4)]);
    assert_eq!(rig.shard.counters().inflight_in, 0);
}

#[test]
fn a_store_that_is_refused_is_never_acknowledged() {
    for (refusal, why, releases) in [
        (Refusal::StaleEpoch, Close::Takeover, 0),
        (Refusal::CredentialGone, Close::AuthRevoked, 1),
    ] {
        let mut rig = Rig::alone();
        let conn = rig.client(broker(), "a");
        rig.send(conn, &publish("t", b"x", 1, true));
        let ticket = stores(&mut rig)[0].0;
        rig.event(Event::Stored {
            ticket,
            outcome: Outcome::Refused(refusal),
        });
        assert_eq!(rig.is_closed(conn), Some(why));
        assert_eq!((rig.read(conn), rig.requests().len()), (vec![], releases));
    }
}

#[test]
fn a_siblings_message_is_for_the_sessions_here_and_a_nodes_for_its_siblings_too() {
    let mut rig = wide();
    let reader = rig.subscriber(broker(), "t", Q1);
    let from = Origin::Sibling(ShardId(1));
    let now = rig.now;
    let space = broker().space;
    rig.shard.handle_batch(
        now,
        from,
        &batch(space, &[("t", "a", Q1, Some(1)), ("u", "b", Q1, Some(2))]),
    );
    assert_eq!(rig.read(reader), [got("t", "a", Q1, false, Some(1))]);
    let (sent, taken) = rig.sibling(1);
    assert_eq!((sent.len(), taken.len()), (0, 2));
    let node = Origin::Node(NodeSlot(1), incarnation(5));
    rig.shard.handle_batch(
        now,
        node,
        &batch(space, &[("t", "c", Q1, Some(3)), ("t", "d", Q0, None)]),
    );
    assert_eq!(rig.read(reader).len(), 2);
    let (sent, _) = rig.sibling(1);
    assert_eq!(
        (sent[0].payload.as_slice(), sent[1].token),
        (&b"c"[..], None)
    );
    assert_eq!(
        rig.node(1, 5),
        (vec![], vec![]),
        "the sibling has not taken it"
    );
    rig.shard.handle_taken(now, from, &[sent[0].token.unwrap()]);
    let original = crate::peering::Token::new(ShardId(3), 3);
    assert_eq!(rig.node(1, 5), (vec![], vec![original]));
}

#[test]
fn a_malformed_batch_does_no_harm() {
    let mut rig = wide();
    let whole = batch(broker().space, &[("t", "a", Q1, Some(1))]);
    for length in 0..whole.as_bytes().len() {
        let cut = crate::peering::Batch::from_bytes(whole.as_bytes()[..length].to_vec(), 1);
        let now = rig.now;
        rig.shard
            .handle_batch(now, Origin::Sibling(ShardId(1)), &cut);
    }
    assert_eq!(rig.sibling(1), (vec![], vec![]));
}
