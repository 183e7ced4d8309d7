//! Damage of segment files: what is a torn tail and is cut, and what refuses to open.

use std::io::Write;
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::fake_disk::FakeDisk;
use super::segment;
use super::{ByteCount, Error, Index, Log, Options};

const ALL: ByteCount = ByteCount(u64::MAX);

fn options() -> Options {
    Options {
        segment_size: ByteCount::kib(4),
        ..Options::default()
    }
}

fn open(disk: &FakeDisk) -> Result<Log, Error> {
    Log::open(disk.folder(), options())
}

fn payload(index: u64) -> Bytes {
    let length = 20 + (index as usize * 7) % 40;
    Bytes::from(vec![index as u8; length])
}

/// Appends one entry a frame; returns where the last segment's frames end.
async fn append(log: &mut Log, indexes: std::ops::Range<u64>) {
    for index in indexes {
        let (tell, told) = tokio::sync::oneshot::channel();
        let entries = vec![(Index(index), payload(index))];
        log.append(entries, move |result| tell.send(result).unwrap())
            .await
            .unwrap();
        told.await.unwrap().unwrap();
    }
}

/// Asserts that the log opens with the entries `first..next`, and goes on.
async fn holds(disk: &FakeDisk, first: u64, next: u64, why: &str) {
    let mut log = open(disk).unwrap_or_else(|error| panic!("{why}: {error}"));
    let range = log.reader().range().unwrap();
    assert_eq!(range, (Index(first), Index(next)), "{why}");
    append(&mut log, next..next + 1).await;
    drop(log);
    let log = open(disk).unwrap_or_else(|error| panic!("{why}, second time: {error}"));
    let plan = log.reader().plan(Index(0), Index(u64::MAX), ALL).unwrap();
    let wanted: Vec<_> = (first..=next).map(|i| (Index(i), payload(i))).collect();
    assert_eq!(plan.load().unwrap(), wanted, "{why}");
}

/// The last segment's name and content, and the offsets of its frames and of their end.
fn last_segment(disk: &FakeDisk) -> (String, Vec<u8>, Vec<usize>) {
    let names = disk.list();
    let name = names.iter().rfind(|n| n.ends_with(".segment")).unwrap();
    let content = disk.content(name);
    let mut offsets = vec![segment::HEADER];
    let mut expected = None;
    loop {
        let at = *offsets.last().unwrap();
        let number = u64::from_le_bytes(content[at + 8..at + 16].try_into().unwrap());
        if number == 0 || expected.is_some_and(|expected| number != expected) {
            return (name.clone(), content, offsets);
        }
        expected = Some(number + 1);
        let length = u32::from_le_bytes(content[at..at + 4].try_into().unwrap());
        offsets.push(at + 16 + length as usize);
    }
}

/// A log of several segments; its last one has been used before when `reused`.
async fn filled(reused: bool) -> (FakeDisk, u64, u64) {
    let disk = FakeDisk::default();
    let mut log = open(&disk).unwrap();
    let mut next = if reused { 650 } else { 100 };
    let mut first = 0;
    for index in 0..next {
        append(&mut log, index..index + 1).await;
        if reused && index % 10 == 0 && index > 40 {
            first = index - 39;
            log.purge(Index(first - 1), Bytes::from_static(b"id"))
                .await
                .unwrap();
        }
    }
    // Where segments end depends on what shared a frame; the tests want some in the last one.
    while last_segment(&disk).2.len() < 8 {
        append(&mut log, next..next + 1).await;
        next += 1;
    }
    (disk, first, next)
}

