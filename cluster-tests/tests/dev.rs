//! `mainstay dev --nodes 3` as a user meets it, with clients that nobody here wrote.

use std::{
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use cluster_tests::harness::{
    ConnectError, Connecting, DevCluster, DevFile, Login, Process, Tool, mosquitto_pub,
    mosquitto_sub, tell, unexpected_lines, until,
};
use mainstay_core::codec::{ConnackCode, QoS};
use rustix::process::Signal;

const SOON: Duration = Duration::from_secs(10);

/// Runs a command to its good end; gives its output.
async fn run(cluster: &DevCluster, mut command: Command, name: &str) -> String {
    let mut process = Process::start(&mut command, &cluster.folder().join(name));
    let ended = process.ended(Duration::from_secs(35)).await;
    assert_eq!(ended.code, Some(0), "{command:?}: {}", process.output());
    process.output()
}

/// A running subscriber, once the broker has answered it: with `-d` mosquitto_sub says so.
async fn subscribed(cluster: &DevCluster, mut command: Command, name: &str) -> Process {
    let process = Process::start(command.arg("-d"), &cluster.folder().join(name));
    until(&format!("{command:?} is subscribed"), SOON, || async {
        process.output().contains("Subscribed").then_some(())
    })
    .await;
    process
}

#[test]
fn messages_cross_nodes_over_tls_as_device_and_registry() {
    tell(Duration::from_secs(120), async {
        let (Some(publish), Some(subscribe)) =
            (Tool::find("mosquitto_pub"), Tool::find("mosquitto_sub"))
        else {
            return;
        };
        let cluster = DevCluster::start("dev", 3).await;
        let file = cluster.file();
        let (ca, doors) = (Path::new(&file.ca_file), &file.nodes);
        let (device, registry) = (file.device.login(), file.registry.login());
        // Up: the device speaks on n0, the registry listens on n2. Down: the other way.
        for (kind, speaker, listener) in [
            ("events/a", &device, &registry),
            ("commands", &registry, &device),
        ] {
            let topic = file.device_topic(kind);
            let command = mosquitto_sub(&subscribe, &doors[2].mqtts, ca, listener, &topic, 1);
            let mut sub = subscribed(&cluster, command, "sub.out").await;
            run(
                &cluster,
                mosquitto_pub(&publish, &doors[0].mqtts, ca, speaker, &topic, "hello"),
                "pub.out",
            )
            .await;
            sub.ended(SOON).await;
            assert!(
                sub.output().contains(&format!("{topic} hello")),
                "{}",
                sub.output()
            );
            std::fs::remove_file(cluster.folder().join("sub.out")).expect("it was written");
        }
        let unexpected = unexpected_lines(&cluster.logs(), &[]);
        assert!(unexpected.is_empty(), "{unexpected:#?}");
    });
}

#[test]
fn the_printed_lines_work_as_they_stand() {
    tell(Duration::from_secs(90), async {
        if Tool::find("mosquitto_pub").is_none() {
            return;
        }
        let mut cluster = DevCluster::start("lines", 3).await;
        let printed = until("the lines are printed", SOON, || {
            let output = cluster.parent().output();
            async move { output.contains("/metrics").then_some(output) }
        })
        .await
        .0;
        let lines: Vec<&str> = printed
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("mosquitto_"))
            .collect();
        assert_eq!(lines.len(), 4, "two pairs: {printed}");
        let shell = |line: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        };
        for (number, pair) in lines.chunks(2).enumerate() {
            // -C ends it after a message, -d tells when it is subscribed; else as printed.
            let name = format!("line-{number}.out");
            let mut sub = subscribed(
                &cluster,
                shell(&format!("exec stdbuf -oL {} -C 1 -W 30 -d", pair[0])),
                &name,
            )
            .await;
            sub.is_running();
            run(&cluster, shell(pair[1]), &format!("pub-{number}.out")).await;
            sub.ended(SOON).await;
            let message = pair[1]
                .rsplit(' ')
                .next()
                .expect("it ends with the message");
            assert!(
                sub.output().contains(message),
                "{}: {}",
                pair[0],
                sub.output()
            );
        }
        let folder = cluster.folder().to_owned();
        let status = printed
            .lines()
            .map(str::trim)
            .find(|line| line.starts_with("mainstay cluster status"));
        let status = status.expect("it is printed").replacen(
            "mainstay",
            &cluster_tests::harness::mainstay().display().to_string(),
            1,
        );
        let mut process = Process::start(&mut shell(&status), &folder.join("status.out"));
        assert_eq!(
            process.ended(SOON).await.code,
            Some(0),
            "{}",
            process.output()
        );
        assert!(process.output().contains("n2"), "{}", process.output());
    });
}

