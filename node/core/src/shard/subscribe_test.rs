//! SUBSCRIBE and UNSUBSCRIBE: rights, the barrier, stored values, control's counts.

use std::time::Duration;

use super::test_rig::*;
use super::*;
use crate::codec::{QoS, SubackCode};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;

fn granted(qos: QoS) -> SubackCode {
    SubackCode::Granted(qos)
}

/// Filters that were given back in requests.
fn given_back(requests: &[Request]) -> Vec<String> {
    let filters = requests.iter().filter_map(|request| match request {
        Request::Unsubscribe { filters, .. } => Some(filters),
        _ => None,
    });
    filters
        .flatten()
        .map(|filter| filter.as_str().to_owned())
        .collect()
}

#[test]
fn mqtt_3_8_4_1_suback_comes_after_the_barrier_and_nothing_before_it() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(5, &[("t", Q1), ("u", QoS::ExactlyOnce)]));
    let publisher = rig.client(broker(), "p");
    // The requests of the login above took the Subscribe away, so it is asked for again below.
    rig.send(publisher, &publish("t", b"early", 0, false));
    assert_eq!(rig.read(conn), []);
    rig.send(conn, &subscribe(6, &[("t", Q1), ("u", QoS::ExactlyOnce)]));
    assert_eq!(rig.grant(Vec::new()), ["t", "u"]);
    assert_eq!(
        rig.read(conn),
        [Got::Suback(6, vec![granted(Q1), granted(Q1)])]
    );
    rig.send(publisher, &publish("t", b"late", 0, false));
    assert_eq!(rig.read(conn), [got("t", "late", Q0, false, None)]);
    assert_eq!(rig.shard.counters().subscriptions, 2);
}

#[test]
fn mqtt_3_9_3_2_filters_without_a_right_get_0x80_and_the_others_stand() {
    let mut rig = Rig::alone();
    let conn = rig.client(registry(), "s");
    let filters = [
        ("$devices/+/commands", Q1),
        ("$devices/#", Q1),
        ("$SYS/#", Q0),
        ("#", Q0),
        ("$me/#", Q0),
    ];
    rig.send(conn, &subscribe(5, &filters));
    assert_eq!(
        rig.grant(Vec::new()),
        ["$devices/+/events/#", "$devices/+/state/#"]
    );
    let failure = SubackCode::Failure;
    let codes = vec![failure, granted(Q1), failure, granted(Q0), failure];
    assert_eq!(rig.read(conn), [Got::Suback(5, codes)]);
    assert_eq!(rig.shard.counters().denied_subscribe, 3);
}

#[test]
fn what_needs_no_barrier_is_answered_at_once() {
    let mut rig = Rig::alone();
    let conn = rig.client(registry(), "s");
    rig.send(
        conn,
        &subscribe(5, &[("#", Q1), ("my/alias", Q0), ("$x", Q0)]),
    );
    assert!(rig.requests().is_empty());
    let codes = vec![granted(Q1), granted(Q0), SubackCode::Failure];
    assert_eq!(rig.read(conn), [Got::Suback(5, codes)]);
    rig.send(conn, &unsubscribe(6, &["#"]));
    assert_eq!(
        (rig.read(conn), rig.requests().len()),
        (vec![Got::Unsuback(6)], 0)
    );
}

#[test]
fn mqtt_4_7_1_2_and_3_misplaced_wildcards_close() {
    for text in ["a/#/b", "a#", "a+/b"] {
        let mut rig = Rig::alone();
        let conn = rig.client(broker(), "s");
        rig.feed(conn, &subscribe(5, &[("fine", Q0), (text, Q0)]));
        assert_eq!(rig.is_closed(conn), Some(Close::ProtocolError), "{text}");
        let conn = rig.client(broker(), "u");
        rig.feed(conn, &unsubscribe(5, &["fine", text]));
        assert_eq!(rig.is_closed(conn), Some(Close::ProtocolError), "{text}");
    }
}

#[test]
fn a_filter_above_the_bound_of_topics_or_of_subscriptions_gets_0x80() {
    let mut rig = Rig::with(Limits {
        max_subscriptions: 2,
        ..Limits::default()
    });
    let conn = rig.client(broker(), "s");
    let long = "x".repeat(1_025);
    rig.send(
        conn,
        &subscribe(5, &[(&long, Q0), ("a", Q0), ("b", Q0), ("c", Q0)]),
    );
    rig.grant(Vec::new());
    let failure = SubackCode::Failure;
    let codes = vec![failure, granted(Q0), granted(Q0), failure];
    assert_eq!(rig.read(conn), [Got::Suback(5, codes)]);
    rig.send(conn, &subscribe(6, &[("a", Q1), ("c", Q0)]));
    rig.grant(Vec::new());
    assert_eq!(rig.read(conn), [Got::Suback(6, vec![granted(Q1), failure])]);
}

