//! The threads that hash: about as many as cores, behind a bounded queue.
//!
//! They run at a low priority, so that a storm of logins leaves the cores to the shards. A login waits for room
//! in the queue and for its turn, both within one bound.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{Semaphore, oneshot};

use super::password::Scratch;
use crate::tasks::{Kind, Tasks};

/// Hashes that wait for a thread; a hash takes about 10 ms, so more would not be done before [`MAX_WAIT`].
const QUEUE: usize = 1024;
/// How long a login waits for its hash before it is told that the server is unavailable: below the CONNECT
/// time-out, so that the client gets an answer.
const MAX_WAIT: Duration = Duration::from_secs(8);
/// As many threads as cores, but no more than this: each keeps 8 MiB, and eight hash about a thousand logins
/// with different passwords a second.
const MAX_THREADS: usize = 8;
/// Nice value of the threads.
const NICENESS: i32 = 10;

/// The hash was not done in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many logins wait for a password check")]
pub(super) struct Busy;

struct Job {
    phc: Arc<str>,
    password: Vec<u8>,
    answer: oneshot::Sender<bool>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<(VecDeque<Job>, bool)>,
    changed: Condvar,
}

/// The hashing threads. A clone shares them.
#[derive(Clone)]
pub(super) struct Pool {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
}

impl Pool {
    /// Starts the threads.
    pub(super) fn spawn(tasks: &Tasks) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .min(MAX_THREADS);
        for number in 0..threads {
            let queue = queue.clone();
            tasks.spawn_thread(Kind::PasswordHash, number, move || {
                queue.work();
                Ok::<(), Infallible>(())
            })?;
        }
        let closing = queue.clone();
        let stop = tasks.stop().clone();
        tasks.spawn(Kind::PasswordHash, async move {
            stop.cancelled().await;
            closing.close();
            Ok::<(), Infallible>(())
        });
        Ok(Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE)),
        })
    }

    /// Whether the password is the one of the PHC string.
    pub(super) async fn verify(&self, phc: Arc<str>, password: &[u8]) -> Result<bool, Busy> {
        let turn = async {
            let _room = self.room.acquire().await.map_err(|_| Busy)?;
            let (answer, answered) = oneshot::channel();
            self.queue.push(Job {
                phc,
                password: password.to_owned(),
                answer,
            });
            answered.await.map_err(|_| Busy)
        };
        tokio::time::timeout(MAX_WAIT, turn)
            .await
            .unwrap_or(Err(Busy))
    }
}

impl Queue {
    fn push(&self, job: Job) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if !jobs.1 {
            jobs.0.push_back(job);
            drop(jobs);
            self.changed.notify_one();
        }
    }

    fn close(&self) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.1 = true;
        jobs.0.clear();
        drop(jobs);
        self.changed.notify_all();
    }

    /// A thread's life.
    fn work(&self) {
        // Best effort: without it logins only compete harder with the shards.
        let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICENESS);
        let mut scratch = Scratch::new();
        while let Some(job) = self.next() {
            // Whoever asked may have given up: its time is better spent on the next.
            if !job.answer.is_closed() {
                let _ = job.answer.send(scratch.verify(&job.phc, &job.password));
            }
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if jobs.1 {
                return None;
            }
            if let Some(job) = jobs.0.pop_front() {
                return Some(job);
            }
            jobs = self
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
