//! The metrics of connections and messages, added up by each shard in plain integers and published once a round.

use mainstay_core::{
    reason::{Close, Drop},
    shard::Counters,
    time::Moment,
};
use metrics::{
    Counter, Gauge, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

use super::{Door, conn::Conn};

const CONNECTIONS: &str = "mainstay_connections";
const OPENED: &str = "mainstay_connections_opened_total";
const CLOSED: &str = "mainstay_connections_closed_total";
const CONNECT_DURATION: &str = "mainstay_connect_duration_seconds";
const RECEIVED_BYTES: &str = "mainstay_received_bytes_total";
const SENT_BYTES: &str = "mainstay_sent_bytes_total";
const DROPPED: &str = "mainstay_messages_dropped_total";
/// The only version that is spoken.
const PROTOCOL: &str = "3.1.1";

/// Names, units and zeros.
pub fn describe() {
    describe_gauge!(CONNECTIONS, Unit::Count, "open client connections");
    describe_counter!(OPENED, Unit::Count, "accepted CONNECTs");
    describe_counter!(CLOSED, Unit::Count, "closed client connections, by reason");
    describe_histogram!(CONNECT_DURATION, Unit::Seconds, "time from the accept to the CONNACK");
    describe_counter!(RECEIVED_BYTES, Unit::Bytes, "bytes read from clients");
    describe_counter!(SENT_BYTES, Unit::Bytes, "bytes written to clients");
    describe_counter!(DROPPED, Unit::Count, "messages or copies that were not delivered, by reason");
    // Making the handles sets all combinations to zero.
    Meter::new();
}

/// A shard's handles, and what the round has counted.
pub(super) struct Meter {
    doors: [DoorMeter; 2],
    dropped: Vec<Counter>,
}

struct DoorMeter {
    connections: Gauge,
    opened: Counter,
    closed: Vec<Counter>,
    connect_duration: Histogram,
    received_bytes: Counter,
    sent_bytes: Counter,
    /// Counted in this round.
    received: u64,
    sent: u64,
}

impl Meter {
    pub(super) fn new() -> Self {
        let dropped = Drop::ALL.map(|reason| zero(counter!(DROPPED, "reason" => reason.label())));
        Self { doors: Door::ALL.map(DoorMeter::new), dropped: dropped.into() }
    }

    pub(super) fn opened(&self, door: Door) {
        let door = &self.doors[door as usize];
        door.connections.increment(1.0);
        door.opened.increment(1);
    }

    pub(super) fn closed(&self, door: Door, why: Close) {
        let door = &self.doors[door as usize];
        door.connections.decrement(1.0);
        door.closed[why as usize].increment(1);
    }

    pub(super) fn received(&mut self, door: Door, bytes: usize) {
        self.doors[door as usize].received += bytes as u64;
    }

    pub(super) fn sent(&mut self, conn: &mut Conn, bytes: usize, now: Moment) {
        let door = &mut self.doors[conn.guest.door as usize];
        door.sent += bytes as u64;
        if !conn.state.greeted {
            conn.state.greeted = true;
            door.connect_duration.record(now.since(conn.guest.accepted).as_secs_f64());
        }
    }

    /// Publishes the round's counts.
    pub(super) fn add(&mut self, _counters: &mut Counters) {
        for door in &mut self.doors {
            add(&door.received_bytes, &mut door.received);
            add(&door.sent_bytes, &mut door.sent);
        }
        let _ = &self.dropped;
    }
}

impl DoorMeter {
    fn new(door: Door) -> Self {
        let door = door.label();
        let closed = Close::ALL
            .map(|why| zero(counter!(CLOSED, "listener" => door, "reason" => why.label())));
        Self {
            connections: gauge!(CONNECTIONS, "listener" => door, "protocol" => PROTOCOL),
            opened: zero(counter!(OPENED, "listener" => door, "protocol" => PROTOCOL)),
            closed: closed.into(),
            connect_duration: histogram!(CONNECT_DURATION, "listener" => door),
            received_bytes: zero(counter!(RECEIVED_BYTES, "listener" => door)),
            sent_bytes: zero(counter!(SENT_BYTES, "listener" => door)),
            received: 0,
            sent: 0,
        }
    }
}

fn zero(counter: Counter) -> Counter {
    counter.increment(0);
    counter
}

fn add(counter: &Counter, count: &mut u64) {
    if *count > 0 {
        counter.increment(std::mem::take(count));
    }
}
