//! The door for probes and Prometheus: `/livez`, `/readyz`, `/startupz`, `/metrics` over plain HTTP.
//!
//! Started by `app`. It reads flags and renders metrics; it decides nothing, and no request costs more than that.

mod server;
mod state;

pub use server::{Error, Render, serve};
pub use state::State;
