//! Permanent and retained values: one value a topic, read through immutable views.

mod values;

pub use values::{Value, Values, View};
