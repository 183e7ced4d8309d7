//! The stored values of all spaces, counted.
//!
//! Called by apply alone; it decides nothing about rights or what a topic is.

use imbl::OrdMap;

use crate::{
    ids::SpaceId,
    stored::{Value, Values},
    topic::TopicName,
};

/// The stored values of all spaces; a clone is O(1).
///
/// - A space without a value is not in it.
/// - `count` and `bytes` are those of what is in it.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    spaces: OrdMap<SpaceId, Values>,
    count: usize,
    bytes: usize,
}

impl Stored {
    /// Sets a topic's value; an empty payload clears it. What it was before.
    pub fn store(&mut self, space: SpaceId, topic: &TopicName, value: Value) -> Option<Value> {
        let added = value.payload.len();
        let values = self.spaces.entry(space).or_default();
        let before = values.store(topic, value);
        if values.is_empty() {
            self.spaces.remove(&space);
        }
        if added > 0 {
            self.count += 1;
            self.bytes += topic.as_str().len() + added;
        }
        if let Some(before) = &before {
            self.count -= 1;
            self.bytes -= topic.as_str().len() + before.payload.len();
        }
        before
    }

    /// The values of one space.
    pub fn values(&self, space: SpaceId) -> Values {
        self.spaces.get(&space).cloned().unwrap_or_default()
    }

    /// All values in the order of spaces and topics.
    pub fn iter(&self) -> impl Iterator<Item = (SpaceId, &TopicName, &Value)> {
        self.spaces
            .iter()
            .flat_map(|(space, values)| values.iter().map(|(topic, value)| (*space, topic, value)))
    }

    /// How many topics have a value.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether no topic has a value.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of all topics and payloads.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{codec::QoS, ids::ResourceId};

    #[test]
    fn counts_follow_what_is_stored() {
        let mut stored = Stored::default();
        let space = |n| SpaceId::Broker(ResourceId::from_random([n; 17]));
        let mut set = |n, topic: &str, payload: &'static [u8]| {
            let value = Value {
                payload: Bytes::from_static(payload),
                qos: QoS::AtMostOnce,
            };
            stored.store(space(n), &TopicName::new(topic).unwrap(), value);
            let bytes: usize = stored
                .iter()
                .map(|(_, t, v)| t.as_str().len() + v.payload.len())
                .sum();
            assert_eq!(
                (stored.len(), stored.bytes()),
                (stored.iter().count(), bytes)
            );
            (stored.len(), stored.bytes(), stored.spaces.len())
        };
        assert_eq!(set(1, "a", b"123"), (1, 4, 1));
        assert_eq!(set(1, "a", b"1"), (1, 2, 1));
        assert_eq!(set(2, "a", b"1"), (2, 4, 2));
        assert_eq!(set(1, "b", b""), (2, 4, 2));
        assert_eq!(set(1, "a", b""), (1, 2, 1));
        assert_eq!(set(2, "a", b""), (0, 0, 0));
    }
}
