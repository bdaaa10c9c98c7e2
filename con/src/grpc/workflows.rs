//! `WorkflowInstance`: the same operations as over REST.

use edgeless_proto::{
    convert::{id_bytes, id_from_wire},
    v1::{self, workflow_instance_server::WorkflowInstance},
};
use edgeless_types::{CodeDigest, DomainId, WorkflowId};
use tonic::{Request, Response, Status};

use crate::{
    check::{Format, parse},
    controller::{Controller, Wait},
    problem::Refusal,
    status::{VertexStatus, WorkflowStatus},
};

pub(super) struct Service(pub(super) Controller);

#[tonic::async_trait]
impl WorkflowInstance for Service {
    async fn start(
        &self,
        request: Request<v1::StartWorkflowRequest>,
    ) -> Result<Response<v1::StartWorkflowReply>, Status> {
        let request = request.into_inner();
        let first = request
            .document
            .iter()
            .find(|byte| !byte.is_ascii_whitespace());
        let format = if first == Some(&b'{') {
            Format::Json
        } else {
            Format::Yaml
        };
        let workflow = parse(&request.document, format).map_err(|fault| {
            refused(Refusal::Invalid {
                faults: vec![fault],
            })
        })?;
        let key = request
            .idempotency_key
            .map(|key| (key, CodeDigest::of(&request.document)));
        let wait = if request.wait { Wait::Yes } else { Wait::No };
        let status = self.0.start(workflow, wait, key).await.map_err(refused)?;
        Ok(Response::new(v1::StartWorkflowReply {
            workflow: Some(to_wire(status)),
        }))
    }

    async fn stop(
        &self,
        request: Request<v1::StopWorkflowRequest>,
    ) -> Result<Response<v1::StopWorkflowReply>, Status> {
        let workflow_id: WorkflowId =
            id_from_wire(&request.into_inner().workflow_id, "workflow_id")?;
        self.0.stop(workflow_id).await.map_err(refused)?;
        Ok(Response::new(v1::StopWorkflowReply {}))
    }

    async fn list(
        &self,
        _: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsReply>, Status> {
        let workflows = self.0.list().await.into_iter().map(to_wire).collect();
        Ok(Response::new(v1::ListWorkflowsReply { workflows }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectWorkflowRequest>,
    ) -> Result<Response<v1::WorkflowStatus>, Status> {
        let workflow_id = id_from_wire(&request.into_inner().workflow_id, "workflow_id")?;
        let status = self.0.inspect(workflow_id).await.map_err(refused)?;
        Ok(Response::new(to_wire(status)))
    }

    async fn migrate(
        &self,
        request: Request<v1::MigrateWorkflowRequest>,
    ) -> Result<Response<v1::MigrateWorkflowReply>, Status> {
        let request = request.into_inner();
        let workflow_id = id_from_wire(&request.workflow_id, "workflow_id")?;
        let moved = match (request.domain_id, request.vertex) {
            (Some(domain_id), None) => {
                self.0
                    .move_to_domain(workflow_id, DomainId::new(domain_id))
                    .await
            }
            (None, Some(vertex)) => {
                let node_id = id_from_wire(&vertex.node_id, "vertex.node_id")?;
                self.0.move_vertex(workflow_id, &vertex.name, node_id).await
            }
            (Some(_), Some(_)) | (None, None) => {
                let text = "field `domain_id`: give either it or `vertex`";
                return Err(Status::invalid_argument(text));
            }
        };
        moved.map_err(refused)?;
        Ok(Response::new(v1::MigrateWorkflowReply {}))
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is what `map_err` hands over"
)]
fn refused(refusal: Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::Invalid { .. } => Status::invalid_argument(text),
        Refusal::Unknown { .. } => Status::not_found(text),
        Refusal::Conflict(_) => Status::already_exists(text),
        Refusal::TakenBack(_) => Status::failed_precondition(text),
        Refusal::Infeasible(_) => Status::failed_precondition(text),
        Refusal::Unreachable(_) => Status::unavailable(text),
        Refusal::Store(_) => Status::resource_exhausted(text),
        Refusal::Ending => Status::aborted(text),
    }
}

fn to_wire(status: WorkflowStatus) -> v1::WorkflowStatus {
    let vertices = status.functions.into_iter().chain(status.resources);
    v1::WorkflowStatus {
        workflow_id: id_bytes(&status.workflow_id),
        name: status.name,
        state: status.state.word().to_owned(),
        domain_id: status.domain_id,
        vertices: vertices.map(vertex_to_wire).collect(),
        notes: status.notes,
        update: status.update.map(|update| v1::WorkflowUpdateStatus {
            state: update.state.word().to_owned(),
            reason: update.reason,
            vertices: u32::try_from(update.vertices).unwrap_or(u32::MAX),
            updated: u32::try_from(update.updated).unwrap_or(u32::MAX),
        }),
    }
}

fn vertex_to_wire(vertex: VertexStatus) -> v1::WorkflowVertexStatus {
    let instances = vertex
        .instances
        .iter()
        .map(|instance| v1::WorkflowInstanceStatus {
            node_id: id_bytes(&instance.node_id),
            physical_id: id_bytes(&instance.physical_id),
            since_ns: instance.since.as_nanos(),
        });
    v1::WorkflowVertexStatus {
        name: vertex.name,
        class: vertex.class,
        logical_id: id_bytes(&vertex.logical_id),
        instances: instances.collect(),
        waiting: vertex.waiting,
        asleep: vertex.asleep,
    }
}
