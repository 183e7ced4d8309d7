//! Permanent and retained values: one value a topic, read through immutable views.
//!
//! The replica owns the one [`Stored`] and changes it by commands; everyone else reads clones and views.

#[expect(
    clippy::module_inception,
    reason = "a file has the name of its one main type"
)]
mod stored;
mod values;

pub use stored::Stored;
pub use values::{Step, Value, Values, View};
