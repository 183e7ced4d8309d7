//! Behaviour of the log on a fake disk: order, memory bound, failures, purge and reuse.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::fake_disk::{Event, FakeDisk};
use super::{ByteCount, Error, Index, Log, Options};

const ALL: ByteCount = ByteCount(u64::MAX);

fn options() -> Options {
    Options {
        segment_size: ByteCount::kib(16),
        tail: ByteCount::kib(8),
        ..Options::default()
    }
}

fn open(disk: &FakeDisk) -> Log {
    Log::open(disk.folder(), options()).unwrap()
}

fn entry(index: u64, length: usize) -> (Index, Bytes) {
    let bytes = index.to_le_bytes().into_iter().cycle().take(length);
    (Index(index), bytes.collect())
}

/// Appends and waits until it is durable.
async fn append(log: &mut Log, entries: Vec<(Index, Bytes)>) -> Result<(), Error> {
    let (tell, told) = tokio::sync::oneshot::channel();
    log.append(entries, move |result| tell.send(result).unwrap())
        .await?;
    told.await.unwrap()
}

fn read(log: &Log, from: u64, to: u64) -> Vec<(Index, Bytes)> {
    let plan = log.reader().plan(Index(from), Index(to), ALL).unwrap();
    plan.load().unwrap()
}

fn entries(range: std::ops::Range<u64>, length: usize) -> Vec<(Index, Bytes)> {
    range.map(|index| entry(index, length)).collect()
}

fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

fn segments(disk: &FakeDisk) -> usize {
    let names = disk.list();
    names.iter().filter(|n| n.ends_with(".segment")).count()
}

#[tokio::test]
async fn entries_are_readable_at_once_and_after_a_new_start() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    disk.hold_syncs(true);
    let (tell, told) = mpsc::sync_channel(64);
    log.append(entries(1..4, 10), move |result| tell.send(result).unwrap())
        .await
        .unwrap();
    assert_eq!(read(&log, 0, 99), entries(1..4, 10));
    assert!(told.try_recv().is_err(), "said durable before the sync");
    disk.hold_syncs(false);
    told.recv().unwrap().unwrap();
    log.save_vote(Bytes::from_static(b"vote")).await.unwrap();
    drop(log);

    let log = open(&disk);
    assert_eq!(read(&log, 0, 99), entries(1..4, 10));
    assert_eq!(log.reader().vote().unwrap().unwrap(), &b"vote"[..]);
    assert_eq!(log.reader().range().unwrap(), (Index(1), Index(4)));
}

#[tokio::test]
async fn what_arrives_during_a_sync_shares_the_next() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    append(&mut log, entries(0..1, 10)).await.unwrap();
    let before = disk.file_syncs();
    disk.hold_syncs(true);
    let (tell, told) = mpsc::sync_channel(64);
    for index in 1..33 {
        let tell = tell.clone();
        log.append(vec![entry(index, 10)], move |result| {
            result.unwrap();
            tell.send(index).unwrap();
        })
        .await
        .unwrap();
    }
    disk.hold_syncs(false);
    let order: Vec<_> = (1..33).map(|_| told.recv().unwrap()).collect();
    assert!(order.is_sorted(), "completed out of order");
    let syncs = disk.file_syncs() - before;
    assert!(syncs <= 2, "{syncs} syncs for 32 appends at once");
}

#[tokio::test]
async fn a_lone_committed_waits_for_the_next_frame_and_for_the_end() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    append(&mut log, entries(0..1, 10)).await.unwrap();
    let writes = |disk: &FakeDisk| {
        let events = disk.events();
        events
            .iter()
            .filter(|event| matches!(event, Event::Write { .. }))
            .count()
    };
    let before = writes(&disk);
    for n in 0..5_u8 {
        log.save_committed(Bytes::from(vec![n])).await.unwrap();
    }
    append(&mut log, entries(1..2, 10)).await.unwrap();
    assert_eq!(writes(&disk), before + 1);
    log.save_committed(Bytes::from_static(b"last"))
        .await
        .unwrap();
    drop(log);
    let log = open(&disk);
    assert_eq!(log.reader().committed().unwrap().unwrap(), &b"last"[..]);
}

