//! SUBACK is a barrier: what any node accepts after it reaches the subscriber.
//!
//! Short: 500 races; long (`MAINSTAY_LONG=1`): 5,000.

use std::time::Duration;

use cluster_tests::harness::{DevCluster, Races, long, tell};
use tokio::task::JoinSet;

#[test]
fn a_publish_right_after_the_suback_is_never_missed() {
    let races = if long() { 5_000 } else { 500 };
    tell(Duration::from_secs(60 + races as u64 / 5), async move {
        let cluster = DevCluster::start("barrier", 3).await;
        let login = cluster.file().broker.login();
        let doors: Vec<String> = (0..3).map(|node| cluster.mqtt(node)).collect();
        // On an idle cluster first: this is the figure for SUBACK.
        let idle = Races::run(99, (&doors[0], &doors[1]), &login, 100).await;
        println!("idle cluster: SUBACK {}", idle.subacks);
        let mut lanes = JoinSet::new();
        let pairs = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)];
        for (lane, (subscribe, publish)) in pairs.into_iter().enumerate() {
            let (subscribe, publish, login) = (
                doors[subscribe].clone(),
                doors[publish].clone(),
                login.clone(),
            );
            let count = races / pairs.len() + 1;
            lanes.spawn(
                async move { Races::run(lane, (&subscribe, &publish), &login, count).await },
            );
        }
        let mut all = idle.clone();
        let mut busy = Races::default();
        while let Some(lane) = lanes.join_next().await {
            busy.extend(lane.expect("a lane ends by itself"));
        }
        println!("6 lanes at once: SUBACK {}", busy.subacks);
        all.extend(busy);
        println!("{} races, {} missed", all.run, all.missed.len());
        assert!(
            all.missed.is_empty(),
            "missed: {:?}",
            &all.missed[..all.missed.len().min(5)]
        );
    });
}
