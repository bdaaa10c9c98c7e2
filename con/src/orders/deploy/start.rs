//! Starts and stops what runs for services.

use std::sync::Arc;

use edgeless_types::{CodeDigest, WorkflowId};
use uuid::Uuid;

use super::{Deployer, ServiceRecord, jobs::Jobs, of_service, workflow::FUNCTION};
use crate::{controller::Wait, problem::Refusal};

impl Deployer {
    /// Tasks wait for a service: somebody has to be there, without anybody waiting for that. This is said once only: if
    /// something is being done about the service, it comes after that.
    pub(super) fn ensure_soon(&self, jobs: &mut Jobs, name: Arc<str>) {
        let services = self.clone();
        let wanted = Arc::clone(&name);
        jobs.begin_or_follow(name, async move { services.ensure(&wanted).await });
    }

    /// The same for whoever says so again and again.
    pub(super) fn ensure_again(&self, jobs: &mut Jobs, name: Arc<str>) {
        let services = self.clone();
        let wanted = Arc::clone(&name);
        jobs.begin(name, async move { services.ensure(&wanted).await });
    }

    /// Tasks wait for a service: somebody has to be there.
    ///
    /// # Errors
    /// It has to be tried again.
    pub(super) async fn ensure(&self, name: &str) -> Result<(), Refusal> {
        let _turn = self.0.turns.of(name).await;
        let Some(mut record) = self.record(name) else {
            return Ok(());
        };
        self.forget_gone(&mut record);
        match record.workflow_id {
            _ if record.spec.class_specification.is_none() => Ok(()),
            Some(workflow_id) => self.let_sleep(name, workflow_id, &record).await,
            None => self.start(name).await,
        }
    }

    /// Functions of services were not put to sleep by ε-ORC once: those that were started then may be from now on.
    async fn let_sleep(
        &self,
        name: &str,
        workflow_id: WorkflowId,
        record: &ServiceRecord,
    ) -> Result<(), Refusal> {
        let annotations = self.0.con.annotations(workflow_id, FUNCTION);
        let says = annotations.is_none_or(|it| it.contains_key("min_instances"));
        if says || record.spec.min_instances > 0 {
            return Ok(());
        }
        let workflow = self.workflow(name, &record.spec)?;
        let updated = self.0.con.update(workflow_id, workflow).await;
        updated.map(drop).map_err(of_service)
    }

    /// A workflow that somebody has stopped does not run: the service is started anew when it is wanted.
    pub(super) fn forget_gone(&self, record: &mut ServiceRecord) {
        let workflow_id = record.workflow_id;
        if workflow_id.is_some_and(|workflow_id| !self.0.con.has(workflow_id)) {
            (record.workflow_id, record.start) = (None, Uuid::new_v4());
        }
    }

    pub(super) async fn start(&self, name: &str) -> Result<(), Refusal> {
        let Some(mut record) = self.record(name) else {
            return Ok(());
        };
        self.forget_gone(&mut record);
        let workflow = self.workflow(name, &record.spec)?;
        let key = (
            format!("service {name} {}", record.start),
            CodeDigest::of(name.as_bytes()),
        );
        let status = self
            .0
            .con
            .start(workflow, Wait::Yes, Some(key))
            .await
            .map_err(of_service)?;
        record.workflow_id = Some(status.workflow_id);
        tracing::info!(service = name, "a service is started");
        self.keep(name, record).await
    }

    /// Stops what runs for a service; the record says so, and is not kept yet.
    pub(super) async fn stop(&self, record: &mut ServiceRecord) -> Result<(), Refusal> {
        if let Some(workflow_id) = record.workflow_id.take() {
            record.start = Uuid::new_v4();
            match self.0.con.stop(workflow_id).await {
                // Somebody else has stopped it.
                Ok(()) | Err(Refusal::Unknown { .. }) => {}
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(())
    }
}
