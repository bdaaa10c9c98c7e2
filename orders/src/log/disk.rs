//! The disk as the log uses it: files of one fixed size that are written in place. Tests put another one underneath.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::OpenError;
use crate::pause::pause;

/// The file whose lock says that the folder is in use.
const LOCK: &str = "lock";
/// How the names of segments end.
const ENDING: &str = ".segment";
/// Zeros written at once.
const ZEROS: usize = 256 << 10;
/// The pause after them when others use the disk.
const REST: Duration = Duration::from_millis(3);

/// Files of one fixed size, each with a number.
pub(super) trait Disk: Send + Sync {
    /// The files that are there, with their sizes in bytes.
    fn files(&self) -> io::Result<Vec<(u32, u64)>>;
    /// Where a file is, for texts.
    fn path(&self, file: u32) -> PathBuf;
    /// Fills `into` from an offset on.
    fn read(&self, file: u32, offset: u64, into: &mut [u8]) -> io::Result<()>;
    /// Overwrites; safe only after [`Disk::sync`].
    fn write(&self, file: u32, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns when all that was written to the file is safe.
    fn sync(&self, file: u32) -> io::Result<()>;
    /// Opens a file for so many threads that are to sync it, before what they are to sync is written.
    fn open_apart(&self, file: u32, threads: usize) -> io::Result<()>;
    /// The same as [`Disk::sync`] by one of these threads. An error in the file is told to each of them, even if what
    /// one has written was lost in the sync of another.
    fn sync_apart(&self, file: u32, thread: usize) -> io::Result<()>;
    /// Makes a file of zeros, safe when this returns; after an error it is not there. `gently`: a commit that comes
    /// meanwhile finds the disk free for most of the time.
    fn make(&self, file: u32, bytes: u64, gently: bool) -> io::Result<()>;
    /// Takes a file away.
    fn remove(&self, file: u32) -> io::Result<()>;
    /// A number nobody guesses.
    fn salt(&self) -> u64;
}

/// A folder of the file system, used by nobody else.
pub(super) struct Folder {
    path: PathBuf,
    files: Mutex<BTreeMap<u32, Arc<File>>>,
    /// The same files, opened once more for each thread that syncs.
    apart: Mutex<BTreeMap<u32, Vec<Arc<File>>>>,
    sync_delay: Duration,
    /// Its lock goes with it.
    _lock: File,
}

impl Folder {
    /// Takes a folder, or makes it.
    ///
    /// # Errors
    /// It cannot be used, holds something else, or somebody else uses it.
    pub(super) fn open(path: &Path, sync_delay: Duration) -> Result<Self, OpenError> {
        let unusable = |path: &Path, source: io::Error| OpenError::Unusable {
            path: path.to_owned(),
            source,
        };
        let is_new = !path.exists();
        std::fs::create_dir_all(path).map_err(|error| unusable(path, error))?;
        let lock_path = path.join(LOCK);
        if !lock_path.exists() {
            refuse_strangers(path)?;
        }
        let lock = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| unusable(&lock_path, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_path, error)),
        }
        if is_new && let Some(parent) = path.parent().filter(|parent| parent.is_dir()) {
            let synced = File::open(parent).and_then(|folder| folder.sync_all());
            synced.map_err(|error| unusable(parent, error))?;
        }
        Ok(Self {
            path: path.to_owned(),
            files: Mutex::default(),
            apart: Mutex::default(),
            sync_delay,
            _lock: lock,
        })
    }

    fn opened(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<File>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened_apart(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Arc<File>>>> {
        self.apart.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sync_file(&self, file: &File) -> io::Result<()> {
        file.sync_data()?;
        if !self.sync_delay.is_zero() {
            pause(self.sync_delay);
        }
        Ok(())
    }

    fn open_file(&self, number: u32) -> io::Result<Arc<File>> {
        let path = self.path(number);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Arc::new(file))
    }

    fn file(&self, number: u32) -> io::Result<Arc<File>> {
        let mut files = self.opened();
        if let Some(file) = files.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = self.open_file(number)?;
        files.insert(number, Arc::clone(&file));
        Ok(file)
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl Disk for Folder {
    fn files(&self) -> io::Result<Vec<(u32, u64)>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(ENDING));
            if let Some(number) = number.and_then(|number| number.parse().ok()) {
                files.push((number, entry.metadata()?.len()));
            }
        }
        Ok(files)
    }

    fn path(&self, file: u32) -> PathBuf {
        self.path.join(format!("{file:06}{ENDING}"))
    }

    fn read(&self, file: u32, offset: u64, into: &mut [u8]) -> io::Result<()> {
        self.file(file)?.read_exact_at(into, offset)
    }

    fn write(&self, file: u32, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file(file)?.write_all_at(bytes, offset)
    }

    fn sync(&self, file: u32) -> io::Result<()> {
        self.sync_file(&*self.file(file)?)
    }

    fn open_apart(&self, file: u32, threads: usize) -> io::Result<()> {
        let mut apart = self.opened_apart();
        let opened = apart.entry(file).or_default();
        while opened.len() < threads {
            opened.push(self.open_file(file)?);
        }
        Ok(())
    }

    fn sync_apart(&self, file: u32, thread: usize) -> io::Result<()> {
        let opened = self
            .opened_apart()
            .get(&file)
            .and_then(|it| it.get(thread).cloned());
        self.sync_file(&*opened.ok_or(io::ErrorKind::NotFound)?)
    }

    fn make(&self, file: u32, bytes: u64, gently: bool) -> io::Result<()> {
        let path = self.path(file);
        let made = fill(&path, bytes, gently).and_then(|()| self.sync_folder());
        made.inspect_err(|_| {
            // What was begun gives its space back; that it could not be removed adds nothing to the error.
            std::fs::remove_file(&path).ok();
        })
    }

    fn remove(&self, file: u32) -> io::Result<()> {
        self.opened().remove(&file);
        self.opened_apart().remove(&file);
        std::fs::remove_file(self.path(file))?;
        self.sync_folder()
    }

    fn salt(&self) -> u64 {
        rand::random()
    }
}

/// A folder without a lock must be empty: what others keep there is not ours.
fn refuse_strangers(path: &Path) -> Result<(), OpenError> {
    let unusable = |source: io::Error| OpenError::Unusable {
        path: path.to_owned(),
        source,
    };
    for entry in std::fs::read_dir(path).map_err(unusable)? {
        let name = entry.map_err(unusable)?.file_name();
        // A file system of its own has this folder.
        if name != "lost+found" {
            return Err(OpenError::NotALog {
                path: path.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

/// Makes a file of zeros. Its space is asked for first, so that a disk that is full says so before it is filled.
fn fill(path: &Path, bytes: u64, gently: bool) -> io::Result<()> {
    let mut file = File::create(path)?;
    match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
        Ok(()) | Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {}
        Err(error) => return Err(error.into()),
    }
    let zeros = vec![0; ZEROS];
    let mut left = bytes;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(ZEROS).min(ZEROS);
        file.write_all(&zeros[..now])?;
        left -= now as u64;
        if gently {
            // All of it at once, in the end, would keep every other sync waiting.
            file.sync_data()?;
            pause(REST);
        }
    }
    file.sync_all()
}
