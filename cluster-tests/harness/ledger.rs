//! Remembers every message that was sent, acknowledged and delivered, and says what is missing or out of order.
//!
//! Filled by `load`, asked by the tests. A message that was not acknowledged is unknown: it may have been delivered or
//! not. It judges only subscribers whose connection stands at the time of the question.

use std::{
    collections::HashMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::Received;

/// The number of a message; its payload begins with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(usize);

/// The number of a publisher's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PublisherId(usize);

/// The number of a subscriber's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SubscriberId(usize);

/// A promise that was broken, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation(String);

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The book.
#[derive(Debug, Default)]
pub struct Ledger(Mutex<Book>);

#[derive(Debug, Default)]
struct Book {
    messages: Vec<Message>,
    publishers: Vec<PublisherRow>,
    subscribers: Vec<SubscriberRow>,
    violations: Vec<Violation>,
}

#[derive(Debug)]
struct Message {
    publisher: PublisherId,
    topic: String,
    sent: Instant,
    acknowledged: Option<Instant>,
}

#[derive(Debug)]
struct PublisherRow {
    name: String,
    open: bool,
}

#[derive(Debug)]
struct SubscriberRow {
    name: String,
    prefix: String,
    /// Messages from this one on were sent after the SUBACK.
    first: MessageId,
    open: bool,
    got: Vec<bool>,
    last: HashMap<(PublisherId, String), MessageId>,
    deliveries: usize,
}

/// Totals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages sent.
    pub sent: usize,
    /// Of these, acknowledged.
    pub acknowledged: usize,
    /// Deliveries to all subscribers, stored values included.
    pub delivered: usize,
}

impl MessageId {
    /// The payload that carries the number, with some bytes more.
    pub fn payload(self) -> Vec<u8> {
        format!(
            "{}:................................................",
            self.0
        )
        .into_bytes()
    }

    /// Reads it back.
    pub fn of(payload: &[u8]) -> Option<Self> {
        let digits = payload.split(|byte| *byte == b':').next()?;
        std::str::from_utf8(digits).ok()?.parse().ok().map(Self)
    }
}

impl Ledger {
    /// A publisher has connected.
    pub fn publisher_connected(&self, name: &str) -> PublisherId {
        let mut book = self.book();
        book.publishers.push(PublisherRow {
            name: name.to_owned(),
            open: true,
        });
        PublisherId(book.publishers.len() - 1)
    }

    /// Its connection has ended.
    pub fn publisher_ended(&self, publisher: PublisherId) {
        self.book().publishers[publisher.0].open = false;
    }

    /// A message is about to be sent.
    pub fn sent(&self, publisher: PublisherId, topic: &str) -> MessageId {
        let mut book = self.book();
        let topic = topic.to_owned();
        book.messages.push(Message {
            publisher,
            topic,
            sent: Instant::now(),
            acknowledged: None,
        });
        MessageId(book.messages.len() - 1)
    }

    /// Its PUBACK came.
    pub fn acknowledged(&self, message: MessageId, at: Instant) {
        self.book().messages[message.0].acknowledged = Some(at);
    }

    /// A subscriber's SUBACK has come, for all topics that begin with `prefix`.
    pub fn subscribed(&self, name: &str, prefix: &str) -> SubscriberId {
        let mut book = self.book();
        let first = MessageId(book.messages.len());
        book.subscribers.push(SubscriberRow {
            name: name.to_owned(),
            prefix: prefix.to_owned(),
            first,
            open: true,
            got: Vec::new(),
            last: HashMap::new(),
            deliveries: 0,
        });
        SubscriberId(book.subscribers.len() - 1)
    }

    /// Its connection has ended.
    pub fn subscriber_ended(&self, subscriber: SubscriberId) {
        self.book().subscribers[subscriber.0].open = false;
    }

