//! What can be wrong with a packet: one variant a rule, with the number of the rule.
//!
//! Made by every file of this room; read by the connection, which closes, counts and logs it.
//! It must never hold bytes of the packet: errors are logged, payloads and secrets are not.

use std::fmt;

/// The type of a packet, section 2.2.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// 1, section 3.1.
    Connect = 1,
    /// 2, section 3.2.
    Connack = 2,
    /// 3, section 3.3.
    Publish = 3,
    /// 4, section 3.4.
    Puback = 4,
    /// 5, section 3.5.
    Pubrec = 5,
    /// 6, section 3.6.
    Pubrel = 6,
    /// 7, section 3.7.
    Pubcomp = 7,
    /// 8, section 3.8.
    Subscribe = 8,
    /// 9, section 3.9.
    Suback = 9,
    /// 10, section 3.10.
    Unsubscribe = 10,
    /// 11, section 3.11.
    Unsuback = 11,
    /// 12, section 3.12.
    Pingreq = 12,
    /// 13, section 3.13.
    Pingresp = 13,
    /// 14, section 3.14.
    Disconnect = 14,
}

impl Kind {
    /// Reads the type from the first byte of a packet.
    ///
    /// # Errors
    ///
    /// [`Error::ReservedType`] for 0 and 15, which table 2.1 forbids.
    #[inline]
    pub fn of(first_byte: u8) -> Result<Self, Error> {
        Ok(match first_byte >> 4 {
            1 => Self::Connect,
            2 => Self::Connack,
            3 => Self::Publish,
            4 => Self::Puback,
            5 => Self::Pubrec,
            6 => Self::Pubrel,
            7 => Self::Pubcomp,
            8 => Self::Subscribe,
            9 => Self::Suback,
            10 => Self::Unsubscribe,
            11 => Self::Unsuback,
            12 => Self::Pingreq,
            13 => Self::Pingresp,
            14 => Self::Disconnect,
            other => return Err(Error::ReservedType { value: other }),
        })
    }

    /// The lower four bits that this type must carry [MQTT-2.2.2-1]. For PUBLISH, whose bits have
    /// a meaning, zero.
    pub(super) const fn fixed_flags(self) -> u8 {
        match self {
            Self::Pubrel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    pub(super) const fn first_byte(self) -> u8 {
        ((self as u8) << 4) | self.fixed_flags()
    }

    pub(super) fn check_flags(self, flags: u8) -> Result<(), Error> {
        if flags == self.fixed_flags() {
            return Ok(());
        }
        Err(Error::ReservedFlags { kind: self, flags })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "CONNECT",
            Self::Connack => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::Puback => "PUBACK",
            Self::Pubrec => "PUBREC",
            Self::Pubrel => "PUBREL",
            Self::Pubcomp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::Suback => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::Unsuback => "UNSUBACK",
            Self::Pingreq => "PINGREQ",
            Self::Pingresp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
        })
    }
}

/// The part of a packet that an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// Protocol name and level of CONNECT.
    Protocol,
    /// Flags and keep-alive of CONNECT.
    ConnectHeader,
    /// Client identifier.
    ClientId,
    /// Topic of a will.
    WillTopic,
    /// Payload of a will.
    WillPayload,
    /// User name.
    Username,
    /// Password.
    Password,
    /// Topic of a PUBLISH.
    Topic,
    /// Packet identifier.
    PacketId,
    /// A filter of SUBSCRIBE or UNSUBSCRIBE.
    Filter,
    /// The requested QoS of a filter.
    RequestedQos,
    /// Flags and return code of CONNACK, return codes of SUBACK.
    ReturnCode,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Protocol => "protocol name and level",
            Self::ConnectHeader => "connect flags and keep-alive",
            Self::ClientId => "client id",
            Self::WillTopic => "will topic",
            Self::WillPayload => "will payload",
            Self::Username => "user name",
            Self::Password => "password",
            Self::Topic => "topic",
            Self::PacketId => "packet id",
            Self::Filter => "filter",
            Self::RequestedQos => "requested qos",
            Self::ReturnCode => "return code",
        })
    }
}

