//! What is asked for in each domain with which priority: those of a lower one make room for a higher one. Pure.

use std::collections::BTreeMap;

use edgeless_types::DomainId;

use super::{feasible::asks, totals::Amounts};
use crate::store::WorkflowRecord;

/// Amounts by domain and priority.
#[derive(Debug, Default)]
pub(super) struct Ranks(BTreeMap<DomainId, BTreeMap<i32, Amounts>>);

impl Ranks {
    /// A workflow is in its domain from now on.
    pub(super) fn put(&mut self, record: &WorkflowRecord) {
        let Some(domain_id) = &record.domain_id else {
            return;
        };
        for (priority, ask) in asks(record) {
            let of_domain = self.0.entry(domain_id.clone()).or_default();
            let of_rank = of_domain.entry(priority).or_default();
            *of_rank = of_rank.plus(ask);
        }
    }

    /// It is not there any more.
    pub(super) fn remove(&mut self, record: &WorkflowRecord) {
        let Some(domain_id) = &record.domain_id else {
            return;
        };
        for (priority, ask) in asks(record) {
            if let Some(of_domain) = self.0.get_mut(domain_id)
                && let Some(of_rank) = of_domain.get_mut(&priority)
            {
                *of_rank = of_rank.minus(ask);
            }
        }
        if let Some(of_domain) = self.0.get_mut(domain_id) {
            of_domain.retain(|_, amounts| *amounts != Amounts::default());
            if of_domain.is_empty() {
                self.0.remove(domain_id);
            }
        }
    }

    /// What those of lower priority than this ask for in a domain.
    pub(super) fn lower(&self, domain_id: &DomainId, priority: i32) -> Amounts {
        let of_domain = self.0.get(domain_id);
        let lower = of_domain.into_iter().flat_map(|it| it.range(..priority));
        lower.fold(Amounts::default(), |sum, (_, amounts)| sum.plus(*amounts))
    }
}