#[test]
fn mqtt_3_3_1_6_stored_values_follow_the_suback_with_retain_1() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("a/#", Q1)]));
    let values = [
        ("a", "1", Q0),
        ("a/b", "2", Q1),
        ("a/c", "3", QoS::ExactlyOnce),
        ("b", "4", Q1),
    ];
    rig.grant(vec![view("a/#", &values)]);
    let want = [
        Got::Suback(1, vec![granted(Q1)]),
        got("a", "1", Q0, true, None),
        got("a/b", "2", Q1, true, Some(1)),
        got("a/c", "3", Q1, true, Some(2)),
    ];
    assert_eq!(rig.read(conn), want);
}

#[test]
fn a_filter_that_matches_few_of_many_values_goes_on_in_later_rounds() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("+/x", Q0)]));
    let mut topics: Vec<String> = (0..5_000).map(|n| format!("t{n:04}/y")).collect();
    topics.push("z/x".to_owned());
    let values: Vec<_> = topics.iter().map(|t| (t.as_str(), "1", Q0)).collect();
    rig.grant(vec![view("+/x", &values)]);
    let mut got_all = rig.read(conn);
    assert_eq!(got_all, [Got::Suback(1, vec![granted(Q0)])]);
    let mut rounds = 0;
    while got_all.len() < 2 {
        rounds += 1;
        assert!(rounds < 20, "the value never comes");
        rig.shard.outbox().dirty.clear();
        assert_eq!(
            rig.shard.next_deadline(),
            Some(Moment(0)),
            "it goes on at once"
        );
        rig.pass(Duration::ZERO);
        got_all.extend(rig.read(conn));
    }
    assert_eq!(got_all[1], got("z/x", "1", Q0, true, None));
    assert!(rounds >= 2, "not all in one round");
    rig.shard.outbox().dirty.clear();
    assert_ne!(rig.shard.next_deadline(), Some(Moment(0)), "it is done");
}

#[test]
fn a_stored_value_carries_the_topic_in_the_form_that_was_asked() {
    let mut rig = Rig::alone();
    let conn = rig.client(device(), "d");
    rig.send(conn, &subscribe(1, &[("$me/+/config", Q0)]));
    let own = format!("$devices/{}/config", id("dev"));
    let of_registry = format!("$registries/{}/config", id("reg"));
    let (ticket, filters) = rig.subscribe_request();
    assert_eq!(filters, [&own[..], &of_registry[..]]);
    let views = vec![
        view(&own, &[(&own, "1", Q0)]),
        view(&of_registry, &[(&of_registry, "2", Q0)]),
    ];
    rig.event(Event::Subscribed { ticket, views });
    let want = [
        got("$me/device/config", "1", Q0, true, None),
        got("$me/registry/config", "2", Q0, true, None),
    ];
    assert_eq!(rig.read(conn)[1..], want);
}

#[test]
fn values_stream_within_the_window_and_newer_messages_wait_behind_them() {
    let mut rig = Rig::with(Limits {
        send_window: 2,
        ..Limits::default()
    });
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("#", Q1)]));
    let values: Vec<(String, String)> = (0..5).map(|n| (format!("t{n}"), n.to_string())).collect();
    let values: Vec<_> = values
        .iter()
        .map(|(t, v)| (t.as_str(), v.as_str(), Q1))
        .collect();
    rig.grant(vec![view("#", &values)]);
    assert_eq!(rig.read(conn).len(), 3);
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("t4", b"newer", 0, false));
    rig.send(publisher, &publish("t4", b"newest", 1, false));
    assert_eq!(rig.read(conn), []);
    let mut seen = Vec::new();
    for id in 1..=6 {
        rig.send(conn, &puback(id));
        seen.extend(rig.read(conn));
    }
    let want = [
        got("t2", "2", Q1, true, Some(3)),
        got("t3", "3", Q1, true, Some(4)),
        got("t4", "4", Q1, true, Some(5)),
        got("t4", "newer", Q0, false, None),
        got("t4", "newest", Q1, false, Some(6)),
    ];
    assert_eq!(seen, want);
    assert_eq!(rig.shard.counters().inflight_out, 0);
}

