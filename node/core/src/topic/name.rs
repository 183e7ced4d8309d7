//! A topic name, section 4.7: what a message is published to.
//!
//! Made once where a message is kept or crosses a thread; the hot path borrows `&str` from the
//! packet, which the codec has checked.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Error, text};

/// A topic name of 1 to [`MAX_TOPIC_BYTES`](super::MAX_TOPIC_BYTES) bytes without wildcards and
/// without U+0000. A clone shares the text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    ///
    /// The rule of section 4.7 that it breaks.
    pub fn new(text: &str) -> Result<Self, Error> {
        text::check(text)?;
        if text.bytes().any(|byte| byte == b'+' || byte == b'#') {
            return Err(Error::Wildcard);
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
}

impl TryFrom<&str> for TopicName {
    type Error = Error;

    fn try_from(text: &str) -> Result<Self, Error> {
        Self::new(text)
    }
}

impl<'de> Deserialize<'de> for TopicName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::deserialize(deserializer)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for TopicName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mqtt_4_7_1_1_wildcards_are_refused() {
        for text in ["+", "#", "a/+", "a+", "a/#", "é#"] {
            assert_eq!(TopicName::new(text), Err(Error::Wildcard), "{text}");
        }
    }

    #[test]
    fn mqtt_4_7_3_length_and_null_are_checked() {
        assert_eq!(TopicName::new(""), Err(Error::Empty));
        assert_eq!(TopicName::new("a\0"), Err(Error::NullCharacter));
        assert!(TopicName::new(&"x".repeat(1_024)).is_ok());
        let above = TopicName::new(&"x".repeat(1_025));
        assert_eq!(above, Err(Error::TooLong { len: 1_025 }));
    }

    #[test]
    fn odd_but_legal_names_are_taken() {
        for text in ["/", "//", "a/", "$", "$SYS/x", " ", "\u{feff}é/😀"] {
            assert_eq!(TopicName::new(text).unwrap().as_str(), text);
        }
        let name = TopicName::new("/a//").unwrap();
        assert_eq!(name.levels().collect::<Vec<_>>(), ["", "a", "", ""]);
    }

    #[test]
    fn reading_back_checks_again() {
        let name = TopicName::new("a/b").unwrap();
        let bytes = postcard::to_stdvec(&name).unwrap();
        assert_eq!(postcard::from_bytes::<TopicName>(&bytes), Ok(name));
        let bytes = postcard::to_stdvec("a/#").unwrap();
        assert!(postcard::from_bytes::<TopicName>(&bytes).is_err());
    }
}
