//! What a listener lets in, and how it refuses the rest.

use std::io::{Read, Write};

use mainstay::listener::Bounds;
use mainstay_core::codec::{Connect, encode_connect};

use crate::{
    client::{Client, WAYS, Way, connect_packet, tcp},
    node::{Node, PASSWORD, wait_for},
};

#[test]
fn wrong_credentials_are_answered_with_4_and_right_ones_with_0() {
    let node = Node::start(1);
    let known = node.brokers[0].as_str();
    for way in WAYS {
        for (username, password) in [
            (known, "wrong"),
            ("arezzzzzzzzzzzzzzzzz", PASSWORD),
            ("nobody", PASSWORD),
        ] {
            let mut client = Client::open(&node, way);
            client.send(&connect_packet(username, password, "c"));
            assert_eq!(client.connack(), 4, "{way:?} {username}");
            assert!(client.ended());
        }
        let mut client = Client::connect(&node, way, 0, "c");
        client.ping();
    }
}

#[test]
fn mqtt_3_1_2_2_another_version_is_answered_with_1() {
    let node = Node::start(1);
    let mut packet = connect_packet(node.brokers[0].as_str(), PASSWORD, "c");
    packet[8] = 5;
    let mut client = Client::open(&node, Way::Plain);
    client.send(&packet);
    assert_eq!(client.connack(), 1);
    assert!(client.ended());
}

#[test]
fn mqtt_3_1_3_8_an_empty_client_id_without_a_clean_session_is_answered_with_2() {
    let node = Node::start(1);
    for (clean_session, code) in [(false, 2), (true, 0)] {
        let mut packet = Vec::new();
        let connect = Connect {
            clean_session,
            keep_alive: 0,
            client_id: "",
            will: None,
            username: Some(node.brokers[0].as_str()),
            password: Some(PASSWORD.as_bytes()),
        };
        encode_connect(&mut packet, &connect).unwrap();
        let mut client = Client::open(&node, Way::Plain);
        client.send(&packet);
        assert_eq!(client.connack(), code);
    }
}

#[test]
fn mqtt_3_1_0_1_a_first_packet_that_is_no_connect_ends_the_connection() {
    let node = Node::start(1);
    for way in WAYS {
        let mut client = Client::open(&node, way);
        client.send(&[0xc0, 0]);
        assert!(client.ended(), "{way:?}");
    }
}

#[test]
fn bytes_that_are_no_tls_end_the_connection() {
    let node = Node::start(1);
    let mut stream = tcp(node.tls);
    stream
        .write_all(&connect_packet(node.brokers[0].as_str(), PASSWORD, "c"))
        .unwrap();
    let mut answer = Vec::new();
    // An alert may come, never a packet.
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.first().is_none_or(|byte| *byte == 0x15),
        "{answer:?}"
    );
}

#[test]
fn a_proxy_header_is_demanded_or_taken_before_mqtt_and_tls() {
    let node = Node::start(1);
    let v1 = b"PROXY TCP4 203.0.113.9 127.0.0.1 40000 1883\r\n";
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend_from_slice(&[203, 0, 113, 9, 127, 0, 0, 1, 1, 2, 3, 4]);
    for header in [&v1[..], &v2] {
        let mut stream = tcp(node.proxied);
        let packet = connect_packet(node.brokers[0].as_str(), PASSWORD, "c");
        stream.write_all(&[header, &packet].concat()).unwrap();
        assert_eq!(Client::plain(stream).connack(), 0);

        let mut stream = tcp(node.tls);
        stream.write_all(header).unwrap();
        let mut client = Client::tls(&node, stream, &rustls::version::TLS13);
        client.send(&packet);
        assert_eq!(client.connack(), 0);
    }
    let mut stream = tcp(node.proxied);
    stream
        .write_all(&connect_packet(node.brokers[0].as_str(), PASSWORD, "c"))
        .unwrap();
    assert_eq!(
        stream.read(&mut [0; 8]).unwrap_or(0),
        0,
        "no header, no answer"
    );
    let mut stream = tcp(node.proxied);
    stream.write_all(b"PROXY TCP4 nonsense\r\n").unwrap();
    assert_eq!(stream.read(&mut [0; 8]).unwrap_or(0), 0);
}

#[test]
fn above_the_maximum_of_connections_the_next_is_closed_until_one_leaves() {
    let bounds = Bounds {
        max_connections: 2,
        ..Bounds::default()
    };
    let node = Node::with_bounds(1, bounds);
    let first = Client::connect(&node, Way::Plain, 0, "a");
    let _second = Client::connect(&node, Way::Plain, 0, "b");
    let mut third = Client::open(&node, Way::Plain);
    assert!(third.ended());
    drop(first);
    wait_for("room", || {
        let mut client = Client::open(&node, Way::Plain);
        let packet = connect_packet(node.brokers[0].as_str(), PASSWORD, "c");
        client.try_send(&packet).is_ok() && client.next(|_| ()).is_some()
    });
}

#[test]
fn half_open_connections_above_their_bound_wait_and_come_in_later() {
    let bounds = Bounds {
        max_half_open: 2,
        ..Bounds::default()
    };
    let node = Node::with_bounds(1, bounds);
    let silent = [tcp(node.plain), tcp(node.plain)];
    let mut waiting = Client::open(&node, Way::Plain);
    waiting.send(&connect_packet(node.brokers[0].as_str(), PASSWORD, "c"));
    drop(silent);
    assert_eq!(waiting.connack(), 0);
}

#[test]
fn a_will_of_the_longest_payload_is_let_in_and_a_longer_connect_is_not() {
    let node = Node::start(1);
    let payload = vec![0; 65_535];
    let topic = "w".repeat(1_000);
    let will = mainstay_core::codec::Will {
        topic: &topic,
        payload: &payload,
        qos: mainstay_core::codec::QoS::AtMostOnce,
        retain: false,
    };
    for (length, accepted) in [(PASSWORD.len(), true), (20_000, false)] {
        let mut password = PASSWORD.as_bytes().to_vec();
        password.resize(length, b'x');
        let mut packet = Vec::new();
        let connect = Connect {
            clean_session: true,
            keep_alive: 0,
            client_id: "c",
            will: Some(will),
            username: Some(node.brokers[0].as_str()),
            password: Some(&password),
        };
        encode_connect(&mut packet, &connect).unwrap();
        let mut client = Client::open(&node, Way::Plain);
        let _ = client.try_send(&packet);
        assert_eq!(client.next(|_| ()).is_some(), accepted);
    }
}

#[test]
fn a_closed_gate_refuses_at_the_port_and_keeps_who_is_in() {
    let node = Node::start(1);
    let mut client = Client::connect(&node, Way::Plain, 0, "c");
    node.gate.close();
    wait_for("the port to be closed", || {
        std::net::TcpStream::connect(node.plain).is_err()
    });
    client.ping();
}
