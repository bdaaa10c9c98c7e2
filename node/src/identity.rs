//! Who the node is: an id that is kept across restarts.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
};

use edgeless_daemon::file::write_whole;
use edgeless_types::NodeId;
use rand::RngCore;

/// The node's id could not be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file is there but cannot be read, or a new one cannot be written.
    #[error("could not read or write the node's id in `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Another node uses the directory.
    #[error("`{}` is in use by another node; each needs its own", path.display())]
    Taken {
        /// The directory.
        path: PathBuf,
    },
    /// The file has something else in it.
    #[error("`{}` holds `{text}`, which is not a UUID; remove it to draw a new id", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What stands in it.
        text: String,
    },
}

/// Takes the directory for this process; it is free again when the file is dropped.
///
/// # Errors
/// Another process has it, or the lock file cannot be opened.
pub fn lock(data_dir: &Path) -> Result<File, IdentityError> {
    let path = data_dir.join("lock");
    let failed = |source| IdentityError::File {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(IdentityError::Taken {
            path: data_dir.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// The id kept in `data_dir`, or one drawn and kept now. `data_dir` must exist.
///
/// # Errors
/// The file cannot be read or written, or holds something else.
pub fn node_id(data_dir: &Path, rng: &mut impl RngCore) -> Result<NodeId, IdentityError> {
    let path = data_dir.join("node_id");
    let failed = |source| IdentityError::File {
        path: path.clone(),
        source,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| IdentityError::Content {
            path: path.clone(),
            text: text.trim().chars().take(80).collect(),
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let drawn = NodeId::random(rng);
            write_whole(&path, format!("{drawn}\n").as_bytes()).map_err(failed)?;
            Ok(drawn)
        }
        Err(error) => Err(failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;

    #[test]
    fn a_directory_is_for_one_node_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock(dir.path()).unwrap();
        let error = lock(dir.path()).unwrap_err();
        assert!(matches!(error, IdentityError::Taken { .. }));
        drop(held);
        lock(dir.path()).unwrap();
    }

    #[test]
    fn the_id_survives_a_restart_and_nonsense_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut rng = StdRng::seed_from_u64(1);
        let first = node_id(dir.path(), &mut rng).unwrap();
        assert_eq!(node_id(dir.path(), &mut rng).unwrap(), first);
        std::fs::write(dir.path().join("node_id"), "nonsense").unwrap();
        let error = node_id(dir.path(), &mut rng).unwrap_err();
        assert!(error.to_string().contains("`nonsense`"), "{error}");
    }
}
