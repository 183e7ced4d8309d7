//! The first packet: what a CONNECT must be, and what becomes of it. A function of bytes.

use std::{sync::Arc, time::Duration};

use mainstay_core::{
    codec::{Connect, Error, Packet, decode, frame},
    ids::ClientId,
    limits::{CLIENT_ID_BYTES, TOPIC_BYTES},
    shard::LoginWill,
};

use super::{bounds::CONNECT_BYTES, refuse::Reject};

/// The first byte of a CONNECT: its type, and flags that must be zero.
const CONNECT_BYTE: u8 = 0x10;

/// What is at the start of the bytes.
pub(super) enum First<'a> {
    /// Not all of the packet; it may be of so many bytes in all, where that is known.
    Incomplete {
        /// The packet's length.
        length: Option<usize>,
    },
    /// The CONNECT, and its length.
    Connect(Connect<'a>, usize),
}

/// Reads the first packet.
///
/// # Errors
///
/// What is wrong with it, and the codec's words for it.
pub(super) fn read(bytes: &[u8]) -> Result<First<'_>, (Reject, String)> {
    match bytes.first() {
        None => return Ok(First::Incomplete { length: None }),
        Some(&CONNECT_BYTE) => {}
        Some(other) => {
            let cause = format!("the first byte is {other:#04x}");
            return Err((Reject::ProtocolError, cause));
        }
    }
    let frame = frame(bytes, CONNECT_BYTES).map_err(|error| (reject(&error), error.to_string()))?;
    let Some(frame) = frame else {
        return Ok(First::Incomplete {
            length: announced(bytes),
        });
    };
    match decode(frame.first_byte, frame.body) {
        Ok(Packet::Connect(connect)) => Ok(First::Connect(connect, frame.len)),
        Ok(_) => Err((Reject::ProtocolError, "not a CONNECT".to_owned())),
        Err(error) => Err((reject(&error), error.to_string())),
    }
}

fn reject(error: &Error) -> Reject {
    match error {
        Error::UnsupportedLevel { .. } => Reject::UnsupportedVersion,
        Error::PacketTooLarge { .. } => Reject::TooLarge,
        _ => Reject::ProtocolError,
    }
}

/// The length that the fixed header announces (section 2.2.3), once it is there.
fn announced(bytes: &[u8]) -> Option<usize> {
    let mut remaining = 0;
    for (at, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        remaining |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some(2 + at + remaining);
        }
    }
    None
}

/// The client ID that the session gets. An empty one is made up of `random` if the session is clean
/// [MQTT-3.1.3-6], else refused [MQTT-3.1.3-8].
pub(super) fn client_id(connect: &Connect<'_>, random: [u8; 16]) -> Result<ClientId, Reject> {
    if connect.client_id.len() > CLIENT_ID_BYTES {
        return Err(Reject::BadClientId);
    }
    if !connect.client_id.is_empty() {
        return Ok(ClientId(Arc::from(connect.client_id)));
    }
    if !connect.clean_session {
        return Err(Reject::BadClientId);
    }
    Ok(ClientId(
        format!("auto-{:032x}", u128::from_le_bytes(random)).into(),
    ))
}

/// The keep-alive; zero turns it off (section 3.1.2.10).
pub(super) fn keep_alive(connect: &Connect<'_>) -> Duration {
    Duration::from_secs(u64::from(connect.keep_alive))
}

/// The will, if there is one.
pub(super) fn will(connect: &Connect<'_>) -> Result<Option<LoginWill>, Reject> {
    let Some(will) = &connect.will else {
        return Ok(None);
    };
    if will.topic.len() > TOPIC_BYTES {
        return Err(Reject::TooLarge);
    }
    Ok(Some(LoginWill {
        topic: will.topic.to_owned(),
        payload: will.payload.to_vec().into(),
        qos: will.qos,
        retain: will.retain,
    }))
}
