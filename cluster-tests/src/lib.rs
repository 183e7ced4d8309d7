//! What the tests of whole clusters are made of.

#[path = "../harness/mod.rs"]
pub mod harness;
