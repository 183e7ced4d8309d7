//! A session's subscriptions, as they were asked and as they are routed.

use crate::{
    access::Form,
    codec::{PacketId, QoS, SubackCode},
    topic::{Handle, TopicFilter},
};

/// One canonical filter of a subscription in the shard's table.
#[derive(Debug)]
pub struct Route {
    /// The filter.
    pub filter: TopicFilter,
    /// Its place in the table.
    pub handle: Handle,
}

/// A subscription that is live.
#[derive(Debug)]
pub struct Subscription {
    /// The filter as it was asked; the same again replaces it [MQTT-3.8.4-3].
    pub asked: TopicFilter,
    /// Counts the subscriptions of the session; names its stored values in the queue.
    pub number: u32,
    /// Its canonical filters; none if it covers aliases only.
    pub routes: Vec<Route>,
}

/// A filter of a SUBSCRIBE that waits for its barrier.
#[derive(Debug)]
pub struct Ask {
    /// The filter as it was asked.
    pub asked: TopicFilter,
    /// How it names topics.
    pub form: Form,
    /// The granted QoS.
    pub qos: QoS,
    /// What it may read.
    pub canonical: Vec<TopicFilter>,
    /// Its place in the SUBACK.
    pub at: usize,
    /// An UNSUBSCRIBE came meanwhile.
    pub ended: bool,
}

/// A SUBSCRIBE that waits for its barrier; nothing of it is sent before its SUBACK.
#[derive(Debug)]
pub struct Subscribing {
    /// The ticket of its request.
    pub ticket: u64,
    /// The packet identifier, repeated by the SUBACK [MQTT-3.8.4-2].
    pub packet_id: PacketId,
    /// The answers, as they stand.
    pub codes: Vec<SubackCode>,
    /// The filters that wait.
    pub asks: Vec<Ask>,
}
