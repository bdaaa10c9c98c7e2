//! Choosing a domain: what its totals do not tell is asked first.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::DomainId;
use futures_util::future::join_all;

use super::Controller;
use crate::{
    cluster::{Ask, NoDomain, Question},
    store::WorkflowRecord,
};

impl Controller {
    /// The domain for a workflow, of those that were not `tried`.
    ///
    /// # Errors
    /// Why none could run it, in words.
    pub(super) async fn choose(
        &self,
        record: &WorkflowRecord,
        tried: &BTreeSet<DomainId>,
    ) -> Result<DomainId, String> {
        let choice = self.state().cluster.choose(record, tried);
        let Err(NoDomain { reason, open }) = choice else {
            return choice.map_err(|none| none.reason);
        };
        if open.is_empty() {
            return Err(reason);
        }
        self.find_out(open).await;
        let choice = self.state().cluster.choose(record, tried);
        choice.map_err(|none| none.reason)
    }

    /// Whether a domain could run a workflow.
    ///
    /// # Errors
    /// Why it could not, in words.
    pub(super) async fn could_run(
        &self,
        record: &WorkflowRecord,
        domain_id: &DomainId,
    ) -> Result<(), String> {
        let possible = self.state().cluster.could_run(record, domain_id);
        let Err(NoDomain { reason, open }) = possible else {
            return Ok(());
        };
        if open.is_empty() {
            return Err(reason);
        }
        self.find_out(open).await;
        let possible = self.state().cluster.could_run(record, domain_id);
        possible.map_err(|none| none.reason)
    }

    /// Asks domains, all at the same time, and learns their answers.
    async fn find_out(&self, open: BTreeMap<DomainId, BTreeSet<Question>>) {
        let asks = self.state().cluster.ask_now(open);
        join_all(asks.into_iter().map(|ask| self.put_question(ask))).await;
    }

    /// Asks a domain without being waited for.
    pub(super) fn ask_later(&self, ask: Ask) {
        let con = self.clone();
        self.0
            .tasks
            .spawn(async move { con.put_question(ask).await });
    }

    async fn put_question(&self, ask: Ask) {
        let answer = match self.link(&ask.domain_id) {
            Some(mut link) => link.client.lookup(&ask.questions).await,
            None => Err("its domain is not there".to_owned()),
        };
        let answer = answer.inspect_err(|reason| {
            tracing::debug!(domain_id = %ask.domain_id, reason, "a domain is asked again later");
        });
        let effects = self.state().cluster.on_answer(&ask, answer.ok());
        self.carry_out(effects).await;
    }
}
