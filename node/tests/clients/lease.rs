//! Nothing leaves without a lease (P9).

use std::{collections::HashSet, io::ErrorKind, io::Read, time::Duration};

use mainstay_core::{codec::QoS, ids::ShardId, message::Event, time::Moment};

use crate::{
    client::{Client, WAYS, Way, connect_packet, publish_packet},
    node::{Node, PASSWORD, wait_for},
};

/// Long enough for anything that wants to leave.
const WHILE: Duration = Duration::from_millis(300);

fn nothing_comes(client: &Client) {
    let mut socket = client.socket();
    socket.set_read_timeout(Some(WHILE)).unwrap();
    match socket.read(&mut [0; 64]) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("{other:?}"),
    }
    socket
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
}

#[test]
fn a_closed_lease_lets_nothing_out_and_a_renewed_one_everything() {
    let node = Node::start(2);
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut subscriber = Client::connect(&node, way, number, "s");
        subscriber.subscribe("t", QoS::AtMostOnce);
        let mut publisher = Client::connect(&node, Way::Plain, number, "p");
        // The session tickets of TLS 1.3 are behind us when an answer has come.
        subscriber.ping();
        node.window.set(Moment(0));
        publisher.send(&publish_packet("t", b"held", Some(1)));
        publisher.send(&[0xc0, 0]);
        nothing_comes(&subscriber);
        nothing_comes(&publisher);
        node.window.set(Moment(u64::MAX));
        assert_eq!(subscriber.message().unwrap(), b"held", "{way:?}");
    }
}

#[test]
fn a_fence_closes_all_clients_without_another_byte() {
    let node = Node::start(2);
    let mut clients: Vec<_> = WAYS
        .into_iter()
        .enumerate()
        .map(|(n, way)| Client::connect(&node, way, n, "c"))
        .collect();
    for client in &mut clients {
        client.ping();
    }
    node.window.set(Moment(0));
    for client in &mut clients {
        client.send(&[0xc0, 0]);
    }
    node.tell(&Event::Fence);
    for client in &mut clients {
        let mut socket = client.socket();
        match socket.read(&mut [0; 64]) {
            Ok(0) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            other => panic!("not even an alert may come: {other:?}"),
        }
    }
    wait_for("all shards to be emptied", || {
        *node.emptied.lock().unwrap() == HashSet::from([ShardId(0), ShardId(1)])
    });
}

#[test]
fn without_a_lease_a_connect_is_answered_with_3() {
    let node = Node::start(1);
    node.window.set(Moment(0));
    for way in WAYS {
        let mut client = Client::open(&node, way);
        client.send(&connect_packet(node.brokers[0].as_str(), PASSWORD, "c"));
        assert_eq!(client.connack(), 3, "{way:?}");
        assert!(client.ended());
    }
}

#[test]
fn a_drain_lets_the_answers_out_and_takes_no_new_clients() {
    let node = Node::start(1);
    let mut client = Client::connect(&node, Way::Plain, 0, "c");
    node.tell(&Event::Drain);
    assert!(client.ended());
    let mut late = Client::open(&node, Way::Plain);
    late.send(&connect_packet(node.brokers[0].as_str(), PASSWORD, "c"));
    assert_eq!(late.connack(), 3);
}
