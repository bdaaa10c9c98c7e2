//! Removes blobs that no order refers to and nobody has used for long: those are marked that a row of the store names,
//! and the others are removed.

use std::{
    collections::BTreeSet,
    fs, io,
    ops::ControlFlow,
    sync::Weak,
    time::{Duration, SystemTime},
};

use edgeless_orders::store::{Store, StoreError, Which};
use edgeless_types::CodeDigest;
use prost::Message;
use tokio_util::sync::CancellationToken;

use super::{
    super::{Inner, Orders},
    BlobName, Blobs, TYPE, existing,
};

/// How often it is looked for such blobs.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// A blob that was used within this is never removed: an order that refers to it may be on its way.
const YOUNG: Duration = Duration::from_secs(60 * 60);

/// Blobs cannot be looked through.
#[derive(Debug, thiserror::Error)]
pub(super) enum SweepError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The folder cannot be read, or a file not removed.
    #[error("the folder of blobs: {0}")]
    Folder(#[from] io::Error),
}

/// Looks for them until the end.
pub(in crate::orders) async fn run(
    orders: Weak<Inner>,
    retention: Duration,
    end: CancellationToken,
) {
    let age = retention.max(YOUNG);
    while end
        .run_until_cancelled(tokio::time::sleep(LOOK))
        .await
        .is_some()
    {
        let Some(orders) = orders.upgrade().map(Orders) else {
            return;
        };
        let (store, blobs) = (orders.store().await, orders.blobs().clone());
        drop(orders);
        // What is behind would not name all that is in use.
        let Ok(store) = store else { continue };
        let swept = move || blobs.sweep(&*store, SystemTime::now(), age);
        match tokio::task::spawn_blocking(swept).await {
            Ok(Ok(0)) => {}
            Ok(Ok(removed)) => tracing::info!(removed, "blobs without orders are removed"),
            Ok(Err(error)) => tracing::warn!(%error, "blobs without orders cannot be removed"),
            Err(error) => tracing::error!(%error, "the search for blobs without orders panicked"),
        }
    }
}

impl Blobs {
    /// Removes the blobs that were not used for `age` and that no row names; how many it were. All that was accepted
    /// must be in the store.
    pub(super) fn sweep(
        &self,
        store: &dyn Store,
        now: SystemTime,
        age: Duration,
    ) -> Result<usize, SweepError> {
        let mut old = self.old(now, age)?;
        if old.is_empty() {
            return Ok(0);
        }
        store.visit(Which::All, None, &mut |_, record| {
            unmark(&record.encode_to_vec(), &mut old);
            match old.is_empty() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })?;
        let mut removed = 0;
        for name in old {
            let _one = self.changing();
            let path = self.path(name);
            // Somebody may have used it meanwhile.
            if existing(fs::metadata(&path))?.is_some_and(|it| is_old(&it, now, age)) {
                fs::remove_file(&path)?;
                existing(fs::remove_file(path.with_extension(TYPE)))?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    fn old(&self, now: SystemTime, age: Duration) -> io::Result<BTreeSet<BlobName>> {
        let mut old = BTreeSet::new();
        for entry in fs::read_dir(&self.0.folder)? {
            let entry = entry?;
            let name = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok());
            let Some(digest): Option<CodeDigest> = name else {
                continue;
            };
            if existing(entry.metadata())?.is_some_and(|it| is_old(&it, now, age)) {
                old.insert(BlobName::new(digest));
            }
        }
        Ok(old)
    }
}

fn is_old(file: &fs::Metadata, now: SystemTime, age: Duration) -> bool {
    let used = file.modified().ok();
    // What was used in the future, by a clock that was set back since, is not old.
    used.and_then(|used| now.duration_since(used).ok())
        .is_some_and(|since| since > age)
}

/// Takes out of a set what a row names.
fn unmark(row: &[u8], names: &mut BTreeSet<BlobName>) {
    const PREFIX: &[u8] = b"sha256:";
    const LENGTH: usize = PREFIX.len() + 64;
    let mut rest = row;
    while let Some(at) = rest.windows(PREFIX.len()).position(|it| it == PREFIX) {
        rest = &rest[at..];
        let name = rest
            .get(..LENGTH)
            .and_then(|text| std::str::from_utf8(text).ok());
        if let Some(Ok(name)) = name.map(str::parse) {
            names.remove(&name);
        }
        rest = &rest[PREFIX.len()..];
    }
}
