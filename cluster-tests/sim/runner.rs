//! The command line: which seeds are run, on how many threads, and what is printed.

use std::{
    cell::Cell,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use crate::{
    counts::Counts,
    plant::Plant,
    trace::Trace,
    world::{Outcome, run},
};

/// Seeds within which a planted bug must be found.
const PLANT_SEEDS: u64 = 2_000;
/// Lines of a failed run that are printed.
const LAST_LINES: usize = 60;
/// Failed seeds that are replayed for people to read.
const SHOWN: usize = 3;

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    seeds: Option<u64>,
    start: u64,
    seed: Option<u64>,
    is_loud: bool,
    plant: Option<&'static str>,
    all_plants: bool,
    jobs: u64,
}

impl Command {
    /// # Errors
    /// What is wrong with the arguments.
    pub(crate) fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut command = Self {
            seeds: None,
            start: 1,
            seed: None,
            is_loud: false,
            plant: None,
            all_plants: false,
            jobs: 2,
        };
        let mut arguments = arguments;
        while let Some(name) = arguments.next() {
            let mut number = || {
                let text = arguments.next().ok_or(format!("{name} needs a number"))?;
                text.parse::<u64>()
                    .map_err(|_| format!("{name} needs a number, not {text:?}"))
            };
            match name.as_str() {
                "--seeds" => command.seeds = Some(number()?),
                "--start" => command.start = number()?,
                "--seed" => command.seed = Some(number()?),
                "--jobs" => command.jobs = number()?.max(1),
                "--trace" => command.is_loud = true,
                "--plants" => command.all_plants = true,
                "--plant" => {
                    let text = arguments.next().unwrap_or_default();
                    let known = Plant::ALL.iter().find(|(name, _)| *name == text);
                    let names = || Plant::ALL.map(|(name, _)| name).join(" ");
                    let (name, _) = known.ok_or_else(|| format!("plants are: {}", names()))?;
                    command.plant = Some(name);
                }
                _ => return Err(format!("unknown argument {name:?}")),
            }
        }
        let is_planted = command.plant.is_some() || command.all_plants;
        if is_planted && !cfg!(feature = "plant") {
            return Err("planted bugs need a build with --features plant".to_owned());
        }
        Ok(command)
    }

    pub(crate) fn run(&self) -> ExitCode {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!(
                "seed {} panicked; replay it with: sim --seed {0} --trace",
                SEED.get()
            );
            before(panic);
        }));
        let is_good = match (self.seed, self.plant) {
            _ if self.all_plants => {
                let found = Plant::ALL.map(|(name, _)| self.find(name));
                println!(
                    "{} of {} planted bugs found",
                    found.iter().filter(|f| **f).count(),
                    found.len()
                );
                found.iter().all(|found| *found)
            }
            (Some(seed), _) => self.replay(seed),
            (None, Some(name)) => self.find(name),
            (None, None) => self.many(),
        };
        if is_good {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }

    fn replay(&self, seed: u64) -> bool {
        let plant = self.plant.and_then(Plant::named);
        SEED.set(seed);
        let outcome = run(seed, plant, Trace::new(true, self.is_loud));
        match &outcome.failed {
            Some(what) => self.show(seed, what, &outcome),
            None => println!("seed {seed} passed"),
        }
        print_counts(&outcome.counts);
        outcome.failed.is_none()
    }

    fn show(&self, seed: u64, what: &str, outcome: &Outcome) {
        println!("seed {seed} failed: {what}");
        let lines = outcome.lines.len();
        if !self.is_loud {
            for line in outcome.lines.iter().skip(lines.saturating_sub(LAST_LINES)) {
                println!("  {line}");
            }
        }
        let plant = self
            .plant
            .map(|name| format!(" --plant {name}"))
            .unwrap_or_default();
        let features = if self.plant.is_some() {
            " --features plant"
        } else {
            ""
        };
        println!(
            "replay: cargo run -p cluster-tests{features} --bin sim -- --seed {seed}{plant} --trace"
        );
    }

    fn many(&self) -> bool {
        let seeds = self.seeds.unwrap_or(500);
        let began = Instant::now();
        let (counts, failed) = self.sweep(seeds, None, false);
        for (seed, what) in failed.iter().skip(SHOWN) {
            println!("seed {seed} failed: {what}");
        }
        for (seed, _) in failed.iter().take(SHOWN) {
            SEED.set(*seed);
            let outcome = run(*seed, None, Trace::new(true, false));
            match &outcome.failed {
                Some(what) => self.show(*seed, what, &outcome),
                None => println!("seed {seed} passes when it is replayed: not deterministic"),
            }
        }
        print_counts(&counts);
        println!("{} seeds in {:.1} s", seeds, began.elapsed().as_secs_f64());
        let failures = failed.len() as u64;
        println!("{} passed, {failures} failed", seeds - failures);
        failed.is_empty()
    }

    /// Runs seeds with the planted bug until one finds it.
    fn find(&self, name: &'static str) -> bool {
        let seeds = self.seeds.unwrap_or(PLANT_SEEDS);
        let (_, failed) = self.sweep(seeds, Plant::named(name), true);
        match failed.first() {
            Some((seed, what)) => {
                println!(
                    "planted {name}: found after {} seeds: {what}",
                    seed - self.start + 1
                );
                true
            }
            None => {
                println!("planted {name}: NOT found in {seeds} seeds");
                false
            }
        }
    }

    fn sweep(
        &self,
        seeds: u64,
        plant: Option<Plant>,
        first_only: bool,
    ) -> (Counts, Vec<(u64, String)>) {
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let all = Mutex::new((Counts::default(), Vec::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = self.start + next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.start + seeds {
                            break;
                        }
                        SEED.set(seed);
                        let outcome = run(seed, plant, Trace::default());
                        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                        all.0.merge(&outcome.counts);
                        if let Some(what) = outcome.failed {
                            all.1.push((seed, what));
                            stop.fetch_or(first_only, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let (counts, mut failed) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.sort();
        (counts, failed)
    }
}

fn print_counts(counts: &Counts) {
    for (name, times) in counts.iter() {
        println!("{times:>10}  {name}");
    }
}
