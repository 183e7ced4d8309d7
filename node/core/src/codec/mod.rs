//! MQTT 3.1.1 on bytes, for the server and for the client that tests and simulation need.
//!
//! [`frame`] cuts one packet off a read buffer, [`decode`] reads it without an allocation, the
//! `encode_…` functions append a packet to a write buffer. Called by the connection and by
//! `session`. It decides what is malformed and nothing else: what a well-formed packet means, and
//! whether it is allowed now, is decided by its callers. It never panics on bytes from a peer.

mod ack;
mod connack;
mod connect;
mod empty;
mod error;
mod frame;
mod packet_id;
mod publish;
mod qos;
mod read;
mod suback;
mod subscribe;
mod unsubscribe;
mod write;

#[cfg(test)]
mod roundtrip_test;
#[cfg(test)]
mod rules_test;

pub use ack::{encode_puback, encode_pubcomp, encode_pubrec, encode_pubrel, encode_unsuback};
pub use connack::{Connack, ConnackCode, encode_connack};
pub use connect::{Connect, Will, encode_connect};
pub use empty::{encode_disconnect, encode_pingreq, encode_pingresp};
pub use error::{EncodeError, Error, Field, Kind};
pub use frame::{Frame, MAX_PACKET, frame};
pub use packet_id::PacketId;
pub use publish::{Publish, PublishHead, encode_publish, encode_publish_head, patch_packet_id};
pub use qos::QoS;
pub use suback::{Suback, SubackCode, SubackCodes, encode_suback};
pub use subscribe::{Subscribe, SubscribeFilters, encode_subscribe};
pub use unsubscribe::{Unsubscribe, UnsubscribeFilters, encode_unsubscribe};

/// One decoded packet; what is of variable length borrows from the read buffer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// Client to server, section 3.1.
    Connect(Connect<'a>),
    /// Server to client, section 3.2.
    Connack(Connack),
    /// Both ways, section 3.3.
    Publish(Publish<'a>),
    /// Both ways, section 3.4.
    Puback(PacketId),
    /// Both ways, section 3.5.
    Pubrec(PacketId),
    /// Both ways, section 3.6.
    Pubrel(PacketId),
    /// Both ways, section 3.7.
    Pubcomp(PacketId),
    /// Client to server, section 3.8.
    Subscribe(Subscribe<'a>),
    /// Server to client, section 3.9.
    Suback(Suback<'a>),
    /// Client to server, section 3.10.
    Unsubscribe(Unsubscribe<'a>),
    /// Server to client, section 3.11.
    Unsuback(PacketId),
    /// Client to server, section 3.12.
    Pingreq,
    /// Server to client, section 3.13.
    Pingresp,
    /// Client to server, section 3.14.
    Disconnect,
}

/// Decodes one packet from its first byte and its body, as [`frame`] gave them.
///
/// Packets that only a server may send are decoded as well; refusing them is the caller's part.
///
/// # Errors
///
/// The rule that the packet breaks; the connection must then be closed [MQTT-4.8.0-1].
/// [`Error::UnsupportedLevel`] alone has an answer before that: CONNACK 1 [MQTT-3.1.2-2].
#[inline]
pub fn decode(first_byte: u8, body: &[u8]) -> Result<Packet<'_>, Error> {
    let flags = first_byte & 0x0f;
    match Kind::of(first_byte)? {
        Kind::Publish => Publish::decode(flags, body).map(Packet::Publish),
        kind => {
            kind.check_flags(flags)?;
            decode_other(kind, body)
        }
    }
}

/// Decodes what is not a PUBLISH; the flags are checked already.
fn decode_other(kind: Kind, body: &[u8]) -> Result<Packet<'_>, Error> {
    match kind {
        Kind::Puback => ack::decode(kind, body).map(Packet::Puback),
        Kind::Pubrec => ack::decode(kind, body).map(Packet::Pubrec),
        Kind::Pubrel => ack::decode(kind, body).map(Packet::Pubrel),
        Kind::Pubcomp => ack::decode(kind, body).map(Packet::Pubcomp),
        Kind::Unsuback => ack::decode(kind, body).map(Packet::Unsuback),
        Kind::Connect => Connect::decode(body).map(Packet::Connect),
        Kind::Connack => Connack::decode(body).map(Packet::Connack),
        Kind::Publish => Publish::decode(0, body).map(Packet::Publish),
        Kind::Subscribe => Subscribe::decode(body).map(Packet::Subscribe),
        Kind::Suback => Suback::decode(body).map(Packet::Suback),
        Kind::Unsubscribe => Unsubscribe::decode(body).map(Packet::Unsubscribe),
        Kind::Pingreq => empty::decode(kind, body).map(|()| Packet::Pingreq),
        Kind::Pingresp => empty::decode(kind, body).map(|()| Packet::Pingresp),
        Kind::Disconnect => empty::decode(kind, body).map(|()| Packet::Disconnect),
    }
}
