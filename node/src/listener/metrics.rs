//! The metrics of connections before login.

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use super::{Bounds, refuse::Reject};
use crate::shards::Door;

const REJECTED: &str = "mainstay_connection_rejected_total";
const LIMIT: &str = "mainstay_connections_limit";

/// Names, units and zeros.
pub fn describe() {
    describe_counter!(
        REJECTED,
        Unit::Count,
        "connections refused before or at CONNECT, by reason"
    );
    describe_gauge!(LIMIT, Unit::Count, "configured maximum of connections");
    for door in Door::ALL {
        for why in Reject::ALL {
            let labels = [("listener", door.label()), ("reason", why.label())];
            counter!(REJECTED, &labels).absolute(0);
        }
    }
}

pub(super) fn limit(door: Door, bounds: &Bounds) {
    gauge!(LIMIT, "listener" => door.label()).set(bounds.max_connections as f64);
}

pub(super) fn rejected(door: Door, why: Reject) {
    counter!(REJECTED, "listener" => door.label(), "reason" => why.label()).increment(1);
}