#[tokio::test]
async fn old_entries_leave_memory_and_are_read_from_the_files() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    for index in 0..100 {
        append(&mut log, vec![entry(index, 1000)]).await.unwrap();
    }
    let reader = log.reader();
    let old = reader.plan(Index(0), Index(10), ALL).unwrap();
    assert!(!old.is_in_memory());
    let new = reader.plan(Index(95), Index(100), ALL).unwrap();
    assert!(new.is_in_memory());
    assert_eq!(read(&log, 0, 100), entries(0..100, 1000));
    assert_eq!(read(&log, 40, 99), entries(40..99, 1000));
    for from in [0, 50, 88, 91, 99] {
        let plan = reader.plan(Index(from), Index(100), ByteCount(3500));
        let found = plan.unwrap().load().unwrap();
        let wanted = (from + 3).min(100);
        assert_eq!(found, entries(from..wanted, 1000), "from {from}");
        let one = reader.plan(Index(from), Index(100), ByteCount(0)).unwrap();
        assert_eq!(one.load().unwrap(), entries(from..from + 1, 1000));
    }
}

#[tokio::test]
async fn truncation_reaches_back_over_segments() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    for index in 0..60 {
        append(&mut log, vec![entry(index, 1000)]).await.unwrap();
    }
    log.truncate(Index(70)).await.unwrap();
    assert_eq!(log.reader().range().unwrap().1, Index(60));
    log.truncate(Index(5)).await.unwrap();
    assert_eq!(read(&log, 0, 99), entries(0..5, 1000));
    append(&mut log, entries(5..8, 70)).await.unwrap();
    let wanted = [entries(0..5, 1000), entries(5..8, 70)].concat();
    assert_eq!(read(&log, 0, 99), wanted);
    drop(log);
    assert_eq!(read(&open(&disk), 0, 99), wanted);
}

#[tokio::test]
async fn an_append_with_a_hole_is_refused_and_changes_nothing() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    append(&mut log, entries(0..2, 10)).await.unwrap();
    let error = append(&mut log, entries(3..4, 10)).await.unwrap_err();
    assert!(matches!(error, Error::OutOfOrder { .. }), "{error}");
    append(&mut log, entries(2..3, 10)).await.unwrap();
    assert_eq!(read(&log, 0, 9), entries(0..3, 10));
}

#[tokio::test]
async fn an_entry_larger_than_a_segment_is_kept() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    let mut wanted = entries(0..1, 10);
    wanted.push(entry(1, 100_000));
    wanted.extend(entries(2..5, 5_000));
    for entry in &wanted {
        append(&mut log, vec![entry.clone()]).await.unwrap();
    }
    assert_eq!(read(&log, 0, 9), wanted);
    drop(log);
    let mut log = open(&disk);
    assert_eq!(read(&log, 0, 9), wanted);
    append(&mut log, entries(5..6, 10)).await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_stops_the_log_for_good() {
    for failing in 1..4 {
        let disk = FakeDisk::default();
        let mut log = open(&disk);
        append(&mut log, entries(0..1, 10)).await.unwrap();
        disk.fail_sync(failing);
        let mut failed = false;
        for index in 1..4 {
            failed |= append(&mut log, entries(index..index + 1, 10))
                .await
                .is_err();
        }
        assert!(failed);
        stopped(&mut log).await;
    }
}

#[tokio::test]
async fn a_failed_write_stops_the_log_for_good() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    append(&mut log, entries(0..1, 10)).await.unwrap();
    disk.fail_writes();
    let vote = log.save_vote(Bytes::from_static(b"vote")).await;
    assert!(matches!(vote, Err(Error::Stopped { .. })), "{vote:?}");
    stopped(&mut log).await;
}

