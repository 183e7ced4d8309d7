//! `fdatasync` is done before the PUBACK of a permanent topic leaves, as `strace` sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cluster_tests::harness::{Call, Connecting, DevCluster, Temporary, Tool, Trace, tell};

/// Permanent messages, one at a time; a run of plain ones is the counter-proof.
const MESSAGES: usize = 20;

fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}

/// Syncs of a log that began after `from` and ended before `to`.
fn syncs(calls: &[Call], from: f64, to: f64) -> usize {
    let within = |call: &&Call| call.name == "fdatasync" && call.start >= from && call.end <= to;
    calls.iter().filter(within).count()
}

/// When the node began to write a PUBACK with this number, after `from`.
fn puback(calls: &[Call], number: u16, from: f64) -> Option<f64> {
    let [high, low] = number.to_be_bytes();
    let sends = |call: &&Call| {
        call.name != "fdatasync" && call.start >= from && call.bytes == [0x40, 2, high, low]
    };
    calls
        .iter()
        .filter(sends)
        .map(|call| call.start)
        .reduce(f64::min)
}

async fn on_nodes(nodes: u16, needed: usize) {
    let Some(strace) = Tool::find("strace") else {
        return;
    };
    let cluster = DevCluster::start("durability", nodes).await;
    let file = cluster.file().clone();
    let device = Connecting::new(&cluster.mqtt(0), &file.device.login(), "d")
        .open_within(Duration::from_secs(10))
        .await;
    let folder = Temporary::new("strace");
    let mut traces = Vec::new();
    for node in 0..usize::from(nodes) {
        let Some(trace) = Trace::attach(&strace, &folder, cluster.pid(node)).await else {
            return;
        };
        traces.push(trace);
    }
    // Tracing slows the nodes down; the first answer shows that they serve again.
    for topic in ["events/a", "state/a"] {
        let topic = file.device_topic(topic);
        device
            .publish1(&topic, b"first", false)
            .await
            .expect("sent")
            .await
            .expect("a PUBACK");
    }
    let mut sent = Vec::new();
    for topic in ["state/a", "events/a"] {
        for number in 0..MESSAGES {
            let at = now();
            let payload = number.to_string();
            let topic = file.device_topic(topic);
            device
                .publish1(&topic, payload.as_bytes(), false)
                .await
                .expect("sent")
                .await
                .expect("a PUBACK");
            sent.push(at);
        }
    }
    let mut calls = Vec::new();
    for trace in traces {
        calls.push(trace.end().await);
    }
    let (mut permanent, mut plain) = (Vec::new(), 0);
    for (number, from) in sent.iter().enumerate() {
        // The client counts packet identifiers from 1; two were used before.
        let id = number as u16 + 3;
        let to =
            puback(&calls[0], id, *from).unwrap_or_else(|| panic!("strace saw no PUBACK {id}"));
        let synced = calls
            .iter()
            .filter(|calls| syncs(calls, *from, to) > 0)
            .count();
        if number < MESSAGES {
            permanent.push(synced)
        } else {
            plain += synced
        }
    }
    println!(
        "{nodes} node(s): nodes that synced between PUBLISH and PUBACK of a permanent topic: {permanent:?}; \
         of {MESSAGES} plain ones: {plain} in all"
    );
    assert!(
        permanent.iter().all(|synced| *synced >= needed),
        "at least {needed} nodes sync first: {permanent:?}"
    );
    assert!(
        plain < MESSAGES,
        "plain messages wait for no sync, or this test would prove nothing"
    );
}

#[test]
fn one_node_syncs_before_the_puback_of_a_permanent_topic() {
    tell(Duration::from_secs(90), on_nodes(1, 1));
}

#[test]
fn two_of_three_nodes_sync_before_the_puback_of_a_permanent_topic() {
    tell(Duration::from_secs(120), on_nodes(3, 2));
}
