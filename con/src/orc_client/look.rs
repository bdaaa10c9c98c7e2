//! What a domain is asked beside starting and stopping: how it is, where a workflow would go, and to move
//! single vertices.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;
use edgeless_proto::{
    convert::{ConvertError, id_bytes, id_from_wire},
    v1::{self, operate_request::Operation},
};
use edgeless_types::{LogicalId, NodeId, OrderDemand, ProviderId, WorkflowId};
use tonic::Code;

use super::{DEADLINE, OrcClient, no_answer, reply, wire, within};
use crate::{
    cluster::{Lookup, Question},
    status::WouldGo,
    store::{VertexRecord, WorkflowRecord},
};

/// A move that a domain did not make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotMoved {
    /// The vertex or node is not known there, or the node is not feasible.
    Refused(String),
    /// The domain does not answer.
    Unreachable(String),
}

impl OrcClient {
    /// How vertices are; all of the domain when none is named.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn look(
        &mut self,
        logical_ids: &[LogicalId],
    ) -> Result<HashMap<LogicalId, v1::VertexStatus>, String> {
        let request = v1::InspectVerticesRequest {
            logical_ids: logical_ids.iter().map(id_bytes).collect(),
        };
        let reply = within(DEADLINE, self.control.inspect_vertices(request)).await?;
        let read = |vertex: v1::VertexStatus| {
            let id = id_from_wire::<LogicalId>(&vertex.logical_id, "logical_id").ok()?;
            Some((id, vertex))
        };
        Ok(reply.vertices.into_iter().filter_map(read).collect())
    }

    /// What the vertices of a workflow do, and which of them limits it.
    ///
    /// # Errors
    /// The domain does not answer, or does not know the workflow, in words.
    pub async fn explain(&mut self, workflow_id: WorkflowId) -> Result<v1::ExplainReply, String> {
        let request = v1::ExplainRequest {
            workflow_id: id_bytes(&workflow_id),
        };
        within(DEADLINE, self.control.explain(request)).await
    }

    /// Whether nodes, providers and labels are there.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn lookup(&mut self, questions: &BTreeSet<Question>) -> Result<Lookup, String> {
        let mut request = v1::LookupRequest::default();
        for question in questions {
            match question {
                Question::Node(node_id) => request.node_ids.push(id_bytes(node_id)),
                Question::Provider(id) => request.provider_ids.push(id.as_str().to_owned()),
                Question::Label(label) => request.labels.push(label.clone()),
            }
        }
        let reply = within(DEADLINE, self.control.lookup(request)).await?;
        let node_id = |id: &Bytes| id_from_wire::<NodeId>(id, "node_ids").ok();
        let nodes = reply.node_ids.iter().filter_map(node_id);
        let providers = reply.provider_ids.into_iter().map(ProviderId::new);
        let labels = reply.labels.into_iter();
        let there = nodes
            .map(Question::Node)
            .chain(providers.map(Question::Provider))
            .chain(labels.map(Question::Label));
        Ok(Lookup {
            membership: reply.membership,
            there: there.collect(),
        })
    }

    /// Where the vertices of a workflow would go, in their order.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn dry_run(&mut self, record: &WorkflowRecord) -> Result<Vec<WouldGo>, String> {
        let vertices = wire(record).collect();
        let request = v1::DryRunRequest { vertices };
        let reply = within(DEADLINE, self.control.dry_run(request)).await?;
        if reply.vertices.len() != record.vertices.len() {
            return Err("its domain does not answer for each vertex".to_owned());
        }
        let read = |(vertex, goes): (&VertexRecord, v1::WouldGo)| {
            let node_id = |id: &Bytes| id_from_wire::<NodeId>(id, "node_ids");
            let nodes = goes.node_ids.iter().map(node_id);
            let nodes = nodes.map(|id| id.map(|id| id.to_string()));
            Ok(WouldGo {
                name: vertex.spec.name().to_owned(),
                nodes: nodes.collect::<Result<_, _>>()?,
                excluded: goes.excluded,
            })
        };
        let vertices = record.vertices.iter().zip(reply.vertices).map(read);
        let vertices: Result<_, ConvertError> = vertices.collect();
        vertices.map_err(|error| format!("its domain's answer is wrong: {error}"))
    }

    /// The nodes of the domain.
    ///
    /// # Errors
    /// The domain does not answer, in words.
    pub async fn nodes(&mut self) -> Result<Vec<v1::NodeStatus>, String> {
        let reply = within(DEADLINE, self.control.list_nodes(v1::ListNodesRequest {})).await?;
        Ok(reply.nodes)
    }

    /// Cordons, uncordons or drains a node; false: it is not in this domain.
    ///
    /// # Errors
    /// The domain cannot keep it, or does not answer, in words.
    pub async fn operate(&mut self, node_id: NodeId, operation: Operation) -> Result<bool, String> {
        let request = v1::OperateRequest {
            node_id: id_bytes(&node_id),
            operation: operation.into(),
        };
        match reply(DEADLINE, self.control.operate(request)).await {
            Ok(_) => Ok(true),
            Err(status) => match status.code() {
                Code::NotFound => Ok(false),
                Code::FailedPrecondition => Err(status.message().to_owned()),
                _ => Err(no_answer(&status)),
            },
        }
    }

    /// Moves a vertex to a node.
    ///
    /// # Errors
    /// The domain refuses, or does not answer.
    pub async fn migrate(
        &mut self,
        logical_id: LogicalId,
        node_id: NodeId,
    ) -> Result<(), NotMoved> {
        let request = v1::MigrateRequest {
            logical_id: id_bytes(&logical_id),
            node_id: id_bytes(&node_id),
        };
        match reply(DEADLINE, self.control.migrate(request)).await {
            Ok(_) => Ok(()),
            Err(status) => Err(match status.code() {
                Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument => {
                    NotMoved::Refused(status.message().to_owned())
                }
                _ => NotMoved::Unreachable(no_answer(&status)),
            }),
        }
    }

    /// Says what orders want of services.
    ///
    /// # Errors
    /// The domain does not answer.
    pub async fn tell_demand(
        &mut self,
        demand: Vec<(LogicalId, OrderDemand)>,
    ) -> Result<(), String> {
        let demand = demand.into_iter().map(|(logical_id, of)| v1::OrderDemand {
            logical_id: id_bytes(&logical_id),
            tasks_to_do: of.tasks_to_do,
            waiting: of.waiting,
            in_flight: of.in_flight,
            oldest_waiting_s: of.oldest_waiting_s,
            came_per_second: of.came_per_second,
            done_per_second: of.done_per_second,
            took_ms: of.took_ms,
        });
        let demand = demand.collect();
        let told = reply(
            DEADLINE,
            self.control.tell_demand(v1::TellDemandRequest { demand }),
        )
        .await;
        told.map(drop).map_err(|status| no_answer(&status))
    }
}
