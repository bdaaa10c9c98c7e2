//! Who is told what changed: the mirror, the datasets, and the memory of the last minutes.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    backlog::{Backlog, Gauge, weight},
    change::Change,
    recent::Recent,
};

/// Changes that were made together.
pub(crate) type Batch = Arc<[Change]>;

/// Tells all observers; never waits for them.
#[derive(Default)]
pub struct Observers {
    lines: Vec<Line>,
    recent: Recent,
}

/// What waits for one observer, in order.
struct Line {
    sender: mpsc::Sender<Batch>,
    /// Batches for which the channel has no room yet.
    behind: VecDeque<Batch>,
    gauge: Gauge,
}

impl Observers {
    /// Observers behind these channels, who say in `backlog` what they have taken.
    pub(crate) fn new(
        mirror: Option<mpsc::Sender<Batch>>,
        record: Option<mpsc::Sender<Batch>>,
        backlog: &Backlog,
        recent: Recent,
    ) -> Self {
        let line = |(sender, gauge): (Option<mpsc::Sender<Batch>>, &Gauge)| {
            Some(Line {
                sender: sender?,
                behind: VecDeque::new(),
                gauge: gauge.clone(),
            })
        };
        let lines = [(mirror, &backlog.mirror), (record, &backlog.record)];
        Self {
            lines: lines.into_iter().filter_map(line).collect(),
            recent,
        }
    }

    /// Hands over all changes, and what could not be handed over before.
    pub fn publish(&mut self, changes: &mut Vec<Change>) {
        if !changes.is_empty() {
            self.recent.take(changes);
            let weight = weight(changes);
            let batch: Batch = std::mem::take(changes).into();
            for line in &mut self.lines {
                // A mirror for which something was given up is made whole; rows are counted.
                if line.gauge.add(weight) {
                    line.behind.push_back(Arc::clone(&batch));
                }
            }
        }
        self.lines.iter_mut().for_each(Line::hand_over);
    }
}

impl Line {
    fn hand_over(&mut self) {
        while let Some(batch) = self.behind.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(batch)) = self.sender.try_send(batch) {
                self.behind.push_front(batch);
                return;
            }
        }
    }
}
