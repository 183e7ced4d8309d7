//! Entries as bytes: a version byte and postcard.
//!
//! What the agreed log stores and carries. Decoded topics, names and payloads are copies of their own, so
//! that a value that is kept does not keep the whole entry.

use bytes::Bytes;

use crate::{
    limits::BATCH_COMMANDS,
    replica::{Entry, Error},
};

/// The version that this build writes, and the newest that it reads.
const VERSION: u8 = 1;

impl Entry {
    /// The entry as bytes.
    pub fn encode(&self) -> Bytes {
        let bytes = postcard::to_extend(self, vec![VERSION])
            .expect("a Vec takes all bytes, and every length in an entry is known");
        bytes.into()
    }

    /// Reads what [`Entry::encode`] wrote, of this version or an earlier one.
    ///
    /// # Errors
    /// When the bytes are no entry of a known version, or anything follows it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let Some((&VERSION, body)) = bytes.split_first() else {
            return Err(Error::EntryVersion {
                found: bytes.first().copied(),
            });
        };
        let (entry, rest) = postcard::take_from_bytes(body).map_err(|source| Error::Entry {
            bytes: bytes.len(),
            source,
        })?;
        if !rest.is_empty() {
            return Err(Error::EntryTail { bytes: rest.len() });
        }
        match &entry {
            Self::Batch { commands, .. } if commands.len() > BATCH_COMMANDS => {
                Err(Error::EntryLength {
                    commands: commands.len(),
                })
            }
            _ => Ok(entry),
        }
    }
}
