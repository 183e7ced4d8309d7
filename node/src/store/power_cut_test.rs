//! Simulated power cuts: what was promised is there, nothing else is, and the log goes on.
//!
//! A workload runs on a disk that remembers; then the power goes at random points of what it did.
//! What opens must be the state after some call: not before the last that was promised, not after
//! the last that was made. `MAINSTAY_POWER_CUTS` sets the number of cuts for a long run.

use std::collections::BTreeMap;
use std::sync::mpsc;

use bytes::Bytes;

use super::fake_disk::{Dice, Event, FakeDisk, Mark, Tear};
use super::{ByteCount, Error, Index, Log, Options, frame};

const ROUNDS: usize = 150;

fn options(plant: bool) -> Options {
    Options {
        segment_size: ByteCount::kib(256),
        tail: ByteCount::kib(64),
        plant_unsynced_committed: plant,
    }
}

/// One call, as the model replays it.
#[derive(Debug, Clone)]
enum Call {
    Append(Vec<(Index, Bytes)>),
    Vote(Bytes),
    Committed(Bytes),
    Truncate(Index),
    Purge(Index, Bytes),
}

/// What the log must hold after some calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Model {
    entries: BTreeMap<u64, Bytes>,
    next: u64,
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
}

impl Model {
    fn call(&mut self, call: &Call) {
        match call {
            Call::Append(entries) => {
                for (index, bytes) in entries {
                    self.entries.insert(index.0, bytes.clone());
                    self.next = index.0 + 1;
                }
            }
            Call::Vote(vote) => self.vote = Some(vote.clone()),
            Call::Committed(id) => self.committed = Some(id.clone()),
            Call::Truncate(from) => {
                self.entries.split_off(&from.0);
                self.next = self.next.min(from.0);
            }
            Call::Purge(upto, id) => {
                self.entries = self.entries.split_off(&(upto.0 + 1));
                self.next = self.next.max(upto.0 + 1);
                self.purged = Some((upto.0, id.clone()));
            }
        }
    }

    /// Reads the whole log through a reader.
    fn of(log: &Log) -> Self {
        let reader = log.reader();
        let (first, next) = reader.range().unwrap();
        let all = ByteCount(u64::MAX);
        let entries = reader.plan(first, next, all).unwrap().load().unwrap();
        let purged = reader.purged().unwrap();
        assert_eq!(entries.len() as u64, next.0 - first.0);
        Self {
            entries: entries.into_iter().map(|(i, b)| (i.0, b)).collect(),
            next: next.0,
            vote: reader.vote().unwrap(),
            committed: reader.committed().unwrap(),
            purged: purged.map(|id| (first.0 - 1, id)),
        }
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}

/// A seeded run of calls against one log.
struct Workload {
    disk: FakeDisk,
    dice: Dice,
    model: Model,
    calls: Vec<Call>,
}

impl Workload {
    /// Runs all rounds; returns the calls made.
    fn run(disk: &FakeDisk, start: Model, seed: u64, plant: bool) -> Vec<Call> {
        let mut workload = Self {
            disk: disk.clone(),
            dice: Dice(seed),
            model: start,
            calls: Vec::new(),
        };
        let mut log = Log::open(disk.folder(), options(plant)).unwrap();
        for _ in 0..ROUNDS {
            block_on(workload.round(&mut log));
        }
        workload.calls
    }

    fn bytes(&mut self, most: usize) -> Bytes {
        let length = self.dice.below(most);
        let tag = self.dice.next().to_le_bytes();
        tag.iter().copied().cycle().take(length).collect()
    }

    fn note(&mut self, call: Call) -> usize {
        self.model.call(&call);
        self.calls.push(call);
        let number = self.calls.len();
        self.disk.mark(Mark::Called(number));
        number
    }

    async fn round(&mut self, log: &mut Log) {
        // No round has more appends than this.
        let (tell, told) = mpsc::sync_channel(16);
        let mut waiting = 0;
        for _ in 0..self.dice.below(8) + 1 {
            let entries = self.entries();
            let number = self.note(Call::Append(entries.clone()));
            let (disk, tell) = (self.disk.clone(), tell.clone());
            waiting += 1;
            log.append(entries, move |result| {
                result.unwrap();
                disk.mark(Mark::Promised(number));
                // Nobody may be waiting any more.
                let _ = tell.send(());
            })
            .await
            .unwrap();
            self.now_and_then(log).await;
        }
        // Sometimes the next burst comes before the disk has answered this one.
        if self.dice.below(3) > 0 {
            (0..waiting).for_each(|_| told.recv().unwrap());
            self.alone(log).await;
        }
    }

