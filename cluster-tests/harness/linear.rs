//! Decides whether what was written to and read from one register could have happened in one order.
//!
//! Every write has a value of its own, so the question has an exact answer without a search (Gibbons and Korach,
//! "Testing shared memories", 1997): all operations on one value form a cluster. A cluster's zone lies between the
//! earliest end (`f`) and the latest start (`s`) of its operations; if `f < s` the register must hold the value all
//! that time ("forward"), else it needs to hold it only at one instant between `s` and `f` ("backward"). The history is
//! linearizable exactly if no read ends before its write starts, no two forward zones overlap, and no backward zone lies
//! within a forward one.

use std::collections::HashMap;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// A value was written; each is written once.
    Write(u64),
    /// A value was read; `None` is the register before any write.
    Read(Option<u64>),
}

/// An operation with the times between which it took effect, in any unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub what: Register,
    /// When it was asked for.
    pub start: u64,
    /// When its answer came; `None` if it never did, and the effect may come at any time or never.
    pub end: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Cluster {
    written: Option<u64>,
    earliest_end: u64,
    latest_start: u64,
    earliest_read_end: Option<u64>,
}

/// Checks the history of one register.
///
/// # Errors
/// Says which values contradict each other.
pub fn check(history: &[Operation]) -> Result<(), String> {
    let mut zones: Vec<(Option<u64>, Cluster)> = clusters(history)?.into_iter().collect();
    for (value, cluster) in &zones {
        let (Some(start), Some(read)) = (cluster.written, cluster.earliest_read_end) else {
            continue;
        };
        if read < start {
            return Err(format!(
                "{value:?} was read at {read}, before it was written at {start}"
            ));
        }
    }
    zones.sort_by_key(|(value, zone)| (zone.earliest_end.min(zone.latest_start), *value));
    let is_forward = |zone: &Cluster| zone.earliest_end < zone.latest_start;
    let forward: Vec<_> = zones.iter().filter(|(_, zone)| is_forward(zone)).collect();
    for pair in forward.windows(2) {
        let ((one, first), (other, second)) = (pair[0], pair[1]);
        if second.earliest_end < first.latest_start {
            return Err(format!(
                "{one:?} was held from {} to {}, and {other:?} from {} on",
                first.earliest_end, first.latest_start, second.earliest_end
            ));
        }
    }
    for (value, zone) in zones.iter().filter(|(_, zone)| !is_forward(zone)) {
        // Forward zones do not overlap, so only the last one that begins before can hold this one within.
        let before = forward.partition_point(|(_, other)| other.earliest_end < zone.latest_start);
        let Some((holder, held)) = before.checked_sub(1).map(|at| forward[at]) else {
            continue;
        };
        if zone.earliest_end < held.latest_start {
            return Err(format!(
                "{value:?} must have been held between {} and {}, but {holder:?} was from {} to {}",
                zone.latest_start, zone.earliest_end, held.earliest_end, held.latest_start
            ));
        }
    }
    Ok(())
}

fn clusters(history: &[Operation]) -> Result<HashMap<Option<u64>, Cluster>, String> {
    // The register before any write: as if written before all times.
    let initial = Cluster {
        written: None,
        earliest_end: 0,
        latest_start: 0,
        earliest_read_end: None,
    };
    let mut all = HashMap::from([(None, initial)]);
    for operation in history {
        if let Register::Write(value) = operation.what {
            let end = operation.end.unwrap_or(u64::MAX);
            let cluster = Cluster {
                written: Some(operation.start),
                earliest_end: end,
                latest_start: operation.start,
                earliest_read_end: None,
            };
            if all.insert(Some(value), cluster).is_some() {
                return Err(format!(
                    "{value} was written twice, the check needs unique values"
                ));
            }
        }
    }
    for operation in history {
        let (Register::Read(value), Some(end)) = (operation.what, operation.end) else {
            continue;
        };
        let cluster = all
            .get_mut(&value)
            .ok_or_else(|| format!("{value:?} was read and never written"))?;
        cluster.earliest_end = cluster.earliest_end.min(end);
        cluster.latest_start = cluster.latest_start.max(operation.start);
        cluster.earliest_read_end = Some(
            cluster
                .earliest_read_end
                .map_or(end, |earliest| earliest.min(end)),
        );
    }
    // A write without an answer that nobody read may as well never have happened.
    all.retain(|_, cluster| cluster.earliest_end < u64::MAX);
    Ok(all)
}
