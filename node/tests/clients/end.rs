//! How connections end, and that nothing read before the end is lost.

use std::net::Shutdown;

use mainstay_core::codec::QoS;

use crate::{
    client::{Client, WAYS, Way, publish_packet},
    node::Node,
};

#[test]
fn data_and_end_in_one_event_are_both_seen() {
    let node = Node::start(1);
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut subscriber = Client::connect(&node, Way::Plain, number, "s");
        subscriber.subscribe("t", QoS::AtMostOnce);
        for round in 0..50_u8 {
            let mut publisher = Client::connect(&node, way, number, "p");
            let mut bytes = Vec::new();
            for message in 0..20 {
                bytes.extend(publish_packet("t", &[round, message], None));
            }
            publisher.send(&bytes);
            publisher.socket().shutdown(Shutdown::Both).unwrap();
            drop(publisher);
            for message in 0..20 {
                assert_eq!(subscriber.message().unwrap(), [round, message], "{way:?}");
            }
        }
    }
}

#[test]
fn more_than_a_read_buffer_before_the_end_is_read_to_the_end() {
    let node = Node::start(1);
    let mut subscriber = Client::connect(&node, Way::Plain, 0, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    for round in 0..10_u8 {
        let mut publisher = Client::connect(&node, Way::Plain, 0, "p");
        let payload = vec![round; 100_000];
        publisher.send(
            &[
                publish_packet("t", &payload, None),
                publish_packet("t", &payload, None),
            ]
            .concat(),
        );
        drop(publisher);
        for _ in 0..2 {
            assert!(subscriber.message().unwrap() == payload);
        }
    }
}

#[test]
fn a_client_that_half_closes_is_closed_and_its_publishes_are_delivered() {
    let node = Node::start(1);
    let mut subscriber = Client::connect(&node, Way::Plain, 0, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    let mut publisher = Client::connect(&node, Way::Plain, 0, "p");
    publisher.send(&publish_packet("t", b"last", None));
    publisher.socket().shutdown(Shutdown::Write).unwrap();
    assert_eq!(subscriber.message().unwrap(), b"last");
    assert!(publisher.ended());
}

#[test]
fn a_disconnect_is_answered_by_the_end() {
    let node = Node::start(1);
    for way in WAYS {
        let mut client = Client::connect(&node, way, 0, "c");
        client.send(&[0xe0, 0]);
        assert!(client.ended(), "{way:?}");
    }
}

#[test]
fn a_tls_client_that_says_goodbye_is_closed() {
    let node = Node::start(1);
    for way in &WAYS[1..] {
        let mut client = Client::connect(&node, *way, 0, "c");
        if let crate::client::Wire::Tls(stream) = &mut client.wire {
            stream.conn.send_close_notify();
        }
        client.send(&[]);
        assert!(client.ended(), "{way:?}");
    }
}

#[test]
fn bytes_that_break_the_protocol_end_the_connection() {
    let node = Node::start(1);
    for way in WAYS {
        let mut client = Client::connect(&node, way, 0, "c");
        client.ping();
        client.send(&[0xf0, 0]);
        assert!(client.ended(), "{way:?}");
    }
}
