//! placeholder
#![warn(missing_docs)]

pub mod codec;
pub mod topic;
