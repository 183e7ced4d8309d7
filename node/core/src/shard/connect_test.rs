//! Login, claim and the ends of a connection.

use std::time::Duration;

use bytes::Bytes;

use super::test_rig::*;
use super::*;
use crate::{
    codec::{self, ConnackCode, Connect, QoS},
    ids::Epoch,
};

fn released(requests: &[Request]) -> Vec<(Epoch, bool)> {
    requests
        .iter()
        .filter_map(|request| match request {
            Request::Release { epoch, fire, .. } => Some((*epoch, *fire)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_connection_is_small() {
    assert!(
        std::mem::size_of::<Connection>() <= 384,
        "{}",
        std::mem::size_of::<Connection>()
    );
}

#[test]
fn nobody_is_taken_while_the_node_does_not_serve() {
    let mut shard = Shard::new(
        ShardId(0),
        1,
        Limits::default(),
        lease::Window::default(),
        [0, 0],
    );
    let rig = Rig::alone();
    let refused = shard.handle_login(rig.now, rig.login(broker(), "a"));
    assert_eq!(refused, Err(Close::NoQuorum));
}

#[test]
fn connack_comes_with_the_claim_and_input_waits_for_it() {
    let mut rig = Rig::alone();
    let login = rig.login(broker(), "a");
    let conn = rig.start(login);
    let mut ping = Vec::new();
    codec::encode_pingreq(&mut ping);
    assert!(!rig.shard.wants_input(conn.slot));
    assert_eq!(rig.feed(conn, &ping), 0);
    assert_eq!(rig.read(conn), []);
    rig.claim(conn);
    assert_eq!(rig.shard.outbox().dirty, [conn.slot]);
    assert_eq!(rig.resumed(), [conn.slot]);
    assert_eq!(rig.read(conn), [Got::Connack(ConnackCode::Accepted)]);
    rig.send(conn, &ping);
    assert_eq!(rig.read(conn), [Got::Pingresp]);
}

#[test]
fn a_claim_that_failed_is_a_connack_and_then_the_end() {
    for (why, code) in [
        (Close::NoQuorum, ConnackCode::ServerUnavailable),
        (Close::AuthRevoked, ConnackCode::BadUsernameOrPassword),
    ] {
        let mut rig = Rig::alone();
        let login = rig.login(broker(), "a");
        let conn = rig.start(login);
        rig.event(Event::ClaimFailed { conn, why });
        assert_eq!(rig.is_closed(conn), Some(why));
        assert_eq!(rig.read(conn), [Got::Connack(code)]);
        rig.shard.forget(conn.slot);
        assert!(released(&rig.requests()).is_empty());
        assert_eq!(rig.shard.counters().connections, 0);
    }
}

#[test]
fn a_connection_that_went_before_its_claim_is_released_when_it_comes() {
    let mut rig = Rig::alone();
    let login = rig.login(broker(), "a");
    let conn = rig.start(login);
    rig.shard.handle_lost(rig.now, conn.slot, Close::IoError);
    rig.shard.forget(conn.slot);
    assert!(rig.requests().is_empty());
    let login = rig.login(broker(), "b");
    let next = rig.start(login);
    assert_eq!(
        (next.slot, next.generation),
        (conn.slot, conn.generation + 1)
    );
    let epoch = rig.claim(conn);
    assert_eq!(released(&rig.requests()), [(epoch, true)]);
    assert_eq!(
        rig.read(next),
        [],
        "the claim was of the slot's earlier connection"
    );
}

#[test]
fn mqtt_3_1_0_2_a_second_connect_closes() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    let mut bytes = Vec::new();
    let connect = Connect {
        clean_session: true,
        keep_alive: 1,
        client_id: "a",
        will: None,
        username: None,
        password: None,
    };
    codec::encode_connect(&mut bytes, &connect).unwrap();
    rig.feed(conn, &bytes);
    assert_eq!(rig.is_closed(conn), Some(Close::ProtocolError));
}

#[test]
fn mqtt_3_14_4_3_disconnect_fires_no_will_and_all_else_does() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    let mut bytes = Vec::new();
    codec::encode_disconnect(&mut bytes);
    codec::encode_pingreq(&mut bytes);
    assert_eq!(
        rig.feed(conn, &bytes),
        2,
        "nothing is read after DISCONNECT"
    );
    assert_eq!(rig.is_closed(conn), Some(Close::ClientDisconnect));
    assert!(!released(&rig.requests())[0].1);
    let conn = rig.client(broker(), "b");
    rig.shard.handle_lost(rig.now, conn.slot, Close::IoError);
    assert!(released(&rig.requests())[0].1);
    rig.shard.handle_lost(rig.now, conn.slot, Close::IoError);
    assert!(rig.requests().is_empty(), "a session is released once");
}

#[test]
fn mqtt_3_1_4_2_takeover_closes_the_epoch_that_ended_and_no_other() {
    let mut rig = Rig::alone();
    let login = rig.login(broker(), "a");
    let conn = rig.start(login);
    let epoch = rig.claim(conn);
    let other = Epoch(crate::ids::Position(epoch.0.0 - 1));
    rig.event(Event::Ended {
        conn,
        epoch: other,
        why: Close::Takeover,
    });
    assert_eq!(rig.is_closed(conn), None);
    rig.event(Event::Ended {
        conn,
        epoch,
        why: Close::Takeover,
    });
    assert_eq!(rig.is_closed(conn), Some(Close::Takeover));
    assert!(
        rig.requests().is_empty(),
        "the session is not the connection's to release"
    );
    assert_eq!(rig.read(conn), [], "no byte leaves for an ended epoch");
}

#[test]
fn mqtt_3_1_2_24_one_and_a_half_keep_alives_of_silence_close() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    let mut ping = Vec::new();
    codec::encode_pingreq(&mut ping);
    for _ in 0..5 {
        rig.pass(Duration::from_secs(59));
        rig.send(conn, &ping);
        assert_eq!(rig.read(conn), [Got::Pingresp]);
    }
    rig.pass(Duration::from_secs(89));
    assert_eq!(rig.is_closed(conn), None);
    rig.shard.outbox().requests.clear();
    rig.shard.outbox().dirty.clear();
    let due = rig.shard.next_deadline().expect("it is watched");
    assert!(
        due.since(rig.now) <= Duration::from_millis(1_256),
        "{due:?}"
    );
    rig.now = due;
    rig.shard.handle_tick(due);
    assert_eq!(rig.is_closed(conn), Some(Close::KeepAliveTimeout));
    assert!(released(&rig.requests())[0].1);
}

#[test]
fn mqtt_3_1_2_24_a_long_keep_alive_is_kept_as_asked_and_0_turns_it_off() {
    let connect = |asked| {
        let mut rig = Rig::alone();
        let login = Login {
            keep_alive: Duration::from_secs(asked),
            ..rig.login(broker(), "a")
        };
        let conn = rig.start(login);
        rig.claim(conn);
        rig.read(conn);
        (rig, conn)
    };
    let (mut rig, conn) = connect(65_535);
    rig.pass(Duration::from_secs(98_302));
    assert_eq!(rig.is_closed(conn), None);
    rig.pass(Duration::from_secs(2));
    assert_eq!(rig.is_closed(conn), Some(Close::KeepAliveTimeout));
    let (mut rig, conn) = connect(0);
    rig.pass(Duration::from_secs(7 * 24 * 3_600));
    assert_eq!(rig.is_closed(conn), None);
}

#[test]
fn mqtt_3_1_2_8_a_will_has_its_owners_rights() {
    let will = |topic: &str| LoginWill {
        topic: topic.to_owned(),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::ExactlyOnce,
        retain: false,
    };
    let mut rig = Rig::alone();
    let mut resolved = |topic: &str| {
        let login = Login {
            will: Some(will(topic)),
            ..rig.login(device(), topic)
        };
        rig.shard.handle_login(rig.now, login).unwrap();
        match rig.requests().pop() {
            Some(Request::Claim { claim }) => claim.will,
            other => panic!("{other:?}"),
        }
    };
    let own = resolved("$me/device/state").expect("its own topic");
    assert_eq!(own.topic.as_str(), format!("$devices/{}/state", id("dev")));
    assert_eq!((own.qos, own.stores), (QoS::AtLeastOnce, true));
    assert_eq!(resolved("$me/device/config"), None);
    assert_eq!(rig.shard.counters().denied_publish, 1);
}

#[test]
fn what_is_malformed_or_not_a_clients_closes() {
    for bytes in [
        &[0x00, 0][..],
        &[0x30, 3, 0, 9, b'a'],
        &[0xd0, 0],
        &[0x20, 2, 0, 0],
    ] {
        let mut rig = Rig::alone();
        let conn = rig.client(broker(), "a");
        rig.feed(conn, bytes);
        assert_eq!(rig.is_closed(conn), Some(Close::ProtocolError), "{bytes:?}");
    }
}

#[test]
fn an_incomplete_packet_is_left() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "a");
    let packet = publish("a", b"payload", 1, false);
    let mut two = packet.clone();
    two.extend_from_slice(&packet[..5]);
    assert_eq!(rig.feed(conn, &two), packet.len());
    assert_eq!(rig.read(conn), [Got::Puback(1)]);
}
