//! Messages through real sockets: plain and TLS, small and large, on one shard and across shards.

use mainstay_core::codec::QoS;

use crate::{
    client::{Client, Packet, WAYS, Way, publish_packet},
    node::Node,
};

#[test]
fn a_thousand_messages_arrive_in_order_over_each_transport_and_qos() {
    let node = Node::start(2);
    for (number, way) in WAYS.into_iter().enumerate() {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
            let topic = format!("t/{number}/{}", qos as u8);
            let mut subscriber = Client::connect(&node, way, number, "s");
            subscriber.subscribe(&topic, qos);
            let mut publisher = Client::connect(&node, way, number, "p");
            let mut bytes = Vec::new();
            for message in 1..=1_000_u16 {
                let id = (qos == QoS::AtLeastOnce).then_some(message);
                bytes.extend(publish_packet(&topic, format!("m{message}").as_bytes(), id));
            }
            publisher.send(&bytes);
            for message in 1..=1_000 {
                let payload = subscriber.message().unwrap();
                assert_eq!(payload, format!("m{message}").as_bytes(), "{way:?}");
            }
            if qos == QoS::AtLeastOnce {
                for message in 1..=1_000 {
                    let id = publisher.next(|packet| match packet {
                        Packet::Puback(id) => id.value(),
                        other => panic!("{other:?}"),
                    });
                    assert_eq!(id, Some(message));
                }
            }
        }
    }
}

#[test]
fn payloads_of_256_kib_pass_whole_both_ways_of_tls_and_plain() {
    let node = Node::start(1);
    let payload: Vec<u8> = (0..256 * 1024_u32).map(|i| (i % 251) as u8).collect();
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut subscriber = Client::connect(&node, way, number, "s");
        subscriber.subscribe("big", QoS::AtLeastOnce);
        let mut publisher = Client::connect(&node, Way::Plain, number, "p");
        let mut secure = Client::connect(&node, way, number, "p2");
        for id in 1..=4 {
            publisher.send(&publish_packet("big", &payload, Some(id)));
            secure.send(&publish_packet("big", &payload, Some(id)));
        }
        for _ in 0..8 {
            assert!(subscriber.message().unwrap() == payload, "{way:?}");
        }
    }
}

#[test]
fn a_packet_byte_by_byte_and_many_packets_in_one_write_are_the_same() {
    let node = Node::start(1);
    let mut subscriber = Client::connect(&node, Way::Plain, 0, "s");
    subscriber.subscribe("t", QoS::AtMostOnce);
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut publisher = Client::connect(&node, way, 0, &format!("p{number}"));
        for byte in publish_packet("t", b"slow", None) {
            publisher.send(&[byte]);
        }
        assert_eq!(subscriber.message().unwrap(), b"slow");
        // What comes right behind the CONNECT is handled after the login.
        let mut eager = Client::open(&node, way);
        let username = node.brokers[0];
        let client_id = format!("e{number}");
        let mut bytes =
            crate::client::connect_packet(username.as_str(), crate::node::PASSWORD, &client_id);
        bytes.extend(publish_packet("t", b"eager", None));
        bytes.extend([0xc0, 0]);
        eager.send(&bytes);
        assert_eq!(eager.connack(), 0);
        assert_eq!(subscriber.message().unwrap(), b"eager", "{way:?}");
        eager
            .next(|packet| assert!(matches!(packet, Packet::Pingresp)))
            .unwrap();
    }
}

#[test]
fn spaces_on_different_shards_work_side_by_side() {
    let node = Node::start(2);
    let mut pairs: Vec<_> = (0..node.brokers.len())
        .map(|broker| {
            let mut subscriber = Client::connect(&node, Way::Plain, broker, "s");
            subscriber.subscribe("t", QoS::AtLeastOnce);
            (subscriber, Client::connect(&node, Way::Plain, broker, "p"))
        })
        .collect();
    for (number, (_, publisher)) in pairs.iter_mut().enumerate() {
        publisher.send(&publish_packet("t", &[number as u8], Some(1)));
    }
    for (number, (subscriber, _)) in pairs.iter_mut().enumerate() {
        assert_eq!(subscriber.message().unwrap(), [number as u8]);
    }
}

#[test]
fn a_space_that_is_spread_over_shards_is_one_space() {
    let node = Node::start(2);
    // Beyond a thousand connections the space is spread.
    let idle: Vec<_> = (0..1_100)
        .map(|n| Client::connect(&node, Way::Plain, 0, &format!("i{n}")))
        .collect();
    let mut subscribers: Vec<_> = (0..8)
        .map(|n| {
            let mut subscriber = Client::connect(&node, Way::Plain, 0, &format!("s{n}"));
            subscriber.subscribe("t", QoS::AtLeastOnce);
            subscriber
        })
        .collect();
    let mut publisher = Client::connect(&node, Way::Plain, 0, "p");
    for id in 1..=100 {
        publisher.send(&publish_packet("t", &[id as u8], Some(id)));
    }
    for subscriber in &mut subscribers {
        for id in 1..=100 {
            assert_eq!(subscriber.message().unwrap(), [id as u8]);
        }
    }
    for id in 1..=100 {
        let answered = publisher.next(|packet| match packet {
            Packet::Puback(id) => id.value(),
            other => panic!("{other:?}"),
        });
        assert_eq!(answered, Some(id), "after all shards have taken it");
    }
    drop(idle);
}

#[test]
fn a_slow_reader_gets_all_qos_1_messages_in_order_and_holds_nobody_else() {
    let node = Node::start(1);
    for (number, way) in WAYS.into_iter().enumerate() {
        let mut slow = Client::connect(&node, way, number, "slow");
        slow.subscribe("t", QoS::AtLeastOnce);
        let mut publisher = Client::connect(&node, Way::Plain, number, "p");
        let payload = vec![7; 8 * 1024];
        let total = 2_000_u16;
        let mut sender = Client::plain(publisher.socket().try_clone().unwrap());
        let thread = std::thread::spawn(move || {
            for id in 1..=total {
                let mut payload = payload.clone();
                payload[..2].copy_from_slice(&id.to_be_bytes());
                sender.send(&publish_packet("t", &payload, Some(id)));
            }
        });
        // While the reader stands still, another pair of the same shard goes on.
        let mut other = Client::connect(&node, Way::Plain, 10 + number, "o");
        other.subscribe("o", QoS::AtMostOnce);
        for _ in 0..100 {
            other.send(&publish_packet("o", b"x", None));
            other.message().unwrap();
        }
        for id in 1..=total {
            let payload = slow.message().unwrap();
            assert_eq!(payload[..2], id.to_be_bytes(), "{way:?}");
        }
        // Answers are held back while the reader is behind, so they may all come at the end.
        for _ in 1..=total {
            publisher
                .next(|packet| assert!(matches!(packet, Packet::Puback(_))))
                .unwrap();
        }
        thread.join().unwrap();
    }
}
