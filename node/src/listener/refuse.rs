//! Why a connection is refused before or at its CONNECT: the answer, the counter, the log line.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU64, Ordering},
};

use mainstay_core::codec::ConnackCode;

use super::metrics;
use crate::{shards::Door, tasks::clock};

/// Refusals logged in one second; a storm must not be doubled by its own log.
const LINES_PER_SECOND: u64 = 10;

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reject {
    /// The TLS handshake failed.
    TlsError,
    /// The PROXY header is malformed, missing, or comes from someone who may not send it.
    ProxyError,
    /// Header, handshake or CONNECT took too long.
    ConnectTimeout,
    /// The socket failed or ended in the middle.
    IoError,
    /// The first packet is no well-formed CONNECT [MQTT-3.1.0-1].
    ProtocolError,
    /// The CONNECT is above its bound.
    TooLarge,
    /// Another version of MQTT [MQTT-3.1.2-2].
    UnsupportedVersion,
    /// The client ID is empty with clean session 0 [MQTT-3.1.3-8], or too long.
    BadClientId,
    /// User name or password.
    NotAuthorized,
    /// Too many connections.
    Quota,
    /// Too many logins at once.
    Busy,
    /// The node does not serve now.
    NoQuorum,
}

impl Reject {
    /// All reasons, for counters that start at zero.
    pub(super) const ALL: [Self; 12] = [
        Self::TlsError,
        Self::ProxyError,
        Self::ConnectTimeout,
        Self::IoError,
        Self::ProtocolError,
        Self::TooLarge,
        Self::UnsupportedVersion,
        Self::BadClientId,
        Self::NotAuthorized,
        Self::Quota,
        Self::Busy,
        Self::NoQuorum,
    ];

    /// The label in metrics and logs.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::TlsError => "tls_error",
            Self::ProxyError => "proxy_error",
            Self::ConnectTimeout => "connect_timeout",
            Self::IoError => "io_error",
            Self::ProtocolError => "protocol_error",
            Self::TooLarge => "too_large",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadClientId => "bad_client_id",
            Self::NotAuthorized => "not_authorized",
            Self::Quota => "quota",
            Self::Busy => "busy",
            Self::NoQuorum => "no_quorum",
        }
    }

    /// The answer, where the standard has one.
    pub(super) fn connack(self) -> Option<ConnackCode> {
        match self {
            Self::UnsupportedVersion => Some(ConnackCode::UnacceptableProtocolVersion),
            Self::BadClientId => Some(ConnackCode::IdentifierRejected),
            Self::NotAuthorized => Some(ConnackCode::BadUsernameOrPassword),
            Self::Busy | Self::NoQuorum => Some(ConnackCode::ServerUnavailable),
            _ => None,
        }
    }
}

/// Counts a refusal, and logs it unless there are too many.
pub(super) fn report(
    door: Door,
    client: SocketAddr,
    client_id: Option<&str>,
    why: Reject,
    cause: &str,
) {
    metrics::rejected(door, why);
    if why == Reject::IoError {
        tracing::debug!(%client, door = door.label(), cause, "client went away before its login");
        return;
    }
    if let Some(suppressed) = LINES.take(clock::nanos() / 1_000_000_000) {
        tracing::info!(
            %client,
            client_id,
            door = door.label(),
            why = why.label(),
            cause,
            suppressed,
            "connection refused"
        );
    }
}

static LINES: Lines = Lines {
    second: AtomicU64::new(0),
    count: AtomicU64::new(0),
};

/// Log lines of one second. Races between threads cost or give a line, no more.
struct Lines {
    second: AtomicU64,
    count: AtomicU64,
}

impl Lines {
    /// Whether a line may be written, and how many were not in the second before this one's first.
    fn take(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            let count = self.count.swap(1, Ordering::Relaxed);
            return Some(count.saturating_sub(LINES_PER_SECOND));
        }
        (self.count.fetch_add(1, Ordering::Relaxed) < LINES_PER_SECOND).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_its_lines_and_the_next_says_how_many_were_left_out() {
        let lines = Lines {
            second: AtomicU64::new(0),
            count: AtomicU64::new(0),
        };
        let written = (0..100).filter(|_| lines.take(7).is_some()).count();
        assert_eq!(written as u64, LINES_PER_SECOND);
        assert_eq!(lines.take(8), Some(100 - LINES_PER_SECOND));
        assert_eq!(lines.take(8), Some(0));
    }
}
