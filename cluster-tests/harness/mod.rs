//! Runs real `mainstay` processes and watches what they promise: clusters, clients, a cutting proxy, a ledger.
//!
//! Used by `cluster-tests/tests/*.rs` alone. It speaks to the broker only through its doors (command line, sockets,
//! MQTT, signals), so that it tests the binary as it is shipped. It never leaves a process behind: whatever it started
//! ends when the value that owns it is dropped, also by a panic.

mod binary;
mod client;
mod cluster;
mod dev_file;
mod durability;
mod http;
mod latency;
mod ledger;
mod linear;
#[cfg(test)]
mod linear_test;
mod load;
mod logs;
mod owner;
mod ports;
mod process;
mod proxy;
mod races;
mod served;
mod stall;
mod story;
mod temporary;
mod tools;

pub use binary::mainstay;
pub use client::{Client, ConnectError, Connecting, Login, Received};
pub use cluster::{DevCluster, Status};
pub use dev_file::DevFile;
pub use durability::{Call, Trace};
pub use http::{Answer, get as http_get};
pub use latency::Latencies;
pub use ledger::{Counts, Ledger, MessageId, PublisherId, SubscriberId, Violation};
pub use linear::{Operation, Register, check as check_linearizable};
pub use load::{Load, Publisher, Subscriber};
pub use logs::unexpected_lines;
pub use ports::free_base;
pub use process::{Ended, Process};
pub use proxy::{Proxy, Wire};
pub use races::Races;
pub use served::ServedCluster;
pub use stall::{Stall, Watch};
pub use story::{long, tell, until};
pub use temporary::Temporary;
pub use tools::{Tool, mosquitto_pub, mosquitto_sub};