#[tokio::test]
async fn a_file_cut_at_any_byte_of_the_last_records_keeps_the_whole_ones() {
    for reused in [false, true] {
        let (disk, first, next) = filled(reused).await;
        let (name, content, frames) = last_segment(&disk);
        let end = *frames.last().unwrap();
        let start = frames[frames.len() - 4];
        assert!(frames.len() > 5);
        for cut in start..end {
            let copy = disk.copy();
            copy.set_content(&name, content[..cut].to_vec());
            let whole = frames[1..].iter().filter(|end| **end <= cut).count();
            let lost = (frames.len() - 1 - whole) as u64;
            holds(
                &copy,
                first,
                next - lost,
                &format!("reused {reused}, cut at {cut}"),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn a_file_zeroed_from_any_byte_of_the_last_records_keeps_the_whole_ones() {
    for reused in [false, true] {
        let (disk, first, next) = filled(reused).await;
        let (name, content, frames) = last_segment(&disk);
        let end = *frames.last().unwrap();
        for from in frames[frames.len() - 4]..end {
            let mut bad = content.clone();
            bad[from..].fill(0);
            let copy = disk.copy();
            // Zeros that were there before are no damage.
            let touched = (from..end).find(|at| content[*at] != 0).unwrap_or(end);
            let whole = frames[1..].iter().filter(|end| **end <= touched).count();
            let lost = (frames.len() - 1 - whole) as u64;
            copy.set_content(&name, bad);
            holds(
                &copy,
                first,
                next - lost,
                &format!("reused {reused}, zeros from {from}"),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn half_a_record_with_zeros_or_old_bytes_behind_it_is_cut() {
    for reused in [false, true] {
        let (disk, first, next) = filled(reused).await;
        let (name, content, frames) = last_segment(&disk);
        let [.., last, end] = frames[..] else {
            panic!("too few frames");
        };
        let mut bad = content.clone();
        bad[last + (end - last) / 2..end].fill(0);
        disk.set_content(&name, bad);
        holds(&disk, first, next - 1, "half a record").await;
    }
}

#[tokio::test]
async fn any_flipped_byte_before_the_last_record_refuses_to_open_and_says_where() {
    for reused in [false, true] {
        let (disk, ..) = filled(reused).await;
        let (last_name, _, frames) = last_segment(&disk);
        let last = frames[frames.len() - 2];
        for name in disk.list().iter().filter(|n| n.ends_with(".segment")) {
            let content = disk.content(name);
            // In an older segment all bytes up to its last frame matter.
            let end = if *name == last_name {
                last
            } else {
                used(&content)
            };
            for at in 0..end {
                let mut bad = content.clone();
                bad[at] ^= 0x10;
                let copy = disk.copy();
                copy.set_content(name, bad);
                match open(&copy).map(drop) {
                    Err(Error::Damaged { path, offset, .. }) => {
                        assert!(path.ends_with(name.as_str()));
                        assert!(
                            offset <= at as u64 && at as u64 - offset < 200,
                            "{at}: {offset}"
                        );
                    }
                    other => panic!("byte {at} of {name}: {other:?}"),
                }
            }
        }
    }
}

/// Returns where the frames of a segment end.
fn used(content: &[u8]) -> usize {
    let mut at = segment::HEADER;
    let mut number = u64::from_le_bytes(content[at + 8..at + 16].try_into().unwrap());
    while at + 16 <= content.len()
        && content[at + 8..at + 16] == number.to_le_bytes()
        && content[at..at + 4] != [0; 4]
    {
        at += 16 + u32::from_le_bytes(content[at..at + 4].try_into().unwrap()) as usize;
        number += 1;
    }
    at
}

#[tokio::test]
async fn a_record_zeroed_in_the_middle_refuses_to_open() {
    let (disk, ..) = filled(false).await;
    let (name, content, frames) = last_segment(&disk);
    for pair in frames[..frames.len() - 1].windows(2) {
        let mut bad = content.clone();
        bad[pair[0]..pair[1]].fill(0);
        let copy = disk.copy();
        copy.set_content(&name, bad);
        let error = open(&copy).unwrap_err();
        assert!(
            matches!(error, Error::Damaged { offset, .. } if offset == pair[0] as u64),
            "{error}"
        );
    }
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_cut_is_synced_and_logged_with_file_and_offset_and_a_clean_end_is_not() {
    let (disk, ..) = filled(true).await;
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    drop(open(&disk).unwrap());
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert_eq!(said, "");

    let (name, mut content, frames) = last_segment(&disk);
    let last = frames[frames.len() - 2];
    content[last + 20] ^= 1;
    disk.set_content(&name, content);
    let syncs = disk.file_syncs();
    let log = open(&disk).unwrap();
    assert!(disk.file_syncs() > syncs);
    let said = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(said.contains("WARN"), "{said}");
    assert!(
        said.contains(&name) && said.contains(&format!("offset={last}")),
        "{said}"
    );
    drop(log);
}