/// Every call errors, although the disk would work again.
async fn stopped(log: &mut Log) {
    let reader = log.reader();
    let none = Bytes::new;
    let results = [
        append(log, entries(9..10, 10)).await,
        log.save_vote(none()).await,
        log.save_committed(none()).await,
        log.truncate(Index(0)).await,
        log.purge(Index(0), none()).await,
        reader.plan(Index(0), Index(1), ALL).map(drop),
        reader.range().map(drop),
        reader.vote().map(drop),
        reader.committed().map(drop),
        reader.purged().map(drop),
    ];
    for (n, result) in results.into_iter().enumerate() {
        assert!(matches!(result, Err(Error::Stopped { .. })), "call {n}");
    }
}

#[tokio::test]
async fn purged_segments_are_used_again_and_their_old_frames_never_read() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    let mut wanted = Vec::new();
    for index in 0..400 {
        append(&mut log, vec![entry(index, 900)]).await.unwrap();
        wanted.push(entry(index, 900));
        if index % 20 == 19 {
            let id = Bytes::copy_from_slice(&[index as u8]);
            log.purge(Index(index - 10), id).await.unwrap();
            wanted.retain(|(i, _)| i.0 > index - 10);
        }
    }
    append(&mut log, vec![entry(400, 10)]).await.unwrap();
    wanted.push(entry(400, 10));
    wait_until("old segments are gone", || segments(&disk) <= 3);
    let reused = disk.events().iter().any(
        |event| matches!(event, Event::Rename { from, to } if from.ends_with(".segment") && to.ends_with(".spare")),
    );
    assert!(reused, "no segment was used again");
    drop(log);
    let log = open(&disk);
    assert_eq!(read(&log, 0, 999), wanted);
    assert_eq!(
        log.reader().purged().unwrap().unwrap(),
        &[399_u64 as u8][..]
    );
}

#[tokio::test]
async fn a_read_that_was_planned_before_a_purge_is_not_disturbed_by_reuse() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    for index in 0..50 {
        append(&mut log, vec![entry(index, 900)]).await.unwrap();
    }
    let plan = log.reader().plan(Index(0), Index(20), ALL).unwrap();
    log.purge(Index(48), Bytes::new()).await.unwrap();
    for index in 50..200 {
        append(&mut log, vec![entry(index, 900)]).await.unwrap();
        log.purge(Index(index), Bytes::new()).await.unwrap();
    }
    assert_eq!(plan.load().unwrap(), entries(0..20, 900));
}

#[tokio::test]
async fn a_purge_beyond_the_end_lets_the_log_go_on_behind_it() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    append(&mut log, entries(0..3, 10)).await.unwrap();
    log.purge(Index(9), Bytes::from_static(b"9")).await.unwrap();
    assert_eq!(log.reader().range().unwrap(), (Index(10), Index(10)));
    append(&mut log, entries(10..12, 10)).await.unwrap();
    assert_eq!(read(&log, 0, 99), entries(10..12, 10));
    drop(log);
    assert_eq!(read(&open(&disk), 0, 99), entries(10..12, 10));
}

#[tokio::test]
async fn a_missing_segment_is_noticed() {
    let disk = FakeDisk::default();
    let mut log = open(&disk);
    for index in 0..80 {
        append(&mut log, vec![entry(index, 900)]).await.unwrap();
    }
    drop(log);
    let names: Vec<_> = disk.list();
    let names: Vec<_> = names.iter().filter(|n| n.ends_with(".segment")).collect();
    assert!(names.len() > 4);
    for missing in &names[..names.len() - 1] {
        let copy = disk.copy();
        copy.folder().remove(missing).unwrap();
        let error = Log::open(copy.folder(), options()).unwrap_err();
        assert!(
            matches!(error, Error::Missing { .. } | Error::Damaged { .. }),
            "{error}"
        );
    }
}
