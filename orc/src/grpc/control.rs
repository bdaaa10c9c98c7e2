//! `DomainControl`: what ε-CON needs beside starting and stopping.

use bytes::Bytes;
use edgeless_daemon::code::PutError;
use edgeless_proto::{
    convert::{ConvertError, digest_from_wire, id_bytes, id_from_wire, provider_to_wire},
    v1::{self, domain_control_server::DomainControl, operate_request::Operation},
};
use edgeless_types::{LogicalId, NodeId, OrderDemand, WorkflowId, intent::Intent};
use tonic::{Request, Response, Status};

use super::{
    ended,
    instances::{All, epoch_from_wire, start_vertices, vertices_from_wire},
};
use crate::{
    domain::{NodeReport, Refusal, Things, VertexReport, WouldGo},
    handle::Handle,
};

pub(super) struct Control(pub(super) Handle);

#[tonic::async_trait]
impl DomainControl for Control {
    async fn put_code(
        &self,
        request: Request<v1::PutCodeRequest>,
    ) -> Result<Response<v1::PutCodeReply>, Status> {
        let request = request.into_inner();
        let digest = digest_from_wire(&request.digest, "digest")?;
        match self.0.code().put(digest, request.code).await {
            Ok(()) => Ok(Response::new(v1::PutCodeReply {})),
            Err(error @ PutError::Digest { .. }) => {
                Err(Status::invalid_argument(format!("field `digest`: {error}")))
            }
            Err(error @ PutError::Write { .. }) => {
                tracing::error!(%error, "code is not kept");
                Err(Status::resource_exhausted(error.to_string()))
            }
        }
    }

    async fn reconcile(
        &self,
        request: Request<v1::StartRequest>,
    ) -> Result<Response<v1::StartReply>, Status> {
        let request = request.into_inner();
        let epoch = epoch_from_wire(request.epoch)?;
        let vertices = vertices_from_wire(request.vertices)?;
        start_vertices(&self.0, vertices, epoch, All::Yes)
            .await
            .map(Response::new)
    }

    async fn tell_demand(
        &self,
        request: Request<v1::TellDemandRequest>,
    ) -> Result<Response<v1::TellDemandReply>, Status> {
        let demand = request.into_inner().demand.into_iter().map(|demand| {
            let logical_id = id_from_wire(&demand.logical_id, "demand.logical_id")?;
            let of_orders = OrderDemand {
                tasks_to_do: demand.tasks_to_do,
                waiting: demand.waiting,
                in_flight: demand.in_flight,
                oldest_waiting_s: demand.oldest_waiting_s,
                came_per_second: demand.came_per_second,
                done_per_second: demand.done_per_second,
                took_ms: demand.took_ms,
            };
            Ok::<_, ConvertError>((logical_id, of_orders))
        });
        let demand = demand.collect::<Result<_, _>>()?;
        self.0.tell_demand(demand).await.map_err(ended)?;
        Ok(Response::new(v1::TellDemandReply {}))
    }

    async fn migrate(
        &self,
        request: Request<v1::MigrateRequest>,
    ) -> Result<Response<v1::MigrateReply>, Status> {
        let request = request.into_inner();
        let intent = Intent::Migrate {
            logical_id: id_from_wire(&request.logical_id, "logical_id")?,
            node_id: id_from_wire(&request.node_id, "node_id")?,
        };
        match self.0.migrate(intent).await.map_err(ended)? {
            Ok(()) => Ok(Response::new(v1::MigrateReply {})),
            Err(refusal @ (Refusal::UnknownVertex(_) | Refusal::UnknownNode(_))) => {
                Err(Status::not_found(refusal.to_string()))
            }
            Err(refusal @ (Refusal::Infeasible { .. } | Refusal::KeptFull)) => {
                Err(Status::failed_precondition(refusal.to_string()))
            }
        }
    }

    async fn operate(
        &self,
        request: Request<v1::OperateRequest>,
    ) -> Result<Response<v1::OperateReply>, Status> {
        let request = request.into_inner();
        let operation = request.operation();
        let node_id: NodeId = id_from_wire(&request.node_id, "node_id")?;
        let intent = match operation {
            Operation::Cordon => Intent::Cordon { node_id },
            Operation::Uncordon => Intent::Uncordon { node_id },
            Operation::Drain => Intent::Drain { node_id },
            Operation::Unspecified => {
                return Err(ConvertError::new("operation", "is none that is known").into());
            }
        };
        let may_be_gone = operation == Operation::Uncordon;
        let known = self.0.read(move |domain, _| match may_be_gone {
            true => domain.remembers_node(node_id),
            false => domain.has_node(node_id),
        });
        if !known.await.map_err(ended)? {
            return Err(Status::not_found(Refusal::UnknownNode(node_id).to_string()));
        }
        let outcome = self.0.intent(intent.key(), None).await.map_err(ended)?;
        match outcome.refused {
            None => Ok(Response::new(v1::OperateReply {})),
            Some(reason) => Err(Status::failed_precondition(reason)),
        }
    }

