//! A disk for tests that remembers every write and sync, and can lose power at any point of them.
//!
//! Used by the tests of `store` only. After a cut each write that was not synced is kept, lost or
//! torn, and the changes of the folder are kept only up to a point. Harsher than a file system that
//! keeps its journal in order. It can also fail a sync or a write, and hold syncs back.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use super::disk::{File, Folder};

const SECTOR: usize = 512;

/// How a write that was under way is torn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tear {
    /// Any of its sectors are on the disk.
    Sectors,
    /// Its first bytes are on the disk.
    Prefix,
    /// Nothing that was not synced is on the disk.
    LoseAll,
}

/// One thing that happened, in the order in which it did.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Create {
        name: String,
        file: usize,
    },
    Write {
        file: usize,
        offset: u64,
        bytes: Arc<[u8]>,
    },
    SyncFile {
        file: usize,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        name: String,
    },
    SyncFolder,
    /// Something that the test wants to find in the order of events.
    Mark(Mark),
}

/// A note of the test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// The call of this number was made.
    Called(usize),
    /// The call of this number, and all before it, were said to be durable.
    Promised(usize),
}

/// A pseudo-random sequence (SplitMix64), the same for the same seed.
#[derive(Debug, Clone)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `n`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

#[derive(Debug, Default)]
struct World {
    names: BTreeMap<String, usize>,
    files: Vec<Vec<u8>>,
    events: Vec<Event>,
    file_syncs: usize,
    fail_sync: Option<usize>,
    fail_writes: bool,
    hold_syncs: bool,
}

/// The disk: one folder. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct FakeDisk {
    inner: Arc<(Mutex<World>, Condvar)>,
}

impl FakeDisk {
    /// Returns the disk as a folder.
    pub(super) fn folder(&self) -> Arc<dyn Folder> {
        Arc::new(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.inner.0.lock().unwrap()
    }

    pub(super) fn mark(&self, mark: Mark) {
        self.lock().events.push(Event::Mark(mark));
    }

    pub(super) fn events(&self) -> Vec<Event> {
        self.lock().events.clone()
    }

    /// Returns how often a file was synced.
    pub(super) fn file_syncs(&self) -> usize {
        self.lock().file_syncs
    }

    /// Makes the `n`th sync of a file from now fail, and all after it work again.
    pub(super) fn fail_sync(&self, n: usize) {
        let mut world = self.lock();
        world.fail_sync = Some(world.file_syncs + n);
    }

    pub(super) fn fail_writes(&self) {
        self.lock().fail_writes = true;
    }

    /// Lets syncs wait, or go on.
    pub(super) fn hold_syncs(&self, hold: bool) {
        self.lock().hold_syncs = hold;
        self.inner.1.notify_all();
    }

    pub(super) fn list(&self) -> Vec<String> {
        self.lock().names.keys().cloned().collect()
    }

    pub(super) fn content(&self, name: &str) -> Vec<u8> {
        let world = self.lock();
        world.files[world.names[name]].clone()
    }

    pub(super) fn set_content(&self, name: &str, bytes: Vec<u8>) {
        let mut world = self.lock();
        let file = world.names[name];
        world.files[file] = bytes;
    }

    /// Returns another disk with the same files, all durable.
    pub(super) fn copy(&self) -> Self {
        let world = self.lock();
        Self::with(&world.names, &world.files)
    }

    fn with(names: &BTreeMap<String, usize>, files: &[Vec<u8>]) -> Self {
        let disk = Self::default();
        for (name, file) in names {
            let created = disk.create(name).unwrap();
            created.write_at(&files[*file], 0).unwrap();
            created.sync().unwrap();
        }
        disk.sync().unwrap();
        disk
    }

    /// Returns a disk on which only these events happened, as a killed process leaves it: nothing is
    /// lost, and what was not synced still can be.
    pub(super) fn killed(events: &[Event]) -> Self {
        let disk = Self::default();
        for event in events {
            disk.lock().happen(event.clone());
        }
        disk
    }

    /// Returns the disk that these events leave when the power goes.
    pub(super) fn power_cut(events: &[Event], tear: Tear, dice: &mut Dice) -> Self {
        let mut durable = World::default();
        let mut writes: Vec<Event> = Vec::new();
        let mut changes: Vec<Event> = Vec::new();
        for event in events {
            match event {
                Event::Create { .. } => {
                    durable.files.push(Vec::new());
                    changes.push(event.clone());
                }
                Event::Rename { .. } | Event::Remove { .. } => changes.push(event.clone()),
                Event::Write { .. } => writes.push(event.clone()),
                Event::SyncFile { file: synced } => writes.retain(|write| {
                    let of_it = matches!(write, Event::Write { file, .. } if file == synced);
                    if of_it {
                        durable.happen(write.clone());
                    }
                    !of_it
                }),
                Event::SyncFolder => changes
                    .drain(..)
                    .for_each(|change| durable.rename_only(change)),
                Event::Mark(_) => {}
            }
        }
        let kept_changes = match tear {
            Tear::LoseAll => 0,
            _ => dice.below(changes.len() + 1),
        };
        for change in changes.into_iter().take(kept_changes) {
            durable.rename_only(change);
        }
        for write in writes {
            let Event::Write {
                file,
                offset,
                bytes,
            } = write
            else {
                continue;
            };
            for (offset, bytes) in survivors(tear, offset, &bytes, dice) {
                durable.happen(Event::Write {
                    file,
                    offset,
                    bytes: bytes.into(),
                });
            }
        }
        Self::with(&durable.names, &durable.files)
    }
}

/// Returns what is left of one write that was not synced.
fn survivors(tear: Tear, offset: u64, bytes: &[u8], dice: &mut Dice) -> Vec<(u64, Vec<u8>)> {
    match (tear, dice.below(3)) {
        (Tear::LoseAll, _) | (_, 0) => Vec::new(),
        (_, 1) => vec![(offset, bytes.to_vec())],
        (Tear::Prefix, _) => vec![(offset, bytes[..dice.below(bytes.len())].to_vec())],
        (Tear::Sectors, _) => {
            let mut kept = Vec::new();
            let mut at = 0;
            while at < bytes.len() {
                let in_sector = (offset as usize + at) % SECTOR;
                let end = bytes.len().min(at + SECTOR - in_sector);
                if dice.below(2) == 0 {
                    kept.push((offset + at as u64, bytes[at..end].to_vec()));
                }
                at = end;
            }
            kept
        }
    }
}

impl World {
    fn happen(&mut self, event: Event) {
        match &event {
            Event::Create { file, .. } => {
                assert_eq!(*file, self.files.len());
                self.files.push(Vec::new());
                self.rename_only(event.clone());
            }
            Event::Rename { .. } | Event::Remove { .. } => self.rename_only(event.clone()),
            Event::Write {
                file,
                offset,
                bytes,
            } => {
                let content = &mut self.files[*file];
                let start = *offset as usize;
                let end = start + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[start..end].copy_from_slice(bytes);
            }
            Event::SyncFile { .. } | Event::SyncFolder | Event::Mark(_) => {}
        }
        self.events.push(event);
    }