/// Why bytes are not a packet of MQTT 3.1.1.
///
/// None is retryable: the connection is closed. [`Error::UnsupportedLevel`] is answered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The remaining length does not end within four bytes.
    #[error("remaining length longer than four bytes")]
    RemainingLength,
    /// The whole packet, header included, is above the bound that the caller gave, in bytes.
    #[error("packet of {len} bytes above the bound of {max}")]
    PacketTooLarge {
        /// Length of the packet, in bytes.
        len: usize,
        /// The bound, in bytes.
        max: usize,
    },
    /// Packet type 0 or 15.
    #[error("reserved packet type {value}")]
    ReservedType {
        /// The upper four bits of the first byte.
        value: u8,
    },
    /// Flags of the fixed header that are not the ones of table 2.2.
    #[error("reserved flags {flags:#06b} in {kind}")]
    ReservedFlags {
        /// Type of the packet.
        kind: Kind,
        /// The lower four bits of the first byte.
        flags: u8,
    },
    /// The body ends within a field.
    #[error("body ends within {field}")]
    Truncated {
        /// The field that is cut.
        field: Field,
    },
    /// Bytes after the last field.
    #[error("{count} bytes after the end of {kind}")]
    TrailingBytes {
        /// Type of the packet.
        kind: Kind,
        /// How many bytes.
        count: usize,
    },
    /// A text field that is not UTF-8.
    #[error("{field} is not utf-8")]
    NotUtf8 {
        /// The field.
        field: Field,
    },
    /// A text field with U+0000 in it.
    #[error("{field} has a null character")]
    NullCharacter {
        /// The field.
        field: Field,
    },
    /// A packet identifier of zero.
    #[error("packet id is zero in {kind}")]
    PacketIdZero {
        /// Type of the packet.
        kind: Kind,
    },
    /// The protocol name is not `MQTT`.
    #[error("protocol name is not MQTT")]
    ProtocolName,
    /// The protocol level is not 4; answered by CONNACK 1 before the close.
    #[error("protocol level {level} is not supported")]
    UnsupportedLevel {
        /// The level asked for.
        level: u8,
    },
    /// Bit 0 of the connect flags is set.
    #[error("reserved connect flag is set")]
    ConnectFlagReserved,
    /// A will QoS without a will.
    #[error("will qos without a will")]
    WillQosWithoutWill,
    /// Will QoS 3.
    #[error("will qos is 3")]
    WillQosReserved,
    /// Will retain without a will.
    #[error("will retain without a will")]
    WillRetainWithoutWill,
    /// A password without a user name.
    #[error("password without a user name")]
    PasswordWithoutUsername,
    /// PUBLISH with both QoS bits set.
    #[error("publish with qos 3")]
    QosReserved,
    /// PUBLISH with DUP at QoS 0.
    #[error("publish with dup at qos 0")]
    DupAtQos0,
    /// A topic name with `+` or `#` in it.
    #[error("{field} has a wildcard")]
    TopicWildcard {
        /// The field.
        field: Field,
    },
    /// A topic or filter without a character.
    #[error("{field} is empty")]
    Empty {
        /// The field.
        field: Field,
    },
    /// SUBSCRIBE or UNSUBSCRIBE without a filter, SUBACK without a code.
    #[error("{kind} without an entry")]
    NoEntries {
        /// Type of the packet.
        kind: Kind,
    },
    /// A requested QoS byte with reserved bits, or QoS 3.
    #[error("requested qos byte is {value:#04x}")]
    RequestedQos {
        /// The byte.
        value: u8,
    },
    /// CONNACK with reserved flags or an unknown return code.
    #[error("connack with flags {flags:#04x} and code {code}")]
    Connack {
        /// The acknowledge flags.
        flags: u8,
        /// The return code.
        code: u8,
    },
    /// SUBACK with a code other than 0, 1, 2 and 0x80.
    #[error("suback code is {value:#04x}")]
    SubackCode {
        /// The code.
        value: u8,
    },
}

impl Error {
    /// The rule of the standard that is broken: its number, or the section where it has none.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::RemainingLength => "section 2.2.3",
            Self::PacketTooLarge { .. } => "the broker's own bound",
            Self::ReservedType { .. } => "table 2.1",
            Self::ReservedFlags { kind, .. } => match kind {
                Kind::Pubrel => "MQTT-3.6.1-1",
                Kind::Subscribe => "MQTT-3.8.1-1",
                Kind::Unsubscribe => "MQTT-3.10.1-1",
                Kind::Disconnect => "MQTT-3.14.1-1",
                _ => "MQTT-2.2.2-1",
            },
            Self::Truncated { .. } | Self::TrailingBytes { .. } => "section 2.2.3",
            Self::NotUtf8 { .. } => "MQTT-1.5.3-1",
            Self::NullCharacter { .. } => "MQTT-1.5.3-2",
            Self::PacketIdZero { .. } => "MQTT-2.3.1-1",
            Self::ProtocolName => "MQTT-3.1.2-1",
            Self::UnsupportedLevel { .. } => "MQTT-3.1.2-2",
            Self::ConnectFlagReserved => "MQTT-3.1.2-3",
            Self::WillQosWithoutWill => "MQTT-3.1.2-13",
            Self::WillQosReserved => "MQTT-3.1.2-14",
            Self::WillRetainWithoutWill => "MQTT-3.1.2-15",
            Self::PasswordWithoutUsername => "MQTT-3.1.2-22",
            Self::QosReserved => "MQTT-3.3.1-4",
            Self::DupAtQos0 => "MQTT-3.3.1-2",
            Self::TopicWildcard { .. } => "MQTT-3.3.2-2",
            Self::Empty { .. } => "MQTT-4.7.3-1",
            Self::NoEntries { kind } => match kind {
                Kind::Unsubscribe => "MQTT-3.10.3-2",
                Kind::Suback => "MQTT-3.8.4-5",
                _ => "MQTT-3.8.3-3",
            },
            Self::RequestedQos { .. } => "MQTT-3.8.3-4",
            Self::Connack { code, .. } => match code {
                0..=5 => "MQTT-3.2.2-4",
                _ => "table 3.1",
            },
            Self::SubackCode { .. } => "MQTT-3.9.3-2",
        }
    }
}

/// Why a packet could not be written; the write buffer is then as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A field above 65,535 bytes, the most that its length prefix can say.
    #[error("{field} of {len} bytes does not fit its length prefix")]
    FieldTooLong {
        /// The field.
        field: Field,
        /// Its length, in bytes.
        len: usize,
    },
    /// A body above 268,435,455 bytes, the most that the remaining length can say.
    #[error("packet body of {len} bytes does not fit the remaining length")]
    BodyTooLong {
        /// Its length, in bytes.
        len: usize,
    },
}
