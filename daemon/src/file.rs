//! Files that are there whole or not at all.

use std::{
    io::Write,
    path::Path,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

/// Writes a file so that it is there whole or not at all, also after a power cut.
///
/// # Errors
/// The folder is not there or not writable, or the disk is full.
pub fn write_whole(path: &Path, content: &[u8]) -> std::io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Relaxed);
    let unfinished = path.with_extension(format!("{}-{number}.part", std::process::id()));
    let write = || {
        let mut file = std::fs::File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    write().inspect_err(|_| {
        // What was begun is of no use; that it could not be removed adds nothing to the error.
        std::fs::remove_file(&unfinished).ok();
    })
}
