//! What can go wrong in `store`, with the operation and the file named.
//!
//! One value may answer many waiting calls, so errors are cheap to clone. None of them is worth
//! a retry: the log has stopped, or refuses to open, until a human or a new start looks at it.

use std::io;
use std::sync::Arc;

use super::units::{ByteCount, Index};

/// An error of the log or of a snapshot file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The operating system refused an operation on a file or folder.
    #[error("cannot {operation} {path}")]
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// The file or folder.
        path: String,
        /// What the operating system said.
        source: Arc<io::Error>,
    },
    /// A file holds bytes that this program cannot have left there.
    #[error("{path} is damaged at offset {offset}: {what}")]
    Damaged {
        /// The file.
        path: String,
        /// Where in the file, in bytes from its start.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// Entries that were never purged lie in no segment file.
    #[error("the log lacks entries from {from} up to {path}: a segment file is missing")]
    Missing {
        /// The first entry that should be there.
        from: Index,
        /// The first segment file that is there.
        path: String,
    },
    /// An append would leave a hole in the log.
    #[error("the log expects entry {expected} next, not {got}")]
    OutOfOrder {
        /// The only index that may follow.
        expected: Index,
        /// The index that came.
        got: Index,
    },
    /// An entry is too large for the format.
    #[error("a record of {size} is larger than a log record may be")]
    TooLarge {
        /// The size of the record.
        size: ByteCount,
    },
    /// An earlier write or sync failed; nothing is accepted since.
    #[error("the log stopped after a failure")]
    Stopped {
        /// The failure that stopped it.
        source: Arc<Error>,
    },
    /// The log was closed while the call waited.
    #[error("the log is closed")]
    Closed,
}

impl Error {
    /// Returns a function that names the operation and path of an I/O error.
    pub(super) fn io(operation: &'static str, path: &str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            operation,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Returns the error that later calls get once this one has stopped the log.
    pub(super) fn stopping(&self) -> Self {
        match self {
            Self::Stopped { .. } => self.clone(),
            other => Self::Stopped {
                source: Arc::new(other.clone()),
            },
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        io::Error::other(error)
    }
}
