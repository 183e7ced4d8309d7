//! Every bound on memory and work that core keeps, with the reasoning for its number (P11).
//!
//! Settings are fields of [`Limits`]; what nobody should turn is a constant.

use std::time::Duration;

/// Commands in one log entry: the measured best of the batcher, and below [`crate::ids::Position`]'s offsets.
pub const BATCH_COMMANDS: usize = 512;
/// Bytes of one log entry, unless a single command is larger: keeps an append RPC small.
pub const BATCH_BYTES: usize = 64 * 1024;
/// Log entries of one lane under way at once; with this many the batches grow by themselves.
pub const BATCHES_IN_FLIGHT: usize = 4;
/// Commands waiting in a node's lanes; above it shards are refused and hold their publishers.
pub const PROPOSER_QUEUE: usize = 64 * 1024;
/// Bytes waiting in a node's lanes.
pub const PROPOSER_BYTES: usize = 64 * 1024 * 1024;
/// Sessions or interest entries that one `Sweep` command ends: bounds the work of one apply.
pub const SWEEP_BATCH: usize = 256;
/// Client identifiers: the service has no rule; a topic's limit is ample and bounds a session's memory.
pub const CLIENT_ID_BYTES: usize = 1024;
/// Topic names and filters, in bytes of UTF-8 (compat: Limits).
pub const TOPIC_BYTES: usize = 1024;
/// Payloads up to this size are copied into each receiver's buffer; larger ones are shared.
pub const COPY_BYTES: usize = 4 * 1024;
/// Frames of a link that are not yet acknowledged as received.
pub const LINK_WINDOW_FRAMES: usize = 256;
/// Bytes of a link that are not yet acknowledged as received.
pub const LINK_WINDOW_BYTES: usize = 8 * 1024 * 1024;
/// Bytes waiting for a link's window; above it QoS 0 is dropped and QoS 1 publishers are not read.
pub const LINK_QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of messages in one frame of a link.
pub const FRAME_BYTES: usize = 256 * 1024;

/// Bounds that an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a message's payload; a longer one closes the connection. At most 268,435,455.
    pub max_payload: usize,
    /// Unanswered QoS 1 messages of one publisher; with so many it is not read.
    pub max_inbound_inflight: u16,
    /// QoS 1 messages sent to one subscriber and not acknowledged; more wait in its queue.
    pub send_window: u16,
    /// Messages queued for one session, behind its send window or its write buffer, above which its publishers' answers
    /// are held back. Those in the write buffer count in bytes only: a burst of one round is not a slow client.
    pub soft_messages: usize,
    /// Bytes queued or unsent for one session above which its publishers' answers are held back.
    pub soft_bytes: usize,
    /// Messages queued for one session at which it is closed as `slow_consumer`. At least the soft bound
    /// plus the windows of the publishers that may be under way to it.
    pub hard_messages: usize,
    /// Bytes queued or unsent for one session at which it is closed as `slow_consumer`.
    pub hard_bytes: usize,
    /// A receiver with something to read and no progress for so long is closed as `slow_consumer`.
    pub slow_consumer_timeout: Duration,
    /// Subscriptions of one session; a SUBSCRIBE above it is answered 0x80.
    pub max_subscriptions: usize,
    /// Bytes read from one socket in one round.
    pub read_budget: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_payload: 256 * 1024,
            max_inbound_inflight: 1024,
            send_window: 128,
            soft_messages: 1_000,
            soft_bytes: 1024 * 1024,
            hard_messages: 100_000,
            hard_bytes: 64 * 1024 * 1024,
            slow_consumer_timeout: Duration::from_secs(10),
            max_subscriptions: 1_000,
            read_budget: 64 * 1024,
        }
    }
}