    async fn inspect_vertices(
        &self,
        request: Request<v1::InspectVerticesRequest>,
    ) -> Result<Response<v1::InspectVerticesReply>, Status> {
        let read = |id: Bytes| id_from_wire::<LogicalId>(&id, "logical_ids");
        let wanted = request.into_inner().logical_ids.into_iter().map(read);
        let wanted: Vec<LogicalId> = wanted.collect::<Result<_, _>>()?;
        let look = self.0.read(move |domain, _| match wanted.is_empty() {
            true => domain.vertex_reports(),
            false => wanted
                .iter()
                .filter_map(|&id| domain.vertex_report(id))
                .collect(),
        });
        let vertices = look
            .await
            .map_err(ended)?
            .into_iter()
            .map(vertex_to_wire)
            .collect();
        Ok(Response::new(v1::InspectVerticesReply { vertices }))
    }

    async fn list_nodes(
        &self,
        _: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesReply>, Status> {
        let nodes = self
            .0
            .read(|domain, _| domain.node_reports())
            .await
            .map_err(ended)?;
        let nodes = nodes.into_iter().map(node_to_wire).collect();
        Ok(Response::new(v1::ListNodesReply { nodes }))
    }

    async fn lookup(
        &self,
        request: Request<v1::LookupRequest>,
    ) -> Result<Response<v1::LookupReply>, Status> {
        let request = request.into_inner();
        let read = |id: Bytes| id_from_wire::<NodeId>(&id, "node_ids");
        let node_ids = request.node_ids.into_iter().map(read);
        let wanted = Things {
            node_ids: node_ids.collect::<Result<_, _>>()?,
            provider_ids: request.provider_ids.into_iter().collect(),
            labels: request.labels.into_iter().collect(),
        };
        let look = self.0.read(move |domain, _| domain.lookup(&wanted));
        let (membership, there) = look.await.map_err(ended)?;
        Ok(Response::new(v1::LookupReply {
            membership,
            node_ids: there.node_ids.iter().map(id_bytes).collect(),
            provider_ids: there.provider_ids.into_iter().collect(),
            labels: there.labels.into_iter().collect(),
        }))
    }

    async fn explain(
        &self,
        request: Request<v1::ExplainRequest>,
    ) -> Result<Response<v1::ExplainReply>, Status> {
        let workflow_id: WorkflowId =
            id_from_wire(&request.into_inner().workflow_id, "workflow_id")?;
        let Some(explanation) = self.0.explain(workflow_id).await.map_err(ended)? else {
            let unknown = format!("workflow {workflow_id} is not known in this domain");
            return Err(Status::not_found(unknown));
        };
        Ok(Response::new(super::explain::to_wire(explanation)))
    }

    async fn dry_run(
        &self,
        request: Request<v1::DryRunRequest>,
    ) -> Result<Response<v1::DryRunReply>, Status> {
        let vertices = vertices_from_wire(request.into_inner().vertices)?;
        let vertices = self.0.dry_run(vertices).await.map_err(ended)?;
        let would_go = |goes: WouldGo| v1::WouldGo {
            node_ids: goes.nodes.iter().map(id_bytes).collect(),
            excluded: goes.excluded,
        };
        Ok(Response::new(v1::DryRunReply {
            vertices: vertices.into_iter().map(would_go).collect(),
        }))
    }
}

fn vertex_to_wire(report: VertexReport) -> v1::VertexStatus {
    let VertexReport {
        active,
        fingerprint,
        update,
    } = report;
    let instances = active.instances.iter().map(|running| v1::RunningStatus {
        node_id: id_bytes(&running.node_id),
        physical_id: id_bytes(&running.physical_id),
        since_ns: running.since.as_nanos(),
    });
    v1::VertexStatus {
        logical_id: id_bytes(&active.logical_id),
        workflow_id: id_bytes(&active.workflow_id),
        name: active.spec.name().to_owned(),
        class: active.spec.class().to_owned(),
        instances: instances.collect(),
        waiting: active.waiting.map(|waiting| waiting.message),
        fingerprint,
        update: update.map(|progress| v1::VertexUpdate {
            copies: progress.copies,
            updated: progress.updated,
            waiting: progress.waiting,
            given_up: progress.given_up,
        }),
    }
}

fn node_to_wire(node: NodeReport) -> v1::NodeStatus {
    let profile = v1::NodeProfile {
        agent_url: node.profile.agent_url,
        invocation_url: node.profile.invocation_url,
        capabilities: Some((*node.profile.capabilities).clone().into()),
        providers: node
            .profile
            .providers
            .iter()
            .map(provider_to_wire)
            .collect(),
    };
    v1::NodeStatus {
        node_id: id_bytes(&node.node_id),
        profile: Some(profile),
        health: node.health.map(v1::NodeHealth::from),
        cordoned: node.cordoned,
        num_instances: u32::try_from(node.instances).unwrap_or(u32::MAX),
        last_update_ns: node.last_update.as_nanos(),
        closed: node.closed.unwrap_or_default(),
    }
}
