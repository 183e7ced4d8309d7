//! Spawning by kind, the shutdown token, and the first failure that stopped the node.
//!
//! `app` makes one [`Tasks`] and every room gets a clone. A task that fails or panics is logged here, once; if
//! its kind is critical, the token is cancelled and [`Tasks::failure`] says why.

use std::{
    future::Future,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{runtime::Handle, sync::Notify};
use tokio_util::sync::CancellationToken;

use super::{Kind, OnFailure, OnStop};

/// The error of anything that is spawned.
type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why the node stops by itself.
#[derive(Clone, Debug, thiserror::Error)]
#[error("critical task {task} ended: {cause}")]
pub struct Failure {
    /// The kind's name.
    pub task: &'static str,
    /// The error with its sources, or that it panicked.
    pub cause: String,
}

/// Starts tasks and threads, and knows which still run. A clone shares everything.
#[derive(Clone, Debug)]
pub struct Tasks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    runtime: Handle,
    stop: CancellationToken,
    /// What runs now.
    running: AtomicUsize,
    ended: Notify,
    failure: Mutex<Option<Failure>>,
}

impl Tasks {
    /// Tasks on `runtime`, none yet.
    pub fn new(runtime: Handle) -> Self {
        let inner = Inner {
            runtime,
            stop: CancellationToken::new(),
            running: AtomicUsize::new(0),
            ended: Notify::new(),
            failure: Mutex::new(None),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The token that says that the node stops; cancelling it begins the stop.
    pub fn stop(&self) -> &CancellationToken {
        &self.inner.stop
    }

    /// The general runtime.
    pub fn runtime(&self) -> &Handle {
        &self.inner.runtime
    }

    /// Starts a task on the general runtime.
    pub fn spawn<F, E>(&self, kind: Kind, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        self.spawn_on(&self.inner.runtime, kind, future);
    }

    /// Starts a task on a runtime of its own room.
    pub fn spawn_on<F, E>(&self, runtime: &Handle, kind: Kind, future: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<Cause>,
    {
        let guard = Guard::new(self.inner.clone(), kind);
        let stop = self.inner.stop.clone();
        runtime.spawn(async move {
            let result = match kind.on_stop() {
                OnStop::Finish => future.await,
                OnStop::Abort => tokio::select! {
                    result = future => result,
                    () = stop.cancelled() => Ok(()),
                },
            };
            guard.end(result.map_err(Into::into));
        });
    }

    /// Starts a thread of its own, named after its kind and `number`.
    ///
    /// # Errors
    ///
    /// The operating system's, if it has no thread left.
    pub fn spawn_thread<F, E>(&self, kind: Kind, number: usize, body: F) -> std::io::Result<()>
    where
        F: FnOnce() -> Result<(), E> + Send + 'static,
        E: Into<Cause>,
    {
        let guard = Guard::new(self.inner.clone(), kind);
        thread::Builder::new()
            .name(format!("{}-{number}", kind.name()))
            .spawn(move || {
                let result = body().map_err(Into::into);
                guard.end(result);
            })?;
        Ok(())
    }

    /// The failure that stopped the node, if one did.
    pub fn failure(&self) -> Option<Failure> {
        self.inner
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// How many tasks and threads run.
    pub fn running(&self) -> usize {
        self.inner.running.load(Ordering::SeqCst)
    }

    /// Waits until all have ended, at most for `grace`; whether they have.
    pub async fn ended(&self, grace: Duration) -> bool {
        let all = async {
            loop {
                let ended = self.inner.ended.notified();
                if self.running() == 0 {
                    return;
                }
                ended.await;
            }
        };
        tokio::time::timeout(grace, all).await.is_ok()
    }
}

/// Counts one task and notices when it unwinds.
struct Guard {
    inner: Arc<Inner>,
    kind: Kind,
    ended: bool,
}

impl Guard {
    fn new(inner: Arc<Inner>, kind: Kind) -> Self {
        inner.running.fetch_add(1, Ordering::SeqCst);
        Self {
            inner,
            kind,
            ended: false,
        }
    }

    fn end(mut self, result: Result<(), Cause>) {
        self.ended = true;
        if let Err(error) = result {
            self.inner.fail(self.kind, chain(&*error));
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.ended && thread::panicking() {
            self.inner.fail(self.kind, "it panicked".to_owned());
        }
        self.inner.running.fetch_sub(1, Ordering::SeqCst);
        self.inner.ended.notify_waiters();
    }
}

impl Inner {
    fn fail(&self, kind: Kind, cause: String) {
        let task = kind.name();
        match kind.on_failure() {
            OnFailure::Log => tracing::warn!(task, cause, "a task failed"),
            OnFailure::StopNode => {
                tracing::error!(task, cause, "a critical task failed, the node stops");
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert(Failure { task, cause });
                drop(failure);
                self.stop.cancel();
            }
        }
    }
}

/// An error and its sources in one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    type Plain = std::io::Error;

    #[tokio::test]
    async fn a_failure_of_a_critical_kind_stops_the_node_and_says_why() {
        let tasks = Tasks::new(Handle::current());
        tasks.spawn(Kind::Control, async { Err(Plain::other("disk gone")) });
        tasks.stop().cancelled().await;
        let failure = tasks.failure().expect("a failure");
        assert_eq!(
            (failure.task, failure.cause.as_str()),
            ("control", "disk gone")
        );
    }

    #[tokio::test]
    async fn a_panic_of_a_critical_thread_stops_the_node() {
        let tasks = Tasks::new(Handle::current());
        tasks
            .spawn_thread(Kind::Shard, 0, || -> Result<(), Plain> {
                panic!("planted for the test")
            })
            .unwrap();
        tasks.stop().cancelled().await;
        assert_eq!(tasks.failure().expect("a failure").task, "shard");
    }

    #[tokio::test]
    async fn a_failure_of_another_kind_is_only_logged() {
        let tasks = Tasks::new(Handle::current());
        tasks.spawn(Kind::Login, async { Err(Plain::other("reset")) });
        assert!(tasks.ended(Duration::from_secs(10)).await);
        assert!(!tasks.stop().is_cancelled());
        assert!(tasks.failure().is_none());
    }

    #[tokio::test]
    async fn a_stop_drops_what_may_be_aborted_and_waits_for_the_rest() {
        let tasks = Tasks::new(Handle::current());
        tasks.spawn(Kind::Acceptor, std::future::pending::<Result<(), Plain>>());
        let stop = tasks.stop().clone();
        tasks.spawn(Kind::Raft, async move {
            stop.cancelled().await;
            Ok::<(), Plain>(())
        });
        assert_eq!(tasks.running(), 2);
        tasks.stop().cancel();
        assert!(tasks.ended(Duration::from_secs(10)).await);
    }
}
