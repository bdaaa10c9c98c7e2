//! Updates: other versions of the vertices of a workflow, which keep their ids and their wiring.
//!
//! The new record is durable before the domain is told, with the old one in it. The domain replaces copies one after
//! the other; when it cannot, the old record is made durable again and the domain is told that. What takes longer than
//! the domain is waited for is seen to its end by `follow`.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use edgeless_types::{
    LogicalId, WorkflowId,
    workflow::{VertexSpec, Workflow},
};

use super::{
    Controller,
    accept::{Code, Outcome, judge},
    now, unknown_workflow,
};
use crate::{
    check::{self, Checked},
    problem::{Fault, Refusal},
    status::{Reached, WorkflowStatus},
    store::{UpdateRecord, VertexRecord, WorkflowRecord, Write},
};

/// A workflow is being changed as long as this is there.
pub(super) struct Changing(Controller, WorkflowId);

impl Drop for Changing {
    fn drop(&mut self) {
        self.0.state().changing.remove(&self.1);
    }
}

impl Controller {
    /// Gives the vertices of a workflow other versions; how it is then. A domain that does not answer in time goes
    /// on with it.
    ///
    /// # Errors
    /// The workflow is not known or is being changed, the document is wrong or wants more than an update can do,
    /// or the new versions do not run: then the old ones do.
    pub async fn update(
        &self,
        workflow_id: WorkflowId,
        workflow: Workflow,
    ) -> Result<WorkflowStatus, Refusal> {
        let con = self.clone();
        self.carry_through(async move {
            let _changing = con.change(workflow_id)?;
            con.update_now(workflow_id, workflow).await
        })
        .await
    }

    /// One request at a time changes a workflow.
    pub(super) fn change(&self, workflow_id: WorkflowId) -> Result<Changing, Refusal> {
        if self.state().changing.insert(workflow_id) {
            return Ok(Changing(self.clone(), workflow_id));
        }
        Err(Refusal::Conflict(format!(
            "the workflow {workflow_id} is being started, updated or moved by another request; try again when that has ended"
        )))
    }

    async fn update_now(
        &self,
        workflow_id: WorkflowId,
        workflow: Workflow,
    ) -> Result<WorkflowStatus, Refusal> {
        let current = self.state().cluster.workflow(workflow_id).cloned();
        let current = current.ok_or_else(|| unknown_workflow(workflow_id))?;
        // An update that is under way is given up for this one.
        let before = current.before();
        let places = places(&workflow);
        let name = workflow.name.clone().unwrap_or_default();
        let checked = self.check(workflow, Code::Kept).await?;
        let vertices = updated(&before, &checked, &places);
        let vertices = vertices.map_err(|faults| Refusal::Invalid { faults })?;
        for (digest, code) in checked.code {
            let put = self.0.code.put(digest, code).await;
            put.map_err(|error| Refusal::Store(error.to_string()))?;
        }
        let mut after = WorkflowRecord {
            name,
            vertices,
            notes: checked.notes,
            ..WorkflowRecord::clone(&current)
        };
        let mut changed = different(&after, &before);
        changed.extend(different(&after, &current));
        if changed.is_empty() {
            // What became of the last one says nothing about this one, which is what runs.
            after.update = after.update.filter(|last| !last.is_taken_back());
            self.put_in_place(&after).await?;
            return self.look_at(workflow_id).await;
        }
        let update = UpdateRecord::begin(&before, changed, now());
        after.update = Some(update.clone());
        self.put_in_place(&after).await?;
        let reached = match self.tell(&after, &update.vertices).await {
            Outcome::Good => self.how_far(&after, &update).await,
            Outcome::Refused(reason) | Outcome::Infeasible(reason) => Reached::Failed(reason),
        };
        let settled = self.settle(&after, &update, &reached).await;
        if settled.is_err() || reached == Reached::NotYet {
            self.follow(workflow_id, update.begun);
        }
        settled?;
        match reached {
            Reached::Done | Reached::NotYet => self.look_at(workflow_id).await,
            Reached::Failed(reason) => Err(Refusal::TakenBack(reason)),
        }
    }

    /// Makes a record durable, then the one that is desired.
    pub(super) async fn put_in_place(&self, record: &WorkflowRecord) -> Result<(), Refusal> {
        let write = Write::Updated(Arc::new(record.clone()));
        let kept = self.0.store.write(vec![write]).await;
        kept.map_err(|error| Refusal::Store(error.to_string()))?;
        let known = self.state().cluster.update(record);
        known.map_or_else(|| Err(unknown_workflow(record.workflow_id)), |_| Ok(()))
    }

