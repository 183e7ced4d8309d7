//! Why a text is no topic name or no topic filter.

use super::MAX_TOPIC_BYTES;

/// Why a text was refused. It does not hold the text, which may be long and come from a stranger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Error {
    /// Without a character [MQTT-4.7.3-1].
    #[error("topic is empty")]
    Empty,
    /// Above [`MAX_TOPIC_BYTES`].
    #[error("topic of {len} bytes above the bound of {MAX_TOPIC_BYTES}")]
    TooLong {
        /// Its length, in bytes.
        len: usize,
    },
    /// With U+0000 in it [MQTT-4.7.3-2].
    #[error("topic has a null character")]
    NullCharacter,
    /// A topic name with `+` or `#` in it [MQTT-4.7.1-1].
    #[error("topic name has a wildcard")]
    Wildcard,
    /// `#` beside other characters of its level, or not in the last level [MQTT-4.7.1-2].
    #[error("# is not alone in the last level")]
    HashPlacement,
    /// `+` beside other characters of its level [MQTT-4.7.1-3].
    #[error("+ is not alone in its level")]
    PlusPlacement,
}
