//! A node without a lease lets nothing out and closes its clients; the others go on.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_tests::harness::{
    Client, Connecting, DevCluster, Ledger, Load, Login, Publisher, ServedCluster, Subscriber,
    Watch, Wire, tell,
};
use rustix::process::Signal;

const STOPPED_FOR: Duration = Duration::from_secs(10);
/// After waking a node has closed its clients within this.
const CLOSED_WITHIN: Duration = Duration::from_secs(1);
/// The default of `timing.fence_after_ms`.
const FENCE_AFTER: Duration = Duration::from_secs(3);
/// `timing.renew_ms`: the lease is up to this much older than the cut.
const RENEW: Duration = Duration::from_millis(300);
/// A shard looks at its lease once a round, at the latest at this tick of its timers, on a busy machine.
const SLACK: Duration = Duration::from_millis(500);

/// Who publishes and subscribes where.
struct Doors {
    mqtt: Vec<String>,
    device: Login,
    registry: Login,
    topic: String,
}

impl Doors {
    fn of_dev(cluster: &DevCluster) -> Self {
        let file = cluster.file();
        Self {
            mqtt: (0..3).map(|node| cluster.mqtt(node)).collect(),
            device: file.device.login(),
            registry: file.registry.login(),
            topic: file.device_topic(""),
        }
    }

    fn of_served(cluster: &ServedCluster) -> Self {
        Self {
            mqtt: (0..3).map(|node| cluster.mqtt(node)).collect(),
            device: cluster.device(),
            registry: cluster.registry(),
            topic: cluster.device_topic(""),
        }
    }

    /// A publisher and a subscriber on each node, for link topics and for permanent ones.
    fn load(&self, ledger: &Arc<Ledger>) -> Load {
        let mut load = Load::new(ledger);
        for (node, address) in self.mqtt.iter().enumerate() {
            for kind in ["events", "state"] {
                load.subscriber(Subscriber {
                    name: format!("sub-n{node}-{kind}"),
                    address: address.clone(),
                    login: self.registry.clone(),
                    prefix: format!("{}{kind}/", self.topic),
                });
                load.publisher(Publisher {
                    name: format!("pub-n{node}-{kind}"),
                    address: address.clone(),
                    login: self.device.clone(),
                    topic: format!("{}{kind}/n{node}", self.topic),
                    every: Duration::from_millis(20),
                });
            }
        }
        load
    }

    /// Clients whose every byte is counted: a subscriber to all, and a publisher that waits for its PUBACK.
    async fn watched(&self, node: usize) -> [Client; 2] {
        let open = |login, name| Connecting::new(&self.mqtt[node], login, name);
        let subscriber = open(&self.registry, "watched-s")
            .open_within(Duration::from_secs(10))
            .await;
        subscriber
            .subscribe_all(&[
                &format!("{}events/#", self.topic),
                &format!("{}state/#", self.topic),
            ])
            .await;
        let publisher = open(&self.device, "watched-p")
            .open_within(Duration::from_secs(10))
            .await;
        [subscriber, publisher]
    }
}

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

fn elsewhere(node: usize) -> impl Fn(&str) -> bool + Copy {
    move |name: &str| !name.contains(&format!("-n{node}-"))
}

/// Prints how the others fared since `from`, and demands that they got answers in the end.
async fn others_went_on(
    ledger: &Ledger,
    watch: &Watch,
    node: usize,
    from: Instant,
    connections: usize,
) {
    let wait = ledger.longest_wait(from, elsewhere(node));
    let lately = Instant::now() - Duration::from_secs(2);
    let acknowledged = ledger.acknowledged_between(lately, Instant::now(), elsewhere(node));
    println!(
        "  publishers on the other nodes waited {:.2} s at most (own stall {:.2} s), {acknowledged} answers in the \
         last 2 s",
        wait.as_secs_f64(),
        watch.longest(from, Instant::now()).as_secs_f64(),
    );
    assert!(acknowledged > 100, "the others go on");
    assert_eq!(
        ledger.connections(elsewhere(node)),
        connections,
        "clients of the others stayed connected"
    );
}

