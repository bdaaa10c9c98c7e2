//! Workflows on their way into another domain: until they are there they are desired in both, so that neither stops them
//! when it is told everything.

use std::{collections::BTreeMap, sync::Arc};

use edgeless_types::{DomainId, WorkflowId};

use super::Cluster;
use crate::store::WorkflowRecord;

impl Cluster {
    /// A workflow is about to start in another domain, as this says.
    pub fn begin_move(&mut self, there: Arc<WorkflowRecord>) {
        self.coming.insert(there.workflow_id, there);
    }

    /// It is there, or stays where it is.
    pub fn end_move(&mut self, workflow_id: WorkflowId) {
        self.coming.remove(&workflow_id);
    }

    /// Everything that is desired of a domain.
    pub fn desired(&self, domain_id: &DomainId) -> Vec<Arc<WorkflowRecord>> {
        let there = self.places.get(&Some(domain_id.clone()));
        let there = there.into_iter().flatten();
        let there = there.filter_map(|workflow_id| self.workflows.get(workflow_id));
        let is_there = |it: &WorkflowRecord| it.domain_id.as_ref() == Some(domain_id);
        let is_there_already = |it: &Arc<WorkflowRecord>| {
            let known = self.workflows.get(&it.workflow_id);
            known.is_some_and(|known| is_there(known))
        };
        let coming = self.coming.values();
        let coming = coming.filter(|it| is_there(it) && !is_there_already(it));
        there.chain(coming).cloned().collect()
    }

    /// Whether a workflow is part of that.
    pub fn is_desired(&self, workflow_id: WorkflowId, domain_id: &DomainId) -> bool {
        self.of_domain(workflow_id, domain_id).is_some()
    }

    /// A workflow, or part of its vertices, as they are in that; none: it is not part of that.
    pub fn as_desired(
        &self,
        record: &Arc<WorkflowRecord>,
        domain_id: &DomainId,
    ) -> Option<Arc<WorkflowRecord>> {
        let now = self.of_domain(record.workflow_id, domain_id)?;
        if Arc::ptr_eq(now, record) {
            return Some(Arc::clone(now));
        }
        let vertices = now.vertices.iter();
        let by_id: BTreeMap<_, _> = vertices.map(|it| (it.logical_id, it)).collect();
        let vertices = record.vertices.iter();
        let vertices = vertices.map(|it| by_id.get(&it.logical_id).copied().cloned());
        Some(Arc::new(WorkflowRecord {
            vertices: vertices.collect::<Option<_>>()?,
            ..WorkflowRecord::clone(now)
        }))
    }

    fn of_domain(
        &self,
        workflow_id: WorkflowId,
        domain_id: &DomainId,
    ) -> Option<&Arc<WorkflowRecord>> {
        let (there, coming) = (&self.workflows, &self.coming);
        let records = [there.get(&workflow_id), coming.get(&workflow_id)];
        let is_there = |it: &&Arc<WorkflowRecord>| it.domain_id.as_ref() == Some(domain_id);
        records.into_iter().flatten().find(is_there)
    }
}
