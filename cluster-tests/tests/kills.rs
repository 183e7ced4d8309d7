//! Rounds of `kill -9` under load: nothing that was acknowledged is lost, order is kept, the others go on.
//!
//! Short: 6 rounds; long (`MAINSTAY_LONG=1`): 20. The leader is killed in half of them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_tests::harness::{
    Connecting, DevCluster, Ledger, Load, MessageId, Publisher, Subscriber, Watch, long, tell,
};

/// The load while a node is down, before it is started again.
const DOWN_FOR: Duration = Duration::from_secs(3);
/// Publishers on other nodes wait at most so long in 19 of 20 rounds, …
const USUAL_WAIT: Duration = Duration::from_secs(2);
/// … and never longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(4);
/// Each of the three nodes has two publishers: 300 messages a second in all.
const EVERY: Duration = Duration::from_millis(20);

fn start_load(cluster: &DevCluster, ledger: &Arc<Ledger>) -> Load {
    let mut load = Load::new(ledger);
    let file = cluster.file();
    for node in 0..file.nodes.len() {
        let address = cluster.mqtt(node);
        for kind in ["events", "state"] {
            load.subscriber(Subscriber {
                name: format!("sub-n{node}-{kind}"),
                address: address.clone(),
                login: file.registry.login(),
                prefix: file.device_topic(&format!("{kind}/")),
            });
            load.publisher(Publisher {
                name: format!("pub-n{node}-{kind}"),
                address: address.clone(),
                login: file.device.login(),
                topic: file.device_topic(&format!("{kind}/n{node}")),
                every: EVERY,
            });
        }
    }
    load
}

/// Waits until all six publishers and six subscribers are connected.
async fn all_connected(ledger: &Ledger) {
    let start = Instant::now();
    while ledger.standing(|_| true) < 6 || ledger.publishing(|_| true) < 6 {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "clients were not back within 30 s"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every acknowledged permanent value, or a newer one, is there for a new subscriber on every node.
async fn permanent_values_are_there(cluster: &DevCluster, ledger: &Ledger) {
    let file = cluster.file();
    let expected = ledger.last_acknowledged(&file.device_topic("state/"));
    assert_eq!(
        expected.len(),
        file.nodes.len(),
        "every publisher's state was acknowledged once"
    );
    for node in 0..file.nodes.len() {
        let reader = Connecting::new(&cluster.mqtt(node), &file.registry.login(), "reader");
        let reader = reader.open_within(Duration::from_secs(10)).await;
        reader.subscribe_all(&[&file.device_topic("state/#")]).await;
        for _ in 0..expected.len() {
            let stored = reader.next_within(Duration::from_secs(5)).await;
            let stored = stored.unwrap_or_else(|| panic!("n{node} lacks a stored value"));
            assert!(stored.retain, "a stored value has RETAIN 1");
            let id = MessageId::of(&stored.payload).expect("a payload of the load");
            assert!(
                id >= expected[&stored.topic],
                "n{node} has an older value on {}",
                stored.topic
            );
        }
        reader.disconnect().await;
    }
}

#[test]
fn rounds_of_kill_9_under_load_lose_nothing() {
    let rounds = if long() { 20 } else { 6 };
    tell(Duration::from_secs(60 + 40 * rounds), async move {
        let mut cluster = DevCluster::start("kills", 3).await;
        let (ledger, watch) = (Arc::new(Ledger::default()), Watch::start());
        let load = start_load(&cluster, &ledger);
        all_connected(&ledger).await;
        let mut waits = Vec::new();
        for round in 0..rounds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let leader = cluster.leader().await;
            let victim = if round % 2 == 0 {
                leader
            } else {
                (leader + 1 + round as usize / 2 % 2) % 3
            };
            let on_victim = format!("-n{victim}-");
            let elsewhere = |name: &str| !name.contains(&on_victim);
            let before = ledger.connections(elsewhere);
            let killed = Instant::now();
            cluster.kill_node(victim).await;
            tokio::time::sleep(DOWN_FOR).await;
            cluster.restart_node(victim);
            let back = cluster.ready(victim, Duration::from_secs(30)).await;
            all_connected(&ledger).await;
            let (wait, stall) = (
                ledger.longest_wait(killed, elsewhere),
                watch.longest(killed, Instant::now()),
            );
            let acknowledged = ledger.acknowledged_between(killed, Instant::now(), elsewhere);
            println!(
                "round {round}: killed n{victim}{}; longest wait elsewhere {:.2} s (own stall {:.2} s), \
                 {acknowledged} acknowledged elsewhere, ready again {:.2} s after the restart",
                if victim == leader { " (leader)" } else { "" },
                wait.as_secs_f64(),
                stall.as_secs_f64(),
                back.as_secs_f64(),
            );
            waits.push(wait);
            assert_eq!(
                ledger.connections(elsewhere),
                before,
                "clients of other nodes stayed connected"
            );
            ledger.settle(Duration::from_secs(10)).await;
        }
        load.pause();
        ledger.all_answered(Duration::from_secs(10)).await;
        ledger.settle(Duration::from_secs(10)).await;
        permanent_values_are_there(&cluster, &ledger).await;
        println!("{:?}; 0 acknowledged messages missing", ledger.counts());
        load.end().await;
        let slow = waits.iter().filter(|wait| **wait > USUAL_WAIT).count();
        println!("longest waits: {waits:.2?}; {slow} above {USUAL_WAIT:?}");
        assert!(
            waits.iter().all(|wait| *wait <= LONGEST_WAIT),
            "a wait above {LONGEST_WAIT:?}: {waits:?}"
        );
        assert!(
            slow <= 1,
            "{slow} of {rounds} rounds above {USUAL_WAIT:?}: {waits:?}"
        );
    });
}