async fn stop_and_wake(victim_leads: bool) {
    let cluster = DevCluster::start("stop", 3).await;
    let (ledger, watch) = (Arc::new(Ledger::default()), Watch::start());
    let doors = Doors::of_dev(&cluster);
    let load = doors.load(&ledger);
    all_connected(&ledger).await;
    let leader = cluster.leader().await;
    let victim = if victim_leads {
        leader
    } else {
        (leader + 1) % 3
    };
    let [subscriber, publisher] = doors.watched(victim).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(
        subscriber.bytes() > 1_000,
        "the watched subscriber gets messages"
    );
    let connections = ledger.connections(elsewhere(victim));

    let stopped = Instant::now();
    cluster.stop_node(victim);
    // This lies in the node's socket when it wakes; an answer to it would be a lie.
    let unanswerable = publisher
        .publish1(&format!("{}state/late", doors.topic), b"late", false)
        .await;
    tokio::time::sleep(STOPPED_FOR).await;
    others_went_on(&ledger, &watch, victim, stopped, connections).await;

    let bytes = [subscriber.bytes(), publisher.bytes()];
    let woken = Instant::now();
    cluster.wake_node(victim);
    let ended =
        [subscriber.ended().await, publisher.ended().await].map(|at| at.duration_since(woken));
    let stall = watch.longest(woken, Instant::now());
    println!(
        "n{victim}{} stopped for {STOPPED_FOR:?}: clients closed {ended:.3?} after waking (own stall {stall:.3?})",
        if victim_leads { " (leader)" } else { "" }
    );
    assert_eq!(
        [subscriber.bytes(), publisher.bytes()],
        bytes,
        "not one byte left the node after it woke"
    );
    if let Ok(answer) = unanswerable {
        answer.await.expect_err("no PUBACK without a lease");
    }
    assert!(
        ended.iter().all(|after| *after <= CLOSED_WITHIN),
        "closed within {CLOSED_WITHIN:?}: {ended:?}"
    );
    cluster.ready(victim, Duration::from_secs(30)).await;
    all_connected(&ledger).await;
    load.pause();
    ledger.all_answered(Duration::from_secs(15)).await;
    ledger.settle(Duration::from_secs(10)).await;
    println!("  {:?}", ledger.counts());
    load.end().await;
}

#[test]
fn a_stopped_follower_lets_nothing_out_when_it_wakes() {
    tell(Duration::from_secs(150), stop_and_wake(false));
}

#[test]
fn a_stopped_leader_lets_nothing_out_when_it_wakes() {
    tell(Duration::from_secs(150), stop_and_wake(true));
}

/// How the node is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cut {
    /// Nothing passes either way.
    Silence,
    /// What the node sends is lost.
    SilenceOut,
    /// Connections to and from it are reset.
    Reset,
}

async fn cut_off(victim_leads: bool, how: Cut) {
    let cluster = ServedCluster::start("cut", 3, "").await;
    let (ledger, watch) = (Arc::new(Ledger::default()), Watch::start());
    let doors = Doors::of_served(&cluster);
    let load = doors.load(&ledger);
    all_connected(&ledger).await;
    let leader = cluster.leader(0).await;
    let victim = if victim_leads {
        leader
    } else {
        (leader + 1) % 3
    };
    let [subscriber, publisher] = doors.watched(victim).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let connections = ledger.connections(elsewhere(victim));

    let cut = Instant::now();
    match how {
        Cut::Silence => cluster.proxy().set_around(victim, Wire::Silent),
        Cut::Reset => cluster.proxy().set_around(victim, Wire::Reset),
        Cut::SilenceOut => {
            (0..3)
                .filter(|other| *other != victim)
                .for_each(|other| cluster.proxy().set(victim, other, Wire::Silent));
        }
    }
    let patience = Duration::from_secs(20);
    let ends = async { [subscriber.ended().await, publisher.ended().await] };
    let ended = tokio::time::timeout(patience, ends)
        .await
        .expect("a node that is cut off closes its clients");
    let ended = ended.map(|at| at.duration_since(cut));
    let stall = watch.longest(cut, Instant::now());
    println!(
        "n{victim}{} cut off by {how:?}: clients closed {ended:.3?} after the cut (own stall {stall:.3?})",
        if victim_leads { " (leader)" } else { "" }
    );
    // The lease runs from the sending of the last request that was answered, at most a renewal before the cut. The
    // leader's own rests on heartbeats, which are more frequent.
    assert!(
        ended
            .iter()
            .all(|after| *after <= FENCE_AFTER + SLACK + stall),
        "late: {ended:?}"
    );
    if how != Cut::Reset {
        let earliest = FENCE_AFTER - 2 * RENEW - SLACK;
        assert!(
            ended.iter().all(|after| *after >= earliest),
            "closed too early, before the lease ended: {ended:?}"
        );
    }
    // `down_after` (4.5 s), an election where it led, and then some.
    tokio::time::sleep((cut + Duration::from_secs(11)).saturating_duration_since(Instant::now()))
        .await;
    others_went_on(&ledger, &watch, victim, cut, connections).await;
    assert!(
        !cluster.is_ready(victim).await,
        "a node that is cut off is not ready"
    );
    let refused = Connecting::new(&doors.mqtt[victim], &doors.registry, "refused")
        .open()
        .await;
    assert!(refused.is_err(), "a node that is cut off takes no client");

    cluster.proxy().heal();
    let back = cluster.ready(victim, Duration::from_secs(30)).await;
    println!(
        "  ready {:.2} s after the cut was healed",
        back.as_secs_f64()
    );
    all_connected(&ledger).await;
    load.pause();
    ledger.all_answered(Duration::from_secs(15)).await;
    ledger.settle(Duration::from_secs(10)).await;
    println!("  {:?}", ledger.counts());
    load.end().await;
}

