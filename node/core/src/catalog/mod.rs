//! Folders, registries, devices, brokers and their credentials.
//!
//! The replica owns the one [`Catalog`] and changes it by commands; shards and the login read clones of
//! it (O(1)). Nothing here hashes or checks a password: PHC strings come and go as text.

#[expect(
    clippy::module_inception,
    reason = "a file has the name of its one main type"
)]
mod catalog;
#[cfg(test)]
mod catalog_test;
mod resource;

pub use catalog::{Catalog, CreateError, Creation};
pub use resource::{Credential, Password, Resource};
