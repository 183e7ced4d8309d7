//! Links between shards and between nodes: batches of messages, sequence, window, resume.
//!
//! A batch is bytes from the start: the publisher's shard writes each message once into the batch of each
//! destination, and the receiving shard reads it borrowed. Between nodes, [`Link`] adds sequence numbers, a
//! cumulative ack that says *received*, a bounded window and resume; `taken` answers go the other way.

mod batch;
mod frame;
mod link;

#[cfg(test)]
mod link_test;

pub use batch::{BadBatch, Batch, Homes, Message, Token};
pub use frame::{BadFrame, Frame};
pub use link::{Link, LinkError, Received};