    /// Tells the domain of a workflow those of its vertices that have changed. What it cannot be told now it is
    /// told later.
    pub(super) async fn tell(
        &self,
        record: &WorkflowRecord,
        changed: &BTreeSet<LogicalId>,
    ) -> Outcome {
        let workflow_id = record.workflow_id;
        let there = self.state().cluster.workflow(workflow_id).cloned();
        let Some(domain_id) = there.and_then(|there| there.domain_id.clone()) else {
            return Outcome::Good;
        };
        let Some(link) = self.link(&domain_id) else {
            return Outcome::Good;
        };
        let vertices = record.vertices.iter();
        let vertices = vertices.filter(|vertex| changed.contains(&vertex.logical_id));
        let vertices = vertices.cloned().collect();
        let told = WorkflowRecord {
            domain_id: Some(domain_id),
            ..record.clone()
        };
        let part = Arc::new(WorkflowRecord {
            vertices,
            ..told.clone()
        });
        let outcome = match link.start(Arc::clone(&part)).await {
            Ok(outcomes) => judge(&part, &outcomes),
            Err(reason) => {
                tracing::debug!(%workflow_id, reason, "the domain goes on with an update by itself");
                Outcome::Good
            }
        };
        // It may have been stopped meanwhile, or its domain was lost.
        match self.withdraw_unless_current(&told).await {
            true => Outcome::Good,
            false => outcome,
        }
    }
}

/// The vertices that are something else in one than in the other, which has the same ones in the same order.
fn different(one: &WorkflowRecord, other: &WorkflowRecord) -> BTreeSet<LogicalId> {
    let pairs = one.vertices.iter().zip(&other.vertices);
    let pairs = pairs.filter(|(one, other)| one != other);
    pairs.map(|(vertex, _)| vertex.logical_id).collect()
}

/// Where each vertex stands in the document.
fn places(workflow: &Workflow) -> HashMap<String, String> {
    let functions = workflow.functions.iter().map(|function| &function.name);
    let functions = functions
        .enumerate()
        .map(|(index, name)| (name, format!("/functions/{index}")));
    let resources = workflow.resources.iter().map(|resource| &resource.name);
    let resources = resources
        .enumerate()
        .map(|(index, name)| (name, format!("/resources/{index}")));
    let all = functions.chain(resources);
    all.map(|(name, place)| (name.clone(), place)).collect()
}

/// The vertices of a workflow in their new versions and in the order in which they are kept.
///
/// # Errors
/// All that an update cannot change.
fn updated(
    before: &WorkflowRecord,
    checked: &Checked,
    places: &HashMap<String, String>,
) -> Result<Vec<VertexRecord>, Vec<Fault>> {
    let named = |vertex: &VertexRecord| (vertex.spec.name().to_owned(), vertex.logical_id);
    let ids: BTreeMap<String, LogicalId> = before.vertices.iter().map(named).collect();
    let place = |name: &str| places.get(name).cloned().unwrap_or_default();
    let mut faults = Vec::new();
    if checked.domains != before.domains {
        let detail = "an update cannot change `domain_match_any` and `domain_label_match_all`; start the workflow anew";
        faults.push(Fault::new("/annotations", detail));
    }
    let mut new = HashMap::new();
    for (spec, mapping) in &checked.vertices {
        if ids.contains_key(spec.name()) {
            new.insert(spec.name(), (spec, mapping));
        } else {
            let detail = format!(
                "the workflow has no vertex `{}`, and an update adds none",
                spec.name()
            );
            faults.push(Fault::new(place(spec.name()) + "/name", detail));
        }
    }
    let mut vertices = Vec::new();
    for vertex in &before.vertices {
        let name = vertex.spec.name();
        let Some((spec, mapping)) = new.get(name) else {
            let detail = format!("the vertex `{name}` is missing, and an update removes none");
            faults.push(Fault::new("", detail));
            continue;
        };
        if let Some((key, detail)) = another(&vertex.spec, spec) {
            faults.push(Fault::new(place(name) + key, detail));
        }
        if check::resolve(mapping, &ids) != vertex.outputs {
            let detail = "an update keeps the wiring: its outputs have to lead where they lead now";
            faults.push(Fault::new(place(name) + "/output_mapping", detail));
        }
        vertices.push(VertexRecord {
            logical_id: vertex.logical_id,
            spec: (*spec).clone(),
            outputs: vertex.outputs.clone(),
        });
    }
    match faults.is_empty() {
        true => Ok(vertices),
        false => Err(faults),
    }
}

/// What makes a vertex another one and not another version of it: where that stands, and words.
fn another(old: &VertexSpec, new: &VertexSpec) -> Option<(&'static str, String)> {
    let is = |is: &str, was: &str| format!("an update cannot make it `{is}`: it is `{was}`");
    match (old, new) {
        (VertexSpec::Function(old), VertexSpec::Function(new)) => {
            if new.class_id != old.class_id {
                let says = is(&new.class_id, &old.class_id);
                return Some(("/class_specification/id", says));
            }
            (new.function_type != old.function_type).then(|| {
                let says = is(&new.function_type, &old.function_type);
                ("/class_specification/function_type", says)
            })
        }
        (VertexSpec::Resource(old), VertexSpec::Resource(new)) => (new.class_type
            != old.class_type)
            .then(|| ("/class_type", is(&new.class_type, &old.class_type))),
        (VertexSpec::Function(_), VertexSpec::Resource(_)) => {
            Some(("", is("resource", "function")))
        }
        (VertexSpec::Resource(_), VertexSpec::Function(_)) => {
            Some(("", is("function", "resource")))
        }
    }
}

#[cfg(test)]
mod tests;
