//! A topic filter, section 4.7: what a subscription asks for.
//!
//! [`TopicFilter::matches`] is the plain reading of the standard. It serves single checks, and the
//! tests hold [`Trie`](super::Trie) and [`Table`](super::Table) against it.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, text};

/// A topic filter of 1 to [`MAX_TOPIC_BYTES`](super::MAX_TOPIC_BYTES) bytes whose wildcards stand
/// where they may. A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// Checks a text and makes it a filter.
    ///
    /// # Errors
    ///
    /// The rule of section 4.7 that it breaks; [MQTT-4.7.1-2] for `#`, [MQTT-4.7.1-3] for `+`.
    pub fn new(text: &str) -> Result<Self, Error> {
        text::check(text)?;
        let mut levels = text.split('/');
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.next().is_some()) {
                return Err(Error::HashPlacement);
            }
            if level.contains('+') && level != "+" {
                return Err(Error::PlusPlacement);
            }
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels: at least one; each may be empty, and `/` parts them.
    pub fn levels(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// Whether it has a wildcard; without one it matches the name of the same text and no other.
    #[must_use]
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether it matches a topic name, which the caller has checked to be one.
    ///
    /// A wildcard in the first level does not match a name that starts with `$` [MQTT-4.7.2-1].
    /// `a/#` matches `a` and everything below it [MQTT-4.7.1-2].
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if name.starts_with('$') && self.0.starts_with(['+', '#']) {
            return false;
        }
        let mut levels = name.split('/');
        for wanted in self.levels() {
            if wanted == "#" {
                return true;
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

impl TryFrom<&str> for TopicFilter {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for TopicFilter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Borrow<str> for TopicFilter {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicFilter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(filter: &str, name: &str) -> bool {
        TopicFilter::new(filter).unwrap().matches(name)
    }

    #[test]
    fn mqtt_4_7_1_2_hash_stands_alone_and_last() {
        for text in ["a#", "#a", "a/#/b", "#/", "##", "a/b#", "+#", "#/#"] {
            assert_eq!(TopicFilter::new(text), Err(Error::HashPlacement), "{text}");
        }
        for text in ["#", "a/#", "/#", "+/#", "a//#"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn mqtt_4_7_1_3_plus_stands_alone_in_its_level() {
        for text in ["a+", "+a", "a/b+/c", "++", "/+b"] {
            assert_eq!(TopicFilter::new(text), Err(Error::PlusPlacement), "{text}");
        }
        for text in ["+", "+/", "/+", "+/+/+", "a/+/b", "+/a/#"] {
            assert!(TopicFilter::new(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn mqtt_4_7_3_length_and_null_are_checked() {
        assert_eq!(TopicFilter::new(""), Err(Error::Empty));
        assert_eq!(TopicFilter::new("a\0/#"), Err(Error::NullCharacter));
        assert!(TopicFilter::new(&"/".repeat(1_024)).is_ok());
        let above = TopicFilter::new(&"/".repeat(1_025));
        assert_eq!(above, Err(Error::TooLong { len: 1_025 }));
    }

    #[test]
    fn section_4_7_1_examples_of_the_standard() {
        for name in [
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player1/score/wimbledon",
        ] {
            assert!(matches("sport/tennis/player1/#", name), "{name}");
        }
        assert!(matches("sport/#", "sport"));
        assert!(matches("sport/tennis/+", "sport/tennis/player1"));
        assert!(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
        assert!(!matches("sport/+", "sport"));
        assert!(matches("sport/+", "sport/"));
        assert!(matches("+/+", "/finance"));
        assert!(matches("/+", "/finance"));
        assert!(!matches("+", "/finance"));
    }

    #[test]
    fn mqtt_4_7_2_1_root_wildcards_do_not_match_dollar_topics() {
        assert!(!matches("#", "$SYS"));
        assert!(!matches("+", "$SYS"));
        assert!(!matches("+/monitor/Clients", "$SYS/monitor/Clients"));
        assert!(matches("$SYS/#", "$SYS"));
        assert!(matches("$SYS/monitor/+", "$SYS/monitor/Clients"));
        assert!(matches("a/+", "a/$b"), "only the first level is special");
        assert!(matches("a/#", "a/$b"));
    }

    #[test]
    fn mqtt_4_7_3_4_matching_is_by_character_and_case() {
        assert!(!matches("a", "A"));
        assert!(!matches("a", "a/"));
        assert!(!matches("/a", "a"));
        assert!(matches("é/+", "é/x"));
    }

    #[test]
    fn reading_back_checks_again() {
        let filter = TopicFilter::new("a/+/#").unwrap();
        let bytes = postcard::to_stdvec(&filter).unwrap();
        assert_eq!(postcard::from_bytes::<TopicFilter>(&bytes), Ok(filter));
        let bytes = postcard::to_stdvec("a/#/b").unwrap();
        assert!(postcard::from_bytes::<TopicFilter>(&bytes).is_err());
    }
}