    fn entries(&mut self) -> Vec<(Index, Bytes)> {
        let most = if self.dice.below(20) == 0 {
            30_000
        } else {
            1_500
        };
        (0..self.dice.below(4) as u64 + 1)
            .map(|n| (Index(self.model.next + n), self.bytes(most)))
            .collect()
    }

    /// What comes between the appends of a burst.
    async fn now_and_then(&mut self, log: &mut Log) {
        match self.dice.below(24) {
            0..4 => self.committed(log).await,
            4 | 5 => {
                let vote = self.bytes(30);
                let number = self.note(Call::Vote(vote.clone()));
                log.save_vote(vote).await.unwrap();
                self.disk.mark(Mark::Promised(number));
            }
            6 => {
                let held = self.model.entries.len();
                let from = Index(self.model.next - self.dice.below(held.min(12)) as u64);
                self.note(Call::Truncate(from));
                log.truncate(from).await.unwrap();
            }
            7 => {
                let held = self.model.entries.len() as u64;
                let ahead = if self.dice.below(12) == 0 {
                    held + 5
                } else {
                    held / 2
                };
                let upto = Index((self.model.next - held + ahead).saturating_sub(1));
                if self.model.purged.as_ref().is_none_or(|(p, _)| *p < upto.0) {
                    let id = self.bytes(20);
                    self.note(Call::Purge(upto, id.clone()));
                    log.purge(upto, id).await.unwrap();
                }
            }
            _ => {}
        }
    }

    /// What comes when nothing else is under way: a committed log ID that waits for a frame.
    async fn alone(&mut self, log: &mut Log) {
        if self.dice.below(2) == 0 {
            self.committed(log).await;
            // The writer takes it up alone, for nothing else is queued.
            std::thread::yield_now();
        }
    }

