//! One process a data folder.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    path::Path,
};

use rustix::fs::FlockOperation;

use crate::app::Error;

/// Held as long as the process uses the data folder; the file `lock` in it names the process.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

impl DataLock {
    /// Takes the lock of a data folder.
    ///
    /// # Errors
    /// If another process holds it, whose ID is named.
    pub fn acquire(data: &Path) -> Result<Self, Error> {
        let path = data.join("lock");
        let file_error = |source| Error::Data {
            path: path.clone(),
            source,
        };
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(file_error)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let holder = read_pid(&mut file)
                    .map_or("another process".into(), |pid| format!("process {pid}"));
                return Err(Error::InUse {
                    path: data.to_owned(),
                    holder,
                });
            }
            Err(error) => return Err(file_error(error.into())),
        }
        let write = |file: &mut File| -> io::Result<()> {
            file.rewind()?;
            file.set_len(0)?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(file_error)?;
        Ok(Self { _file: file })
    }

    /// The process that holds, or last held, the lock of a data folder.
    pub fn holder(data: &Path) -> Option<u32> {
        read_pid(&mut File::open(data.join("lock")).ok()?)
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_holder_is_told_who_holds_it() {
        let folder = std::env::temp_dir().join(format!("mainstay-lock-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let first = DataLock::acquire(&folder).unwrap();
        let error = DataLock::acquire(&folder).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(first);
        DataLock::acquire(&folder).unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
