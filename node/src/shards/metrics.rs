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
const DENIED: &str = "mainstay_authorization_denied_total";
const PACKETS_RECEIVED: &str = "mainstay_packets_received_total";
const PACKETS_SENT: &str = "mainstay_packets_sent_total";
const RECEIVED: &str = "mainstay_messages_received_total";
const DELIVERED: &str = "mainstay_messages_delivered_total";
const INFLIGHT: &str = "mainstay_inflight_messages";
/// The only version that is spoken.
const PROTOCOL: &str = "3.1.1";

/// Names, units and zeros.
pub fn describe() {
    describe_gauge!(CONNECTIONS, Unit::Count, "open client connections");
    describe_counter!(OPENED, Unit::Count, "accepted CONNECTs");
    describe_counter!(CLOSED, Unit::Count, "closed client connections, by reason");
    describe_histogram!(
        CONNECT_DURATION,
        Unit::Seconds,
        "time from the accept to the CONNACK"
    );
    describe_counter!(RECEIVED_BYTES, Unit::Bytes, "bytes read from clients");
    describe_counter!(SENT_BYTES, Unit::Bytes, "bytes written to clients");
    describe_counter!(
        DROPPED,
        Unit::Count,
        "messages or copies that were not delivered, by reason"
    );
    describe_counter!(
        DENIED,
        Unit::Count,
        "publishes and filters without the right to them"
    );
    describe_counter!(
        PACKETS_RECEIVED,
        Unit::Count,
        "packets read from clients, by type"
    );
    describe_counter!(
        PACKETS_SENT,
        Unit::Count,
        "packets written to clients, by type"
    );
    describe_counter!(
        RECEIVED,
        Unit::Count,
        "messages accepted from clients, by QoS"
    );
    describe_counter!(
        DELIVERED,
        Unit::Count,
        "messages handed to subscribers, by QoS"
    );
    describe_gauge!(
        INFLIGHT,
        Unit::Count,
        "messages without their acknowledgement"
    );
    // Making the handles sets all combinations to zero.
    Meter::new();
}

/// The types of packets of section 2.2.1, by number.
const TYPES: [&str; 14] = [
    "connect",
    "connack",
    "publish",
    "puback",
    "pubrec",
    "pubrel",
    "pubcomp",
    "subscribe",
    "suback",
    "unsubscribe",
    "unsuback",
    "pingreq",
    "pingresp",
    "disconnect",
];

/// A shard's handles, and what the round has counted.
pub(super) struct Meter {
    doors: [DoorMeter; 2],
    dropped: [Counter; Drop::ALL.len()],
    denied: [Counter; 2],
    packets_received: [Counter; TYPES.len()],
    packets_sent: [Counter; TYPES.len()],
    received: [Counter; 3],
    delivered: [Counter; 3],
    inflight: [Gauge; 2],
    /// What this shard has added to the gauges, which all shards share.
    last_inflight: [u64; 2],
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
        let qos =
            |name: &'static str| ["0", "1", "2"].map(|qos| zero(counter!(name, "qos" => qos)));
        let types = |name: &'static str| TYPES.map(|kind| zero(counter!(name, "type" => kind)));
        Self {
            doors: Door::ALL.map(DoorMeter::new),
            dropped: Drop::ALL.map(|why| zero(counter!(DROPPED, "reason" => why.label()))),
            denied: ["publish", "subscribe"]
                .map(|action| zero(counter!(DENIED, "action" => action))),
            packets_received: types(PACKETS_RECEIVED),
            packets_sent: types(PACKETS_SENT),
            received: qos(RECEIVED),
            delivered: qos(DELIVERED),
            inflight: ["in", "out"].map(|direction| gauge!(INFLIGHT, "direction" => direction)),
            last_inflight: [0; 2],
        }
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
            door.connect_duration
                .record(now.since(conn.guest.accepted).as_secs_f64());
        }
    }

    /// Publishes the round's counts.
    pub(super) fn add(&mut self, counters: &mut Counters) {
        for door in &mut self.doors {
            add(&door.received_bytes, &mut door.received);
            add(&door.sent_bytes, &mut door.sent);
        }
        add_all(&self.dropped, &mut counters.dropped);
        add(&self.denied[0], &mut counters.denied_publish);
        add(&self.denied[1], &mut counters.denied_subscribe);
        // The index is the type's number, which begins at 1.
        add_all(&self.packets_received, &mut counters.packets_in[1..]);
        add_all(&self.packets_sent, &mut counters.packets_out[1..]);
        add_all(&self.received, &mut counters.received);
        add_all(&self.delivered, &mut counters.delivered);
        let now = [counters.inflight_in, counters.inflight_out];
        for ((gauge, last), now) in self.inflight.iter().zip(&mut self.last_inflight).zip(now) {
            if *last != now {
                gauge.increment(now as f64 - *last as f64);
                *last = now;
            }
        }
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

fn add_all(meters: &[Counter], counts: &mut [u64]) {
    for (meter, count) in meters.iter().zip(counts) {
        add(meter, count);
    }
}
