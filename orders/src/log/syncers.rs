//! Threads that sync what was written ahead, when the disk is so slow that one sync after the other would hold up
//! everybody. Each opens the files for itself: the system tells everybody who has a file open of an error, once.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use super::disk::Disk;

/// Syncs that overlap at most.
pub(super) const OVERLAP: usize = 8;
/// From a sync of this length on they overlap, until they are shorter than this.
const SLOW: (Duration, Duration) = (Duration::from_millis(2), Duration::from_millis(1));

/// What came of a sync: how long it took, or why it failed.
pub(super) type Outcome = Result<Duration, String>;

/// The threads; they end when this is dropped, each with what it was given before.
pub(super) struct Syncers {
    ways: Vec<SyncSender<(u64, u32)>>,
}

impl Syncers {
    /// Starts them. They call `tell` with the number of a sync and what came of it.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(super) fn start(
        disk: &Arc<dyn Disk>,
        tell: impl Fn(u64, Outcome) + Clone + Send + 'static,
    ) -> io::Result<Self> {
        let ways = (0..OVERLAP).map(|thread| {
            let (way, jobs) = sync_channel::<(u64, u32)>(1);
            let (disk, tell) = (Arc::clone(disk), tell.clone());
            std::thread::Builder::new()
                .name(format!("log-sync-{thread}"))
                .spawn(move || {
                    for (number, file) in jobs {
                        let began = Instant::now();
                        let synced = disk.sync_apart(file, thread);
                        let outcome = synced.map(|()| began.elapsed());
                        tell(number, outcome.map_err(|error| error.to_string()));
                    }
                })?;
            Ok(way)
        });
        Ok(Self {
            ways: ways.collect::<io::Result<_>>()?,
        })
    }

    /// Has a file synced. Of [`OVERLAP`] numbers in a row each has a thread of its own.
    pub(super) fn sync(&self, number: u64, file: u32) {
        let thread = usize::try_from(number % OVERLAP as u64).unwrap_or(0);
        // The thread ends after this only.
        self.ways[thread].send((number, file)).ok();
    }
}

/// How long syncs take, smoothed.
#[derive(Debug, Default)]
pub(super) struct Pace {
    took: Duration,
    is_slow: bool,
}

impl Pace {
    /// One took so long.
    pub(super) fn note(&mut self, took: Duration) {
        self.took = (self.took * 7 + took) / 8;
        self.is_slow = match self.is_slow {
            false => self.took >= SLOW.0,
            true => self.took >= SLOW.1,
        };
    }

    /// Whether they are so slow that they are to overlap.
    pub(super) fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// Between the beginnings of two that overlap.
    pub(super) fn gap(&self) -> Duration {
        self.took / OVERLAP as u32
    }
}