#[test]
fn mqtt_3_8_4_3_the_same_filter_replaces_and_gets_its_values_again() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    for (id, qos) in [(1, Q0), (2, Q1)] {
        rig.send(conn, &subscribe(id, &[("t", qos)]));
        rig.grant(vec![view("t", &[("t", "v", Q1)])]);
        assert_eq!(rig.read(conn).len(), 2);
    }
    assert_eq!(
        given_back(&rig.requests()),
        ["t"],
        "two were asked for, one is left"
    );
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("t", b"x", 1, false));
    assert_eq!(rig.read(conn), [got("t", "x", Q1, false, Some(2))]);
    assert_eq!(rig.shard.counters().subscriptions, 1);
}

#[test]
fn messages_flow_on_while_a_subscription_is_replaced() {
    let mut rig = Rig::alone();
    let conn = rig.subscriber(broker(), "t", Q0);
    rig.send(conn, &subscribe(2, &[("t", Q1)]));
    rig.requests();
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("t", b"x", 1, false));
    assert_eq!(rig.read(conn), [got("t", "x", Q0, false, None)]);
}

#[test]
fn mqtt_3_10_4_unsubscribe_is_answered_at_once_and_stops_messages_and_values() {
    let mut rig = Rig::with(Limits {
        send_window: 1,
        ..Limits::default()
    });
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("a/#", Q1), ("b", Q1)]));
    let values = [("a/1", "1", Q1), ("a/2", "2", Q1)];
    rig.grant(vec![view("a/#", &values), view("b", &[("b", "3", Q1)])]);
    assert_eq!(rig.read(conn).len(), 2);
    rig.send(conn, &unsubscribe(2, &["a/#", "never"]));
    assert_eq!(given_back(&rig.requests()), ["a/#"]);
    assert_eq!(rig.read(conn), [Got::Unsuback(2)]);
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("a/1", b"x", 0, false));
    rig.send(conn, &puback(1));
    assert_eq!(rig.read(conn), [got("b", "3", Q1, true, Some(2))]);
}

#[test]
fn what_ends_before_its_barrier_is_given_back_once() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("a", Q1), ("b", Q1)]));
    let (ticket, _) = rig.subscribe_request();
    rig.send(conn, &unsubscribe(2, &["a"]));
    assert_eq!(given_back(&rig.requests()), ["a"]);
    rig.event(Event::Subscribed {
        ticket,
        views: vec![view("a", &[("a", "1", Q0)]), view("b", &[])],
    });
    let codes = vec![granted(Q1), granted(Q1)];
    assert_eq!(rig.read(conn), [Got::Unsuback(2), Got::Suback(1, codes)]);
    let publisher = rig.client(broker(), "p");
    rig.send(publisher, &publish("a", b"x", 0, false));
    assert_eq!(rig.read(conn), []);
    rig.shard.handle_lost(rig.now, conn.slot, Close::IoError);
    assert_eq!(given_back(&rig.requests()), ["b"]);
}

#[test]
fn a_connection_that_ends_before_its_barrier_gives_back_what_it_asked() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("a", Q1)]));
    let (ticket, _) = rig.subscribe_request();
    rig.shard.handle_lost(rig.now, conn.slot, Close::IoError);
    assert_eq!(given_back(&rig.requests()), ["a"]);
    rig.shard.forget(conn.slot);
    rig.event(Event::Subscribed {
        ticket,
        views: vec![view("a", &[])],
    });
    assert!(rig.requests().is_empty());
}

#[test]
fn a_subscription_that_could_not_be_made_closes() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    rig.send(conn, &subscribe(1, &[("a", Q1)]));
    let (ticket, _) = rig.subscribe_request();
    rig.event(Event::SubscribeFailed { ticket });
    assert_eq!(rig.is_closed(conn), Some(Close::NoQuorum));
    assert_eq!(given_back(&rig.requests()), ["a"]);
}

#[test]
fn a_client_with_many_subscribes_under_way_is_not_read() {
    let mut rig = Rig::alone();
    let conn = rig.client(broker(), "s");
    for id in 1..=16 {
        rig.send(conn, &subscribe(id, &[("a", Q1)]));
    }
    let requests = rig.requests();
    assert_eq!(rig.feed(conn, &subscribe(17, &[("a", Q1)])), 0);
    assert!(!rig.shard.wants_input(conn.slot));
    let Some(Request::Subscribe { ticket, .. }) = requests.first() else {
        panic!("{requests:?}")
    };
    rig.event(Event::Subscribed {
        ticket: *ticket,
        views: vec![view("a", &[])],
    });
    assert_eq!(rig.resumed(), [conn.slot]);
}
