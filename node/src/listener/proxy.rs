//! The PROXY protocol header, versions 1 and 2, as a function of bytes.
//!
//! Called by `greet` with what has arrived so far, before TLS, and only for peers that may send it. It never
//! panics on bytes; TLVs that it does not know are ignored, a checksum is verified when there is one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest version 1 header with its line end, as the protocol says.
const V1_BYTES: usize = 107;
const V1_PREFIX: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V2_FIXED: usize = 16;
/// The longest address block of version 2: two Unix paths.
const V2_ADDRESSES: usize = 216;
/// TLVs of version 2: no balancer that is known sends more without being asked to.
const V2_TLVS: usize = 4 * 1024;
/// The type of the checksum's TLV.
const TLV_CRC32C: u8 = 0x03;

/// The longest header that is accepted, in bytes.
pub(super) const MAX_HEADER: usize = V2_FIXED + V2_ADDRESSES + V2_TLVS;

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// Perhaps a header, but not all of it.
    Incomplete,
    /// No header.
    Absent,
    /// A header of so many bytes.
    Header {
        /// Its length.
        length: usize,
        /// The client's address; none for the balancer's own checks (LOCAL) and for families other than IP.
        source: Option<SocketAddr>,
    },
}

/// A header that breaks the protocol; the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("PROXY line is malformed")]
    Line,
    #[error("PROXY line is longer than {V1_BYTES} bytes")]
    LineTooLong,
    #[error("PROXY header has version or command {0:#04x}")]
    Command(u8),
    #[error("PROXY header of {0} bytes is too long")]
    TooLong(usize),
    #[error("PROXY header is too short for its addresses")]
    TooShort,
    #[error("PROXY header has a malformed TLV")]
    Tlv,
    #[error("PROXY header's checksum is wrong")]
    Checksum,
}

/// Looks for a header at the start of `bytes`.
pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if starts_like(bytes, V2_SIGNATURE) {
        return if bytes.len() < V2_FIXED {
            Ok(Parsed::Incomplete)
        } else {
            parse_v2(bytes)
        };
    }
    if starts_like(bytes, V1_PREFIX) {
        return if bytes.len() < V1_PREFIX.len() {
            Ok(Parsed::Incomplete)
        } else {
            parse_v1(bytes)
        };
    }
    Ok(Parsed::Absent)
}

/// Whether the two agree as far as the shorter goes.
fn starts_like(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.iter().zip(prefix).all(|(left, right)| left == right)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let window = &bytes[..bytes.len().min(V1_BYTES)];
    let Some(end) = window.windows(2).position(|pair| pair == b"\r\n") else {
        let room = bytes.len() < V1_BYTES;
        return if room {
            Ok(Parsed::Incomplete)
        } else {
            Err(ProxyError::LineTooLong)
        };
    };
    let line = std::str::from_utf8(&bytes[..end]).map_err(|_| ProxyError::Line)?;
    let length = end + 2;
    let mut words = line.split(' ').skip(1);
    let family = words.next().unwrap_or_default();
    // What follows UNKNOWN must be ignored.
    if family == "UNKNOWN" {
        return Ok(Parsed::Header {
            length,
            source: None,
        });
    }
    let mut word = || words.next().ok_or(ProxyError::Line);
    let (source, target, source_port, target_port) = (word()?, word()?, word()?, word()?);
    if words.next().is_some() {
        return Err(ProxyError::Line);
    }
    let address = |text: &str| -> Result<IpAddr, ProxyError> {
        let address = match family {
            "TCP4" => text.parse().map(IpAddr::V4),
            "TCP6" => text.parse().map(IpAddr::V6),
            _ => return Err(ProxyError::Line),
        };
        address.map_err(|_| ProxyError::Line)
    };
    address(target)?;
    port(target_port)?;
    let source = SocketAddr::new(address(source)?, port(source_port)?);
    Ok(Parsed::Header {
        length,
        source: Some(source),
    })
}

fn port(text: &str) -> Result<u16, ProxyError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let leading = text.len() > 1 && text.starts_with('0');
    if !digits || leading {
        return Err(ProxyError::Line);
    }
    text.parse().map_err(|_| ProxyError::Line)
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    let (command, family) = (bytes[12], bytes[13]);
    let local = match command {
        0x20 => true,
        0x21 => false,
        other => return Err(ProxyError::Command(other)),
    };
    let body_length = usize::from(u16::from_be_bytes([bytes[14], bytes[15]]));
    let length = V2_FIXED + body_length;
    if length > MAX_HEADER {
        return Err(ProxyError::TooLong(length));
    }
    let Some(header) = bytes.get(..length) else {
        return Ok(Parsed::Incomplete);
    };
    let body = &header[V2_FIXED..];
    let addresses = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => V2_ADDRESSES,
        // Unspecified, or of a later version: nothing is known about what follows.
        _ => {
            return Ok(Parsed::Header {
                length,
                source: None,
            });
        }
    };
    if body.len() < addresses {
        // The balancer's own check may come without addresses.
        return if local {
            Ok(Parsed::Header {
                length,
                source: None,
            })
        } else {
            Err(ProxyError::TooShort)
        };
    }
    check_tlvs(header, V2_FIXED + addresses)?;
    let source = if local { None } else { source(family, body) };
    Ok(Parsed::Header { length, source })
}

fn source(family: u8, body: &[u8]) -> Option<SocketAddr> {
    let port = |at: usize| Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?));
    match family {
        0x11 => {
            let octets: [u8; 4] = body.get(..4)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv4Addr::from(octets).into(), port(8)?))
        }
        0x21 => {
            let octets: [u8; 16] = body.get(..16)?.try_into().ok()?;
            Some(SocketAddr::new(Ipv6Addr::from(octets).into(), port(32)?))
        }
        // Datagrams and Unix sockets have no address that means anything here.
        _ => None,
    }
}

fn check_tlvs(header: &[u8], mut at: usize) -> Result<(), ProxyError> {
    if header.len() - at > V2_TLVS {
        return Err(ProxyError::TooLong(header.len()));
    }
    while at < header.len() {
        let [kind, high, low] = *header.get(at..at + 3).ok_or(ProxyError::Tlv)? else {
            return Err(ProxyError::Tlv);
        };
        let value = at + 3;
        let end = value + usize::from(u16::from_be_bytes([high, low]));
        let bytes = header.get(value..end).ok_or(ProxyError::Tlv)?;
        if kind == TLV_CRC32C {
            let stated: [u8; 4] = bytes.try_into().map_err(|_| ProxyError::Tlv)?;
            // The checksum is of the header with zeros in its own place.
            let mut sum = crc32c::crc32c(&header[..value]);
            sum = crc32c::crc32c_append(sum, &[0; 4]);
            sum = crc32c::crc32c_append(sum, &header[end..]);
            if sum != u32::from_be_bytes(stated) {
                return Err(ProxyError::Checksum);
            }
        }
        at = end;
    }
    Ok(())
}
