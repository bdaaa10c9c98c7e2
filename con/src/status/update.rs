//! What clients are shown of updates, and how far a domain says that one is. Pure.

use std::collections::HashMap;

use edgeless_proto::v1;
use edgeless_types::{LogicalId, Timestamp, workflow::VertexSpec};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::store::{UpdateRecord, UpdateStage, WorkflowRecord};

/// How an update is, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// Copies are being replaced.
    UnderWay,
    /// All copies are of the new version.
    Finished,
    /// The new version did not run: all vertices are what they were.
    TakenBack,
}

impl UpdateState {
    /// The state in one word.
    pub fn word(self) -> &'static str {
        match self {
            Self::UnderWay => "under_way",
            Self::Finished => "finished",
            Self::TakenBack => "taken_back",
        }
    }
}

/// The last update of a workflow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpdateStatus {
    /// In one word.
    pub state: UpdateState,
    /// Since when, `secs.nsecs`.
    #[schema(value_type = String)]
    pub begun: Timestamp,
    /// Until when, `secs.nsecs`; absent while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ended: Option<Timestamp>,
    /// How many vertices it gives another version.
    pub vertices: usize,
    /// How many of them run it, as far as their domain says.
    pub updated: usize,
    /// Why it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// An update of a vertex that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct VertexUpdateStatus {
    /// Copies that are desired.
    pub copies: u32,
    /// Those of them that are of the new version and run.
    pub updated: u32,
    /// Why it cannot go on now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// How far a vertex is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// It is on its way, or its domain has not been told.
    NotYet,
    /// All its copies are what it is to be.
    Done,
    /// It cannot be that, and why.
    Failed(String),
}

/// How far a vertex is that is to be this.
pub(crate) fn reached(spec: &VertexSpec, seen: Option<&v1::VertexStatus>) -> Reached {
    let Some(seen) = seen else {
        return Reached::NotYet;
    };
    match &seen.update {
        Some(v1::VertexUpdate {
            given_up: Some(reason),
            ..
        }) => Reached::Failed(reason.clone()),
        _ if seen.fingerprint != spec.fingerprint() => Reached::NotYet,
        Some(v1::VertexUpdate {
            waiting: Some(reason),
            ..
        }) => Reached::Failed(reason.clone()),
        Some(_) => Reached::NotYet,
        None => Reached::Done,
    }
}

/// How far all vertices of an update are: failed as soon as one of them is.
pub(crate) fn all_reached(
    record: &WorkflowRecord,
    update: &UpdateRecord,
    seen: &HashMap<LogicalId, v1::VertexStatus>,
) -> Reached {
    let mut failed = Vec::new();
    let mut all_done = true;
    for vertex in update.vertices_of(record) {
        match reached(&vertex.spec, seen.get(&vertex.logical_id)) {
            Reached::Done => {}
            Reached::NotYet => all_done = false,
            Reached::Failed(reason) => failed.push(format!("`{}`: {reason}", vertex.spec.name())),
        }
    }
    match (failed.is_empty(), all_done) {
        (false, _) => Reached::Failed(failed.join("; ")),
        (true, true) => Reached::Done,
        (true, false) => Reached::NotYet,
    }
}

/// The last update of a workflow, with what its domain said of its vertices.
pub(super) fn of_record(
    record: &WorkflowRecord,
    seen: &HashMap<LogicalId, v1::VertexStatus>,
) -> Option<UpdateStatus> {
    let update = record.update.as_ref()?;
    let is_done = |vertex: &&_| {
        let vertex: &crate::store::VertexRecord = vertex;
        let seen = seen.get(&vertex.logical_id);
        reached(&vertex.spec, seen) == Reached::Done
    };
    let vertices = update.vertices.len();
    let (state, ended, updated, reason) = match &update.stage {
        UpdateStage::UnderWay { .. } => {
            let updated = update.vertices_of(record).filter(is_done).count();
            (UpdateState::UnderWay, None, updated, None)
        }
        UpdateStage::Finished { ended } => (UpdateState::Finished, Some(*ended), vertices, None),
        UpdateStage::TakenBack { ended, reason } => {
            let reason = Some(reason.clone());
            (UpdateState::TakenBack, Some(*ended), 0, reason)
        }
    };
    Some(UpdateStatus {
        state,
        begun: update.begun,
        ended,
        vertices,
        updated,
        reason,
    })
}

/// The update of a vertex that is under way.
pub(super) fn of_vertex(update: Option<v1::VertexUpdate>) -> Option<VertexUpdateStatus> {
    let update = update.filter(|update| update.given_up.is_none())?;
    Some(VertexUpdateStatus {
        copies: update.copies,
        updated: update.updated,
        waiting: update.waiting,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use edgeless_types::workflow::ResourceSpec;

    use super::*;
    use crate::controller::new_record;

    fn log(name: &str, file: &str) -> VertexSpec {
        VertexSpec::Resource(ResourceSpec {
            name: name.into(),
            class_type: "file-log".into(),
            configurations: BTreeMap::from([("filename".into(), file.into())]),
        })
    }

    fn seen(spec: &VertexSpec, update: Option<v1::VertexUpdate>) -> v1::VertexStatus {
        v1::VertexStatus {
            fingerprint: spec.fingerprint(),
            update,
            ..v1::VertexStatus::default()
        }
    }

    /// What comes of an update of two vertices to `new`, of which the domain says so much.
    fn check(all: &[Option<v1::VertexStatus>; 2], expected: &Reached, updated: usize) {
        let vertices = ["a", "b"].map(|name| (log(name, "new"), BTreeMap::new()));
        let mut record = new_record(String::new(), vertices.into(), vec![], Default::default());
        let ids = record.vertices.iter().map(|vertex| vertex.logical_id);
        let update = UpdateRecord::begin(&record, ids.clone().collect(), Timestamp::EPOCH);
        let seen = ids.zip(all).filter_map(|(id, it)| Some((id, it.clone()?)));
        let seen = seen.collect();
        assert_eq!(all_reached(&record, &update, &seen), *expected);
        record.update = Some(update);
        let shown = of_record(&record, &seen).unwrap();
        assert_eq!((shown.vertices, shown.updated), (2, updated));
    }

    #[test]
    fn an_update_has_come_to_something_when_its_domain_says_so_of_the_versions_it_was_told() {
        let [first, second] = ["a", "b"].map(|name| log(name, "new"));
        let done = |spec: &VertexSpec| Some(seen(spec, None));
        check(&[done(&first), done(&second)], &Reached::Done, 2);
        check(&[done(&first), None], &Reached::NotYet, 1);
        // The domain was not there when it was to be told.
        let untold = Some(seen(&log("b", "old"), None));
        check(&[done(&first), untold], &Reached::NotYet, 1);
        let under_way = v1::VertexUpdate::default();
        let on_its_way = Some(seen(&second, Some(under_way.clone())));
        check(&[done(&first), on_its_way], &Reached::NotYet, 1);
        let given_up = v1::VertexUpdate {
            given_up: Some("a trap".into()),
            ..under_way.clone()
        };
        let failed = Some(seen(&log("b", "old"), Some(given_up)));
        check(
            &[done(&first), failed],
            &Reached::Failed("`b`: a trap".into()),
            1,
        );
        let waiting = v1::VertexUpdate {
            waiting: Some("no node".into()),
            ..under_way
        };
        let stuck = Some(seen(&first, Some(waiting)));
        check(&[stuck, None], &Reached::Failed("`a`: no node".into()), 0);
    }
}
