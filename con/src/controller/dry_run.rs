//! Dry runs: where a workflow would go, and what excludes the nodes where it would not. Nothing is kept and
//! nothing is started.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{DomainId, workflow::Workflow};

use super::{
    Controller,
    accept::{Code, new_record},
};
use crate::{
    check::Checked,
    problem::Refusal,
    status::{DryRun, WouldGo},
    store::WorkflowRecord,
};

impl Controller {
    /// Where a workflow would go if it were started now. The domains are tried as for a start, the best one
    /// first; where none could run it, the nodes of the best one that answers are counted.
    ///
    /// # Errors
    /// The workflow is wrong.
    pub async fn dry_run(&self, workflow: Workflow) -> Result<DryRun, Refusal> {
        let name = workflow.name.clone().unwrap_or_default();
        let Checked {
            vertices,
            code: _,
            notes,
            domains,
        } = self.check(workflow, Code::Promised).await?;
        let record = new_record(name, vertices, notes, domains);
        let mut lacking = BTreeMap::<DomainId, String>::new();
        let mut best = None;
        loop {
            let tried = lacking.keys().cloned().collect();
            let Ok(domain_id) = self.choose(&record, &tried).await else {
                break;
            };
            match self.try_in(&domain_id, &record).await {
                Ok(vertices) => {
                    let why = why_not(&vertices);
                    let asked = (domain_id.clone(), vertices);
                    match why {
                        None => return Ok(self.answer(&record, Some(asked), &lacking)),
                        Some(why) => lacking.insert(domain_id, why),
                    };
                    best = best.or(Some(asked));
                }
                Err(reason) => {
                    lacking.insert(domain_id, reason);
                }
            }
        }
        if best.is_none() {
            best = self.try_in_largest(&record, &lacking).await;
        }
        Ok(self.answer(&record, best, &lacking))
    }

    async fn try_in(
        &self,
        domain_id: &DomainId,
        record: &WorkflowRecord,
    ) -> Result<Vec<WouldGo>, String> {
        let link = self.link(domain_id);
        let mut link = link.ok_or("its domain is not there")?;
        link.client.dry_run(record).await
    }

    /// By its totals no domain could run it: what its nodes lack is counted in that with most of them.
    async fn try_in_largest(
        &self,
        record: &WorkflowRecord,
        lacking: &BTreeMap<DomainId, String>,
    ) -> Option<(DomainId, Vec<WouldGo>)> {
        let largest = {
            let state = self.state();
            let domains = state.cluster.domains().iter();
            let untried = domains.filter(|(domain_id, _)| !lacking.contains_key(*domain_id));
            let largest = untried.max_by_key(|(_, domain)| domain.totals.num_nodes);
            largest.map(|(domain_id, _)| domain_id.clone())
        };
        let domain_id = largest?;
        let vertices = self.try_in(&domain_id, record).await.ok()?;
        Some((domain_id, vertices))
    }

    fn answer(
        &self,
        record: &WorkflowRecord,
        asked: Option<(DomainId, Vec<WouldGo>)>,
        lacking: &BTreeMap<DomainId, String>,
    ) -> DryRun {
        let (domain, vertices) = asked.unzip();
        let vertices = vertices.unwrap_or_default();
        let state = self.state();
        let all: BTreeSet<&DomainId> = state.cluster.domains().keys().collect();
        let possible = |id: &DomainId| state.cluster.could_run(record, id);
        let reason = |id: &DomainId| match (lacking.get(id), possible(id)) {
            (Some(reason), _) => reason.clone(),
            (None, Err(none)) => none.reason,
            (None, Ok(())) => "could run it as well, and would have less free then".to_owned(),
        };
        let fits = domain.is_some()
            && why_not(&vertices).is_none()
            && domain.iter().all(|id| possible(id).is_ok());
        let others = all
            .iter()
            .filter(|id| !fits || domain.as_ref() != Some(**id));
        let domains = others.map(|id| (id.to_string(), reason(id))).collect();
        DryRun {
            fits,
            domain: domain.map(|id| id.to_string()),
            vertices,
            domains,
            notes: record.notes.clone(),
        }
    }
}

/// Why a domain cannot run a workflow: what excludes the nodes for each vertex that would go nowhere.
fn why_not(vertices: &[WouldGo]) -> Option<String> {
    let nowhere = vertices.iter().filter(|vertex| vertex.nodes.is_empty());
    let why = |vertex: &WouldGo| format!("`{}`: {}", vertex.name, vertex.excluded.join(", "));
    let why: Vec<String> = nowhere.map(why).collect();
    (!why.is_empty()).then(|| why.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_vertices_that_would_go_nowhere_are_named() {
        let vertex = |name: &str, nodes: &[&str], excluded: &[&str]| WouldGo {
            name: name.to_owned(),
            nodes: nodes.iter().map(|&it| it.to_owned()).collect(),
            excluded: excluded.iter().map(|&it| it.to_owned()).collect(),
        };
        let fits = vertex("a", &["n"], &[]);
        // A second copy that finds no place keeps nothing from running.
        let half = vertex("b", &["n"], &["cpu_millis: 1 of 1 nodes"]);
        let not = vertex("c", &[], &["cordoned: 1 of 2 nodes", "tpm: 1 of 2 nodes"]);
        assert_eq!(why_not(&[fits.clone(), half.clone()]), None);
        assert_eq!(
            why_not(&[fits, half, not]).unwrap(),
            "`c`: cordoned: 1 of 2 nodes, tpm: 1 of 2 nodes"
        );
    }
}
