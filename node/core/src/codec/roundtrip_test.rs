//! Properties: what is encoded decodes to the same; arbitrary bytes never panic, and what lies
//! behind a packet never changes how it is read.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

fn read(bytes: &[u8]) -> Packet<'_> {
    let frame = frame(bytes, MAX_PACKET).unwrap().expect("a whole packet");
    assert_eq!(frame.len, bytes.len(), "exactly one packet");
    decode(frame.first_byte, frame.body).unwrap()
}

fn text(most: usize) -> impl Strategy<Value = String> {
    vec(
        any::<char>().prop_filter("no null", |c| *c != '\0'),
        0..most,
    )
    .prop_map(|chars| chars.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    "[a-z/$é😀]{1,40}"
}

fn filter() -> impl Strategy<Value = String> {
    "[a-z/$é+#]{1,40}"
}

fn qos() -> impl Strategy<Value = QoS> {
    (0_u8..3).prop_map(|bits| QoS::from_bits(bits).unwrap())
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|value| PacketId::new(value).unwrap())
}

proptest! {
    #[test]
    fn publish_comes_back(
        (dup, retain, qos) in (any::<bool>(), any::<bool>(), qos()),
        topic in topic(),
        cut in 0_usize..40,
        id in packet_id(),
        before in vec(any::<u8>(), 0..5),
        payload in prop_oneof![vec(any::<u8>(), 0..300), vec(any::<u8>(), 16_300..16_500)],
    ) {
        let cut = topic.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(topic.len());
        let parts = [&topic[..cut], &topic[cut..]];
        let identified = qos != QoS::AtMostOnce;
        let head = PublishHead { dup, qos, retain, topic: &parts, packet_id: Some(id) };
        let mut out = before.clone();
        let at = encode_publish(&mut out, &head, &payload).unwrap();
        let expected = Publish {
            dup: dup && identified,
            qos,
            retain,
            topic: &topic,
            packet_id: identified.then_some(id),
            payload: &payload,
        };
        prop_assert_eq!(read(&out[before.len()..]), Packet::Publish(expected));

        // The shared form: room for the identifier, patched in a copy.
        let mut shared = before.clone();
        let head = PublishHead { packet_id: None, ..head };
        prop_assert_eq!(encode_publish(&mut shared, &head, &payload).unwrap(), at);
        prop_assert_eq!(at.is_some(), identified);
        if let Some(at) = at {
            patch_packet_id(&mut shared[before.len()..], at, id);
        }
        prop_assert_eq!(shared, out);
    }

    #[test]
    fn connect_comes_back(
        (clean_session, keep_alive) in (any::<bool>(), any::<u16>()),
        client_id in text(30),
        will in option::of((topic(), vec(any::<u8>(), 0..50), qos(), any::<bool>())),
        login in option::of((text(20), option::of(vec(any::<u8>(), 0..20)))),
    ) {
        let connect = Connect {
            clean_session,
            keep_alive,
            client_id: &client_id,
            will: will.as_ref().map(|(topic, payload, qos, retain)| Will {
                topic,
                payload,
                qos: *qos,
                retain: *retain,
            }),
            username: login.as_ref().map(|(username, _)| username.as_str()),
            password: login.as_ref().and_then(|(_, password)| password.as_deref()),
        };
        let mut out = Vec::new();
        encode_connect(&mut out, &connect).unwrap();
        prop_assert_eq!(read(&out), Packet::Connect(connect));
    }

    #[test]
    fn subscribe_and_unsubscribe_come_back(
        id in packet_id(),
        filters in vec((filter(), qos()), 1..20),
    ) {
        let asked: Vec<(&str, QoS)> = filters.iter().map(|(f, qos)| (f.as_str(), *qos)).collect();
        let mut out = Vec::new();
        encode_subscribe(&mut out, id, &asked).unwrap();
        let Packet::Subscribe(subscribe) = read(&out) else { panic!("another packet") };
        prop_assert_eq!(subscribe.packet_id, id);
        prop_assert_eq!(subscribe.count(), asked.len());
        prop_assert_eq!(subscribe.filters().collect::<Vec<_>>(), asked.clone());

        let names: Vec<&str> = asked.iter().map(|(filter, _)| *filter).collect();
        let mut out = Vec::new();
        encode_unsubscribe(&mut out, id, &names).unwrap();
        let Packet::Unsubscribe(unsubscribe) = read(&out) else { panic!("another packet") };
        prop_assert_eq!(unsubscribe.packet_id, id);
        prop_assert_eq!(unsubscribe.count(), names.len());
        prop_assert_eq!(unsubscribe.filters().collect::<Vec<_>>(), names);
    }

    #[test]
    fn answers_come_back(
        id in packet_id(),
        present in any::<bool>(),
        code in 0_u8..6,
        codes in vec(option::of(qos()), 1..20),
    ) {
        type Encode = fn(&mut Vec<u8>, PacketId);
        let acks: [(Encode, Packet<'_>); 5] = [
            (encode_puback, Packet::Puback(id)),
            (encode_pubrec, Packet::Pubrec(id)),
            (encode_pubrel, Packet::Pubrel(id)),
            (encode_pubcomp, Packet::Pubcomp(id)),
            (encode_unsuback, Packet::Unsuback(id)),
        ];
        for (encode, expected) in acks {
            let mut out = Vec::new();
            encode(&mut out, id);
            prop_assert_eq!(read(&out), expected);
        }

        let code = ConnackCode::from_byte(code).unwrap();
        let session_present = present && code == ConnackCode::Accepted;
        let mut out = Vec::new();
        encode_connack(&mut out, Connack { session_present, code });
        prop_assert_eq!(read(&out), Packet::Connack(Connack { session_present, code }));

        let codes: Vec<SubackCode> = codes
            .into_iter()
            .map(|qos| qos.map_or(SubackCode::Failure, SubackCode::Granted))
            .collect();
        let mut out = Vec::new();
        encode_suback(&mut out, id, &codes).unwrap();
        let Packet::Suback(suback) = read(&out) else { panic!("another packet") };
        prop_assert_eq!(suback.packet_id, id);
        prop_assert_eq!(suback.codes().collect::<Vec<_>>(), codes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), max in 0_usize..300) {
        if let Ok(Some(frame)) = frame(&bytes, max) {
            prop_assert!(frame.len <= bytes.len() && frame.len <= max);
            walk(frame);
        }
    }

    #[test]
    fn arbitrary_bodies_never_panic(first in any::<u8>(), body in vec(any::<u8>(), 0..60)) {
        walk(Frame { first_byte: first, body: &body, len: 2 + body.len() });
    }

    /// Bodies near to well-formed ones, which reach deeper than random bytes do.
    #[test]
    fn damaged_packets_never_panic(
        client_id in "[a-z]{0,5}",
        flip in (any::<prop::sample::Index>(), 1_u8..),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut out = Vec::new();
        let connect = Connect {
            clean_session: true,
            keep_alive: 1,
            client_id: &client_id,
            will: Some(Will { topic: "t", payload: b"p", qos: QoS::AtLeastOnce, retain: true }),
            username: Some("u"),
            password: Some(b"p"),
        };
        encode_connect(&mut out, &connect).unwrap();
        let id = PacketId::MIN;
        let mut subscribe = Vec::new();
        encode_subscribe(&mut subscribe, id, &[("a/+", QoS::AtLeastOnce), ("#", QoS::AtMostOnce)]).unwrap();
        for mut bytes in [out, subscribe] {
            let first_byte = bytes[0];
            let at = flip.0.index(bytes.len());
            bytes[at] ^= flip.1;
            let end = 2 + cut.index(bytes.len() - 1);
            let body = &bytes[2..end];
            walk(Frame { first_byte, body, len: body.len() + 2 });
        }
    }

    #[test]
    fn what_follows_a_packet_does_not_change_it(
        bytes in vec(any::<u8>(), 2..100),
        tail in vec(any::<u8>(), 0..20),
    ) {
        if let Ok(Some(alone)) = frame(&bytes, MAX_PACKET) {
            let mut longer = bytes[..alone.len].to_vec();
            longer.extend_from_slice(&tail);
            let again = frame(&longer, MAX_PACKET).unwrap().unwrap();
            prop_assert_eq!(again, alone);
            prop_assert_eq!(
                decode(again.first_byte, again.body),
                decode(alone.first_byte, alone.body)
            );
        }
    }
}

/// Decodes and touches everything that is read only later.
fn walk(frame: Frame<'_>) {
    match decode(frame.first_byte, frame.body) {
        Ok(Packet::Subscribe(subscribe)) => {
            assert_eq!(subscribe.filters().count(), subscribe.count());
        }
        Ok(Packet::Unsubscribe(unsubscribe)) => {
            assert_eq!(unsubscribe.filters().count(), unsubscribe.count());
        }
        Ok(Packet::Suback(suback)) => assert!(suback.codes().count() > 0),
        Ok(Packet::Publish(publish)) => {
            assert_eq!(publish.packet_id.is_some(), publish.qos != QoS::AtMostOnce);
            assert!(!publish.topic.is_empty() && !publish.topic.contains(['+', '#', '\0']));
        }
        Ok(_) => {}
        Err(error) => assert!(!error.rule().is_empty()),
    }
}

#[test]
fn packets_without_a_body_come_back() {
    type Encode = fn(&mut Vec<u8>);
    let cases: [(Encode, Packet<'_>); 3] = [
        (encode_pingreq, Packet::Pingreq),
        (encode_pingresp, Packet::Pingresp),
        (encode_disconnect, Packet::Disconnect),
    ];
    for (encode, expected) in cases {
        let mut out = Vec::new();
        encode(&mut out);
        assert_eq!(read(&out), expected);
    }
}

#[test]
fn what_does_not_fit_the_format_leaves_the_buffer_as_it_was() {
    let long = "x".repeat(65_536);
    let mut out = vec![7];
    let head = PublishHead {
        dup: false,
        qos: QoS::AtMostOnce,
        retain: false,
        topic: &[&long],
        packet_id: None,
    };
    assert!(encode_publish(&mut out, &head, b"").is_err());
    let topic: &[&str] = &["t"];
    let head = PublishHead { topic, ..head };
    assert!(encode_publish_head(&mut out, &head, 268_435_455 - 2).is_err());
    assert!(encode_publish_head(&mut out, &head, usize::MAX).is_err());
    let id = PacketId::MIN;
    assert!(
        encode_subscribe(
            &mut out,
            id,
            &[("a", QoS::AtMostOnce), (&long, QoS::AtMostOnce)]
        )
        .is_err()
    );
    assert!(encode_unsubscribe(&mut out, id, &["a", &long]).is_err());
    let connect = Connect {
        clean_session: true,
        keep_alive: 0,
        client_id: &long,
        will: None,
        username: None,
        password: None,
    };
    assert!(encode_connect(&mut out, &connect).is_err());
    assert_eq!(out, [7]);
    assert_eq!(
        encode_publish_head(&mut out, &head, 268_435_455 - 3),
        Ok(None)
    );
    assert_eq!(out, [7, 0x30, 0xff, 0xff, 0xff, 0x7f, 0, 1, b't']);
}

#[test]
fn packet_ids_wrap_to_one() {
    let last = PacketId::new(u16::MAX).unwrap();
    assert_eq!(last.next(), PacketId::MIN);
    assert_eq!(PacketId::MIN.next().value(), 2);
    assert_eq!(PacketId::new(0), None);
}
