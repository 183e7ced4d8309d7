//! Measures how long this machine kept the tests themselves from running.
//!
//! A bound on time that is broken while the test's own process stood still says nothing about the broker; so each
//! figure is printed with the longest stall beside it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(2);
/// What is shorter than this is scheduling as usual.
const NOTED: Duration = Duration::from_millis(20);

/// A time during which the test did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stall {
    /// When it began.
    pub from: Instant,
    /// How long it was.
    pub length: Duration,
}

/// A thread that watches the clock.
#[derive(Debug)]
pub struct Watch {
    stalls: Arc<Mutex<Vec<Stall>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Starts to watch.
    ///
    /// # Panics
    /// If there is no thread to be had.
    pub fn start() -> Self {
        let (stalls, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (noted, stopped) = (Arc::clone(&stalls), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("stall".into())
            .spawn(move || watch(&noted, &stopped));
        Self {
            stalls,
            stop,
            thread: Some(thread.expect("a thread can be had")),
        }
    }

    /// The longest stall that touches the time between two instants.
    pub fn longest(&self, from: Instant, to: Instant) -> Duration {
        let stalls = self.stalls.lock().unwrap_or_else(PoisonError::into_inner);
        let touching = stalls
            .iter()
            .filter(|stall| stall.from <= to && stall.from + stall.length >= from);
        touching.map(|stall| stall.length).max().unwrap_or_default()
    }
}

fn watch(stalls: &Mutex<Vec<Stall>>, stop: &AtomicBool) {
    let mut last = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let now = Instant::now();
        let length = now.duration_since(last).saturating_sub(TICK);
        if length >= NOTED {
            stalls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Stall { from: last, length });
        }
        last = now;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _it_does_not_panic = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stall_is_found_by_the_time_that_it_touches() {
        let watch = Watch::start();
        let begin = Instant::now();
        let second = Duration::from_secs(1);
        watch.stalls.lock().unwrap().push(Stall {
            from: begin + 10 * second,
            length: 3 * second,
        });
        assert_eq!(
            watch.longest(begin + 12 * second, begin + 20 * second),
            3 * second
        );
        assert_eq!(
            watch.longest(begin + 14 * second, begin + 20 * second),
            Duration::ZERO
        );
    }
}
