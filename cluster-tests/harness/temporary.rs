//! A folder of a test's own, removed at its end unless the test failed.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The folder; what a failed test left in it is kept and named, for its logs are the only witnesses.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// Makes one; `story` is part of its name.
    ///
    /// # Panics
    /// If the system's temporary folder cannot be written.
    pub fn new(story: &str) -> Self {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mainstay-test-{story}-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("the temporary folder is writable");
        Self { path }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var_os("MAINSTAY_KEEP").is_some() {
            eprintln!("kept {}", self.path.display());
            return;
        }
        // What cannot be removed is the system's to clean.
        let _unremovable = std::fs::remove_dir_all(&self.path);
    }
}
