//! placeholder
#![warn(missing_docs)]

pub mod codec;
