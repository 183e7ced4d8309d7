//! The door for the command line on the same machine: a Unix socket in the data folder, mode 0600.
//!
//! [`status`], [`seed`] are its client side, used by `cli` and `dev`; [`Service`] its server side, started by
//! `app`. Who can open the socket may do anything, so there is no token.

mod client;
mod seed;
mod service;

pub use client::{Error, seed, seed_any, socket_path, status, status_any};
pub use seed::{Seed, SeedError};
pub use service::{Service, serve};
