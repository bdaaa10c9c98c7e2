//! Updates to their end: whoever asked for one may have been answered that it is under way, or ε-CON may have been
//! ended meanwhile.

use std::{collections::HashMap, time::Duration};

use edgeless_types::{Timestamp, WorkflowId};

use super::{Controller, now};
use crate::{
    problem::Refusal,
    status::{self, Reached},
    store::{UpdateRecord, UpdateStage, WorkflowRecord},
};

/// Bounds of the pause between two looks.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(4));

impl Controller {
    /// Goes on with the updates that were under way when ε-CON was ended.
    pub(super) fn follow_all(&self) {
        let under_way = |record: &std::sync::Arc<WorkflowRecord>| {
            let update = record.update.as_ref()?;
            update.is_under_way().then_some(update.begun)
        };
        let all: Vec<_> = {
            let state = self.state();
            let records = state.cluster.workflows();
            records
                .filter_map(|record| Some((record.workflow_id, under_way(record)?)))
                .collect()
        };
        for (workflow_id, begun) in all {
            self.follow(workflow_id, begun);
        }
    }

    /// Sees to it that an update comes to its end.
    pub(super) fn follow(&self, workflow_id: WorkflowId, begun: Timestamp) {
        let (con, shutdown) = (self.clone(), self.0.shutdown.clone());
        self.0.tasks.spawn(async move {
            let to_its_end = con.follow_to_its_end(workflow_id, begun);
            shutdown.run_until_cancelled(to_its_end).await;
        });
    }

    async fn follow_to_its_end(&self, workflow_id: WorkflowId, begun: Timestamp) {
        let mut pause = PAUSES.0;
        loop {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
            let Some((record, update)) = self.under_way(workflow_id, begun) else {
                return;
            };
            let reached = self.how_far(&record, &update).await;
            if reached == Reached::NotYet {
                continue;
            }
            // While somebody else changes the workflow, the update may be given up for another.
            let Ok(_changing) = self.change(workflow_id) else {
                continue;
            };
            let Some((record, update)) = self.under_way(workflow_id, begun) else {
                return;
            };
            match self.settle(&record, &update, &reached).await {
                Ok(()) => return,
                Err(refusal) => {
                    tracing::debug!(%workflow_id, %refusal, "the end of an update is kept later");
                }
            }
        }
    }

    /// A workflow whose update is still this one.
    fn under_way(
        &self,
        workflow_id: WorkflowId,
        begun: Timestamp,
    ) -> Option<(WorkflowRecord, UpdateRecord)> {
        let record = self.state().cluster.workflow(workflow_id).cloned()?;
        let update = record.update.clone()?;
        let is_it = update.is_under_way() && update.begun == begun;
        is_it.then(|| (WorkflowRecord::clone(&record), update))
    }

    /// How far an update is, as its domain says.
    pub(super) async fn how_far(&self, record: &WorkflowRecord, update: &UpdateRecord) -> Reached {
        let workflow_id = record.workflow_id;
        let there = self.state().cluster.workflow(workflow_id).cloned();
        let Some(domain_id) = there.and_then(|there| there.domain_id.clone()) else {
            // Nothing of it runs: it is started with its new versions.
            return Reached::Done;
        };
        let ids: Vec<_> = update.vertices.iter().copied().collect();
        let seen = self.look(&domain_id, &ids).await;
        let seen = seen.unwrap_or_else(|reason| {
            tracing::debug!(%workflow_id, reason, "how far an update is cannot be seen");
            HashMap::new()
        });
        status::all_reached(record, update, &seen)
    }

    /// An update has come to something: that is made durable. What did not run is taken back.
    pub(super) async fn settle(
        &self,
        record: &WorkflowRecord,
        update: &UpdateRecord,
        reached: &Reached,
    ) -> Result<(), Refusal> {
        let workflow_id = record.workflow_id;
        let ended = now();
        let (mut settled, stage) = match reached {
            Reached::NotYet => return Ok(()),
            Reached::Done => (record.clone(), UpdateStage::Finished { ended }),
            Reached::Failed(reason) => {
                tracing::warn!(%workflow_id, reason, "an update is taken back");
                let reason = reason.clone();
                (record.before(), UpdateStage::TakenBack { ended, reason })
            }
        };
        settled.update = Some(UpdateRecord {
            stage,
            ..update.clone()
        });
        self.put_in_place(&settled).await?;
        if matches!(reached, Reached::Failed(_)) {
            self.tell(&settled, &update.vertices).await;
        }
        Ok(())
    }
}
