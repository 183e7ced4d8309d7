//! A list of durations and its percentiles.

use std::{fmt, time::Duration};

/// Durations in the order of their coming.
#[derive(Clone, Debug, Default)]
pub struct Latencies(Vec<Duration>);

impl Latencies {
    /// Adds one.
    pub fn push(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    /// Adds all of another list.
    pub fn extend(&mut self, other: &Self) {
        self.0.extend_from_slice(&other.0);
    }

    /// The value below which `percent` of them lie; zero without any.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(at).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |percent| self.percentile(percent).as_secs_f64() * 1e3;
        write!(
            f,
            "n {}, p50 {:.1} ms, p99 {:.1} ms, most {:.1} ms",
            self.0.len(),
            ms(50),
            ms(99),
            ms(100)
        )
    }
}
