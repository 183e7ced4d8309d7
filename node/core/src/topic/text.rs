//! What names and filters share: the checks of any topic text, and reading one from serde.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserializer, Visitor};

use super::{Error, MAX_TOPIC_BYTES};

/// Checks length [MQTT-4.7.3-1] and U+0000 [MQTT-4.7.3-2].
pub(super) fn check(text: &str) -> Result<(), Error> {
    if text.is_empty() {
        return Err(Error::Empty);
    }
    if text.len() > MAX_TOPIC_BYTES {
        return Err(Error::TooLong { len: text.len() });
    }
    if text.as_bytes().contains(&0) {
        return Err(Error::NullCharacter);
    }
    Ok(())
}

/// Reads a checked text; bytes from disk and peers are checked as bytes from clients are.
pub(super) fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: for<'a> TryFrom<&'a str, Error = Error>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_str(Checked(PhantomData))
}

struct Checked<T>(PhantomData<T>);

impl<T> Visitor<'_> for Checked<T>
where
    T: for<'a> TryFrom<&'a str, Error = Error>,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a topic")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        T::try_from(text).map_err(E::custom)
    }
}
