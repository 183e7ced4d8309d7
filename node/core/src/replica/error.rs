//! What can be wrong with the bytes of an entry or a snapshot.
//!
//! None of these is retryable: the bytes are damaged, or of a newer version than this one.

/// Bytes that are no entry or no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The entry is of an unknown version, or empty.
    #[error("decode entry: unknown version {found:?}")]
    EntryVersion {
        /// The version byte; none in an empty entry.
        found: Option<u8>,
    },
    /// The entry's bytes are malformed.
    #[error("decode entry of {bytes} bytes: malformed")]
    Entry {
        /// Its length.
        bytes: usize,
        /// What is wrong.
        #[source]
        source: postcard::Error,
    },
    /// Something follows the entry.
    #[error("decode entry: {bytes} bytes follow it")]
    EntryTail {
        /// How many.
        bytes: usize,
    },
    /// The batch is longer than [`crate::limits::BATCH_COMMANDS`].
    #[error("decode entry: a batch of {commands} commands")]
    EntryLength {
        /// How many commands it has.
        commands: usize,
    },
    /// The snapshot is of an unknown version, or empty.
    #[error("read snapshot: unknown version {found:?}")]
    SnapshotVersion {
        /// The version byte; none in an empty snapshot.
        found: Option<u8>,
    },
    /// A record of the snapshot is malformed, or the snapshot ends without its last one.
    #[error("read snapshot: malformed record at byte {offset}")]
    SnapshotRecord {
        /// Where it begins.
        offset: usize,
        /// What is wrong.
        #[source]
        source: postcard::Error,
    },
    /// A record of the snapshot contradicts the ones before it.
    #[error("read snapshot: the record at byte {offset} contradicts earlier ones: {what}")]
    SnapshotContradiction {
        /// Where it begins.
        offset: usize,
        /// The rule that it breaks.
        what: &'static str,
    },
    /// Something follows the snapshot's last record.
    #[error("read snapshot: {bytes} bytes follow it")]
    SnapshotTail {
        /// How many.
        bytes: usize,
    },
}
