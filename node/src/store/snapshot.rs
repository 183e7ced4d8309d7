//! Snapshot files: one whole state each, written beside the log, read back in checked pieces.
//!
//! Layout: header (56 bytes), meta bytes, then chunks of at most 1 MiB, each with its CRC-32C before
//! it. A file has its name only once it is whole and durable (write, sync, rename, sync of the
//! folder), so a name means a snapshot. What state and meta mean is the business of `raft`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::disk::{File, Folder};
use super::error::Error;
use super::units::{ByteCount, Index};

/// Bytes of state under one checksum; also the most that a reader holds.
const CHUNK: usize = 1 << 20;

/// Largest meta. It holds a log ID and a membership, which is a few KiB at most.
const MAX_META: usize = 1 << 20;

const HEADER: usize = 56;
const CRC: u64 = 4;
const MAGIC: [u8; 8] = *b"MNSTYSNP";
const VERSION: u32 = 1;
const SUFFIX: &str = ".snapshot";
const PART_SUFFIX: &str = ".part";

/// The folder of the snapshots of one node. Has one owner; writers and readers are made by it.
#[derive(Debug, Clone)]
pub struct Snapshots {
    folder: Arc<dyn Folder>,
    /// Numbers the parts: one may be built while another of the same index arrives from a peer.
    parts: Arc<AtomicU64>,
}

impl Snapshots {
    /// Opens the folder and removes what an interrupted run left half-written.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn open(folder: Arc<dyn Folder>) -> Result<Self, Error> {
        for name in names(&*folder)? {
            if name.ends_with(PART_SUFFIX) {
                folder
                    .remove(&name)
                    .map_err(Error::io("remove", &folder.path(&name)))?;
            }
        }
        // A name that only the page cache has must be durable before the log is purged up to it.
        folder
            .sync()
            .map_err(Error::io("sync folder", &folder.path("")))?;
        let parts = Arc::default();
        Ok(Self { folder, parts })
    }

    /// Begins the snapshot of the state at `index`. Nothing is visible before `finish`; what is
    /// not finished is removed at the next start.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::TooLarge` for meta above 1 MiB.
    pub fn create(&self, index: Index, meta: &[u8]) -> Result<SnapshotWriter, Error> {
        if meta.len() > MAX_META {
            let size = ByteCount(meta.len() as u64);
            return Err(Error::TooLarge { size });
        }
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let part = format!("{:016x}-{number}{PART_SUFFIX}", index.0);
        let path = self.folder.path(&part);
        let file = self
            .folder
            .create(&part)
            .map_err(Error::io("create", &path))?;
        // The header follows when the length is known.
        file.write_at(meta, HEADER as u64)
            .map_err(Error::io("write", &path))?;
        Ok(SnapshotWriter {
            folder: Arc::clone(&self.folder),
            file,
            part,
            path,
            index,
            meta: meta.to_vec(),
            chunk: Vec::new(),
            offset: (HEADER + meta.len()) as u64,
            length: 0,
        })
    }

    /// Opens the newest snapshot and checks its header and meta; nothing if there is none.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::Damaged`: the log has been purged up to it, so there is no other.
    pub fn latest(&self) -> Result<Option<Snapshot>, Error> {
        match self.indexes()?.last() {
            Some(index) => Snapshot::open(&*self.folder, *index).map(Some),
            None => Ok(None),
        }
    }

    /// Removes all snapshots older than `keep`. Who still reads one can go on.
    ///
    /// # Errors
    /// `Error::Io`; what is left is removed next time.
    pub fn remove_older(&self, keep: &Snapshot) -> Result<(), Error> {
        let older: Vec<_> = self.indexes()?;
        for index in older.into_iter().filter(|index| *index < keep.index) {
            let name = file_name(index);
            self.folder
                .remove(&name)
                .map_err(Error::io("remove", &self.folder.path(&name)))?;
        }
        self.folder
            .sync()
            .map_err(Error::io("sync folder", &self.folder.path("")))
    }

    fn indexes(&self) -> Result<Vec<Index>, Error> {
        let mut indexes: Vec<_> = names(&*self.folder)?
            .iter()
            .filter_map(|name| {
                let index = u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?;
                (file_name(Index(index)) == *name).then_some(Index(index))
            })
            .collect();
        indexes.sort_unstable();
        Ok(indexes)
    }
}

fn names(folder: &dyn Folder) -> Result<Vec<String>, Error> {
    folder.names().map_err(Error::io("list", &folder.path("")))
}

fn file_name(index: Index) -> String {
    format!("{:016x}{SUFFIX}", index.0)
}

/// A snapshot being written. Dropped without `finish`, it leaves a part file and no snapshot.
#[derive(Debug)]
pub struct SnapshotWriter {
    folder: Arc<dyn Folder>,
    file: Arc<dyn File>,
    part: String,
    path: String,
    index: Index,
    meta: Vec<u8>,
    /// The checksum's place and the bytes of the chunk that is not yet full.
    chunk: Vec<u8>,
    offset: u64,
    length: u64,
}

