//! What the owner of the orders knows of others: how far the log is, what is on its way to the store, who has asked.

use edgeless_orders::{
    book::{Again, Ask, Event, Told},
    log::Progress,
    record::Record,
};

/// How far the log is.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    /// The last record that is safe.
    pub(super) through: u64,
    /// Bytes that can be written.
    pub(super) room: u64,
    /// Why the disk refuses; none: it does not.
    pub(super) stalled: Option<String>,
    /// Syncs since the start.
    pub(super) syncs: u64,
    /// Bytes since the start.
    pub(super) bytes: u64,
}

impl Kept {
    pub(super) fn follow(&mut self, progress: Progress) {
        match progress {
            Progress::Durable {
                through,
                room,
                syncs,
                bytes,
            } => {
                *self = Self {
                    through,
                    room,
                    stalled: None,
                    syncs,
                    bytes,
                };
            }
            Progress::Stalled(reason) => self.stalled = Some(reason),
            Progress::Room(room) => self.room = room,
        }
    }
}

/// Records on their way to the store.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// With their numbers, in order.
    pub(super) list: Vec<(u64, Record, Told)>,
    /// Somebody waits until the store has them.
    pub(super) wanted: bool,
}

/// Who is answered.
pub(super) fn asked(event: &Event) -> Option<Ask> {
    match event {
        Event::Submit { ask, .. }
        | Event::Look { ask, .. }
        | Event::Wait { ask, .. }
        | Event::Cancel { ask, .. }
        | Event::Retry(Again { ask, .. })
        | Event::Pause { ask, .. } => Some(*ask),
        Event::PauseService { .. }
        | Event::Service { .. }
        | Event::Client { .. }
        | Event::LineOpened { .. }
        | Event::Copies { .. }
        | Event::Open { .. }
        | Event::LineClosed { .. }
        | Event::Outcome { .. }
        | Event::Durable { .. }
        | Event::Room { .. }
        | Event::Applied { .. }
        | Event::Loaded { .. }
        | Event::Found { .. }
        | Event::Delivered { .. }
        | Event::Tick => None,
    }
}
