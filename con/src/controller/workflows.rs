//! What is done to workflows once they are accepted: stop, move, show.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use edgeless_proto::v1;
use edgeless_types::{DomainId, LogicalId, NodeId, WorkflowId, workflow::VertexSpec};
use futures_util::future::join_all;

use super::{
    Controller,
    accept::{Outcome, judge},
    now, unknown_workflow,
};
use crate::{
    orc_client::{NotMoved, Started},
    problem::Refusal,
    status::{self, Explanation, WorkflowStatus},
    store::{WorkflowRecord, Write},
};

impl Controller {
    /// Stops the vertices of a workflow in the domain it is or was in.
    pub(super) async fn stop_there(&self, record: &WorkflowRecord) {
        let domain_id = record.domain_id.as_ref();
        let Some(link) = domain_id.and_then(|domain_id| self.link(domain_id)) else {
            return;
        };
        if let Err(reason) = link.stop(record.workflow_id, logical_ids(record)).await {
            // The worker owes the domain a reconciliation, which stops it there.
            let workflow_id = record.workflow_id;
            tracing::debug!(%workflow_id, reason, "the domain is told of a stop later");
        }
    }

    /// A workflow stays in a domain after all, which may have been told everything without it meanwhile: it is told
    /// again.
    pub(super) fn owe(&self, domain_id: Option<&DomainId>) {
        if let Some(link) = domain_id.and_then(|domain_id| self.link(domain_id)) {
            link.reconcile();
        }
    }

    /// Stops a workflow; when this returns it will not come back.
    ///
    /// # Errors
    /// It is not known, or its end cannot be kept.
    pub async fn stop(&self, workflow_id: WorkflowId) -> Result<(), Refusal> {
        let con = self.clone();
        self.carry_through(async move { con.stop_now(workflow_id).await })
            .await?;
        self.0.metrics.stopped();
        Ok(())
    }

    pub(super) async fn stop_now(&self, workflow_id: WorkflowId) -> Result<(), Refusal> {
        let record = self.state().cluster.remove(workflow_id);
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let gone = vec![Write::WorkflowGone(workflow_id)];
        if let Err(error) = self.0.store.write(gone).await {
            self.state().cluster.put(Arc::clone(&record));
            self.owe(record.domain_id.as_ref());
            return Err(Refusal::Store(error.to_string()));
        }
        self.stop_there(&record).await;
        Ok(())
    }

    /// Whether there is such a workflow.
    pub fn has(&self, workflow_id: WorkflowId) -> bool {
        self.state().cluster.workflow(workflow_id).is_some()
    }

    /// The annotations of a function of a workflow; none: there is no such function.
    pub fn annotations(
        &self,
        workflow_id: WorkflowId,
        function: &str,
    ) -> Option<BTreeMap<String, String>> {
        let state = self.state();
        let mut vertices = state.cluster.workflow(workflow_id)?.vertices.iter();
        vertices.find_map(|vertex| match &vertex.spec {
            VertexSpec::Function(it) if it.name == function => Some(it.annotations.clone()),
            VertexSpec::Function(_) | VertexSpec::Resource(_) => None,
        })
    }

    /// How a workflow is, as its domain says.
    ///
    /// # Errors
    /// It is not known.
    pub async fn inspect(&self, workflow_id: WorkflowId) -> Result<WorkflowStatus, Refusal> {
        self.look_at(workflow_id).await
    }

