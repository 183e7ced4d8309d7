//! Races of a SUBSCRIBE on one node and a PUBLISH on another right after the SUBACK.

use std::time::{Duration, Instant};

use mainstay_core::codec::QoS;

use super::{Client, Connecting, Latencies, Login};

/// A message that has not come by then was missed: it was sent after the SUBACK and is on its way at once.
const MISSED_AFTER: Duration = Duration::from_secs(10);

/// The outcome of some races.
#[derive(Clone, Debug, Default)]
pub struct Races {
    /// How many were run.
    pub run: usize,
    /// What was missed, in words.
    pub missed: Vec<String>,
    /// From SUBSCRIBE to SUBACK.
    pub subacks: Latencies,
}

impl Races {
    /// Runs `count` races between a subscriber at one door and a publisher at another, in a broker space.
    ///
    /// They differ: a topic of its own and a filter with a wildcard, QoS 0 and QoS 1, first subscriber of the node or
    /// second, the last filter left in place or removed.
    ///
    /// # Panics
    /// If a connection ends.
    pub async fn run(lane: usize, doors: (&str, &str), login: &Login, count: usize) -> Self {
        let (subscribe_at, publish_at) = doors;
        let open = |door: &str, name: &str| Connecting::new(door, login, &format!("{name}-{lane}"));
        let patience = Duration::from_secs(30);
        let subscriber = open(subscribe_at, "race-s").open_within(patience).await;
        let other = open(subscribe_at, "race-o").open_within(patience).await;
        let publisher = open(publish_at, "race-p").open_within(patience).await;
        let mut races = Self::default();
        for race in 0..count {
            let topic = format!("race/{lane}/{race}/x");
            let filter = if race % 2 == 0 {
                topic.clone()
            } else {
                format!("race/{lane}/{race}/+")
            };
            if race % 4 >= 2 {
                // The node has the interest already; the race is of its second subscriber.
                other.subscribe_all(&[&filter]).await;
            }
            let asked = Instant::now();
            let granted = subscriber.subscribe_all(&[&filter]).await;
            races.subacks.push(granted.duration_since(asked));
            races.run += 1;
            let waiting = if race % 3 == 0 {
                publisher
                    .publish0(&topic, topic.as_bytes(), false)
                    .await
                    .expect("the connection stands");
                None
            } else {
                Some(
                    publisher
                        .publish1(&topic, topic.as_bytes(), false)
                        .await
                        .expect("the connection stands"),
                )
            };
            races.expect(&subscriber, &topic).await;
            if let Some(waiting) = waiting {
                waiting.await.expect("the connection stands");
            }
            if race % 4 >= 2 {
                races.expect(&other, &topic).await;
                other
                    .unsubscribe(&[&filter])
                    .await
                    .expect("the connection stands");
            }
            if race % 8 < 6 {
                subscriber
                    .unsubscribe(&[&filter])
                    .await
                    .expect("the connection stands");
            }
        }
        races
    }

    /// Adds the outcome of others.
    pub fn extend(&mut self, other: Self) {
        self.run += other.run;
        self.missed.extend(other.missed);
        self.subacks.extend(&other.subacks);
    }

    async fn expect(&mut self, subscriber: &Client, topic: &str) {
        match subscriber.next_within(MISSED_AFTER).await {
            Some(received) if received.topic == topic => {
                debug_assert!(received.qos <= QoS::AtLeastOnce)
            }
            Some(received) => self
                .missed
                .push(format!("{topic}: got {} instead", received.topic)),
            None => self.missed.push(format!("{topic}: got nothing")),
        }
    }
}