#[test]
fn the_will_of_a_client_on_a_killed_node_comes_exactly_once() {
    tell(Duration::from_secs(120), async {
        let mut cluster = DevCluster::start("will", 3).await;
        let file = cluster.file().clone();
        for victim in [cluster.leader().await, (cluster.leader().await + 1) % 3] {
            let others: Vec<usize> = (0..3).filter(|node| *node != victim).collect();
            let topic = file.device_topic("events/will");
            let mut listeners = Vec::new();
            for node in &others {
                let listener = Connecting::new(
                    &cluster.mqtt(*node),
                    &file.registry.login(),
                    &format!("l{node}"),
                );
                let listener = listener.open_within(SOON).await;
                listener.subscribe_all(&[&topic]).await;
                listeners.push(listener);
            }
            let mut dying = Vec::new();
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
                let id = format!("dying-{}", qos.bits());
                let connecting = Connecting::new(&cluster.mqtt(victim), &file.device.login(), &id)
                    .will(&topic, id.as_bytes(), qos);
                dying.push(connecting.open_within(SOON).await);
            }
            let killed = Instant::now();
            cluster.kill_node(victim).await;
            for listener in &listeners {
                let mut wills = Vec::new();
                while let Some(will) = listener
                    .next_within(if wills.len() < 2 {
                        SOON
                    } else {
                        Duration::from_secs(1)
                    })
                    .await
                {
                    wills.push((String::from_utf8_lossy(&will.payload).into_owned(), will.at));
                }
                wills.sort();
                let names: Vec<&str> = wills.iter().map(|(name, _)| name.as_str()).collect();
                let after: Vec<Duration> = wills
                    .iter()
                    .map(|(_, at)| at.duration_since(killed))
                    .collect();
                println!("wills of n{victim}: {names:?} {after:.2?} after the kill");
                assert_eq!(names, ["dying-0", "dying-1"], "each once");
            }
            cluster.restart_node(victim);
            cluster.ready(victim, Duration::from_secs(30)).await;
            for listener in &listeners {
                assert_eq!(
                    listener.next_within(Duration::from_secs(1)).await,
                    None,
                    "and none at the restart"
                );
            }
        }
    });
}

/// Reads the stored value of a topic as a new subscriber.
async fn stored(cluster: &DevCluster, node: usize, login: &Login, topic: &str) -> Option<String> {
    let reader = Connecting::new(&cluster.mqtt(node), login, &format!("reader-{node}"))
        .open_within(Duration::from_secs(30))
        .await;
    reader.subscribe_all(&[topic]).await;
    let received = reader.next_within(Duration::from_secs(3)).await?;
    assert!(received.retain);
    Some(String::from_utf8_lossy(&received.payload).into_owned())
}

#[test]
fn a_state_value_is_on_every_node_also_after_all_three_were_killed() {
    tell(Duration::from_secs(150), async {
        let mut cluster = DevCluster::start("state", 3).await;
        let before = cluster.file().clone();
        let (device, registry) = (before.device.login(), before.registry.login());
        let topic = before.device_topic("state");
        for round in 0..3 {
            let value = format!("value {round}");
            let writer = Connecting::new(&cluster.mqtt(round), &device, "w")
                .open_within(SOON)
                .await;
            writer
                .publish1(&topic, value.as_bytes(), false)
                .await
                .expect("sent")
                .await
                .expect("a PUBACK");
            for node in 0..3 {
                assert_eq!(
                    stored(&cluster, node, &registry, &topic).await.as_ref(),
                    Some(&value),
                    "n{node}"
                );
            }
            cluster.kill_all().await;
            let start = Instant::now();
            cluster.start_again().await;
            println!(
                "all three were back {:.2} s after the start",
                start.elapsed().as_secs_f64()
            );
            for node in 0..3 {
                assert_eq!(
                    stored(&cluster, node, &registry, &topic).await.as_ref(),
                    Some(&value),
                    "n{node}"
                );
            }
        }
        // An empty payload clears it, on all nodes as well.
        let writer = Connecting::new(&cluster.mqtt(0), &device, "w")
            .open_within(SOON)
            .await;
        writer
            .publish1(&topic, b"", false)
            .await
            .expect("sent")
            .await
            .expect("a PUBACK");
        for node in 0..3 {
            assert_eq!(
                stored(&cluster, node, &registry, &topic).await,
                None,
                "n{node}"
            );
        }
    });
}

