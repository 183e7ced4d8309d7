//! Why a connection was closed, a CONNECT refused or a message dropped.
//!
//! Each close, refusal and drop has exactly one of these; it feeds log, counter and API alike.

/// Why an established connection was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Close {
    /// The client sent DISCONNECT.
    ClientDisconnect,
    /// Nothing came for one and a half keep-alives [MQTT-3.1.2-24].
    KeepAliveTimeout,
    /// Another connection claimed the session [MQTT-3.1.4-2].
    Takeover,
    /// The node is shutting down.
    Drain,
    /// The node's lease ran out, or its incarnation ended.
    Fence,
    /// The client broke a rule of the standard.
    ProtocolError,
    /// A publish without the right to it.
    NotAuthorized,
    /// A payload above the limit.
    TooLarge,
    /// The credential, device or registry is gone or disabled.
    AuthRevoked,
    /// The receiver did not read for too long, or its queue reached the hard bound.
    SlowConsumer,
    /// The socket failed or ended.
    IoError,
    /// The Claim could not be committed.
    NoQuorum,
    /// A packet that this version does not serve yet (QoS 2 publishes).
    Unsupported,
    /// The node's lanes to the replicated log were full.
    Overload,
}

impl Close {
    /// All reasons, for counters that start at zero.
    pub const ALL: [Self; 14] = [
        Self::ClientDisconnect,
        Self::KeepAliveTimeout,
        Self::Takeover,
        Self::Drain,
        Self::Fence,
        Self::ProtocolError,
        Self::NotAuthorized,
        Self::TooLarge,
        Self::AuthRevoked,
        Self::SlowConsumer,
        Self::IoError,
        Self::NoQuorum,
        Self::Unsupported,
        Self::Overload,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::ClientDisconnect => "client_disconnect",
            Self::KeepAliveTimeout => "keepalive_timeout",
            Self::Takeover => "takeover",
            Self::Drain => "drain",
            Self::Fence => "fence",
            Self::ProtocolError => "protocol_error",
            Self::NotAuthorized => "not_authorized",
            Self::TooLarge => "too_large",
            Self::AuthRevoked => "auth_revoked",
            Self::SlowConsumer => "slow_consumer",
            Self::IoError => "io_error",
            Self::NoQuorum => "no_quorum",
            Self::Unsupported => "unsupported",
            Self::Overload => "overload",
        }
    }

    /// Whether the will fires when the connection ends for this reason (design section 5 *Wills*).
    pub fn fires_will(self) -> bool {
        !matches!(self, Self::ClientDisconnect | Self::AuthRevoked)
    }
}

/// Why a message was not delivered to one receiver or at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Drop {
    /// Nobody subscribes.
    NoSubscriber,
    /// A QoS 0 copy for a receiver above its soft bound.
    Qos0Slow,
    /// A QoS 0 message for a link above its bound.
    LinkFull,
    /// The session ended with the copy still queued.
    SessionEnded,
}

impl Drop {
    /// All reasons, for counters that start at zero.
    pub const ALL: [Self; 4] = [
        Self::NoSubscriber,
        Self::Qos0Slow,
        Self::LinkFull,
        Self::SessionEnded,
    ];

    /// The label in metrics and logs.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoSubscriber => "no_subscriber",
            Self::Qos0Slow => "qos0_slow",
            Self::LinkFull => "link_full",
            Self::SessionEnded => "session_ended",
        }
    }
}
