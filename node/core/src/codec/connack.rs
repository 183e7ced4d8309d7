//! CONNACK, section 3.2.

use serde::{Deserialize, Serialize};

use super::read::Reader;
use super::{Error, Field, Kind};

/// The answer to a CONNECT, table 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum ConnackCode {
    /// 0.
    Accepted = 0,
    /// 1: the protocol level is not supported [MQTT-3.1.2-2].
    UnacceptableProtocolVersion = 1,
    /// 2: the client identifier is not allowed, for instance empty with clean session 0
    /// [MQTT-3.1.3-8].
    IdentifierRejected = 2,
    /// 3: the broker cannot serve now; the client should try again.
    ServerUnavailable = 3,
    /// 4: user name or password are malformed, or wrong.
    BadUsernameOrPassword = 4,
    /// 5: the client may not connect.
    NotAuthorized = 5,
}

impl ConnackCode {
    /// Reads the byte of the wire; `None` above 5.
    #[must_use]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Accepted),
            1 => Some(Self::UnacceptableProtocolVersion),
            2 => Some(Self::IdentifierRejected),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUsernameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

/// A CONNACK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack {
    /// Whether the broker holds a session of an earlier connection [MQTT-3.2.2-2]. Written as
    /// false with every code but 0 [MQTT-3.2.2-4].
    pub session_present: bool,
    /// The answer.
    pub code: ConnackCode,
}

impl Connack {
    pub(super) fn decode(body: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        let flags = reader.byte(Field::ReturnCode)?;
        let byte = reader.byte(Field::ReturnCode)?;
        reader.end(Kind::Connack)?;
        let malformed = Error::Connack { flags, code: byte };
        let code = ConnackCode::from_byte(byte).ok_or(malformed)?;
        let session_present = match (flags, code) {
            (0, _) => false,
            (1, ConnackCode::Accepted) => true,
            _ => return Err(malformed),
        };
        Ok(Self {
            session_present,
            code,
        })
    }
}

/// Appends a CONNACK.
pub fn encode_connack(out: &mut Vec<u8>, connack: Connack) {
    let present = connack.session_present && connack.code == ConnackCode::Accepted;
    out.extend_from_slice(&[
        Kind::Connack.first_byte(),
        2,
        u8::from(present),
        connack.code as u8,
    ]);
}
