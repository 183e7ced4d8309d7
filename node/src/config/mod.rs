//! The configuration of one node: a TOML file, then environment `MAINSTAY_…`, then `--set` flags.
//!
//! Read once at start by `app` and checked as a whole before anything else happens. Unknown keys are errors.

mod error;
mod keys;
mod model;
mod network;
mod source;
mod validate;

pub use error::Error;
pub use model::{
    Admin, Cluster, Config, Limits, Listener, Listeners, Log, LogFormat, Node, ProxyProtocol, Seed,
    Timing,
};
pub use network::{BadNetwork, Network};
pub use source::{load, parse};