    fn rename_only(&mut self, event: Event) {
        match event {
            Event::Create { name, file } => {
                self.names.insert(name, file);
            }
            Event::Rename { from, to } => {
                if let Some(file) = self.names.remove(&from) {
                    self.names.insert(to, file);
                }
            }
            Event::Remove { name } => {
                self.names.remove(&name);
            }
            _ => {}
        }
    }
}

impl Folder for FakeDisk {
    fn path(&self, name: &str) -> String {
        format!("fake/{name}")
    }

    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.list())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let mut world = self.lock();
        let file = world.files.len();
        let name = name.to_owned();
        world.happen(Event::Create { name, file });
        Ok(Arc::new(FakeFile {
            disk: self.clone(),
            file,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let world = self.lock();
        let file = *world.names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FakeFile {
            disk: self.clone(),
            file,
        }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.lock();
        if !world.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        world.happen(Event::Rename { from, to });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let name = name.to_owned();
        self.lock().happen(Event::Remove { name });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.lock().happen(Event::SyncFolder);
        Ok(())
    }
}

#[derive(Debug)]
struct FakeFile {
    disk: FakeDisk,
    file: usize,
}

impl File for FakeFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.lock().files[self.file].len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.disk.lock();
        let content = world.files[self.file]
            .get(offset as usize..)
            .unwrap_or_default();
        let n = content.len().min(buffer.len());
        buffer[..n].copy_from_slice(&content[..n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut world = self.disk.lock();
        if world.fail_writes {
            return Err(io::Error::from_raw_os_error(28));
        }
        world.happen(Event::Write {
            file: self.file,
            offset,
            bytes: bytes.into(),
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.disk.lock();
        while world.hold_syncs {
            world = self.disk.inner.1.wait(world).unwrap();
        }
        world.file_syncs += 1;
        if world.fail_sync == Some(world.file_syncs) {
            return Err(io::Error::from_raw_os_error(5));
        }
        world.happen(Event::SyncFile { file: self.file });
        Ok(())
    }
}
