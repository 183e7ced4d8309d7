//! Snapshot files on a fake disk: round trip, damage, interruption.

use super::fake_disk::{Dice, FakeDisk, Tear};
use super::{Error, Index, Snapshot, Snapshots};

fn state(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n * 31 % 251) as u8).collect()
}

fn write(snapshots: &Snapshots, index: u64, length: usize) -> Snapshot {
    let mut writer = snapshots.create(Index(index), b"meta").unwrap();
    for piece in state(length).chunks(300_000) {
        writer.write(piece).unwrap();
    }
    writer.finish().unwrap()
}

fn read(snapshot: &Snapshot) -> Result<Vec<u8>, Error> {
    let mut reader = snapshot.reader();
    let mut bytes = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

#[test]
fn a_snapshot_comes_back_as_it_was_written() {
    let disk = FakeDisk::default();
    let snapshots = Snapshots::open(disk.folder()).unwrap();
    assert!(snapshots.latest().unwrap().is_none());
    for (n, length) in [0, 1, 1 << 20, (1 << 20) + 1, 2_500_000]
        .into_iter()
        .enumerate()
    {
        let written = write(&snapshots, n as u64, length);
        let found = snapshots.latest().unwrap().unwrap();
        for snapshot in [written, found] {
            assert_eq!(snapshot.index(), Index(n as u64));
            assert_eq!(snapshot.meta(), b"meta");
            assert_eq!(snapshot.length().0, length as u64);
            assert!(read(&snapshot).unwrap() == state(length));
        }
    }
}

#[test]
fn older_snapshots_are_removed_while_a_reader_goes_on() {
    let disk = FakeDisk::default();
    let snapshots = Snapshots::open(disk.folder()).unwrap();
    let old = write(&snapshots, 1, 100);
    let new = write(&snapshots, 2, 100);
    snapshots.remove_older(&new).unwrap();
    assert_eq!(disk.list().len(), 1);
    assert_eq!(read(&old).unwrap(), state(100));
    assert_eq!(snapshots.latest().unwrap().unwrap().index(), Index(2));
}

#[test]
fn every_flipped_byte_is_noticed() {
    let disk = FakeDisk::default();
    write(&Snapshots::open(disk.folder()).unwrap(), 1, 300);
    let name = disk.list().remove(0);
    let content = disk.content(&name);
    for at in 0..content.len() {
        let mut bad = content.clone();
        bad[at] ^= 0x40;
        disk.set_content(&name, bad);
        let snapshots = Snapshots::open(disk.folder()).unwrap();
        let read = snapshots.latest().and_then(|found| read(&found.unwrap()));
        assert!(
            matches!(read, Err(Error::Damaged { .. })),
            "byte {at}: {read:?}"
        );
    }
}

#[test]
fn a_power_cut_leaves_the_old_or_the_new_snapshot_and_never_half_of_one() {
    let disk = FakeDisk::default();
    let snapshots = Snapshots::open(disk.folder()).unwrap();
    write(&snapshots, 1, 5_000);
    let before = disk.events().len();
    let new = write(&snapshots, 2, 9_000);
    let done = disk.events().len();
    snapshots.remove_older(&new).unwrap();
    let events = disk.events();
    let mut dice = Dice(7);
    for round in 0..50 {
        for at in before..=events.len() {
            let tear = [Tear::Sectors, Tear::Prefix, Tear::LoseAll][round % 3];
            let left = FakeDisk::power_cut(&events[..at], tear, &mut dice);
            let found = Snapshots::open(left.folder()).unwrap().latest().unwrap();
            let found = found.unwrap();
            let length = if found.index() == Index(2) {
                9_000
            } else {
                5_000
            };
            assert_eq!(read(&found).unwrap(), state(length));
            assert!(at < done || found.index() == Index(2), "lost after finish");
        }
    }
}