#[test]
fn a_follower_cut_off_by_silence_closes_its_clients_at_fence_after() {
    tell(Duration::from_secs(150), cut_off(false, Cut::Silence));
}

#[test]
fn a_leader_cut_off_by_silence_closes_its_clients_at_fence_after() {
    tell(Duration::from_secs(150), cut_off(true, Cut::Silence));
}

#[test]
fn a_follower_whose_words_are_lost_closes_its_clients_at_fence_after() {
    tell(Duration::from_secs(150), cut_off(false, Cut::SilenceOut));
}

#[test]
fn a_follower_whose_connections_are_reset_closes_its_clients_by_fence_after() {
    tell(Duration::from_secs(150), cut_off(false, Cut::Reset));
}

/// Behind the proxy no connection is refused, so the leader learns of a death by silence alone.
#[test]
fn a_killed_node_is_survived_without_the_refused_connection_hint() {
    tell(Duration::from_secs(180), async {
        let mut cluster = ServedCluster::start("nohint", 3, "").await;
        let (ledger, watch) = (Arc::new(Ledger::default()), Watch::start());
        let doors = Doors::of_served(&cluster);
        let load = doors.load(&ledger);
        all_connected(&ledger).await;
        for round in 0..2 {
            let leader = cluster.leader(0).await;
            let victim = if round == 0 { leader } else { (leader + 1) % 3 };
            let connections = ledger.connections(elsewhere(victim));
            let killed = Instant::now();
            cluster.kill_node(victim).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            println!(
                "n{victim} killed{}",
                if round == 0 { " (leader)" } else { "" }
            );
            others_went_on(&ledger, &watch, victim, killed, connections).await;
            cluster.start_node(victim);
            cluster.ready(victim, Duration::from_secs(30)).await;
            all_connected(&ledger).await;
            ledger.settle(Duration::from_secs(15)).await;
        }
        load.end().await;
    });
}

/// A delay that is shorter than every time-out changes nothing but the waits.
#[test]
fn slow_links_lose_nothing() {
    tell(Duration::from_secs(120), async {
        let cluster = ServedCluster::start("slow", 3, "").await;
        let ledger = Arc::new(Ledger::default());
        let doors = Doors::of_served(&cluster);
        (0..3).for_each(|node| {
            cluster
                .proxy()
                .set_around(node, Wire::Delay(Duration::from_millis(20)))
        });
        let load = doors.load(&ledger);
        all_connected(&ledger).await;
        let from = Instant::now();
        tokio::time::sleep(Duration::from_secs(5)).await;
        // Connections between the nodes break and come back: links resume where they were.
        for _ in 0..3 {
            cluster.proxy().set(0, 1, Wire::Reset);
            tokio::time::sleep(Duration::from_millis(100)).await;
            (0..3).for_each(|node| {
                cluster
                    .proxy()
                    .set_around(node, Wire::Delay(Duration::from_millis(20)))
            });
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        println!(
            "20 ms each way and resets: longest wait {:.2?}",
            ledger.longest_wait(from, |_| true)
        );
        load.pause();
        ledger.all_answered(Duration::from_secs(15)).await;
        ledger.settle(Duration::from_secs(10)).await;
        load.end().await;
        cluster.signal(0, Signal::TERM);
    });
}
