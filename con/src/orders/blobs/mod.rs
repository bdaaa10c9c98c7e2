//! Blobs: bytes beside the order book, files named by their SHA-256. Orders refer to them instead of holding them.
//!
//! `name` is how they are called, `content_type` what they are, `incoming` how they come; `sweep` removes those that no
//! order refers to. What services with bytes get and return goes through `bytes` beside it.

pub mod content_type;
mod incoming;
mod name;
mod sweep;

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use bytes::Bytes;
use edgeless_types::CodeDigest;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

pub use incoming::Incoming;
pub use name::{BlobName, NoBlobName};
pub(super) use sweep::run as run_sweeps;

/// The longest blob, in bytes.
pub const BLOB_BYTES: usize = 64 << 20;
/// Blobs that are read or written whole at once: so many are in memory for that.
const AT_ONCE: usize = 4;
/// The ending of a file that is not finished.
const PART: &str = "part";
/// The ending of the file beside a blob that has its content type.
const TYPE: &str = "type";

/// A blob as others see it, and as results refer to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BlobView {
    /// Its name, `sha256:` and 64 hexadecimal digits.
    pub blob: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// What it is.
    pub content_type: String,
}

/// Keeps blobs; cheap to clone.
#[derive(Clone)]
pub struct Blobs(Arc<Inner>);

struct Inner {
    folder: PathBuf,
    /// Held while a blob is put in its place, marked as used or removed, so that nothing is removed that was just used.
    changing: Mutex<()>,
    places: Semaphore,
}

/// A blob cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It has too many bytes.
    #[error("the blob is longer than {BLOB_BYTES} bytes")]
    TooLong,
    /// The disk refuses it.
    #[error("the blob cannot be kept: {0}")]
    Disk(#[from] io::Error),
}

/// A blob cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no blob `{0}`")]
    Unknown(BlobName),
    /// It has too many bytes for whoever wants it.
    #[error("the blob `{name}` has {bytes} bytes; at most {most} can be taken")]
    TooLong {
        /// Which.
        name: BlobName,
        /// How many it has.
        bytes: u64,
        /// How many would do.
        most: usize,
    },
    /// What is there is not what its name says.
    #[error("the blob `{0}` is damaged on the disk of ε-CON")]
    Damaged(BlobName),
    /// The disk refuses it.
    #[error("the blob `{name}` cannot be read: {source}")]
    Disk {
        /// Which.
        name: BlobName,
        /// What the system said.
        source: io::Error,
    },
}

