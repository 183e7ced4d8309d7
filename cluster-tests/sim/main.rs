//! `sim`: whole clusters of cores in one thread, driven by one seed, every promise looked at after each step.
//!
//! `sim --seeds 500 [--start S]` runs many seeds, `sim --seed S [--trace]` replays one, `sim --plant NAME
//! --seeds 2000` must find a planted bug, `sim --plants` all of them (these two need the feature `plant`).
//! It ends with status 0 only if all went as it should.

mod agenda;
mod client;
mod conn;
mod control;
mod counts;
mod fault;
mod heal;
#[path = "../invariant/mod.rs"]
mod invariant;
mod link;
mod net;
mod node;
mod params;
mod plant;
mod raft;
mod rng;
mod runner;
mod shard;
#[cfg(test)]
mod sim_test;
mod trace;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    match runner::Command::read(std::env::args().skip(1)) {
        Ok(command) => command.run(),
        Err(problem) => {
            eprintln!("sim: {problem}");
            ExitCode::from(2)
        }
    }
}
