//! HAProxy with `deploy/haproxy.cfg` before three nodes, and Prometheus with `deploy/prometheus.yml`, both for real.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cluster_tests::harness::{
    Client, Connecting, DevCluster, Ledger, Load, Process, Publisher, Subscriber, Tool, free_base,
    http_get, mosquitto_pub, mosquitto_sub, tell, until,
};
use tokio::task::JoinSet;

const SOON: Duration = Duration::from_secs(10);
/// Clients of a killed node are back on another within this.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const CLIENTS: usize = 12;

fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(file)
}

fn port(door: &str) -> &str {
    door.rsplit_once(':').map_or(door, |(_, port)| port)
}

/// HAProxy with its doors: MQTT over TLS, plain MQTT.
async fn balancer(tool: &Tool, cluster: &DevCluster) -> (Process, String, String) {
    let base = free_base(1);
    let (tls, plain) = (
        format!("127.0.0.1:{base}"),
        format!("127.0.0.1:{}", base + 1),
    );
    let mut command = tool.command();
    command.arg("-f").arg(deploy("haproxy.cfg"));
    command
        .env("MAINSTAY_LB_MQTTS", &tls)
        .env("MAINSTAY_LB_MQTT", &plain);
    for (number, node) in cluster.file().nodes.iter().enumerate() {
        command
            .env(
                format!("MAINSTAY_N{number}_MQTTS"),
                format!("127.0.0.1:{}", port(&node.mqtts)),
            )
            .env(format!("MAINSTAY_N{number}_MQTT"), &node.mqtt)
            .env(format!("MAINSTAY_N{number}_ADMIN"), port(&node.admin));
    }
    let mut process = Process::start(&mut command, &cluster.folder().join("haproxy.log"));
    let login = cluster.file().device.login();
    until("HAProxy lets clients in", SOON, || async {
        Connecting::new(&plain, &login, "first")
            .open()
            .await
            .ok()
            .map(drop)
    })
    .await;
    assert!(process.is_running(), "{}", process.output());
    (process, format!("localhost:{base}"), plain)
}

