//! The three qualities of service, section 4.3.
//!
//! Used by every room above; it holds no rule of any of them.

use serde::{Deserialize, Serialize};

/// How hard a message is delivered. Ordered: the effective QoS of a delivery is the lower of the
/// message's and the subscription's [MQTT-3.8.4-6].
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[repr(u8)]
pub enum QoS {
    /// QoS 0, section 4.3.1.
    #[default]
    AtMostOnce = 0,
    /// QoS 1, section 4.3.2.
    AtLeastOnce = 1,
    /// QoS 2, section 4.3.3.
    ExactlyOnce = 2,
}

impl QoS {
    /// Reads the two bits of the wire; `None` for 3 and above.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }

    /// The two bits of the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}
