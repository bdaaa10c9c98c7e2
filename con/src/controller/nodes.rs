//! Operations on nodes: cordon, uncordon, drain. They are sent to the domain that has the node.

use edgeless_proto::v1::operate_request;
use edgeless_types::{DomainId, NodeId};
use futures_util::future::join_all;

use super::Controller;
use crate::problem::Refusal;

/// What is done to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It takes nothing new.
    Cordon,
    /// The end of cordon and drain.
    Uncordon,
    /// It takes nothing new, and what is there goes elsewhere.
    Drain,
}

impl Controller {
    /// Cordons, uncordons or drains a node, in whatever domain it is; done when the domain has kept it. A drain
    /// goes on after that.
    ///
    /// # Errors
    /// No domain has the node, or its domain cannot keep it; or some domain does not answer, and the others do not
    /// have the node.
    pub async fn operate(&self, node_id: NodeId, operation: Operation) -> Result<(), Refusal> {
        let operation = match operation {
            Operation::Cordon => operate_request::Operation::Cordon,
            Operation::Uncordon => operate_request::Operation::Uncordon,
            Operation::Drain => operate_request::Operation::Drain,
        };
        let ids: Vec<DomainId> = self.state().cluster.domains().keys().cloned().collect();
        let asks = ids.into_iter().map(async |domain_id| {
            let link = self.link(&domain_id);
            let mut link = link.ok_or("its domain is not there")?;
            let done = link.client.operate(node_id, operation).await;
            done.map_err(|reason| format!("{domain_id}: {reason}"))
        });
        let answers: Vec<Result<bool, String>> = join_all(asks).await;
        if answers.contains(&Ok(true)) {
            return Ok(());
        }
        match answers.into_iter().find_map(Result::err) {
            Some(reason) => Err(Refusal::Unreachable(reason)),
            None => Err(Refusal::Unknown {
                what: "node",
                id: node_id.to_string(),
            }),
        }
    }
}
