//! The stored values of one space, and views of them.

use bytes::Bytes;
use imbl::OrdMap;

use crate::{
    codec::QoS,
    topic::{TopicFilter, TopicName},
};

/// The last message of a topic that stores.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// What a bounded step through a view came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The next matching value.
    Found(&'a TopicName, &'a Value),
    /// No match up to this topic; go on after it.
    Later(&'a TopicName),
    /// No further match.
    End,
}

impl View {
    /// A view of the values that `filter` matches.
    pub fn new(values: Values, filter: TopicFilter) -> Self {
        Self { values, filter }
    }

    /// The first matching value after `topic`, or the first of all. Costs the values between that share
    /// the filter's text before its first wildcard.
    pub fn next_after(&self, topic: Option<&TopicName>) -> Option<(&TopicName, &Value)> {
        match self.step_after(topic, usize::MAX) {
            Step::Found(name, value) => Some((name, value)),
            Step::Later(_) | Step::End => None,
        }
    }

    /// As [`View::next_after`], but looks at `budget` values at most, and at one at least.
    pub fn step_after(&self, topic: Option<&TopicName>, budget: usize) -> Step<'_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};

        let filter = self.filter.as_str();
        let (prefix, wildcard) = filter.split_at(filter.find(['+', '#']).unwrap_or(filter.len()));
        // what the filter matches outside the range of its prefix's children: itself, or the parent of
        // `parent/#` [MQTT-4.7.1-2]; both sort before everything else that it matches
        let single = if wildcard == "#" {
            prefix.strip_suffix('/')
        } else {
            Some(prefix)
        };
        if let Some(single) = single
            && topic.is_none_or(|topic| topic.as_str() < single)
            && let Some((name, value)) = self.values.0.get_key_value(single)
            && self.filter.matches(single)
        {
            return Step::Found(name, value);
        }
        if wildcard.is_empty() {
            return Step::End;
        }
        let start = match topic {
            Some(topic) if topic.as_str() >= prefix => Excluded(topic.as_str()),
            _ => Included(prefix),
        };
        let range = self.values.0.range::<_, str>((start, Unbounded));
        let mut left = budget.max(1);
        for (name, value) in range.take_while(|(name, _)| name.as_str().starts_with(prefix)) {
            if self.filter.matches(name.as_str()) {
                return Step::Found(name, value);
            }
            left -= 1;
            if left == 0 {
                return Step::Later(name);
            }
        }
        Step::End
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(text: &str) -> TopicName {
        TopicName::new(text).unwrap()
    }

    fn value(payload: &'static str) -> Value {
        Value {
            payload: Bytes::from_static(payload.as_bytes()),
            qos: QoS::AtLeastOnce,
        }
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
        let view = View::new(values(topics), TopicFilter::new(filter).unwrap());
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
    fn a_step_looks_at_no_more_than_its_budget() {
        let view = View::new(
            values(&["a/x", "b/x", "c/y", "d/y"]),
            TopicFilter::new("+/y").unwrap(),
        );
        let Step::Later(name) = view.step_after(None, 1) else {
            panic!("the first is no match")
        };
        assert_eq!(name.as_str(), "a/x");
        let Step::Found(name, _) = view.step_after(Some(name), 2) else {
            panic!("it is the second")
        };
        assert_eq!(name.as_str(), "c/y");
        assert_eq!(view.step_after(Some(&topic("d/y")), 1), Step::End);
    }

    #[test]
    fn a_view_goes_on_after_a_topic_that_it_does_not_hold() {
        let view = View::new(values(&["m/a", "m/c"]), TopicFilter::new("m/+").unwrap());
        let after = |text| {
            view.next_after(Some(&topic(text)))
                .map(|(name, _)| name.as_str())
        };
        assert_eq!(after("a"), Some("m/a"));
        assert_eq!(after("m/b"), Some("m/c"));
        assert_eq!(after("m/c"), None);
        assert_eq!(after("z"), None);
    }

    #[test]
    fn a_view_does_not_see_what_is_stored_later() {
        let mut values = values(&["a", "b"]);
        let view = View::new(values.clone(), TopicFilter::new("#").unwrap());
        values.store(&topic("a"), value(""));
        values.store(&topic("c"), value("x"));
        assert_eq!(read(&view), ["a", "b"]);
    }
}
