//! What simulated nodes do with steps: they keep what runs, and answer after a while.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use edgeless_proto::v1::{self, node_agent_server::NodeAgent, step_outcome::Kind};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

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

    async fn node<T>(&self, request: &Request<T>) -> Result<&Node, Status> {
        let address = match request.local_addr().map(|address| address.ip()) {
            Some(IpAddr::V4(address)) => address,
            Some(IpAddr::V6(_)) | None => return Err(Status::internal("no address of ours")),
        };
        let node = self.nodes.get(&address);
        let node = node.ok_or_else(|| Status::not_found(format!("no node at {address}")))?;
        if node.dead.is_cancelled() {
            // Whoever calls gives up some time.
            std::future::pending::<()>().await;
        }
        Ok(node)
    }
}

#[tonic::async_trait]
impl NodeAgent for Agent {
    async fn apply(
        &self,
        request: Request<v1::ApplyRequest>,
    ) -> Result<Response<v1::ApplyReply>, Status> {
        let node = self.node(&request).await?;
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let steps = request.into_inner().steps;
        let mut outcomes = Vec::with_capacity(steps.len());
        let mut change = Change::default();
        for step in steps {
            self.tally.note(&step);
            change.add(node.apply(step));
            let done = Kind::Done(v1::StepDone { state: None });
            outcomes.push(v1::StepOutcome { kind: Some(done) });
        }
        self.tally.changed(&change);
        Ok(Response::new(v1::ApplyReply { outcomes }))
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
