//! Code of functions: files named by their SHA-256, the same on every daemon.
//!
//! Compiled modules are the runtime's; here is what they are compiled from.

use std::{io, path::PathBuf};

use bytes::Bytes;
use edgeless_types::CodeDigest;

use crate::file::write_whole;

/// Code by its content, on disk. Clones share nothing but the directory.
#[derive(Clone, Debug)]
pub struct CodeStore {
    directory: PathBuf,
}

/// Code could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// It is not what its digest says.
    #[error("the code has the digest {actual}, not {given}")]
    Digest {
        /// What was said.
        given: CodeDigest,
        /// What it is.
        actual: CodeDigest,
    },
    /// The disk refuses it.
    #[error("could not keep the code {digest}")]
    Write {
        /// The code.
        digest: CodeDigest,
        /// What the system said.
        source: io::Error,
    },
}

impl CodeStore {
    /// Opens the store, creating its directory.
    ///
    /// # Errors
    /// The directory cannot be created.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&directory)?;
        Ok(Self { directory })
    }

    /// Keeps code. Done twice it is harmless.
    ///
    /// # Errors
    /// The digest is not that of the code, or the disk refuses it.
    pub async fn put(&self, digest: CodeDigest, code: Bytes) -> Result<(), PutError> {
        let path = self.path(digest);
        let written = tokio::task::spawn_blocking(move || {
            let actual = CodeDigest::of(&code);
            if actual != digest {
                return Err(PutError::Digest {
                    given: digest,
                    actual,
                });
            }
            if path.exists() {
                return Ok(());
            }
            write_whole(&path, &code).map_err(|source| PutError::Write { digest, source })
        });
        written.await.unwrap_or_else(|error| {
            Err(PutError::Write {
                digest,
                source: io::Error::other(error),
            })
        })
    }

    /// Whether the code is here, as far as its file tells.
    pub fn has(&self, digest: CodeDigest) -> bool {
        self.path(digest).exists()
    }

    /// The code of this digest, if it is here. What a disk has spoilt counts as absent.
    ///
    /// # Errors
    /// The file is there but cannot be read.
    pub async fn get(&self, digest: CodeDigest) -> io::Result<Option<Bytes>> {
        let path = self.path(digest);
        let read = tokio::task::spawn_blocking(move || match std::fs::read(&path) {
            Ok(code) if CodeDigest::of(&code) == digest => Ok(Some(Bytes::from(code))),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "spoilt code is removed");
                std::fs::remove_file(&path)?;
                Ok(None)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        });
        read.await
            .unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    fn path(&self, digest: CodeDigest) -> PathBuf {
        self.directory.join(digest.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn code_is_kept_by_its_content_and_spoilt_code_is_absent() {
        let dir = tempfile::tempdir().unwrap();
        let store = CodeStore::open(dir.path().join("code")).unwrap();
        let code = Bytes::from_static(b"code");
        let digest = CodeDigest::of(&code);
        assert_eq!(store.get(digest).await.unwrap(), None);
        for _ in 0..2 {
            store.put(digest, code.clone()).await.unwrap();
        }
        assert_eq!(store.get(digest).await.unwrap(), Some(code.clone()));

        let error = store.put(CodeDigest::of(b"other"), code).await.unwrap_err();
        assert!(matches!(error, PutError::Digest { .. }));

        std::fs::write(dir.path().join("code").join(digest.to_string()), "bad").unwrap();
        assert_eq!(store.get(digest).await.unwrap(), None);
    }
}
