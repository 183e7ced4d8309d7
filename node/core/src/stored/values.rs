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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values(OrdMap<TopicName, Value>);

impl Values {
    /// Sets a topic's value; an empty payload clears it. What it was before.
    pub fn store(&mut self, topic: &TopicName, value: Value) -> Option<Value> {
        if value.payload.is_empty() {
            self.0.remove(topic)
        } else {
            self.0.insert(topic.clone(), value)
        }
    }

    /// A topic's value.
    pub fn get(&self, topic: &TopicName) -> Option<&Value> {
        self.0.get(topic)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        text.parse().unwrap()
    }

    fn value(payload: &'static str) -> Value {
        Value { payload: Bytes::from_static(payload.as_bytes()), qos: QoS::AtLeastOnce }
    }

    fn values(topics: &[&str]) -> Values {
        let mut values = Values::default();
        for text in topics {
            values.store(&topic(text), value("x"));
        }
        values
    }

    fn read(view: &View) -> Vec<&str> {
        let mut found = Vec::new();
        let mut last = None;
        while let Some((name, _)) = view.next_after(last) {
            found.push(name.as_str());
            last = Some(name);
        }
        found
    }

    fn matching(topics: &[&str], filter: &str) -> Vec<String> {
        let view = View::new(values(topics), filter.parse().unwrap());
        read(&view).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn an_empty_payload_clears_the_value() {
        let mut values = values(&["a"]);
        assert_eq!(values.store(&topic("a"), value("y")), Some(value("x")));
        assert_eq!(values.store(&topic("a"), value("")), Some(value("y")));
        assert_eq!(values.store(&topic("a"), value("")), None);
        assert!(values.is_empty());
    }

    #[test]
    fn a_view_gives_every_match_once_and_in_order() {
        // '!' sorts before '/', '0' after it
        let topics = ["a", "a!", "a/", "a/b", "a/b/c", "a0", "b", "b/b", "/a"];
        assert_eq!(matching(&topics, "a/#"), ["a", "a/", "a/b", "a/b/c"]);
        assert_eq!(matching(&topics, "a/+"), ["a/", "a/b"]);
        assert_eq!(matching(&topics, "+/b"), ["a/b", "b/b"]);
        assert_eq!(matching(&topics, "a/b"), ["a/b"]);
        assert_eq!(matching(&topics, "c/#"), [""; 0]);
        assert_eq!(matching(&topics, "#").len(), topics.len());
        assert_eq!(matching(&[], "#"), [""; 0]);
    }

    #[test]
    fn a_view_goes_on_after_a_topic_that_it_does_not_hold() {
        let view = View::new(values(&["m/a", "m/c"]), "m/+".parse().unwrap());
        let after = |text| view.next_after(Some(&topic(text))).map(|(name, _)| name.as_str());
        assert_eq!(after("a"), Some("m/a"));
        assert_eq!(after("m/b"), Some("m/c"));
        assert_eq!(after("m/c"), None);
        assert_eq!(after("z"), None);
    }

    #[test]
    fn a_view_does_not_see_what_is_stored_later() {
        let mut values = values(&["a", "b"]);
        let view = View::new(values.clone(), "#".parse().unwrap());
        values.store(&topic("a"), value(""));
        values.store(&topic("c"), value("x"));
        assert_eq!(read(&view), ["a", "b"]);
    }
}