impl Blobs {
    /// Opens the folder, or makes it; what was not finished is removed.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: PathBuf) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|ending| ending == PART) {
                fs::remove_file(&path)?;
            }
        }
        Ok(Self(Arc::new(Inner {
            folder,
            changing: Mutex::new(()),
            places: Semaphore::new(AT_ONCE),
        })))
    }

    /// Keeps bytes under their name; when this returns they are there after a crash. `content_type` of none: by how
    /// they begin, unless they are known already.
    ///
    /// # Errors
    /// They are too many, or the disk refuses them.
    pub async fn keep(
        &self,
        bytes: Bytes,
        content_type: Option<String>,
    ) -> Result<BlobView, KeepError> {
        if bytes.len() > BLOB_BYTES {
            return Err(KeepError::TooLong);
        }
        let _place = self.0.places.acquire().await;
        let blobs = self.clone();
        blocking(move || {
            let name = BlobName::new(CodeDigest::of(&bytes));
            let guess = content_type::sniffed(&bytes);
            let size = bytes.len() as u64;
            if !blobs.use_again(name, size, content_type.as_deref())? {
                let unfinished = incoming::unfinished(&blobs.0.folder);
                let write = || {
                    incoming::write(&unfinished, &bytes)?;
                    let content_type = content_type.as_deref().unwrap_or(guess);
                    blobs.put_in_place(name, &unfinished, content_type)
                };
                write().inspect_err(|_| incoming::discard(&unfinished))?;
            }
            blobs.view(name, size)
        })
        .await
        .map_err(KeepError::Disk)
    }

    /// A blob, if it is there; it is not removed for a while from now on.
    ///
    /// # Errors
    /// The disk refuses it.
    pub async fn used(&self, name: BlobName) -> io::Result<bool> {
        let blobs = self.clone();
        blocking(move || {
            let _one = blobs.changing();
            touch(&blobs.path(name))
        })
        .await
    }

    /// A blob and its file, if it is there.
    ///
    /// # Errors
    /// The disk refuses it.
    pub async fn file(&self, name: BlobName) -> io::Result<Option<(BlobView, tokio::fs::File)>> {
        let blobs = self.clone();
        let found = blocking(move || {
            let Some(file) = existing(File::open(blobs.path(name)))? else {
                return Ok(None);
            };
            let view = blobs.view(name, file.metadata()?.len())?;
            Ok(Some((view, file)))
        });
        let found = found.await?;
        Ok(found.map(|(view, file)| (view, tokio::fs::File::from_std(file))))
    }

    /// All bytes of a blob, of which there must be no more than `most`, and its content type.
    ///
    /// # Errors
    /// It is not there, too long or damaged, or the disk refuses it.
    pub async fn read(&self, name: BlobName, most: usize) -> Result<(Bytes, String), ReadError> {
        let _place = self.0.places.acquire().await;
        let blobs = self.clone();
        let read = blocking(move || {
            let Some(mut file) = existing(File::open(blobs.path(name)))? else {
                return Ok(Err(ReadError::Unknown(name)));
            };
            let bytes = file.metadata()?.len();
            if bytes > most as u64 {
                return Ok(Err(ReadError::TooLong { name, bytes, most }));
            }
            let mut content = Vec::with_capacity(usize::try_from(bytes).unwrap_or(most));
            file.read_to_end(&mut content)?;
            if CodeDigest::of(&content) != name.digest() {
                return Ok(Err(ReadError::Damaged(name)));
            }
            let content_type = blobs.view(name, bytes)?.content_type;
            Ok(Ok((Bytes::from(content), content_type)))
        });
        read.await
            .map_err(|source| ReadError::Disk { name, source })?
    }

    /// Whether a blob is there with that many bytes; then it is used now, and has the content type if it is the
    /// first one that is given.
    fn use_again(
        &self,
        name: BlobName,
        bytes: u64,
        content_type: Option<&str>,
    ) -> io::Result<bool> {
        let _one = self.changing();
        let path = self.path(name);
        let there = existing(fs::metadata(&path))?.is_some_and(|it| it.len() == bytes);
        if !there || !touch(&path)? {
            return Ok(false);
        }
        if let Some(content_type) = content_type
            && self.content_type(name)? == content_type::BYTES
        {
            self.write_type(name, content_type)?;
        }
        Ok(true)
    }

    /// A file that is whole and safe becomes a blob.
    fn put_in_place(&self, name: BlobName, file: &Path, content_type: &str) -> io::Result<()> {
        let _one = self.changing();
        self.write_type(name, content_type)?;
        fs::rename(file, self.path(name))?;
        File::open(&self.0.folder)?.sync_all()
    }

    fn write_type(&self, name: BlobName, content_type: &str) -> io::Result<()> {
        let path = self.path(name).with_extension(TYPE);
        edgeless_daemon::file::write_whole(&path, content_type.as_bytes())
    }

    fn content_type(&self, name: BlobName) -> io::Result<String> {
        let text = existing(fs::read_to_string(self.path(name).with_extension(TYPE)))?;
        let known = text.filter(|text| content_type::is_content_type(text));
        Ok(known.unwrap_or_else(|| content_type::BYTES.to_owned()))
    }

    fn view(&self, name: BlobName, bytes: u64) -> io::Result<BlobView> {
        let (blob, content_type) = (name.to_string(), self.content_type(name)?);
        Ok(BlobView {
            blob,
            bytes,
            content_type,
        })
    }

    fn path(&self, name: BlobName) -> PathBuf {
        self.0.folder.join(name.digest().to_string())
    }

    fn changing(&self) -> MutexGuard<'_, ()> {
        self.0
            .changing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Marks a file as used now; whether it is there.
fn touch(path: &Path) -> io::Result<bool> {
    match existing(File::open(path))? {
        Some(file) => file.set_modified(SystemTime::now()).map(|()| true),
        None => Ok(false),
    }
}

/// What is not there is none.
fn existing<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Does work with files where it holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

#[cfg(test)]
mod tests;