    async fn committed(&mut self, log: &mut Log) {
        let id = self.bytes(20);
        self.note(Call::Committed(id.clone()));
        log.save_committed(id).await.unwrap();
    }
}

/// Returns the last call promised and the last call made before a cut.
fn marks(events: &[Event]) -> (usize, usize) {
    let mut marks = (0, 0);
    for event in events {
        match event {
            Event::Mark(Mark::Promised(number)) => marks.0 = marks.0.max(*number),
            Event::Mark(Mark::Called(number)) => marks.1 = marks.1.max(*number),
            _ => {}
        }
    }
    marks
}

/// Opens what a cut left and compares it with the promises; returns the state found.
fn check(
    disk: &FakeDisk,
    start: &Model,
    calls: &[Call],
    (promised, made): (usize, usize),
) -> Result<Model, String> {
    let log = Log::open(disk.folder(), options(false)).map_err(|e| format!("no open: {e}"))?;
    let found = Model::of(&log);
    drop(log);
    let mut model = start.clone();
    calls[..promised].iter().for_each(|call| model.call(call));
    for call in &calls[promised..made] {
        if model == found {
            return Ok(found);
        }
        model.call(call);
    }
    if model == found {
        return Ok(found);
    }
    Err(format!(
        "found entries up to {}, vote {:?}, which is after no call from {promised} to {made}",
        found.next, found.vote
    ))
}

/// Goes on writing after a cut, and opens again.
fn go_on(disk: &FakeDisk, found: &Model) -> Result<(), String> {
    let mut log = Log::open(disk.folder(), options(false)).map_err(|e| e.to_string())?;
    let mut model = found.clone();
    for n in 0..3_u8 {
        let entries = vec![(Index(model.next), Bytes::from(vec![n; 700]))];
        model.call(&Call::Append(entries.clone()));
        let vote = Bytes::from(vec![n]);
        model.call(&Call::Vote(vote.clone()));
        block_on(async {
            log.append(entries, |result| result.unwrap()).await?;
            log.save_vote(vote).await
        })
        .map_err(|e: Error| e.to_string())?;
    }
    drop(log);
    let log = Log::open(disk.folder(), options(false)).map_err(|e| format!("second open: {e}"))?;
    if Model::of(&log) == model {
        Ok(())
    } else {
        Err("what was written after the cut is not there".into())
    }
}

/// Returns whether an open cut a torn tail: it alone writes zeros of a frame header's length.
fn was_cut(disk: &FakeDisk) -> bool {
    let events = disk.events();
    events
        .iter()
        .any(|event| matches!(event, Event::Write { bytes, .. } if bytes[..] == [0; frame::HEADER]))
}

/// One cut in all its consequences; returns the disk, the state found on it, and whether a torn
/// tail was cut.
fn cut(
    events: &[Event],
    start: &Model,
    calls: &[Call],
    tear: Tear,
    dice: &mut Dice,
) -> Result<(FakeDisk, Model, bool), String> {
    let marks = marks(events);
    let disk = FakeDisk::power_cut(events, tear, dice);
    let left = disk.copy();
    let found = check(&disk, start, calls, marks)?;
    let torn = was_cut(&disk);
    go_on(&disk, &found)?;
    // Instead of a power cut a kill, then an open, then a power cut: what was found must stay.
    let killed = FakeDisk::killed(events);
    let found_then = check(&killed, start, calls, marks)?;
    let lost = FakeDisk::power_cut(&killed.events(), Tear::LoseAll, dice);
    let log = Log::open(lost.folder(), options(false)).map_err(|e| format!("after kill: {e}"))?;
    if Model::of(&log) != found_then {
        return Err("what an open found was lost by the next power cut".into());
    }
    Ok((left, found, torn))
}

/// What the cuts met; a test that meets nothing proves nothing.
#[derive(Debug, Default)]
struct Met {
    cuts: usize,
    torn_tails: usize,
    segments_reused: usize,
    segments_begun: usize,
}

impl Met {
    fn note(&mut self, workload: &[Event]) {
        for event in workload {
            match event {
                Event::Rename { from, .. } if from.ends_with(".segment") => {
                    self.segments_reused += 1;
                }
                Event::Rename { to, .. } if to.ends_with(".segment") => self.segments_begun += 1,
                _ => {}
            }
        }
    }
}

/// Runs workloads, each on what a cut of the one before left; returns what went wrong.
fn replay(cuts: usize, seed: u64, plant: bool) -> (Vec<String>, Met) {
    const CUTS_A_WORKLOAD: usize = 50;
    let mut dice = Dice(seed);
    let mut failures = Vec::new();
    let mut met = Met::default();
    let mut disk = FakeDisk::default();
    let mut start = Model::default();
    for workload in 0..cuts.div_ceil(CUTS_A_WORKLOAD) {
        let before = disk.events().len();
        let calls = Workload::run(&disk, start.clone(), dice.next(), plant);
        let events = disk.events();
        let writes: Vec<_> = (before..events.len())
            .filter(|n| matches!(events[*n], Event::Write { .. }))
            .collect();
        met.note(&events[before..]);
        let mut next = None;
        for number in 0..CUTS_A_WORKLOAD {
            met.cuts += 1;
            let tear = [Tear::Sectors, Tear::Sectors, Tear::Prefix][number % 3];
            // Half of the cuts right after a write, where something can be torn.
            let at = match dice.below(2) {
                0 => writes[dice.below(writes.len())] + 1,
                _ => before + dice.below(events.len() - before + 1),
            };
            match cut(&events[..at], &start, &calls, tear, &mut dice) {
                Ok((left, found, torn)) => {
                    met.torn_tails += usize::from(torn);
                    next = Some((left, found));
                }
                Err(what) => failures.push(format!(
                    "seed {seed}, workload {workload}, cut {number} at event {at}, {tear:?}: {what}"
                )),
            }
        }
        (disk, start) = next.unwrap_or_default();
    }
    (failures, met)
}

#[test]
fn after_a_power_cut_everything_promised_is_there_and_nothing_else() {
    let cuts = std::env::var("MAINSTAY_POWER_CUTS")
        .ok()
        .and_then(|cuts| cuts.parse().ok())
        .unwrap_or(1_000);
    let seed = std::env::var("MAINSTAY_POWER_CUT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(1);
    let (failures, met) = replay(cuts, seed, false);
    println!("{met:?}");
    assert!(
        failures.is_empty(),
        "{} of {cuts} cuts went wrong, the first:\n{}",
        failures.len(),
        failures[0]
    );
    assert!(met.torn_tails > met.cuts / 20, "{met:?}");
    assert!(
        met.segments_reused > 20 && met.segments_begun > 50,
        "{met:?}"
    );
}

#[test]
fn a_committed_record_without_its_own_sync_is_found_by_the_power_cuts() {
    let (failures, _) = replay(400, 2, true);
    println!("found in {} of 400 cuts", failures.len());
    assert!(!failures.is_empty(), "the planted mistake was not found");
}
