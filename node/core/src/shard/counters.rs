//! What a shard counts: plain integers, which the driver adds to the metrics once a round.

use crate::{
    codec::Kind,
    reason::{Close, Drop},
};

/// Types of packets; the index is the number of section 2.2.1, 0 and 15 stay zero.
pub const KINDS: usize = 16;

/// Counts since the driver last took them (with [`Counters::take`]), and gauges, which stay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets read, by type.
    pub packets_in: [u64; KINDS],
    /// Packets written into buffers, by type.
    pub packets_out: [u64; KINDS],
    /// Messages accepted from clients, by QoS.
    pub received: [u64; 3],
    /// Messages handed to subscribers' connections, by QoS.
    pub delivered: [u64; 3],
    /// Messages or copies dropped, in the order of [`Drop::ALL`].
    pub dropped: [u64; Drop::ALL.len()],
    /// Connections closed, in the order of [`Close::ALL`].
    pub closed: [u64; Close::ALL.len()],
    /// Publishes and wills without the right to them.
    pub denied_publish: u64,
    /// Filters without the right to them.
    pub denied_subscribe: u64,
    /// Gauge: connections, those that wait for their session included.
    pub connections: u64,
    /// Gauge: live subscriptions.
    pub subscriptions: u64,
    /// Gauge: publishes of clients without an answer.
    pub inflight_in: u64,
    /// Gauge: messages that clients have not acknowledged.
    pub inflight_out: u64,
}

impl Counters {
    /// Takes the counts, and leaves the gauges.
    pub fn take(&mut self) -> Self {
        let rest = Self {
            connections: self.connections,
            subscriptions: self.subscriptions,
            inflight_in: self.inflight_in,
            inflight_out: self.inflight_out,
            ..Self::default()
        };
        std::mem::replace(self, rest)
    }

    /// How many connections were closed for a reason.
    pub fn closed_for(&self, why: Close) -> u64 {
        Close::ALL
            .iter()
            .position(|all| *all == why)
            .map_or(0, |at| self.closed[at])
    }

    /// How many copies were dropped for a reason.
    pub fn dropped_for(&self, why: Drop) -> u64 {
        Drop::ALL
            .iter()
            .position(|all| *all == why)
            .map_or(0, |at| self.dropped[at])
    }

    pub(super) fn packet_in(&mut self, first_byte: u8) {
        self.packets_in[usize::from(first_byte >> 4)] += 1;
    }

    pub(super) fn packet_out(&mut self, kind: Kind) {
        self.packets_out[kind as usize] += 1;
    }

    pub(super) fn delivered(&mut self, qos: usize, messages: u64) {
        self.delivered[qos] += messages;
        self.packets_out[Kind::Publish as usize] += messages;
        if qos > 0 {
            self.inflight_out += messages;
        }
    }

    pub(super) fn closed(&mut self, why: Close) {
        if let Some(at) = Close::ALL.iter().position(|all| *all == why) {
            self.closed[at] += 1;
        }
    }

    pub(super) fn dropped(&mut self, why: Drop, messages: u64) {
        if let Some(at) = Drop::ALL.iter().position(|all| *all == why) {
            self.dropped[at] += messages;
        }
    }
}
