//! The metrics of TLS handshakes.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

const HANDSHAKES: &str = "mainstay_tls_handshakes_total";
const HANDSHAKE_DURATION: &str = "mainstay_tls_handshake_duration_seconds";
/// Handshakes happen on this listener alone.
const LISTENER: &str = "tls";

/// Names, units and zeros.
pub fn describe() {
    describe_counter!(HANDSHAKES, Unit::Count, "TLS handshakes, by how they ended");
    describe_histogram!(
        HANDSHAKE_DURATION,
        Unit::Seconds,
        "server-side time of a TLS handshake"
    );
    for result in ["ok", "failed"] {
        counter!(HANDSHAKES, "listener" => LISTENER, "result" => result).absolute(0);
    }
}

/// Counts a handshake that was done after `took`.
pub fn handshake_done(took: Duration) {
    counter!(HANDSHAKES, "listener" => LISTENER, "result" => "ok").increment(1);
    histogram!(HANDSHAKE_DURATION, "listener" => LISTENER).record(took.as_secs_f64());
}

/// Counts a handshake that failed.
pub fn handshake_failed() {
    counter!(HANDSHAKES, "listener" => LISTENER, "result" => "failed").increment(1);
}
