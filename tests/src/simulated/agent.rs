//! What simulated nodes do with steps: they keep what runs, and answer after a while.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use edgeless_proto::v1::{self, node_agent_server::NodeAgent, step_outcome::Kind};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{
    node::Node,
    tally::{Change, Tally},
};

/// The agent of all nodes: the address at which a call arrives says which is meant.
pub(super) struct Agent {
    nodes: HashMap<Ipv4Addr, Arc<Node>>,
    tally: Arc<Tally>,
    delay: Duration,
}

impl Agent {
    pub(super) fn new(
        nodes: HashMap<Ipv4Addr, Arc<Node>>,
        tally: Arc<Tally>,
        delay: Duration,
    ) -> Self {
        Self {
            nodes,
            tally,
            delay,
        }
    }

    async fn node<T>(&self, request: &Request<T>) -> Result<&Arc<Node>, Status> {
        let address = match request.local_addr().map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => address,
            Some(IpAddr::V6(_)) | None => return Err(Status::internal("no address of ours")),
        };
        let node = self.nodes.get(&address);
        let node = node.ok_or_else(|| Status::not_found(format!("no node at {address}")))?;
        alive(node).await;
        Ok(node)
    }
}

/// A dead node answers nothing: whoever calls gives up some time.
async fn alive(node: &Node) {
    if node.dead.is_cancelled() {
        std::future::pending::<()>().await;
    }
}

fn apply(node: &Node, tally: &Tally, request: v1::ApplyRequest) -> v1::ApplyReply {
    let mut outcomes = Vec::with_capacity(request.steps.len());
    let mut change = Change::default();
    for step in request.steps {
        tally.note(&step);
        change.add(node.apply(step));
        let done = Kind::Done(v1::StepDone { state: None });
        outcomes.push(v1::StepOutcome { kind: Some(done) });
    }
    tally.changed(&change);
    v1::ApplyReply { outcomes }
}

#[tonic::async_trait]
impl NodeAgent for Agent {
    type ApplyStream = Pin<Box<dyn Stream<Item = Result<v1::ApplyReply, Status>> + Send>>;

    async fn apply(
        &self,
        requests: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let node = Arc::clone(self.node(&requests).await?);
        let (tally, delay) = (Arc::clone(&self.tally), self.delay);
        let replies = requests.into_inner().then(move |request| {
            let (node, tally) = (Arc::clone(&node), Arc::clone(&tally));
            async move {
                let request = request?;
                alive(&node).await;
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                Ok(apply(&node, &tally, request))
            }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn put_code(
        &self,
        request: Request<v1::PutCodeRequest>,
    ) -> Result<Response<v1::PutCodeReply>, Status> {
        self.node(&request).await?;
        Ok(Response::new(v1::PutCodeReply {}))
    }

    type TapStream = Pin<Box<dyn Stream<Item = Result<v1::Tapped, Status>> + Send>>;

    async fn tap(&self, _: Request<v1::TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        Err(Status::unimplemented("simulated nodes pass no messages"))
    }
}
