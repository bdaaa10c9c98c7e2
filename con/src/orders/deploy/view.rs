//! Services as they are kept and as clients see them.

use std::{collections::BTreeMap, time::Duration};

use edgeless_orders::{book::BookFigures, service::ServiceSpec};
use edgeless_types::WorkflowId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Deployer, unknown, workflow::FUNCTION};
use crate::{
    problem::Refusal,
    status::{WorkflowState, WorkflowStatus},
};

/// How long the domain of a service may take to say why it waits.
const PATIENCE: Duration = Duration::from_secs(2);

const RUNNING: &str = "running";
const ASLEEP: &str = "asleep";
const WAITING: &str = "waiting";

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
    /// `running`, `asleep` (its function was idle, and wakes with the next task), `waiting` (nobody takes its tasks yet),
    /// `off` (it was not wanted yet) or `paused`.
    pub state: String,
    /// Why it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
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

impl Deployer {
    /// All services.
    pub async fn list(&self) -> Vec<ServiceView> {
        let figures = self.0.orders.figures().await;
        let mut views: Vec<ServiceView> = {
            let services = self.services();
            let services = services.iter();
            services
                .map(|(name, deployed)| view(name, &deployed.record, figures.as_ref()))
                .collect()
        };
        if views.iter().any(may_wait) {
            let all = tokio::time::timeout(PATIENCE, self.0.con.list()).await;
            let all = all.unwrap_or_default().into_iter();
            let all: BTreeMap<WorkflowId, WorkflowStatus> =
                all.map(|status| (status.workflow_id, status)).collect();
            for view in &mut views {
                let status = view.workflow_id.and_then(|id| all.get(&id));
                if let Some(status) = status.filter(|_| may_wait(view)) {
                    view.say_why(status);
                }
            }
        }
        views
    }

    /// One service.
    ///
    /// # Errors
    /// There is none.
    pub async fn inspect(&self, name: &str) -> Result<ServiceView, Refusal> {
        let figures = self.0.orders.figures().await;
        let record = self.record(name).ok_or_else(|| unknown(name))?;
        let mut view = view(name, &record, figures.as_ref());
        if let Some(workflow_id) = view.workflow_id.filter(|_| may_wait(&view)) {
            let status = self.0.con.inspect(workflow_id);
            if let Ok(Ok(status)) = tokio::time::timeout(PATIENCE, status).await {
                view.say_why(&status);
            }
        }
        Ok(view)
    }
}

/// Whether there is a workflow for a service, and nobody takes its tasks.
fn may_wait(view: &ServiceView) -> bool {
    view.state == WAITING
}

impl ServiceView {
    /// What its workflow says of it, which says why it waits.
    fn say_why(&mut self, status: &WorkflowStatus) {
        if status.state == WorkflowState::Unknown {
            let why = "its domain does not answer; what it runs goes on";
            self.reason = Some(why.to_owned());
            return;
        }
        if status.state != WorkflowState::Waiting {
            let mut functions = status.functions.iter();
            let sleeps = functions.any(|it| it.name == FUNCTION && it.asleep);
            self.state = if sleeps { ASLEEP } else { RUNNING }.to_owned();
            return;
        }
        let vertices = status.functions.iter().chain(&status.resources);
        let mut reasons = status
            .waiting
            .iter()
            .chain(vertices.filter_map(|vertex| vertex.waiting.as_ref()));
        self.reason = reasons.next().cloned();
    }
}

/// A service as clients see it.
fn view(name: &str, record: &ServiceRecord, figures: Option<&BookFigures>) -> ServiceView {
    let figures = figures.and_then(|figures| figures.services.get(name));
    let state = match figures {
        _ if record.paused => "paused",
        _ if record.workflow_id.is_none() && record.spec.url.is_none() => "off",
        Some(of) if record.workflow_id.is_some() && of.copies == 0 => {
            let sleeps = record.spec.min_instances == 0 && of.lines > 0 && of.waiting == 0;
            if sleeps { ASLEEP } else { WAITING }
        }
        Some(_) | None => RUNNING,
    };
    ServiceView {
        name: name.to_owned(),
        state: state.to_owned(),
        reason: None,
        spec: record.spec.clone(),
        workflow_id: record.workflow_id,
        figures: figures.and_then(|figures| serde_json::to_value(figures).ok()),
    }
}
