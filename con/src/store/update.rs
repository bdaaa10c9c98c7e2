//! Updates of workflows as they are kept, with what there was before until they have come to something.

use std::collections::BTreeSet;

use edgeless_types::{LogicalId, Timestamp};
use serde::{Deserialize, Serialize};

use super::{VertexRecord, WorkflowRecord};

impl WorkflowRecord {
    /// What it goes back to if the update that is under way does not run; itself, if none is.
    pub fn before(&self) -> Self {
        let mut record = self.clone();
        let update = record.update.as_mut().map(|update| &mut update.stage);
        if let Some(UpdateStage::UnderWay { before }) = update {
            let Former {
                name,
                vertices,
                notes,
            } = std::mem::take(&mut **before);
            (record.name, record.vertices, record.notes) = (name, vertices, notes);
            record.update = None;
        }
        record
    }
}

/// An update as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpdateRecord {
    /// Since when; tells it from the others of its workflow.
    pub begun: Timestamp,
    /// The vertices that get another version.
    pub vertices: BTreeSet<LogicalId>,
    /// What has become of it.
    pub stage: UpdateStage,
}

/// What has become of an update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum UpdateStage {
    /// Copies are being replaced.
    UnderWay {
        /// What the workflow was before.
        before: Box<Former>,
    },
    /// All copies are of the new version.
    Finished {
        /// Since when.
        ended: Timestamp,
    },
    /// The new version does not run, and the workflow is what it was.
    TakenBack {
        /// Since when.
        ended: Timestamp,
        /// Why.
        reason: String,
    },
}

/// What an update changes, as it was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Former {
    /// For people.
    pub name: String,
    /// All vertices of the workflow.
    pub vertices: Vec<VertexRecord>,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

impl UpdateRecord {
    /// The update of a workflow to something else.
    pub fn begin(before: &WorkflowRecord, vertices: BTreeSet<LogicalId>, now: Timestamp) -> Self {
        let before = Box::new(Former {
            name: before.name.clone(),
            vertices: before.vertices.clone(),
            notes: before.notes.clone(),
        });
        Self {
            begun: now,
            vertices,
            stage: UpdateStage::UnderWay { before },
        }
    }

    /// Whether copies are being replaced.
    pub fn is_under_way(&self) -> bool {
        matches!(self.stage, UpdateStage::UnderWay { .. })
    }

    /// Whether its new version did not run.
    pub fn is_taken_back(&self) -> bool {
        matches!(self.stage, UpdateStage::TakenBack { .. })
    }

    /// Those vertices of a workflow that get another version.
    pub fn vertices_of<'a>(
        &'a self,
        record: &'a WorkflowRecord,
    ) -> impl Iterator<Item = &'a VertexRecord> {
        let vertices = record.vertices.iter();
        vertices.filter(|vertex| self.vertices.contains(&vertex.logical_id))
    }
}
