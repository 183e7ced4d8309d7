//! CONNECT, section 3.1.
//!
//! Decoded before login, so its size is bounded by what the caller gives [`super::frame`]. An empty
//! client identifier is well formed; whether it is allowed is decided above [MQTT-3.1.3-8].

use std::fmt;

use super::read::Reader;
use super::{EncodeError, Error, Field, Kind, QoS, write};

const PROTOCOL_NAME: &[u8] = b"MQTT";
/// Protocol level of MQTT 3.1.1, section 3.1.2.2.
const LEVEL: u8 = 4;

const RESERVED: u8 = 0x01;
const CLEAN_SESSION: u8 = 0x02;
const WILL: u8 = 0x04;
const WILL_QOS_SHIFT: u8 = 3;
const WILL_RETAIN: u8 = 0x20;
const PASSWORD: u8 = 0x40;
const USERNAME: u8 = 0x80;

/// A CONNECT.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// Whether the session ends with the connection, section 3.1.2.4.
    pub clean_session: bool,
    /// Keep-alive in seconds; 0 turns it off, section 3.1.2.10.
    pub keep_alive: u16,
    /// Client identifier; may be empty.
    pub client_id: &'a str,
    /// What to publish if the connection ends without a DISCONNECT.
    pub will: Option<Will<'a>>,
    /// User name.
    pub username: Option<&'a str>,
    /// Password: any bytes.
    pub password: Option<&'a [u8]>,
}

/// The will of a CONNECT, sections 3.1.2.5 to 3.1.2.7.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Will<'a> {
    /// Topic to publish to.
    pub topic: &'a str,
    /// Payload, at most 65,535 bytes.
    pub payload: &'a [u8],
    /// QoS to publish with.
    pub qos: QoS,
    /// Whether it becomes the retained message of its topic.
    pub retain: bool,
}

impl fmt::Debug for Connect<'_> {
    /// Leaves the password out: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("clean_session", &self.clean_session)
            .field("keep_alive", &self.keep_alive)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password.map(|_| "hidden"))
            .finish()
    }
}

impl fmt::Debug for Will<'_> {
    /// Leaves the payload out: debug output ends in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Will")
            .field("topic", &self.topic)
            .field("payload_len", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .finish()
    }
}

impl<'a> Connect<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(body);
        if reader.bytes(Field::Protocol)? != PROTOCOL_NAME {
            return Err(Error::ProtocolName);
        }
        // Before all else: what follows may have the shape of another version.
        let level = reader.byte(Field::Protocol)?;
        if level != LEVEL {
            return Err(Error::UnsupportedLevel { level });
        }
        let flags = Flags::read(reader.byte(Field::ConnectHeader)?)?;
        let keep_alive = reader.u16(Field::ConnectHeader)?;
        let client_id = reader.text(Field::ClientId)?;
        let will = match flags.will {
            None => None,
            Some((qos, retain)) => Some(Will {
                topic: reader.topic(Field::WillTopic)?,
                payload: reader.bytes(Field::WillPayload)?,
                qos,
                retain,
            }),
        };
        let username = match flags.username {
            false => None,
            true => Some(reader.text(Field::Username)?),
        };
        let password = match flags.password {
            false => None,
            true => Some(reader.bytes(Field::Password)?),
        };
        reader.end(Kind::Connect)?;
        Ok(Self {
            clean_session: flags.clean_session,
            keep_alive,
            client_id,
            will,
            username,
            password,
        })
    }
}

/// The connect flags, section 3.1.2.3.
struct Flags {
    clean_session: bool,
    will: Option<(QoS, bool)>,
    username: bool,
    password: bool,
}

impl Flags {
    fn read(byte: u8) -> Result<Self, Error> {
        if byte & RESERVED != 0 {
            return Err(Error::ConnectFlagReserved);
        }
        let qos_bits = (byte >> WILL_QOS_SHIFT) & 0b11;
        let retain = byte & WILL_RETAIN != 0;
        let will = if byte & WILL != 0 {
            Some((
                QoS::from_bits(qos_bits).ok_or(Error::WillQosReserved)?,
                retain,
            ))
        } else if qos_bits != 0 {
            return Err(Error::WillQosWithoutWill);
        } else if retain {
            return Err(Error::WillRetainWithoutWill);
        } else {
            None
        };
        let (username, password) = (byte & USERNAME != 0, byte & PASSWORD != 0);
        if password && !username {
            return Err(Error::PasswordWithoutUsername);
        }
        Ok(Self {
            clean_session: byte & CLEAN_SESSION != 0,
            will,
            username,
            password,
        })
    }
}

/// Appends a CONNECT; a client's part.
///
/// Its flags follow from the fields as they are: a password without a user name is written, so that
/// a test can send what [MQTT-3.1.2-22] forbids.
///
/// # Errors
///
/// [`EncodeError::FieldTooLong`]; `out` is then as it was.
pub fn encode_connect(out: &mut Vec<u8>, connect: &Connect<'_>) -> Result<(), EncodeError> {
    let mut len = 2 + PROTOCOL_NAME.len() + 1 + 1 + 2;
    let mut flags = if connect.clean_session {
        CLEAN_SESSION
    } else {
        0
    };
    len += write::field_len(connect.client_id.len(), Field::ClientId)?;
    if let Some(will) = &connect.will {
        len += write::field_len(will.topic.len(), Field::WillTopic)?;
        len += write::field_len(will.payload.len(), Field::WillPayload)?;
        flags |= WILL | (will.qos.bits() << WILL_QOS_SHIFT);
        flags |= if will.retain { WILL_RETAIN } else { 0 };
    }
    if let Some(username) = connect.username {
        len += write::field_len(username.len(), Field::Username)?;
        flags |= USERNAME;
    }
    if let Some(password) = connect.password {
        len += write::field_len(password.len(), Field::Password)?;
        flags |= PASSWORD;
    }
    write::header(out, Kind::Connect.first_byte(), write::body_len(len)?);
    write::bytes(out, PROTOCOL_NAME);
    out.extend_from_slice(&[LEVEL, flags]);
    out.extend_from_slice(&connect.keep_alive.to_be_bytes());
    write::bytes(out, connect.client_id.as_bytes());
    if let Some(will) = &connect.will {
        write::bytes(out, will.topic.as_bytes());
        write::bytes(out, will.payload);
    }
    if let Some(username) = connect.username {
        write::bytes(out, username.as_bytes());
    }
    if let Some(password) = connect.password {
        write::bytes(out, password);
    }
    Ok(())
}
