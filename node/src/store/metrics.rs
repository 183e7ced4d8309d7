//! Names of the metrics that `store` records, and their descriptions.
//!
//! Called once by `telemetry`; the writer records the values. No metric here has a label.

use metrics::Unit;

/// Histogram, seconds: one fsync of the log.
pub const WAL_FSYNC_DURATION: &str = "mainstay_wal_fsync_duration_seconds";

/// Gauge, bytes: the files of the log, with those prepared for later.
pub const WAL_BYTES: &str = "mainstay_wal_bytes";

/// Describes every metric of this room.
pub fn describe_metrics() {
    metrics::describe_histogram!(
        WAL_FSYNC_DURATION,
        Unit::Seconds,
        "Time of one fsync of the log"
    );
    metrics::describe_gauge!(
        WAL_BYTES,
        Unit::Bytes,
        "Bytes of the log on disk, files prepared for later included"
    );
}
