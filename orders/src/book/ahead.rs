//! Services of tasks whose turn comes later are wanted before: where nobody is there for several of them, an order waits
//! for one start and not for one after the other.

use std::time::Duration;

use super::{Book, services::Wanted};
use crate::tasks::TaskList;

/// Who is needed later than that is not started or woken yet: it would wait longer than its start takes.
const SOON: Duration = Duration::from_mins(1);

impl Book {
    /// An order has come to this stage of its list: those who are off or asleep and whose turn comes soon are wanted. How long the
    /// tasks before take is as far as is known; a task with a condition may be left out, and is not waited for.
    pub(super) fn want_ahead(&mut self, list: &TaskList, stage: usize) {
        if self.off == 0 {
            return;
        }
        let mut until = Duration::ZERO;
        for stage in list.stages().get(stage..).unwrap_or_default() {
            let first = usize::from(stage.first);
            let mut longest = Duration::ZERO;
            for task in &list.tasks()[first..first + usize::from(stage.len)] {
                let slot = self.service_slot(&task.service);
                let service = &mut self.services[slot as usize];
                longest = longest.max(service.counts.took());
                if service.is_off && task.when.is_none() {
                    self.want(slot, Wanted::Soon);
                }
            }
            until += longest;
            if until > SOON {
                return;
            }
        }
    }
}