    pub(super) async fn look_at(&self, workflow_id: WorkflowId) -> Result<WorkflowStatus, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let seen = match &record.domain_id {
            Some(domain_id) => self.look(domain_id, &logical_ids(&record)).await,
            None => Err(self.why_in_stand_by(&record)),
        };
        Ok(status::of_workflow(&record, seen))
    }

    /// What a workflow does, and what limits it.
    ///
    /// # Errors
    /// It is not known, in no domain, or its domain does not answer.
    pub async fn explain(&self, workflow_id: WorkflowId) -> Result<Explanation, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let Some(domain_id) = &record.domain_id else {
            return Err(Refusal::Unreachable(self.why_in_stand_by(&record)));
        };
        let link = self.link(domain_id);
        let unregistered = || Refusal::Unreachable("its domain is not registered".to_owned());
        let mut link = link.ok_or_else(unregistered)?;
        let reply = link.client.explain(workflow_id).await;
        let reply = reply.map_err(Refusal::Unreachable)?;
        Ok(Explanation::of(workflow_id, &record.name, reply))
    }

    /// How all workflows are, as their domains say.
    pub async fn list(&self) -> Vec<WorkflowStatus> {
        let records: Vec<_> = self.state().cluster.workflows().cloned().collect();
        let places = records.iter().filter_map(|record| record.domain_id.clone());
        let places: BTreeSet<DomainId> = places.collect();
        let looks = places.into_iter().map(async |domain_id| {
            let seen = self.look(&domain_id, &[]).await;
            (domain_id, seen)
        });
        let mut seen: BTreeMap<DomainId, Result<HashMap<_, _>, String>> =
            join_all(looks).await.into_iter().collect();
        let show = |record: &Arc<WorkflowRecord>| {
            let place = record.domain_id.as_ref();
            let part = match place.and_then(|domain_id| seen.get_mut(domain_id)) {
                Some(Ok(all)) => Ok(part_of(all, record)),
                Some(Err(reason)) => Err(reason.clone()),
                None => Err(self.why_in_stand_by(record)),
            };
            status::of_workflow(record, part)
        };
        records.iter().map(show).collect()
    }

    fn why_in_stand_by(&self, record: &WorkflowRecord) -> String {
        let choice = self.state().cluster.choose(record, &BTreeSet::new());
        choice
            .err()
            .map_or_else(|| "it is being placed".to_owned(), |none| none.reason)
    }

    /// Moves a workflow to another domain: it is started there, then stopped where it was.
    ///
    /// # Errors
    /// The workflow is not known or is being moved already, or the domain cannot run it; then it stays where it is.
    pub async fn move_to_domain(
        &self,
        workflow_id: WorkflowId,
        domain_id: DomainId,
    ) -> Result<WorkflowStatus, Refusal> {
        let con = self.clone();
        self.carry_through(async move {
            let _changing = con.change(workflow_id)?;
            con.move_now(workflow_id, domain_id).await
        })
        .await
    }

    async fn move_now(
        &self,
        workflow_id: WorkflowId,
        domain_id: DomainId,
    ) -> Result<WorkflowStatus, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        if record.domain_id.as_ref() == Some(&domain_id) {
            return self.look_at(workflow_id).await;
        }
        let possible = self.could_run(&record, &domain_id).await;
        possible.map_err(|reason| cannot_run(&domain_id, &reason))?;
        let mut there = WorkflowRecord::clone(&record);
        there.domain_id = Some(domain_id.clone());
        let there = Arc::new(there);
        self.state().cluster.begin_move(Arc::clone(&there));
        let moved = self.move_there(&record, &there, domain_id).await;
        self.state().cluster.end_move(workflow_id);
        if moved.is_err() {
            self.stop_there(&there).await;
        }
        let outcomes = moved?;
        self.0.metrics.moved(1);
        Ok(status::of_started(&there, outcomes, now()))
    }

    /// A workflow is started in another domain, and then is in that one.
    async fn move_there(
        &self,
        record: &WorkflowRecord,
        there: &Arc<WorkflowRecord>,
        domain_id: DomainId,
    ) -> Result<Vec<Started>, Refusal> {
        let started = match self.link(&domain_id) {
            Some(link) => link.start(Arc::clone(there)).await,
            None => Err("the domain is not there".to_owned()),
        };
        let outcomes = started.map_err(Refusal::Unreachable)?;
        if let Outcome::Refused(reason) | Outcome::Infeasible(reason) = judge(there, &outcomes) {
            return Err(cannot_run(&domain_id, &reason));
        }
        self.reassign(record, domain_id).await?;
        Ok(outcomes)
    }

    /// Moves one vertex of a workflow to a node of its domain.
    ///
    /// # Errors
    /// Workflow, vertex or node are not known, or the node is not feasible.
    pub async fn move_vertex(
        &self,
        workflow_id: WorkflowId,
        name: &str,
        node_id: NodeId,
    ) -> Result<WorkflowStatus, Refusal> {
        let record = self.state().cluster.workflow(workflow_id).cloned();
        let record = record.ok_or_else(|| unknown_workflow(workflow_id))?;
        let mut vertices = record.vertices.iter();
        let vertex = vertices.find(|vertex| vertex.spec.name() == name);
        let vertex = vertex.ok_or_else(|| {
            Refusal::fault("/vertex", format!("the workflow has no vertex `{name}`"))
        })?;
        let place = record.domain_id.as_ref();
        let link = place.and_then(|domain_id| self.link(domain_id));
        let link = link.ok_or_else(|| Refusal::Unreachable("it is in no domain".to_owned()))?;
        let mut client = link.client;
        match client.migrate(vertex.logical_id, node_id).await {
            Ok(()) => self.look_at(workflow_id).await,
            Err(NotMoved::Refused(reason)) => Err(Refusal::fault("/node_id", reason)),
            Err(NotMoved::Unreachable(reason)) => Err(Refusal::Unreachable(reason)),
        }
    }
}

/// What a domain said about one workflow, taken out of what it said about all.
fn part_of(
    all: &mut HashMap<LogicalId, v1::VertexStatus>,
    record: &WorkflowRecord,
) -> HashMap<LogicalId, v1::VertexStatus> {
    let ids = record.vertices.iter().map(|vertex| vertex.logical_id);
    ids.filter_map(|id| all.remove_entry(&id)).collect()
}

fn logical_ids(record: &WorkflowRecord) -> Vec<LogicalId> {
    let vertices = record.vertices.iter();
    vertices.map(|vertex| vertex.logical_id).collect()
}

fn cannot_run(domain_id: &DomainId, reason: &str) -> Refusal {
    let detail = format!("domain `{domain_id}` cannot run it: {reason}");
    Refusal::fault("/domain_id", detail)
}
