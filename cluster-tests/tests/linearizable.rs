//! Permanent topics are linearizable, also while nodes are killed: writers and new subscribers on all nodes.
//!
//! Short: 10 s; long (`MAINSTAY_LONG=1`): 60 s.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cluster_tests::harness::{
    Client, Connecting, DevCluster, Login, Operation, Register, check_linearizable, long, tell,
};
use mainstay_core::codec::QoS;
use tokio::{sync::watch, task::JoinSet};

const TOPICS: usize = 4;
const WRITERS_A_NODE: usize = 2;
const READERS_A_NODE: usize = 3;
/// Longer than `down_after` and an election.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// What all of them did, a list a topic.
struct History {
    start: Instant,
    next: AtomicU64,
    operations: [Mutex<Vec<Operation>>; TOPICS],
}

impl History {
    fn new() -> Self {
        let operations = std::array::from_fn(|_| Mutex::new(Vec::new()));
        Self {
            start: Instant::now(),
            next: AtomicU64::new(1),
            operations,
        }
    }

    /// Microseconds, from 1: 0 is before all.
    fn at(&self, instant: Instant) -> u64 {
        instant.duration_since(self.start).as_micros() as u64 + 1
    }

    fn add(&self, topic: usize, operation: Operation) {
        self.operations[topic]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(operation);
    }
}

async fn open(door: &str, login: &Login, name: &str) -> Client {
    let connecting = Connecting::new(door, login, name);
    loop {
        match connecting.open().await {
            Ok(client) => return client,
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn write_always(
    history: Arc<History>,
    door: String,
    login: Login,
    name: String,
    prefix: String,
    stop: watch::Receiver<bool>,
) {
    let mut client = open(&door, &login, &name).await;
    let mut turn = name.len();
    while !*stop.borrow() {
        turn += 1;
        let topic = turn % TOPICS;
        let value = history.next.fetch_add(1, Ordering::Relaxed);
        let start = history.at(Instant::now());
        let sent = client
            .publish1(
                &format!("{prefix}{topic}"),
                value.to_string().as_bytes(),
                false,
            )
            .await;
        let answer = match sent {
            Ok(answer) => tokio::time::timeout(ANSWER_WITHIN, answer)
                .await
                .expect("an answer or an end"),
            Err(why) => Err(why),
        };
        let end = answer.as_ref().ok().map(|at| history.at(*at));
        history.add(
            topic,
            Operation {
                what: Register::Write(value),
                start,
                end,
            },
        );
        if answer.is_err() {
            client = open(&door, &login, &name).await;
        }
    }
}

async fn read_always(
    history: Arc<History>,
    door: String,
    login: Login,
    name: String,
    prefix: String,
    stop: watch::Receiver<bool>,
) {
    let mut client = open(&door, &login, &name).await;
    let mut turn = name.len();
    while !*stop.borrow() {
        turn += 1;
        let number = turn % TOPICS;
        let topic = format!("{prefix}{number}");
        let start = history.at(Instant::now());
        if client
            .subscribe(&[(&topic, QoS::AtLeastOnce)])
            .await
            .is_err()
        {
            client = open(&door, &login, &name).await;
            continue;
        }
        // The stored value comes first; what comes live behind it is not a read of the register.
        let first = tokio::time::timeout(ANSWER_WITHIN, client.next())
            .await
            .expect("a stored value or an end");
        let Some(received) = first else {
            client = open(&door, &login, &name).await;
            continue;
        };
        let end = history.at(received.at);
        assert!(
            received.retain,
            "the stored value comes before live ones: {received:?}"
        );
        assert_eq!(received.topic, topic);
        let value = String::from_utf8_lossy(&received.payload)
            .parse()
            .expect("a number was written");
        history.add(
            number,
            Operation {
                what: Register::Read(Some(value)),
                start,
                end: Some(end),
            },
        );
        if client.unsubscribe(&[&topic]).await.is_err() {
            client = open(&door, &login, &name).await;
        }
        // Live messages that were on the way before UNSUBACK.
        while client.next_within(Duration::ZERO).await.is_some() {}
    }
}

#[test]
fn writers_and_new_subscribers_on_all_nodes_agree_on_one_order_under_kills() {
    let seconds = if long() { 60 } else { 10 };
    tell(Duration::from_secs(120 + seconds), async move {
        let mut cluster = DevCluster::start("linear", 3).await;
        let (device, registry) = (
            cluster.file().device.login(),
            cluster.file().registry.login(),
        );
        let prefix = cluster.file().device_topic("state/r");
        let history = Arc::new(History::new());
        let first = open(&cluster.mqtt(0), &device, "first").await;
        for topic in 0..TOPICS {
            let value = history.next.fetch_add(1, Ordering::Relaxed);
            let start = history.at(Instant::now());
            let answer = first
                .publish1(
                    &format!("{prefix}{topic}"),
                    value.to_string().as_bytes(),
                    false,
                )
                .await;
            let end = answer
                .expect("the connection stands")
                .await
                .expect("a PUBACK");
            let end = Some(history.at(end));
            history.add(
                topic,
                Operation {
                    what: Register::Write(value),
                    start,
                    end,
                },
            );
        }
        let stop = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        for node in 0..3 {
            for number in 0..WRITERS_A_NODE {
                let name = format!("{}w-{node}-{number}", "x".repeat(number));
                clients.spawn(write_always(
                    Arc::clone(&history),
                    cluster.mqtt(node),
                    device.clone(),
                    name,
                    prefix.clone(),
                    stop.subscribe(),
                ));
            }
            for number in 0..READERS_A_NODE {
                let name = format!("{}r-{node}-{number}", "x".repeat(number));
                clients.spawn(read_always(
                    Arc::clone(&history),
                    cluster.mqtt(node),
                    registry.clone(),
                    name,
                    prefix.clone(),
                    stop.subscribe(),
                ));
            }
        }
        let mut kills = 0;
        while history.start.elapsed() < Duration::from_secs(seconds) {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            let leader = cluster.leader().await;
            let victim = if kills % 2 == 0 {
                leader
            } else {
                (leader + 1) % 3
            };
            cluster.kill_node(victim).await;
            kills += 1;
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            cluster.restart_node(victim);
            cluster.ready(victim, Duration::from_secs(30)).await;
        }
        stop.send_replace(true);
        while let Some(ended) = clients.join_next().await {
            ended.expect("a client ends by itself");
        }
        let mut counts = (0, 0, 0);
        for (topic, operations) in history.operations.iter().enumerate() {
            let operations = operations
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            for operation in &operations {
                match (operation.what, operation.end) {
                    (Register::Write(_), Some(_)) => counts.0 += 1,
                    (Register::Write(_), None) => counts.1 += 1,
                    (Register::Read(_), _) => counts.2 += 1,
                }
            }
            check_linearizable(&operations)
                .unwrap_or_else(|why| panic!("state/r{topic} is not linearizable: {why}"));
        }
        let (written, unknown, read) = counts;
        println!(
            "{kills} kills: {written} writes, {unknown} of unknown outcome, {read} reads: linearizable"
        );
        assert!(
            written > 100 && read > 100,
            "too little was done to say anything"
        );
    });
}
