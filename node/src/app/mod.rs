//! Puts a node together, runs it until it is told to end, and takes it apart in order.
//!
//! The one place that knows every room. Called by `cli` and `dev`.

mod error;
mod lock;
mod node;
mod signals;

pub use error::Error;
pub use lock::DataLock;
pub use node::{Options, run};
