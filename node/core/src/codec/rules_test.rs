//! One test for each rule of MQTT 3.1.1 that makes a packet malformed, by hand-written bytes.

use super::*;

/// Frames and decodes exactly one packet that fills `bytes`.
fn read(bytes: &[u8]) -> Result<Packet<'_>, Error> {
    let frame = frame(bytes, MAX_PACKET)?.expect("the test gives a whole packet");
    assert_eq!(frame.len, bytes.len(), "the test gives one packet");
    decode(frame.first_byte, frame.body)
}

fn refused(bytes: &[u8]) -> Error {
    read(bytes).expect_err("the packet is malformed")
}

fn breaks(rule: &str, bytes: &[u8]) {
    let error = refused(bytes);
    assert_eq!(error.rule(), rule, "{error}");
}

/// A CONNECT with these flags and what follows the keep-alive.
fn connect(flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x10, 10 + payload.len() as u8, 0, 4];
    bytes.extend_from_slice(b"MQTT\x04");
    bytes.extend_from_slice(&[flags, 0, 60]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn mqtt_1_5_3_1_text_is_utf8() {
    breaks("MQTT-1.5.3-1", b"\x30\x04\0\x02\xc3\x28");
    // A surrogate, written as UTF-8 would if it could.
    breaks("MQTT-1.5.3-1", b"\x30\x05\0\x03\xed\xa0\x80");
    breaks("MQTT-1.5.3-1", b"\x82\x06\0\x01\0\x01\xff\0");
    breaks("MQTT-1.5.3-1", b"\xa2\x05\0\x01\0\x01\xff");
}

#[test]
fn mqtt_3_1_3_4_and_11_client_id_and_user_name_are_utf8() {
    let client_id = Field::ClientId;
    assert_eq!(
        refused(&connect(2, b"\0\x01\xff")),
        Error::NotUtf8 { field: client_id }
    );
    let username = Field::Username;
    let error = refused(&connect(0x82, b"\0\x01c\0\x01\xff"));
    assert_eq!(error, Error::NotUtf8 { field: username });
}

#[test]
fn mqtt_3_1_3_10_will_topic_is_utf8() {
    let field = Field::WillTopic;
    let error = refused(&connect(0x06, b"\0\x01c\0\x01\xff\0\0"));
    assert_eq!(error, Error::NotUtf8 { field });
}

#[test]
fn mqtt_1_5_3_2_text_has_no_null() {
    breaks("MQTT-1.5.3-2", b"\x30\x05\0\x03a\0b");
    breaks("MQTT-1.5.3-2", b"\x82\x06\0\x01\0\x01\0\0");
    breaks("MQTT-1.5.3-2", &connect(2, b"\0\x01\0"));
    breaks("MQTT-1.5.3-2", &connect(0x82, b"\0\x01c\0\x01\0"));
}

#[test]
fn mqtt_1_5_3_3_a_byte_order_mark_is_kept() {
    let Ok(Packet::Publish(publish)) = read(b"\x30\x06\0\x04\xef\xbb\xbfa") else {
        panic!("well formed");
    };
    assert_eq!(publish.topic, "\u{feff}a");
}

#[test]
fn mqtt_2_2_2_1_reserved_flags_are_as_given() {
    let right = [
        (0x10, "MQTT-2.2.2-1"),
        (0x20, "MQTT-2.2.2-1"),
        (0x40, "MQTT-2.2.2-1"),
        (0x50, "MQTT-2.2.2-1"),
        (0x62, "MQTT-3.6.1-1"),
        (0x70, "MQTT-2.2.2-1"),
        (0x82, "MQTT-3.8.1-1"),
        (0x90, "MQTT-2.2.2-1"),
        (0xa2, "MQTT-3.10.1-1"),
        (0xb0, "MQTT-2.2.2-1"),
        (0xc0, "MQTT-2.2.2-1"),
        (0xd0, "MQTT-2.2.2-1"),
        (0xe0, "MQTT-3.14.1-1"),
    ];
    for (first, rule) in right {
        for flags in (0..16).filter(|flags| *flags != first & 0x0f) {
            breaks(rule, &[(first & 0xf0) | flags, 2, 0, 1]);
        }
    }
}

#[test]
fn table_2_1_types_0_and_15_are_reserved() {
    breaks("table 2.1", &[0x00, 0]);
    breaks("table 2.1", &[0xf0, 0]);
}

#[test]
fn mqtt_2_3_1_1_packet_ids_are_not_zero() {
    breaks("MQTT-2.3.1-1", b"\x32\x05\0\x01a\0\0");
    breaks("MQTT-2.3.1-1", b"\x82\x06\0\0\0\x01a\0");
    breaks("MQTT-2.3.1-1", b"\xa2\x05\0\0\0\x01a");
    breaks("MQTT-2.3.1-1", b"\x90\x03\0\0\0");
    for first in [0x40, 0x50, 0x62, 0x70, 0xb0] {
        breaks("MQTT-2.3.1-1", &[first, 2, 0, 0]);
    }
}

#[test]
fn mqtt_3_1_2_1_protocol_name_is_mqtt() {
    breaks("MQTT-3.1.2-1", b"\x10\x0c\0\x04mqtt\x04\x02\0\x3c\0\0");
    breaks("MQTT-3.1.2-1", b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0");
}

#[test]
fn mqtt_3_1_2_2_other_levels_are_told_apart_before_the_rest_is_read() {
    // A CONNECT of version 5, whose properties would not read as 3.1.1.
    let bytes = b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0";
    assert_eq!(refused(bytes), Error::UnsupportedLevel { level: 5 });
    assert_eq!(
        refused(b"\x10\x07\0\x04MQTT\x03"),
        Error::UnsupportedLevel { level: 3 }
    );
}

#[test]
fn mqtt_3_1_2_3_reserved_connect_flag_is_zero() {
    breaks("MQTT-3.1.2-3", &connect(0x03, b"\0\x01c"));
}

#[test]
fn mqtt_3_1_2_13_no_will_qos_without_a_will() {
    breaks("MQTT-3.1.2-13", &connect(0x0a, b"\0\x01c"));
    breaks("MQTT-3.1.2-13", &connect(0x1a, b"\0\x01c"));
}

#[test]
fn mqtt_3_1_2_14_will_qos_is_not_3() {
    breaks("MQTT-3.1.2-14", &connect(0x1e, b"\0\x01c\0\x01t\0\0"));
}

#[test]
fn mqtt_3_1_2_15_no_will_retain_without_a_will() {
    breaks("MQTT-3.1.2-15", &connect(0x22, b"\0\x01c"));
}

#[test]
fn mqtt_3_1_2_22_no_password_without_a_user_name() {
    breaks("MQTT-3.1.2-22", &connect(0x42, b"\0\x01c\0\x01p"));
}

#[test]
fn mqtt_3_1_2_18_to_21_fields_are_there_as_the_flags_say() {
    // Flag set and field missing: the body ends within it. Flag clear and field there: trailing.
    let error = refused(&connect(0x82, b"\0\x01c"));
    assert_eq!(
        error,
        Error::Truncated {
            field: Field::Username
        }
    );
    let error = refused(&connect(0xc2, b"\0\x01c\0\x01u"));
    assert_eq!(
        error,
        Error::Truncated {
            field: Field::Password
        }
    );
    let error = refused(&connect(0x02, b"\0\x01c\0\x01u"));
    assert_eq!(
        error,
        Error::TrailingBytes {
            kind: Kind::Connect,
            count: 3
        }
    );
    let error = refused(&connect(0x06, b"\0\x01c"));
    assert_eq!(
        error,
        Error::Truncated {
            field: Field::WillTopic
        }
    );
}

#[test]
fn mqtt_3_1_3_5_every_field_of_connect_is_read() {
    let bytes = connect(0xf6, b"\0\x01c\0\x01t\0\x02\xff\0\0\x01u\0\x02p\xff");
    let Ok(Packet::Connect(connect)) = read(&bytes) else {
        panic!("well formed");
    };
    let will = Will {
        topic: "t",
        payload: b"\xff\0",
        qos: QoS::ExactlyOnce,
        retain: true,
    };
    let expected = Connect {
        clean_session: true,
        keep_alive: 60,
        client_id: "c",
        will: Some(will),
        username: Some("u"),
        password: Some(b"p\xff"),
    };
    assert_eq!(connect, expected);
}

#[test]
fn mqtt_3_1_3_6_a_client_id_may_be_empty() {
    assert!(matches!(
        read(&connect(0x02, b"\0\0")),
        Ok(Packet::Connect(Connect { client_id: "", .. }))
    ));
}

#[test]
fn mqtt_3_2_2_4_session_present_only_when_accepted() {
    breaks("MQTT-3.2.2-4", &[0x20, 2, 1, 3]);
    breaks("MQTT-3.2.2-4", &[0x20, 2, 2, 0]);
    breaks("table 3.1", &[0x20, 2, 0, 6]);
    let mut out = Vec::new();
    let code = ConnackCode::ServerUnavailable;
    encode_connack(
        &mut out,
        Connack {
            session_present: true,
            code,
        },
    );
    assert_eq!(out, [0x20, 2, 0, 3]);
}

#[test]
fn mqtt_3_3_1_2_no_dup_at_qos_0() {
    breaks("MQTT-3.3.1-2", b"\x38\x03\0\x01a");
}

#[test]
fn mqtt_3_3_1_4_qos_is_not_3() {
    breaks("MQTT-3.3.1-4", b"\x36\x05\0\x01a\0\x01");
}

#[test]
fn mqtt_3_3_2_2_topic_names_have_no_wildcards() {
    breaks("MQTT-3.3.2-2", b"\x30\x05\0\x03a/+");
    breaks("MQTT-3.3.2-2", b"\x30\x03\0\x01#");
    breaks("MQTT-3.3.2-2", "\u{30}\u{5}\0\u{3}é+".as_bytes());
    breaks("MQTT-3.3.2-2", &connect(0x06, b"\0\x01c\0\x01#\0\0"));
}

#[test]
fn mqtt_3_8_3_3_and_3_10_3_2_at_least_one_filter() {
    breaks("MQTT-3.8.3-3", b"\x82\x02\0\x01");
    breaks("MQTT-3.10.3-2", b"\xa2\x02\0\x01");
    breaks("MQTT-3.8.4-5", b"\x90\x02\0\x01");
}

#[test]
fn mqtt_3_8_3_4_requested_qos_has_no_reserved_bits() {
    for value in 3..=255 {
        breaks("MQTT-3.8.3-4", &[0x82, 6, 0, 1, 0, 1, b'a', value]);
    }
}

#[test]
fn mqtt_3_9_3_2_suback_codes_are_known() {
    for value in (3..=0x7f).chain(0x81..=0xff) {
        breaks("MQTT-3.9.3-2", &[0x90, 3, 0, 1, value]);
    }
}

#[test]
fn mqtt_4_7_3_1_topics_and_filters_are_not_empty() {
    breaks("MQTT-4.7.3-1", b"\x30\x02\0\0");
    breaks("MQTT-4.7.3-1", b"\x82\x05\0\x01\0\0\0");
    breaks("MQTT-4.7.3-1", b"\xa2\x04\0\x01\0\0");
    breaks("MQTT-4.7.3-1", &connect(0x06, b"\0\x01c\0\0\0\0"));
}

#[test]
fn section_2_2_3_nothing_follows_the_last_field() {
    for first in [0x40, 0x50, 0x62, 0x70, 0xb0] {
        breaks("section 2.2.3", &[first, 3, 0, 1, 0]);
        breaks("section 2.2.3", &[first, 1, 0]);
    }
    for first in [0xc0, 0xd0, 0xe0] {
        breaks("section 2.2.3", &[first, 1, 0]);
    }
    breaks("section 2.2.3", &[0x20, 3, 0, 0, 0]);
    breaks("section 2.2.3", &connect(0x02, b"\0\x01cx"));
    breaks("section 2.2.3", b"\x82\x07\0\x01\0\x01a\0\0");
    breaks("section 2.2.3", b"\xa2\x06\0\x01\0\x01a\0");
}

#[test]
fn debug_output_holds_no_password_and_no_payload() {
    let bytes = connect(0xc6, b"\0\x01c\0\x01t\0\x06hidden\0\x01u\0\x06secret");
    let text = format!("{:?}", read(&bytes).unwrap());
    assert!(
        !text.contains("secret") && !text.contains("104, 105"),
        "{text}"
    );
    let text = format!("{:?}", read(b"\x30\x06\0\x01aabc").unwrap());
    assert!(!text.contains("97, 98"), "{text}");
}
