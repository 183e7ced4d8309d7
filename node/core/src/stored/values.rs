//! The stored values of one space, and views of them.

use bytes::Bytes;
use imbl::OrdMap;
use serde::{Deserialize, Serialize};

use crate::{
    codec::QoS,
    topic::{TopicFilter, TopicName},
};

/// The last message of a topic that stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// Its payload, never empty.
    pub payload: Bytes,
    /// The publisher's QoS.
    pub qos: QoS,
}

/// The stored values of one space; a clone is O(1).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Values(OrdMap<TopicName, Value>);

impl Values {
    /// Sets a topic's value; an empty payload clears it.
    pub fn store(&mut self, topic: &TopicName, value: Value) {
        if value.payload.is_empty() {
            self.0.remove(topic);
        } else {
            self.0.insert(topic.clone(), value);
        }
    }

    /// The topics and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&TopicName, &Value)> {
        self.0.iter()
    }

    /// How many topics have a value.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no topic has a value.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The values that a filter matches, as of one index; read piece by piece while the client drains.
#[derive(Clone, Debug)]
pub struct View {
    values: Values,
    filter: TopicFilter,
}

impl View {
    /// A view of the values that `filter` matches.
    pub fn new(values: Values, filter: TopicFilter) -> Self {
        Self { values, filter }
    }

    /// The first matching value after `topic`, or the first of all. Costs the values between that share
    /// the filter's literal prefix.
    pub fn next_after(&self, topic: Option<&TopicName>) -> Option<(&TopicName, &Value)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};

        let prefix = self.filter.literal_prefix();
        let start = match topic {
            Some(topic) if topic.as_str() >= prefix => Excluded(topic.as_str()),
            _ => Included(prefix),
        };
        self.values
            .0
            .range::<_, str>((start, Unbounded))
            .take_while(|(name, _)| name.as_str().starts_with(prefix))
            .find(|(name, _)| self.filter.matches(name.as_str()))
    }
}
