//! Publishers and subscribers that go on whatever happens to their node, and write all into the ledger.
//!
//! A publisher never sends a message a second time: what was not acknowledged when its connection ended stays unknown.

use std::{sync::Arc, time::Duration};

use mainstay_core::codec::{QoS, SubackCode};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep},
};

use super::{Client, Connecting, Ledger, Login};

/// Publishes of one connection without an answer; a client of this kind then waits.
const WINDOW: usize = 64;
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(50);

/// One who publishes at QoS 1.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Its name in the ledger, its client ID too.
    pub name: String,
    /// The door of its node.
    pub address: String,
    /// Who it is.
    pub login: Login,
    /// What it publishes to.
    pub topic: String,
    /// Between two messages.
    pub every: Duration,
}

/// One who subscribes at QoS 1.
#[derive(Clone, Debug)]
pub struct Subscriber {
    /// Its name in the ledger, its client ID too.
    pub name: String,
    /// The door of its node.
    pub address: String,
    /// Who it is.
    pub login: Login,
    /// The topics that it gets begin so; its filter is this and `#`.
    pub prefix: String,
}

/// All of them.
#[derive(Debug)]
pub struct Load {
    ledger: Arc<Ledger>,
    tasks: JoinSet<()>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Pauses,
}

impl Load {
    /// None yet.
    pub fn new(ledger: &Arc<Ledger>) -> Self {
        Self {
            ledger: Arc::clone(ledger),
            tasks: JoinSet::new(),
            state: watch::Sender::new(State::Runs),
        }
    }

    /// Adds a publisher.
    pub fn publisher(&mut self, publisher: Publisher) {
        self.tasks.spawn(publish_always(
            Arc::clone(&self.ledger),
            publisher,
            self.state.subscribe(),
        ));
    }

    /// Adds a subscriber.
    pub fn subscriber(&mut self, subscriber: Subscriber) {
        self.tasks
            .spawn(subscribe_always(Arc::clone(&self.ledger), subscriber));
    }

    /// Publishers send nothing more until `resume`.
    pub fn pause(&self) {
        self.state.send_replace(State::Pauses);
    }

    /// Publishers go on.
    pub fn resume(&self) {
        self.state.send_replace(State::Runs);
    }

    /// Ends all of them.
    ///
    /// # Panics
    /// If one of them did.
    pub async fn end(mut self) {
        self.tasks.abort_all();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                assert!(!error.is_panic(), "a client of the load failed: {error}");
            }
        }
    }
}

async fn connect(address: &str, login: &Login, name: &str) -> Client {
    let connecting = Connecting::new(address, login, name);
    loop {
        match connecting.open().await {
            Ok(client) => return client,
            Err(_) => sleep(RETRY).await,
        }
    }
}

async fn publish_always(
    ledger: Arc<Ledger>,
    publisher: Publisher,
    mut state: watch::Receiver<State>,
) {
    loop {
        let client = connect(&publisher.address, &publisher.login, &publisher.name).await;
        let id = ledger.publisher_connected(&publisher.name);
        let window = Arc::new(Semaphore::new(WINDOW));
        let mut waiting = JoinSet::new();
        let mut ticks = interval(publisher.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let publishing = async {
            loop {
                ticks.tick().await;
                if state.wait_for(|state| *state == State::Runs).await.is_err() {
                    return;
                }
                let Ok(permit) = Arc::clone(&window).acquire_owned().await else {
                    return;
                };
                let message = ledger.sent(id, &publisher.topic);
                let Ok(answer) = client
                    .publish1(&publisher.topic, &message.payload(), false)
                    .await
                else {
                    return;
                };
                let ledger = Arc::clone(&ledger);
                waiting.spawn(async move {
                    if let Ok(at) = answer.await {
                        ledger.acknowledged(message, at);
                    }
                    drop(permit);
                });
                while waiting.try_join_next().is_some() {}
            }
        };
        tokio::select! { () = publishing => {} _ = client.ended() => {} }
        ledger.publisher_ended(id);
        // What was answered before the end counts.
        while waiting.join_next().await.is_some() {}
    }
}

async fn subscribe_always(ledger: Arc<Ledger>, subscriber: Subscriber) {
    let filter = format!("{}#", subscriber.prefix);
    loop {
        let client = connect(&subscriber.address, &subscriber.login, &subscriber.name).await;
        // A connection that ends before its SUBACK was never a subscriber's.
        let Ok((codes, _)) = client.subscribe(&[(&filter, QoS::AtLeastOnce)]).await else {
            sleep(RETRY).await;
            continue;
        };
        assert_eq!(codes, [SubackCode::Granted(QoS::AtLeastOnce)], "{filter}");
        let id = ledger.subscribed(&subscriber.name, &subscriber.prefix);
        while let Some(received) = client.next().await {
            ledger.received(id, &received);
        }
        ledger.subscriber_ended(id);
    }
}
