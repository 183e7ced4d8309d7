//! How a test is told: one at a time, on a runtime of its own, with an end in any case.

use std::{
    future::Future,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Stories of one test binary do not run beside each other: each one loads both cores.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Whether the long forms were asked for (`MAINSTAY_LONG=1`).
pub fn long() -> bool {
    std::env::var_os("MAINSTAY_LONG").is_some_and(|value| value != "0")
}

/// Runs a story to its end.
///
/// # Panics
/// If the story does, or if it takes longer than `most`.
pub fn tell(most: Duration, story: impl Future<Output = ()>) {
    // A story that failed poisons the lock; the next one may still be told.
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be had");
    let ended = runtime.block_on(async { tokio::time::timeout(most, story).await });
    runtime.shutdown_background();
    assert!(ended.is_ok(), "the story took longer than {most:?}");
}

/// Waits until a condition holds; gives how long that took.
///
/// # Panics
/// If it does not hold within `most`.
pub async fn until<F, T>(
    what: &str,
    most: Duration,
    mut condition: impl FnMut() -> F,
) -> (T, Duration)
where
    F: Future<Output = Option<T>>,
{
    let start = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return (value, start.elapsed());
        }
        assert!(start.elapsed() < most, "not within {most:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
