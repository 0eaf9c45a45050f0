//! Where segments are kept: a directory, or in tests something that fails as disks do.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Names of segment files end so.
const SUFFIX: &str = ".spool";

/// Numbered files that only grow at their end, and are removed whole.
pub trait Medium: std::fmt::Debug + Send {
    /// Numbers of all segments, ascending.
    fn list(&mut self) -> io::Result<Vec<u64>>;
    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>>;
    /// Writes at the end, all or, on an error, an unknown part of it.
    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when the segment is on the disk itself.
    fn sync(&mut self, segment: u64) -> io::Result<()>;
    fn remove(&mut self, segment: u64) -> io::Result<()>;
    /// Bytes that are free for this process; the reserve must stay above them.
    fn free(&mut self) -> io::Result<u64>;
}

/// A directory that belongs to this agent alone.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The file that is being written, open between appends.
    open: Option<(u64, File)>,
    /// Held as long as the spool is: two agents would send each other's samples.
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there.
    ///
    /// # Errors
    /// When it cannot be made or written, or another process has it.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), open: None, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(io::Error::other("another agent has this directory")),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn file(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:016x}{SUFFIX}"))
    }
}

impl Medium for Directory {
    fn list(&mut self) -> io::Result<Vec<u64>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX));
            found.extend(number.and_then(|number| u64::from_str_radix(number, 16).ok()));
        }
        found.sort_unstable();
        Ok(found)
    }

    fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
        fs::read(self.file(segment))
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.open {
            Some((open, file)) if *open == segment => file,
            open => {
                let file = OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(self.path.join(format!("{segment:016x}{SUFFIX}")))?;
                &mut open.insert((segment, file)).1
            }
        };
        file.write_all(bytes)
    }

    fn sync(&mut self, segment: u64) -> io::Result<()> {
        match &self.open {
            Some((open, file)) if *open == segment => file.sync_data(),
            _ => File::open(self.file(segment))?.sync_data(),
        }
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.open = None;
        }
        fs::remove_file(self.file(segment))
    }

    fn free(&mut self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.path)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

/// A disk of a test: in memory, with faults.
#[cfg(test)]
pub(super) mod faulty {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex, MutexGuard};

    use super::*;

    #[derive(Debug, Default)]
    pub struct Disk {
        pub files: BTreeMap<u64, Vec<u8>>,
        pub free: u64,
        /// The next append writes this many bytes and then fails.
        pub tear: Option<usize>,
        /// Everything fails.
        pub broken: bool,
    }

    /// One disk, several owners: what is on it outlives the spool.
    #[derive(Debug, Clone, Default)]
    pub struct Shared(Arc<Mutex<Disk>>);

    impl Shared {
        pub fn new() -> Self {
            let shared = Self::default();
            shared.disk().free = u64::MAX;
            shared
        }

        pub fn disk(&self) -> MutexGuard<'_, Disk> {
            self.0.lock().expect("no panic holds it")
        }

        fn whole(&self) -> io::Result<MutexGuard<'_, Disk>> {
            let disk = self.disk();
            if disk.broken { Err(io::Error::other("EIO")) } else { Ok(disk) }
        }
    }

    impl Medium for Shared {
        fn list(&mut self) -> io::Result<Vec<u64>> {
            Ok(self.whole()?.files.keys().copied().collect())
        }

        fn read(&mut self, segment: u64) -> io::Result<Vec<u8>> {
            self.whole()?.files.get(&segment).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn append(&mut self, segment: u64, bytes: &[u8]) -> io::Result<()> {
            let mut disk = self.whole()?;
            let tear = disk.tear.take();
            let written = tear.unwrap_or(bytes.len()).min(bytes.len());
            disk.files.entry(segment).or_default().extend_from_slice(&bytes[..written]);
            if tear.is_some() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn sync(&mut self, _segment: u64) -> io::Result<()> {
            self.whole().map(drop)
        }

        fn remove(&mut self, segment: u64) -> io::Result<()> {
            self.whole()?.files.remove(&segment).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
        }

        fn free(&mut self) -> io::Result<u64> {
            Ok(self.whole()?.free)
        }
    }
}
