//! A blob that comes piece by piece: its digest is taken on the way, and it is in its place when it is whole and safe.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use edgeless_types::CodeDigest;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;

use super::{BLOB_BYTES, BlobName, BlobView, Blobs, KeepError, PART, blocking, content_type};

/// A blob that is on its way. Dropped before its end, it leaves nothing behind.
pub struct Incoming {
    blobs: Blobs,
    path: PathBuf,
    file: tokio::fs::File,
    digest: Sha256,
    bytes: usize,
}

impl Blobs {
    /// Begins to take a blob.
    ///
    /// # Errors
    /// The disk refuses it.
    pub async fn begin(&self) -> io::Result<Incoming> {
        let path = unfinished(&self.0.folder);
        Ok(Incoming {
            blobs: self.clone(),
            file: tokio::fs::File::create_new(&path).await?,
            path,
            digest: Sha256::new(),
            bytes: 0,
        })
    }
}

impl Incoming {
    /// Takes the next piece.
    ///
    /// # Errors
    /// There are too many bytes, or the disk refuses them.
    pub async fn write(&mut self, piece: &[u8]) -> Result<(), KeepError> {
        self.bytes += piece.len();
        if self.bytes > BLOB_BYTES {
            return Err(KeepError::TooLong);
        }
        self.digest.update(piece);
        Ok(self.file.write_all(piece).await?)
    }

    /// It is whole: it is kept, and whether it is new. `content_type` of none: whatever it is known as.
    ///
    /// # Errors
    /// The disk refuses it.
    pub async fn finish(
        mut self,
        content_type: Option<String>,
    ) -> Result<(BlobView, bool), KeepError> {
        self.file.flush().await?;
        self.file.sync_all().await?;
        let digest: [u8; 32] = std::mem::take(&mut self.digest).finalize().into();
        let digest = CodeDigest::try_from(&digest[..]).map_err(io::Error::other)?;
        let (name, bytes) = (BlobName::new(digest), self.bytes as u64);
        let (blobs, path) = (self.blobs.clone(), self.path.clone());
        let kept = blocking(move || {
            let again = blobs.use_again(name, bytes, content_type.as_deref())?;
            if !again {
                let content_type = content_type.as_deref().unwrap_or(content_type::BYTES);
                blobs.put_in_place(name, &path, content_type)?;
            }
            Ok((blobs.view(name, bytes)?, !again))
        });
        Ok(kept.await?)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        discard(&self.path);
    }
}

/// The name of a file that is not finished.
pub(super) fn unfinished(folder: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    folder.join(format!("{}-{number}.{PART}", std::process::id()))
}

/// Writes a file, safe.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// Removes what is not finished; where it is in its place already, there is nothing to remove.
pub(super) fn discard(path: &Path) {
    if let Err(error) = fs::remove_file(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "what is left of a blob cannot be removed");
    }
}
