//! That a run is decided by its seed alone; the many seeds are run by the binary.

use crate::{
    trace::Trace,
    world::{Outcome, run},
};

fn replay(seed: u64) -> Outcome {
    run(seed, None, Trace::new(true, false))
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1..=4 {
        let (first, second) = (replay(seed), replay(seed));
        assert_eq!(first.failed, None, "seed {seed}");
        assert_eq!(first.lines, second.lines, "seed {seed}");
        let quiet = run(seed, None, Trace::default());
        let counts = |outcome: &Outcome| outcome.counts.iter().collect::<Vec<_>>();
        assert_eq!(
            counts(&first),
            counts(&quiet),
            "seed {seed}: watching it changes it"
        );
    }
}
