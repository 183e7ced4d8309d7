//! What Mainstay promises (design section 1), looked at after each step of the simulation; a file a promise.

mod log;
mod p1;
mod p10;
mod p11;
mod p3;
mod p4;
mod p5;
mod p6;
mod p7;
mod p9;