    /// It got a message.
    pub fn received(&self, subscriber: SubscriberId, received: &Received) {
        let mut book = self.book();
        let book = &mut *book;
        let row = &mut book.subscribers[subscriber.0];
        row.deliveries += 1;
        let known = MessageId::of(&received.payload).filter(|id| {
            book.messages
                .get(id.0)
                .is_some_and(|message| message.topic == received.topic)
        });
        let Some(id) = known else {
            let payload = String::from_utf8_lossy(&received.payload);
            let text = format!(
                "{} got on {} what nobody sent there: {payload}",
                row.name, received.topic
            );
            book.violations.push(Violation(text));
            return;
        };
        // A stored value may be older than what another subscription already brought.
        if received.retain {
            return;
        }
        if row.got.len() <= id.0 {
            row.got.resize(id.0 + 1, false);
        }
        let publisher = book.messages[id.0].publisher;
        let last = row.last.insert((publisher, received.topic.clone()), id);
        if row.got[id.0] {
            book.violations.push(Violation(format!(
                "{} got message {} twice",
                row.name, id.0
            )));
        } else if let Some(last) = last.filter(|last| *last > id) {
            let text = format!(
                "{} got message {} after {} on {}",
                row.name, id.0, last.0, received.topic
            );
            book.violations.push(Violation(text));
        }
        row.got[id.0] = true;
    }

    /// What was seen to be wrong at once: duplicates, disorder, strange messages.
    pub fn violations(&self) -> Vec<Violation> {
        self.book().violations.clone()
    }

    /// Acknowledged messages that a standing subscriber has not got.
    pub fn missing(&self) -> Vec<Violation> {
        let book = self.book();
        let mut all = Vec::new();
        for row in book.subscribers.iter().filter(|row| row.open) {
            for (id, message) in book.messages.iter().enumerate().skip(row.first.0) {
                let got = row.got.get(id).copied().unwrap_or(false);
                if message.acknowledged.is_some() && message.topic.starts_with(&row.prefix) && !got
                {
                    let publisher = &book.publishers[message.publisher.0].name;
                    let text = format!(
                        "{} has not got message {id} of {publisher} on {}",
                        row.name, message.topic
                    );
                    all.push(Violation(text));
                }
            }
        }
        all
    }