#[test]
fn dev_json_is_written_again_with_the_same_ids() {
    tell(Duration::from_secs(120), async {
        let mut cluster = DevCluster::start("again", 3).await;
        let before = cluster.file().clone();
        let path = cluster.data().join("dev.json");
        let mode = |path: &Path| {
            std::fs::metadata(path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!(mode(&path), 0o600);
        // Once more after the whole cluster was killed and the file deleted.
        cluster.kill_all().await;
        cluster.start_again().await;
        let pids = |file: &DevFile| file.nodes.iter().map(|node| node.pid).collect::<Vec<_>>();
        let mut after = cluster.file().clone();
        assert_ne!(pids(&after), pids(&before));
        assert_eq!(mode(&path), 0o600);
        after.nodes = before.nodes.clone();
        assert_eq!(after, before, "the same IDs, passwords and doors");
        // And by a single node that starts again: its new process is in the file, the others' are as before.
        let running = cluster.file().clone();
        std::fs::remove_file(&path).expect("it is there");
        cluster.kill_node(1).await;
        cluster.restart_node(1);
        let data = cluster.data();
        let (file, _) = until(
            "dev.json is there again",
            Duration::from_secs(30),
            || async { DevFile::read(&data) },
        )
        .await;
        assert_eq!(
            pids(&file),
            [running.nodes[0].pid, cluster.pid(1), running.nodes[2].pid]
        );
        let status = cluster.status().await.expect("a node answers");
        let names: Vec<&str> = status
            .members
            .iter()
            .map(|member| member.name.as_str())
            .collect();
        assert_eq!(names, ["n0", "n1", "n2"]);
        assert!(
            status.members.iter().all(|member| member.state == "up"),
            "{status:?}"
        );
        assert!(status.leader.is_some());
    });
}

#[test]
fn a_single_node_is_ready_within_two_seconds() {
    tell(Duration::from_secs(60), async {
        let start = Instant::now();
        let cluster = DevCluster::start("ready", 1).await;
        let took = start.elapsed();
        println!("dev.json after {:.2} s", took.as_secs_f64());
        assert!(cluster.is_ready(0).await);
        // The promise is for the release build on a machine that does nothing else.
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
}

#[test]
fn children_end_with_their_parent_and_a_dead_child_is_reported() {
    tell(Duration::from_secs(90), async {
        let mut cluster = DevCluster::start("children", 3).await;
        cluster.kill_node(2).await;
        until("the parent says that n2 ended", SOON, || {
            let said = cluster.parent().output().contains("node n2 ended");
            async move { said.then_some(()) }
        })
        .await;
        assert!(
            cluster.is_ready(0).await && cluster.is_ready(1).await,
            "the others go on"
        );
        let children = [cluster.pid(0), cluster.pid(1)];
        cluster.parent().signal(Signal::KILL);
        cluster.parent().ended(SOON).await;
        for pid in children {
            until(
                "a child ends with its killed parent",
                Duration::from_secs(12),
                || async { (!Path::new(&format!("/proc/{pid}")).exists()).then_some(()) },
            )
            .await;
        }
    });
}

#[test]
fn sigterm_ends_dev_and_all_its_children() {
    tell(Duration::from_secs(60), async {
        for signal in [Signal::TERM, Signal::INT] {
            let mut cluster = DevCluster::start("term", 3).await;
            let children: Vec<u32> = (0..3).map(|node| cluster.pid(node)).collect();
            cluster.parent().signal(signal);
            let ended = cluster.parent().ended(Duration::from_secs(15)).await;
            println!(
                "{signal:?}: dev ended with {:?} after {:.2?}",
                ended.code, ended.after
            );
            assert_eq!(ended.code, Some(0));
            assert!(
                children
                    .iter()
                    .all(|pid| !Path::new(&format!("/proc/{pid}")).exists())
            );
        }
    });
}

#[test]
fn sigterm_drains_a_node_within_ten_seconds() {
    tell(Duration::from_secs(120), async {
        let mut cluster = DevCluster::start("drain", 3).await;
        let file = cluster.file().clone();
        for lead in [true, false] {
            let leader = cluster.leader().await;
            let node = if lead { leader } else { (leader + 1) % 3 };
            if cluster.own(node).is_none() {
                // Only of a process of our own can the exit code be seen.
                cluster.kill_node(node).await;
                cluster.restart_node(node);
                cluster.ready(node, Duration::from_secs(30)).await;
                if lead && cluster.leader().await != node {
                    println!("the leader moved; n{node} is drained as a follower");
                }
            }
            let other = (node + 1) % 3;
            let topic = file.device_topic("events/w");
            let listener = Connecting::new(&cluster.mqtt(other), &file.registry.login(), "l")
                .open_within(SOON)
                .await;
            listener.subscribe_all(&[&topic]).await;
            let drained = Connecting::new(&cluster.mqtt(node), &file.device.login(), "d")
                .will(&topic, b"drained", QoS::AtLeastOnce)
                .open_within(SOON)
                .await;
            let start = Instant::now();
            let ended = cluster
                .term_node(node, Duration::from_secs(15))
                .await
                .expect("it is our own");
            println!(
                "n{node} ended with {:?} after {:.2?}",
                ended.code, ended.after
            );
            assert_eq!(ended.code, Some(0));
            assert!(ended.after <= SOON, "{ended:?}");
            assert!(drained.ended_at().is_some(), "its client was closed");
            let will = listener
                .next_within(Duration::from_secs(2))
                .await
                .expect("the will fires on a drain");
            assert_eq!(will.payload, b"drained");
            // Its own end was committed: nobody waits for `down_after`.
            let down = until("the others see it down", Duration::from_secs(2), || async {
                let status = cluster.status().await?;
                status
                    .members
                    .iter()
                    .any(|member| member.name == format!("n{node}") && member.state == "down")
                    .then_some(())
            });
            down.await;
            println!("  down {:.2?} after SIGTERM", start.elapsed());
            cluster.restart_node(node);
            cluster.ready(node, Duration::from_secs(30)).await;
        }
    });
}

#[test]
fn a_wrong_password_is_connack_4_and_a_lone_survivor_answers_3() {
    tell(Duration::from_secs(120), async {
        let mut cluster = DevCluster::start("connack", 3).await;
        let file = cluster.file().clone();
        let wrong = Login {
            password: "Not-the-password-1".into(),
            ..file.device.login()
        };
        let nobody = Login {
            username: "are00000000000000000".into(),
            ..file.device.login()
        };
        for login in [wrong, nobody] {
            for node in 0..3 {
                match Connecting::new(&cluster.mqtt(node), &login, "x")
                    .open()
                    .await
                {
                    Err(ConnectError::Refused {
                        code: ConnackCode::BadUsernameOrPassword,
                    }) => {}
                    other => panic!("n{node}: expected CONNACK 4, found {other:?}"),
                }
            }
        }
        let survivor = 1;
        let client = Connecting::new(&cluster.mqtt(survivor), &file.device.login(), "c")
            .open_within(SOON)
            .await;
        cluster.kill_node(0).await;
        cluster.kill_node(2).await;
        let killed = Instant::now();
        let closed = tokio::time::timeout(SOON, client.ended())
            .await
            .expect("a minority closes its clients");
        println!(
            "the survivor closed its client {:.2?} after the second kill",
            closed.duration_since(killed)
        );
        match Connecting::new(&cluster.mqtt(survivor), &file.device.login(), "x")
            .open()
            .await
        {
            Err(ConnectError::Refused {
                code: ConnackCode::ServerUnavailable,
            }) => {}
            other => panic!("expected CONNACK 3, found {other:?}"),
        }
        assert!(!cluster.is_ready(survivor).await);
        // With one more there is a majority again, without anyone's help.
        cluster.restart_node(0);
        for node in [0, survivor] {
            let client = Connecting::new(&cluster.mqtt(node), &file.device.login(), "x");
            client.open_within(Duration::from_secs(30)).await;
        }
    });
}
