//! Bounds: slow receivers, windows, full links (P10, P11).

use std::time::Duration;

use super::test_rig::*;
use super::*;
use crate::{codec::QoS, ids::NodeSlot, reason::Drop, router::Routes};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;

/// One message on its way to a client, and one that waits, are within the soft bound; the third is above.
fn tight() -> Limits {
    Limits {
        send_window: 1,
        soft_messages: 1,
        hard_messages: 5,
        ..Limits::default()
    }
}

fn fill(rig: &mut Rig, publisher: ConnId, messages: u16) {
    for id in 1..=messages {
        rig.send(publisher, &publish("t", b"x", id, false));
    }
}

#[test]
fn a_receiver_above_its_soft_bound_holds_answers_back_until_it_is_below() {
    let mut rig = Rig::with(tight());
    let slow = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    fill(&mut rig, publisher, 3);
    assert_eq!(rig.read(publisher), [Got::Puback(1), Got::Puback(2)]);
    assert_eq!(rig.read(slow).len(), 1);
    rig.send(slow, &puback(1));
    assert_eq!(rig.read(publisher), [Got::Puback(3)]);
    assert_eq!(rig.read(slow), [got("t", "x", Q1, false, Some(2))]);
}

#[test]
fn siblings_and_nodes_are_held_back_alike_and_answered_once() {
    let mut rig = Rig::new(2, tight(), table(1, vec![peer(1, 5)], Routes::default()));
    let slow = [
        rig.subscriber(broker(), "t", Q1),
        rig.subscriber(broker(), "t", Q1),
    ];
    let publisher = rig.client(broker(), "p");
    fill(&mut rig, publisher, 2);
    let now = rig.now;
    let space = broker().space;
    let (sibling, node) = (
        Origin::Sibling(ShardId(1)),
        Origin::Node(NodeSlot(1), incarnation(5)),
    );
    rig.shard
        .handle_batch(now, sibling, &batch(space, &[("t", "a", Q1, Some(1))]));
    rig.shard
        .handle_batch(now, node, &batch(space, &[("t", "b", Q1, Some(2))]));
    assert_eq!((rig.sibling(1).1.len(), rig.node(1, 5).1.len()), (0, 0));
    rig.read(slow[0]);
    rig.read(slow[1]);
    for id in 1..=2 {
        rig.send(slow[0], &puback(id));
    }
    assert_eq!(
        (rig.sibling(1).1.len(), rig.node(1, 5).1.len()),
        (0, 0),
        "the other still does"
    );
    rig.shard.handle_lost(now, slow[1].slot, Close::IoError);
    assert_eq!(
        (rig.sibling(1).1.len(), rig.node(1, 5).1.len()),
        (1, 1),
        "it ended"
    );
    assert_eq!(rig.shard.counters().dropped_for(Drop::SessionEnded), 3);
}

#[test]
fn qos_0_for_a_receiver_above_its_soft_bound_is_dropped_and_counted() {
    let mut rig = Rig::with(Limits {
        soft_bytes: 100,
        ..Limits::default()
    });
    let slow = rig.subscriber(broker(), "t", Q0);
    let publisher = rig.client(broker(), "p");
    for _ in 0..4 {
        rig.send(publisher, &publish("t", &[b'x'; 60], 0, false));
    }
    assert_eq!(rig.shard.counters().dropped_for(Drop::Qos0Slow), 2);
    assert_eq!(rig.read(slow).len(), 2);
    assert_eq!(rig.shard.counters().delivered[0], 2);
}

#[test]
fn a_publisher_with_its_window_full_is_not_read_until_an_answer_leaves() {
    let mut rig = Rig::with(Limits {
        max_inbound_inflight: 1,
        ..tight()
    });
    let slow = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    let two = [publish("t", b"x", 3, false), publish("t", b"x", 4, false)].concat();
    fill(&mut rig, publisher, 2);
    assert_eq!(rig.feed(publisher, &two), two.len() / 2);
    assert!(!rig.shard.wants_input(publisher.slot));
    rig.pass(Duration::from_secs(9));
    rig.read(slow);
    rig.send(slow, &puback(1));
    assert_eq!(rig.resumed(), [publisher.slot]);
    assert!(rig.shard.wants_input(publisher.slot));
}

#[test]
fn a_session_that_is_held_back_itself_exerts_no_backpressure() {
    // Two clients publish to each other and acknowledge nothing in time: they must not lock.
    let mut rig = Rig::with(Limits {
        max_inbound_inflight: 1,
        hard_messages: 100,
        ..tight()
    });
    let a = rig.subscriber(broker(), "to/a", Q1);
    let b = rig.subscriber(broker(), "to/b", Q1);
    let mut sent = [0, 0];
    for id in 1..=20 {
        for (side, from, topic) in [(0, a, "to/b"), (1, b, "to/a")] {
            let packet = publish(topic, b"x", id, false);
            sent[side] += usize::from(rig.feed(from, &packet) == packet.len());
        }
        let held = [a, b].map(|conn| !rig.shard.wants_input(conn.slot));
        assert_ne!(held, [true, true], "both wait for each other");
    }
    assert!(sent[0] >= 3 && sent[1] >= 3, "{sent:?}");
}

