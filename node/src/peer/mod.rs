//! Links between the nodes that serve: one stream a pair, messages and answers and reports both ways.
//!
//! `app` starts the one [`Hub`]; control's driver tells it which links should exist, shards fill the queues, and
//! what comes is put into the shards' inbox. What a message means, and who gets it, is decided in core.

mod events;
mod hello;
mod hub;
mod inbound;
mod reach;
mod stream;
mod wire;

#[cfg(test)]
mod hub_test;

pub use events::PeerEvent;
pub use hub::{Directory, Hub, HubHandle, Parts};
