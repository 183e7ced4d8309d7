//! The clock: CLOCK_BOOTTIME, which counts the time that the machine was suspended.
//!
//! A lease that is measured on a clock that stands still during a suspend would outlive its end. Drivers read it
//! once a round and pass it on as an argument.

use mainstay_core::time::Moment;
use rustix::time::{ClockId, clock_gettime};

/// The present moment, in milliseconds since boot.
pub fn now() -> Moment {
    Moment(nanos() / 1_000_000)
}

/// The same clock in nanoseconds since boot; only differences mean anything.
pub fn nanos() -> u64 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_and_both_readings_agree() {
        let before = nanos();
        let moment = now();
        let after = nanos();
        assert!(before <= after);
        assert!((before / 1_000_000..=after / 1_000_000).contains(&moment.0));
    }
}