impl SnapshotWriter {
    /// Adds bytes of the state. Blocks on the disk.
    ///
    /// # Errors
    /// `Error::Io`.
    pub fn write(&mut self, mut bytes: &[u8]) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.chunk.is_empty() {
                self.chunk.resize(CRC as usize, 0);
            }
            let room = CHUNK + CRC as usize - self.chunk.len();
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.chunk.extend_from_slice(now);
            self.length += now.len() as u64;
            bytes = later;
            if self.chunk.len() == CHUNK + CRC as usize {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Makes the snapshot durable and visible; one of the same index is replaced.
    ///
    /// # Errors
    /// `Error::Io`; then there is no new snapshot.
    pub fn finish(mut self) -> Result<Snapshot, Error> {
        self.flush()?;
        let header = Header {
            index: self.index,
            meta: self.meta.len() as u64,
            length: self.length,
            meta_crc: crc32c::crc32c(&self.meta),
        };
        self.file
            .write_at(&header.encode(), 0)
            .map_err(Error::io("write", &self.path))?;
        self.file.sync().map_err(Error::io("sync", &self.path))?;
        let name = file_name(self.index);
        self.folder
            .rename(&self.part, &name)
            .map_err(Error::io("rename", &self.path))?;
        self.folder
            .sync()
            .map_err(Error::io("sync folder", &self.folder.path("")))?;
        Ok(Snapshot {
            path: self.folder.path(&name),
            file: self.file,
            index: self.index,
            meta: self.meta.into(),
            length: self.length,
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        if let Some((crc, bytes)) = self.chunk.split_first_chunk_mut::<4>() {
            *crc = crc32c::crc32c(bytes).to_le_bytes();
            self.file
                .write_at(&self.chunk, self.offset)
                .map_err(Error::io("write", &self.path))?;
            self.offset += self.chunk.len() as u64;
            self.chunk.clear();
        }
        Ok(())
    }
}

/// A whole, durable snapshot; a cheap handle that stays readable when the file is removed.
#[derive(Debug, Clone)]
pub struct Snapshot {
    path: String,
    file: Arc<dyn File>,
    index: Index,
    meta: Arc<[u8]>,
    length: u64,
}

impl Snapshot {
    fn open(folder: &dyn Folder, index: Index) -> Result<Self, Error> {
        let name = file_name(index);
        let path = folder.path(&name);
        let damaged = |what| Error::Damaged {
            path: path.clone(),
            offset: 0,
            what,
        };
        let file = folder.open(&name).map_err(Error::io("open", &path))?;
        let mut bytes = [0; HEADER];
        file.read_at(&mut bytes, 0)
            .map_err(Error::io("read", &path))?;
        let header = Header::decode(&bytes).map_err(damaged)?;
        if header.index != index {
            return Err(damaged("the file has the name of another snapshot"));
        }
        let size = file.size().map_err(Error::io("read the size of", &path))?;
        let chunks = header.length.div_ceil(CHUNK as u64);
        if size != HEADER as u64 + header.meta + header.length + chunks * CRC {
            return Err(damaged("the file has another length than was written"));
        }
        let length = usize::try_from(header.meta).unwrap_or(usize::MAX);
        if length > MAX_META {
            return Err(damaged("the meta is too large"));
        }
        let mut meta = vec![0; length];
        file.read_at(&mut meta, HEADER as u64)
            .map_err(Error::io("read", &path))?;
        if crc32c::crc32c(&meta) != header.meta_crc {
            return Err(damaged("the checksum of the meta is wrong"));
        }
        Ok(Self {
            path,
            file,
            index,
            meta: meta.into(),
            length: header.length,
        })
    }

    /// Returns the index of the last entry that the state contains.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// Returns the meta bytes.
    #[must_use]
    pub fn meta(&self) -> &[u8] {
        &self.meta
    }

    /// Returns the size of the state.
    #[must_use]
    pub fn length(&self) -> ByteCount {
        ByteCount(self.length)
    }

    /// Returns a reader that gives the state's chunks in order.
    #[must_use]
    pub fn reader(&self) -> SnapshotReader {
        SnapshotReader {
            snapshot: self.clone(),
            offset: (HEADER + self.meta.len()) as u64,
            left: self.length,
        }
    }
}

/// Gives the state in chunks of at most 1 MiB, each checked.
#[derive(Debug)]
pub struct SnapshotReader {
    snapshot: Snapshot,
    offset: u64,
    left: u64,
}

impl SnapshotReader {
    /// Reads the next chunk; nothing at the end. Blocks on the disk.
    ///
    /// # Errors
    /// `Error::Io`, or `Error::Damaged` with the offset of the chunk.
    pub fn next_chunk(&mut self) -> Result<Option<Vec<u8>>, Error> {
        let length = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
        if length == 0 {
            return Ok(None);
        }
        let path = &self.snapshot.path;
        let file = &self.snapshot.file;
        let mut crc = [0; CRC as usize];
        let mut chunk = vec![0; length];
        let read = file
            .read_at(&mut crc, self.offset)
            .and_then(|_| file.read_at(&mut chunk, self.offset + CRC))
            .map_err(Error::io("read", path))?;
        if read != length || crc32c::crc32c(&chunk) != u32::from_le_bytes(crc) {
            return Err(Error::Damaged {
                path: path.clone(),
                offset: self.offset,
                what: "the checksum of a chunk is wrong",
            });
        }
        self.offset += CRC + length as u64;
        self.left -= length as u64;
        Ok(Some(chunk))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Header {
    index: Index,
    meta: u64,
    length: u64,
    meta_crc: u32,
}

impl Header {
    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.meta_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.index.0.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.meta.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.length.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> Result<Self, &'static str> {
        let u32_at = |at: usize| {
            let mut n = [0; 4];
            n.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(n)
        };
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if bytes[0..8] != MAGIC {
            return Err("this is not a snapshot");
        }
        if crc32c::crc32c(&bytes[..HEADER - 4]) != u32_at(HEADER - 4) {
            return Err("the checksum of the header is wrong");
        }
        if u32_at(8) != VERSION {
            return Err("the snapshot was written by another version");
        }
        Ok(Self {
            meta_crc: u32_at(12),
            index: Index(u64_at(16)),
            meta: u64_at(24),
            length: u64_at(32),
        })
    }
}