#[test]
fn at_the_hard_bound_a_receiver_is_closed_and_its_publishers_are_answered() {
    let mut rig = Rig::with(tight());
    let slow = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    fill(&mut rig, publisher, 6);
    assert_eq!(rig.is_closed(slow), Some(Close::SlowConsumer));
    assert_eq!(rig.read(publisher).len(), 6);
    let counters = rig.shard.counters();
    assert_eq!(
        counters.dropped_for(Drop::SessionEnded) + counters.delivered[1],
        6
    );
    assert_eq!((counters.inflight_in, counters.inflight_out), (0, 0));
}

#[test]
fn a_client_that_does_not_read_answers_is_bounded_too() {
    let mut rig = Rig::with(Limits {
        hard_bytes: 100,
        ..Limits::default()
    });
    let conn = rig.client(broker(), "a");
    rig.feed(conn, &[0xc0, 0].repeat(60));
    assert_eq!(rig.is_closed(conn), Some(Close::SlowConsumer));
}

#[test]
fn a_receiver_without_progress_is_closed_and_one_with_some_is_not() {
    let mut rig = Rig::alone();
    let [stuck, slow] = [0; 2].map(|_| rig.subscriber(broker(), "t", Q0));
    let publisher = rig.client(broker(), "p");
    rig.pass(Duration::from_secs(20));
    rig.send(publisher, &publish("t", &[0; 50], 0, false));
    for _ in 0..4 {
        rig.pass(Duration::from_secs(6));
        rig.shard.output(slow.slot).unwrap().consume(1);
        let now = rig.now;
        rig.shard.handle_flushed(now, slow.slot, 1);
    }
    assert_eq!(rig.is_closed(stuck), Some(Close::SlowConsumer));
    assert_eq!(rig.is_closed(slow), None);
}

#[test]
fn a_receiver_that_acknowledges_nothing_is_closed() {
    let mut rig = Rig::with(Limits {
        send_window: 1,
        ..Limits::default()
    });
    let stuck = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    fill(&mut rig, publisher, 2);
    rig.read(stuck);
    rig.read(publisher);
    rig.pass(Duration::from_secs(11));
    assert_eq!(rig.is_closed(stuck), Some(Close::SlowConsumer));
    let idle = rig.subscriber(broker(), "t", Q1);
    rig.send(publisher, &publish("t", b"x", 3, false));
    rig.read(idle);
    rig.pass(Duration::from_secs(11));
    assert_eq!(
        rig.is_closed(idle),
        None,
        "nothing waits behind what it has not acknowledged"
    );
}

#[test]
fn mqtt_2_3_1_2_a_packet_id_in_use_is_not_given_out_again() {
    let mut rig = Rig::alone();
    let conn = rig.subscriber(broker(), "t", Q1);
    let publisher = rig.client(broker(), "p");
    let mut held = 0;
    for round in 0..66_000_u32 {
        rig.send(publisher, &publish("t", b"x", 1, false));
        for packet in rig.read(conn) {
            let Got::Publish { id: Some(id), .. } = packet else {
                panic!("{packet:?}")
            };
            // The first is never acknowledged.
            assert!(id != 1 || round == 0, "given out twice");
            if id == 1 {
                held += 1;
            } else {
                rig.send(conn, &puback(id));
            }
        }
        rig.read(publisher);
    }
    assert_eq!(held, 1);
    rig.send(conn, &puback(1));
    assert!(!rig.read(conn).is_empty(), "what waited goes on");
}

#[test]
fn an_unknown_puback_is_ignored() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    rig.send(conn, &puback(9));
    assert_eq!(rig.is_closed(conn), None);
}

#[test]
fn a_full_link_stops_qos_1_and_drops_qos_0() {
    let mut routes = Routes::default();
    routes.set_nodes(broker().space, &filter("t"), NodeSet(0b110));
    let peers = vec![peer(1, 5), peer(2, 6)];
    let mut rig = Rig::new(1, Limits::default(), table(1, peers, routes));
    let publisher = rig.client(broker(), "p");
    let now = rig.now;
    rig.shard.handle_congestion(now, NodeSet(0b100));
    rig.send(publisher, &publish("t", b"x", 0, false));
    assert_eq!(rig.shard.counters().dropped_for(Drop::LinkFull), 1);
    assert_eq!((rig.node(1, 5).0.len(), rig.node(2, 6).0.len()), (1, 0));
    rig.send(publisher, &publish("elsewhere", b"x", 1, false));
    assert_eq!(rig.feed(publisher, &publish("t", b"x", 2, false)), 0);
    assert_eq!(rig.node(1, 5).0.len(), 0, "no half of it");
    assert!(!rig.shard.wants_input(publisher.slot));
    rig.shard.handle_congestion(now, NodeSet::default());
    assert_eq!(rig.resumed(), [publisher.slot]);
    rig.send(publisher, &publish("t", b"x", 2, false));
    assert_eq!((rig.node(1, 5).0.len(), rig.node(2, 6).0.len()), (1, 1));
    rig.shard.handle_congestion(now, NodeSet(0b100));
    assert_eq!(rig.feed(publisher, &publish("t", b"x", 3, false)), 0);
    rig.event(Event::Adopt(table(2, vec![peer(1, 5)], Routes::default())));
    assert_eq!(rig.resumed(), [publisher.slot], "the link is gone");
}
