//! What a node keeps on its own disk: the segment log that Raft writes to, and snapshot files.
//!
//! Called by `raft`, which gives the bytes their meaning; here an entry is an index and bytes.
//! Nothing in this room knows openraft, the replicated state or the network. Whatever it called
//! durable is on the disk: a failed write or sync stops the log for good, and the node with it.

mod disk;
mod error;
mod extent;
mod frame;
mod janitor;
mod log;
pub mod metrics;
mod positions;
mod record;
mod recover;
mod segment;
mod snapshot;
mod tail;
mod units;
mod view;
mod window;
mod writer;

pub use disk::{DiskFolder, File, Folder};
pub use error::Error;
pub use log::{Log, Options, Reader};
pub use snapshot::{Snapshot, SnapshotReader, SnapshotWriter, Snapshots};
pub use units::{ByteCount, Index};
pub use view::Plan;

#[cfg(test)]
mod damage_test;
#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod log_test;
#[cfg(test)]
mod power_cut_test;
#[cfg(test)]
mod snapshot_test;
