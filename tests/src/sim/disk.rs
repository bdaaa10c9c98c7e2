//! The disk of ε-CON: what is written together is kept together, once the disk says so. A crash loses what
//! was not synced; of what was just being synced, all or nothing is kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_con::store::{WorkflowRecord, Write};
use edgeless_types::{DomainId, WorkflowId};

use super::{
    con::Then,
    net::{Context, Place, Timer},
};

#[derive(Default)]
pub(super) struct Disk {
    pub(super) workflows: BTreeMap<WorkflowId, WorkflowRecord>,
    pub(super) domains: BTreeSet<DomainId>,
    /// The last life of ε-CON: kept before it does anything.
    pub(super) life: u64,
    /// Some write was refused: where workflows are may not be kept, and is decided anew after a restart.
    pub(super) has_refused: bool,
    waiting: Vec<(Vec<Write>, Option<Then>)>,
    syncing: Vec<(Vec<Write>, Option<Then>)>,
}

impl Disk {
    /// Writes; what follows is done when that is known to be kept, or to be refused.
    pub(super) fn queue(&mut self, writes: Vec<Write>, then: Option<Then>, context: &mut Context) {
        self.waiting.push((writes, then));
        self.sync(context);
    }

    fn sync(&mut self, context: &mut Context) {
        if self.syncing.is_empty() && !self.waiting.is_empty() {
            self.syncing = std::mem::take(&mut self.waiting);
            let most = if context.chance(0.05) {
                800_000
            } else {
                20_000
            };
            let time: Duration = context.micros(500, most);
            context.timer(time, Place::Con, Timer::Synced);
        }
    }

    /// What waited for the disk, and whether its writes are kept.
    pub(super) fn synced(&mut self, context: &mut Context) -> (Vec<Then>, bool) {
        let kept = !context.chance(context.weather.failing / 4.0);
        self.has_refused |= !kept;
        let mut done = Vec::new();
        for (writes, then) in std::mem::take(&mut self.syncing) {
            if kept {
                self.apply(writes);
            }
            done.extend(then);
        }
        self.sync(context);
        (done, kept)
    }

    pub(super) fn crash(&mut self, context: &mut Context) {
        self.waiting.clear();
        let syncing = std::mem::take(&mut self.syncing);
        if context.chance(0.5) {
            for (writes, _) in syncing {
                self.apply(writes);
            }
        }
    }

    fn apply(&mut self, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Workflow(record) => {
                    let record = WorkflowRecord::clone(&record);
                    self.workflows.insert(record.workflow_id, record);
                }
                Write::Moved(workflow_id, domain_id) => {
                    if let Some(record) = self.workflows.get_mut(&workflow_id) {
                        record.domain_id = Some(domain_id);
                    }
                }
                Write::Updated(record) => {
                    if let Some(kept) = self.workflows.get_mut(&record.workflow_id) {
                        let domain_id = kept.domain_id.take();
                        *kept = WorkflowRecord {
                            domain_id,
                            ..WorkflowRecord::clone(&record)
                        };
                    }
                }
                Write::WorkflowGone(workflow_id) => {
                    self.workflows.remove(&workflow_id);
                }
                Write::Domain(domain_id) => {
                    self.domains.insert(domain_id);
                }
                Write::Life(life) => self.life = life,
                Write::Function(_)
                | Write::Key(..)
                | Write::KeyGone(_)
                | Write::Service(..)
                | Write::Client(..)
                | Write::Trial(_) => {}
            }
        }
    }
}