    /// Waits until every standing subscriber has got every acknowledged message.
    ///
    /// # Panics
    /// If one does not within `most`, or if anything else was wrong.
    pub async fn settle(&self, most: Duration) {
        let start = Instant::now();
        loop {
            let missing = self.missing();
            if missing.is_empty() {
                break;
            }
            if start.elapsed() >= most {
                panic!(
                    "{} acknowledged messages are missing: {}",
                    missing.len(),
                    some(&missing)
                );
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let wrong = self.violations();
        assert!(
            wrong.is_empty(),
            "{} violations: {}",
            wrong.len(),
            some(&wrong)
        );
    }

    /// Publishes on standing connections without an answer.
    pub fn unanswered(&self) -> Vec<Violation> {
        let book = self.book();
        let open = |message: &Message| book.publishers[message.publisher.0].open;
        let waiting = |(id, message): (usize, &Message)| {
            (open(message) && message.acknowledged.is_none()).then(|| {
                let publisher = &book.publishers[message.publisher.0].name;
                let (topic, age) = (&message.topic, message.sent.elapsed());
                Violation(format!(
                    "message {id} of {publisher} on {topic} waits for {age:.2?}"
                ))
            })
        };
        book.messages
            .iter()
            .enumerate()
            .filter_map(waiting)
            .collect()
    }

    /// Waits until nothing is unanswered; the load must have been paused.
    ///
    /// # Panics
    /// If that is not so within `most`.
    pub async fn all_answered(&self, most: Duration) {
        let start = Instant::now();
        loop {
            let waiting = self.unanswered();
            if waiting.is_empty() {
                return;
            }
            assert!(
                start.elapsed() < most,
                "{} publishes got no answer: {}",
                waiting.len(),
                some(&waiting)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How many subscribers' connections stand whose name passes.
    pub fn standing(&self, name: impl Fn(&str) -> bool) -> usize {
        self.book()
            .subscribers
            .iter()
            .filter(|row| row.open && name(&row.name))
            .count()
    }

    /// How many publishers' connections stand whose name passes.
    pub fn publishing(&self, name: impl Fn(&str) -> bool) -> usize {
        self.book()
            .publishers
            .iter()
            .filter(|row| row.open && name(&row.name))
            .count()
    }

    /// How many connections, of publishers and subscribers, were ever made by those whose name passes.
    pub fn connections(&self, name: impl Fn(&str) -> bool) -> usize {
        let book = self.book();
        let publishers = book.publishers.iter().filter(|row| name(&row.name)).count();
        publishers
            + book
                .subscribers
                .iter()
                .filter(|row| name(&row.name))
                .count()
    }

    /// The longest time between sending and PUBACK, of messages sent from `from` on by publishers whose name passes;
    /// one that still waits on a standing connection counts until now.
    pub fn longest_wait(&self, from: Instant, name: impl Fn(&str) -> bool) -> Duration {
        let book = self.book();
        let now = Instant::now();
        let waits = book
            .messages
            .iter()
            .rev()
            .take_while(|message| message.sent >= from)
            .filter_map(|message| {
                let publisher = &book.publishers[message.publisher.0];
                let until = message.acknowledged.or(publisher.open.then_some(now))?;
                name(&publisher.name).then(|| until.duration_since(message.sent))
            });
        waits.max().unwrap_or_default()
    }

    /// How many messages were acknowledged in a time, of publishers whose name passes.
    pub fn acknowledged_between(
        &self,
        from: Instant,
        to: Instant,
        name: impl Fn(&str) -> bool,
    ) -> usize {
        let book = self.book();
        let counted = |message: &&Message| {
            message
                .acknowledged
                .is_some_and(|at| from <= at && at <= to)
                && name(&book.publishers[message.publisher.0].name)
        };
        book.messages.iter().filter(counted).count()
    }

    /// For each topic that begins with `prefix`, the last message acknowledged on it.
    pub fn last_acknowledged(&self, prefix: &str) -> HashMap<String, MessageId> {
        let book = self.book();
        let mut last = HashMap::new();
        for (id, message) in book.messages.iter().enumerate() {
            if message.acknowledged.is_some() && message.topic.starts_with(prefix) {
                last.insert(message.topic.clone(), MessageId(id));
            }
        }
        last
    }

    /// Totals.
    pub fn counts(&self) -> Counts {
        let book = self.book();
        Counts {
            sent: book.messages.len(),
            acknowledged: book
                .messages
                .iter()
                .filter(|message| message.acknowledged.is_some())
                .count(),
            delivered: book.subscribers.iter().map(|row| row.deliveries).sum(),
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The first few, for a message.
fn some(violations: &[Violation]) -> String {
    violations
        .iter()
        .take(5)
        .map(|violation| violation.0.as_str())
        .collect::<Vec<_>>()
        .join("; ")
}

#[cfg(test)]
mod tests {
    use mainstay_core::codec::QoS;

    use super::*;

    fn delivery(id: MessageId) -> Received {
        Received {
            topic: "t/a".into(),
            payload: id.payload(),
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            at: Instant::now(),
        }
    }

    fn three_sent() -> (Ledger, SubscriberId, [MessageId; 3]) {
        let ledger = Ledger::default();
        let publisher = ledger.publisher_connected("p");
        let subscriber = ledger.subscribed("s", "t/");
        let ids = [0, 1, 2].map(|_| ledger.sent(publisher, "t/a"));
        ids.iter()
            .for_each(|id| ledger.acknowledged(*id, Instant::now()));
        (ledger, subscriber, ids)
    }

    #[test]
    fn a_lost_message_is_missed() {
        let (ledger, subscriber, ids) = three_sent();
        ledger.received(subscriber, &delivery(ids[0]));
        ledger.received(subscriber, &delivery(ids[2]));
        assert_eq!(ledger.missing().len(), 1);
        ledger.received(subscriber, &delivery(ids[1]));
        assert!(ledger.missing().is_empty());
        assert_eq!(ledger.violations().len(), 1, "it came out of order");
    }

    #[test]
    fn a_duplicate_and_a_stranger_are_seen() {
        let (ledger, subscriber, ids) = three_sent();
        ledger.received(subscriber, &delivery(ids[0]));
        ledger.received(subscriber, &delivery(ids[0]));
        ledger.received(subscriber, &delivery(MessageId(99)));
        assert_eq!(ledger.violations().len(), 2);
    }

    #[test]
    fn an_ended_connection_misses_nothing() {
        let (ledger, subscriber, _) = three_sent();
        assert_eq!(ledger.missing().len(), 3);
        ledger.subscriber_ended(subscriber);
        assert!(ledger.missing().is_empty());
    }
}
