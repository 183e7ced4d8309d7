//! Who a client is: passwords against the catalog, off the hot path.
//!
//! `listener` asks [`Authenticator::check`] with the newest catalog. Hashing runs on threads of its own with a
//! bounded queue; what was verified once is remembered by a keyed tag, never as a password.

mod cache;
mod login;
pub mod metrics;
mod password;
mod pool;

#[cfg(test)]
mod login_test;

pub use login::{Authenticator, Denied, StartError};
pub use password::{HashError, hash_password};
