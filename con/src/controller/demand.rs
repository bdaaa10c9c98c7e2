//! Says in the domains what orders want of services.

use std::collections::BTreeMap;

use edgeless_types::{DomainId, LogicalId, OrderDemand, WorkflowId};
use futures_util::future::join_all;

use super::Controller;

impl Controller {
    /// Tells each domain what orders want of the vertices with this name in these workflows. `told` are the domains that
    /// were told something last time, and are those of this time afterwards: a domain of which nothing is wanted any
    /// more is told so once.
    pub async fn tell_demand(
        &self,
        vertex: &str,
        wanted: Vec<(WorkflowId, OrderDemand)>,
        told: &mut Vec<DomainId>,
    ) {
        let mut by_domain: BTreeMap<DomainId, Vec<(LogicalId, OrderDemand)>> = BTreeMap::new();
        for domain_id in told.drain(..) {
            by_domain.insert(domain_id, Vec::new());
        }
        {
            let state = self.state();
            for (workflow_id, demand) in wanted {
                let Some(record) = state.cluster.workflow(workflow_id) else {
                    continue;
                };
                let mut vertices = record.vertices.iter();
                let vertex = vertices.find(|it| it.spec.name() == vertex);
                if let (Some(vertex), Some(domain_id)) = (vertex, &record.domain_id) {
                    let demands = by_domain.entry(domain_id.clone()).or_default();
                    demands.push((vertex.logical_id, demand));
                }
            }
        }
        let telling = by_domain.into_iter().map(async |(domain_id, demand)| {
            let is_wanted = !demand.is_empty();
            let link = self.link(&domain_id)?;
            let mut client = link.client;
            if let Err(reason) = client.tell_demand(demand).await {
                tracing::debug!(%domain_id, reason, "a domain was not told what orders want");
            }
            is_wanted.then_some(domain_id)
        });
        told.extend(join_all(telling).await.into_iter().flatten());
    }
}
