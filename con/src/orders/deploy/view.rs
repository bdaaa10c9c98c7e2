//! Services as they are kept and as clients see them.

use edgeless_orders::{book::BookFigures, service::ServiceSpec};
use edgeless_types::WorkflowId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A service as it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// What it is.
    pub spec: ServiceSpec,
    /// Names this start of its workflow, so that there is one however often it is asked for.
    pub start: Uuid,
    /// The workflow that runs for it.
    pub workflow_id: Option<WorkflowId>,
    /// It is held up: tasks wait.
    #[serde(default)]
    pub paused: bool,
}

/// A service as clients see it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServiceView {
    /// Its name.
    pub name: String,
    /// `running`, `off` (idle, or never wanted) or `paused`.
    pub state: String,
    /// What it is.
    #[schema(value_type = Object)]
    pub spec: ServiceSpec,
    /// The workflow that runs for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Uuid>)]
    pub workflow_id: Option<WorkflowId>,
    /// What waits for it and what it has done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub figures: Option<serde_json::Value>,
}

/// A service as clients see it.
pub(super) fn view(
    name: &str,
    record: &ServiceRecord,
    figures: Option<&BookFigures>,
) -> ServiceView {
    let state = match (
        record.paused,
        record.workflow_id.is_some() || record.spec.url.is_some(),
    ) {
        (true, _) => "paused",
        (false, true) => "running",
        (false, false) => "off",
    };
    let figures = figures.and_then(|figures| figures.services.get(name));
    ServiceView {
        name: name.to_owned(),
        state: state.to_owned(),
        spec: record.spec.clone(),
        workflow_id: record.workflow_id,
        figures: figures.and_then(|figures| serde_json::to_value(figures).ok()),
    }
}
