//! Who may publish and read what, in which space; the rights table of the service.
//!
//! A publish becomes a [`Permit`], which routing demands; a subscription becomes the canonical filters that
//! its principal may read, and the [`Form`] in which it asked. Called by the shards and at login (wills).
//! Nothing here keeps state: registries and devices are looked up in the catalog that it is given.

mod form;
mod intersect;
mod publish;
mod subscribe;

#[cfg(test)]
mod access_test;

pub use form::Form;
pub use publish::{Permit, Stores, publish};
pub use subscribe::{Denied, Granted, subscribe};

/// The parts of a registry space's topic after `$devices/` or `$registries/`.
const EVENTS: &str = "events";
const STATE: &str = "state";
const COMMANDS: &str = "commands";
const CONFIG: &str = "config";
