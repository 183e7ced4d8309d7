//! Starting and stopping what runs: tasks, threads, the clock, the one shutdown token.
//!
//! Every room spawns through [`Tasks`] with a [`Kind`]; the kind's policy is the one place that says what a
//! stop and a failure mean. Nothing else in the package starts a task or reads a clock.

pub mod clock;
mod kind;
mod spawn;

pub use kind::{Kind, OnFailure, OnStop};
pub use spawn::{Failure, Tasks};
