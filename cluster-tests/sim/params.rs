//! What a seed decides before the run begins: sizes, bounds, how bad the world is.

use std::time::Duration;

use mainstay_core::{limits::Limits, time::Timing};

use crate::rng::Rng;

/// Shards of each node.
pub(crate) const SHARDS: u8 = 2;

/// The parameters of one run. Times are virtual milliseconds.
#[derive(Clone, Debug)]
pub(crate) struct Params {
    pub(crate) nodes: usize,
    pub(crate) timing: Timing,
    pub(crate) limits: Limits,
    /// How long faults and workload last, before all is healed.
    pub(crate) active: u64,
    /// Between two operations of one client, at most.
    pub(crate) think: u64,
    /// Between two faults, at most; 0: a run without faults.
    pub(crate) fault_every: u64,
    /// Whether a crash can be seen by a refused connection.
    pub(crate) hint: bool,
    /// Whether faults may take a majority at once.
    pub(crate) is_wild: bool,
    /// Longest delay of a message between nodes.
    pub(crate) delay: u64,
    /// One in so many steps of a part is followed by a long pause of it.
    pub(crate) stall_one_in: u64,
    /// Of 1,000 proposals and answers of the consensus, so many are lost.
    pub(crate) loss: u64,
    /// Of 1,000 proposals, so many come out of order.
    pub(crate) disorder: u64,
    /// Bytes that wait for a link above which the driver calls it full.
    pub(crate) link_bytes: usize,
    /// Bytes on their way to a client that its socket takes.
    pub(crate) socket_bytes: usize,
}

impl Params {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let calm = rng.chance(1, 20);
        Self {
            nodes: if rng.chance(2, 3) { 3 } else { 5 },
            timing: Timing::default(),
            limits: limits(rng),
            active: rng.within(8_000, 20_000),
            think: *rng.pick(&[80, 150, 300, 600]),
            fault_every: if calm {
                0
            } else {
                *rng.pick(&[700, 1_500, 3_000, 6_000])
            },
            hint: rng.chance(2, 3),
            is_wild: rng.chance(1, 8),
            delay: *rng.pick(&[2, 5, 20, 60]),
            stall_one_in: if calm {
                u64::MAX
            } else {
                *rng.pick(&[2_000, 5_000, 20_000])
            },
            loss: if calm { 0 } else { *rng.pick(&[0, 5, 30, 100]) },
            disorder: if calm { 0 } else { *rng.pick(&[0, 20, 100]) },
            link_bytes: *rng.pick(&[1_024, 16 * 1_024, 1_024 * 1_024]),
            socket_bytes: *rng.pick(&[512, 4_096, 65_536]),
        }
    }
}

/// Small, so that every bound is met.
fn limits(rng: &mut Rng) -> Limits {
    Limits {
        max_payload: 8 * 1024,
        max_inbound_inflight: *rng.pick(&[2, 4, 16]),
        send_window: *rng.pick(&[2, 4, 16]),
        soft_messages: *rng.pick(&[4, 16]),
        soft_bytes: *rng.pick(&[2 * 1024, 16 * 1024]),
        hard_messages: 400,
        hard_bytes: 128 * 1024,
        slow_consumer_timeout: Duration::from_secs(*rng.pick(&[3, 10])),
        max_subscriptions: 24,
        read_budget: 1024,
    }
}