/// A client that comes back as soon as it is let in; gives how long it was away.
async fn stay(connecting: Connecting, client: Client) -> (Client, Duration) {
    let ended = client.ended().await;
    loop {
        if let Ok(client) = connecting.open().await {
            return (client, ended.elapsed());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn clients_of_a_killed_node_are_back_through_haproxy_within_five_seconds() {
    tell(Duration::from_secs(120), async {
        let Some(haproxy) = Tool::find("haproxy") else {
            return;
        };
        let mut cluster = DevCluster::start("haproxy", 3).await;
        let (_balancer, tls, plain) = balancer(&haproxy, &cluster).await;
        let file = cluster.file().clone();
        over_tls(&cluster, &tls).await;

        let mut staying = JoinSet::new();
        let mut addresses = Vec::new();
        for number in 0..CLIENTS {
            let connecting = Connecting::new(&plain, &file.device.login(), &format!("c{number}"));
            let client = connecting.open_within(SOON).await;
            addresses.push(client.local_address());
            staying.spawn(stay(connecting, client));
        }
        let logs = cluster.logs();
        let shown = addresses
            .iter()
            .filter(|address| logs.contains(&address.to_string()))
            .count();
        assert_eq!(
            shown, CLIENTS,
            "the logs show the clients' own addresses, such as {:?}",
            addresses[0]
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(
            staying.try_join_next().is_none(),
            "all stay as long as all nodes do"
        );

        let victim = cluster.leader().await;
        let killed = Instant::now();
        cluster.kill_node(victim).await;
        // `leastconn` has spread them, so about a third is on each.
        let mut away = Vec::new();
        let mut back = Vec::new();
        while let Ok(Some(client)) =
            tokio::time::timeout(BACK_WITHIN + SOON, staying.join_next()).await
        {
            let (client, gone) = client.expect("a client does not panic");
            away.push(gone);
            back.push(client);
            if killed.elapsed() > BACK_WITHIN {
                break;
            }
        }
        println!(
            "{} of {CLIENTS} clients were on n{victim}, away for {away:.2?}",
            away.len()
        );
        assert!(!away.is_empty(), "the killed node held some");
        assert!(away.iter().all(|away| *away <= BACK_WITHIN), "{away:?}");
        for client in &back {
            let answer = client
                .publish1(&file.device_topic("state/back"), b"1", false)
                .await
                .expect("sent");
            tokio::time::timeout(SOON, answer)
                .await
                .expect("an answer")
                .expect("a PUBACK");
        }
    });
}

/// mosquitto's clients through the proxy, whose certificate check is of the node behind it.
async fn over_tls(cluster: &DevCluster, door: &str) {
    let (Some(publish), Some(subscribe)) =
        (Tool::find("mosquitto_pub"), Tool::find("mosquitto_sub"))
    else {
        return;
    };
    let file = cluster.file();
    let (ca, topic) = (Path::new(&file.ca_file), file.device_topic("events/tls"));
    let mut command = mosquitto_sub(&subscribe, door, ca, &file.registry.login(), &topic, 1);
    let mut sub = Process::start(command.arg("-d"), &cluster.folder().join("tls-sub.out"));
    until(
        "mosquitto_sub is subscribed through HAProxy",
        SOON,
        || async { sub.output().contains("Subscribed").then_some(()) },
    )
    .await;
    let mut command = mosquitto_pub(&publish, door, ca, &file.device.login(), &topic, "through");
    let mut sent = Process::start(&mut command, &cluster.folder().join("tls-pub.out"));
    assert_eq!(sent.ended(SOON).await.code, Some(0), "{}", sent.output());
    sub.ended(SOON).await;
    assert!(sub.output().contains("through"), "{}", sub.output());
}

/// A sum over all nodes, as Prometheus has it.
async fn sum(prometheus: &str, metric: &str) -> Option<u64> {
    let answer = http_get(prometheus, &format!("/api/v1/query?query=sum({metric})")).await?;
    let value: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    value["data"]["result"][0]["value"][1]
        .as_str()?
        .parse()
        .ok()
}

#[test]
fn prometheus_counts_what_the_ledger_counts() {
    tell(Duration::from_secs(150), async {
        let Some(prometheus) = Tool::find("prometheus") else {
            return;
        };
        let cluster = DevCluster::start("prometheus", 3).await;
        let file = cluster.file().clone();
        let folder = cluster.folder().join("prometheus");
        fs::create_dir_all(&folder).expect("writable");
        fs::copy(deploy("prometheus.yml"), folder.join("prometheus.yml")).expect("it is there");
        let targets: String = file
            .nodes
            .iter()
            .map(|node| {
                format!(
                    "- targets: [\"{}\"]\n  labels: {{node: {}}}\n",
                    node.admin, node.name
                )
            })
            .collect();
        fs::write(folder.join("prometheus-targets.yml"), targets).expect("writable");
        let door = format!("127.0.0.1:{}", free_base(1));
        let mut command = prometheus.command();
        command
            .arg(format!(
                "--config.file={}",
                folder.join("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("data").display()
            ))
            .arg(format!("--web.listen-address={door}"));
        let process = Process::start(&mut command, &cluster.folder().join("prometheus.log"));

        let ledger = Arc::new(Ledger::default());
        let mut load = Load::new(&ledger);
        for node in 0..3 {
            for kind in ["events", "state"] {
                load.subscriber(Subscriber {
                    name: format!("sub-n{node}-{kind}"),
                    address: cluster.mqtt(node),
                    login: file.registry.login(),
                    prefix: file.device_topic(&format!("{kind}/")),
                });
            }
        }
        // Before any value is stored: what a new subscriber gets counts as delivered as well.
        until("all are subscribed", SOON, || async {
            (ledger.standing(|_| true) == 6).then_some(())
        })
        .await;
        for node in 0..3 {
            for kind in ["events", "state"] {
                load.publisher(Publisher {
                    name: format!("pub-n{node}-{kind}"),
                    address: cluster.mqtt(node),
                    login: file.device.login(),
                    topic: file.device_topic(&format!("{kind}/n{node}")),
                    every: Duration::from_millis(20),
                });
            }
        }
        tokio::time::sleep(Duration::from_secs(5)).await;
        load.pause();
        ledger.all_answered(SOON).await;
        ledger.settle(SOON).await;
        let counts = ledger.counts();
        let expected = (counts.sent as u64, counts.delivered as u64);
        let start = Instant::now();
        loop {
            let up = sum(&door, "up").await;
            let received = sum(&door, "mainstay_messages_received_total").await;
            let delivered = sum(&door, "mainstay_messages_delivered_total").await;
            if up == Some(3) && (received, delivered) == (Some(expected.0), Some(expected.1)) {
                println!(
                    "3 nodes up; received {}, delivered {}: as the ledger has it",
                    expected.0, expected.1
                );
                break;
            }
            // Two scrapes and some.
            assert!(
                start.elapsed() < Duration::from_secs(30),
                "Prometheus has up {up:?}, received {received:?}, delivered {delivered:?}; the ledger {counts:?}\n{}",
                process.output(),
            );
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        load.end().await;
    });
}
