//! `OrderTasks`: the resource `order-source` of a node takes tasks here, and brings outcomes.

use std::{pin::Pin, sync::Arc};

use bytes::Bytes;
use edgeless_orders::{
    book::{Handout, Outcome, Ticket},
    tasks::is_service_name,
};
use edgeless_proto::v1::{self, order_tasks_server::OrderTasks, task_outcome::Result as Came};
use edgeless_types::InstanceId;
use futures_util::stream::unfold;
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::orders::{Line, Orders, Taken, Tasks};

pub(super) struct Service {
    pub(super) orders: Orders,
    pub(super) shutdown: CancellationToken,
}

#[tonic::async_trait]
impl OrderTasks for Service {
    type ServeStream = Pin<Box<dyn Stream<Item = Result<v1::ToSource, Status>> + Send>>;

    async fn serve(
        &self,
        request: Request<Streaming<v1::FromSource>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let mut messages = request.into_inner();
        let first = messages.next().await.transpose()?;
        let first =
            first.ok_or_else(|| Status::invalid_argument("the stream ended without a `hello`"))?;
        let hello = first.hello.as_ref();
        let hello =
            hello.ok_or_else(|| Status::invalid_argument("the first message has no `hello`"))?;
        if !is_service_name(&hello.service) {
            let text = format!(
                "`hello.service`: `{}` is no name of a service",
                hello.service
            );
            return Err(Status::invalid_argument(text));
        }
        let source = hello.source.clone();
        let source = source.ok_or_else(|| Status::invalid_argument("`hello.source` is missing"))?;
        let source = InstanceId::try_from(source)
            .map_err(|error| Status::invalid_argument(format!("`hello.source`: {error}")))?;
        let service: Arc<str> = hello.service.as_str().into();
        let name: Arc<str> = format!("{}, {}", source.physical_id, hello.host).into();
        tracing::info!(%service, source = %name, "a source takes tasks");
        let (line, tasks) = self.orders.open_line(service, name, first.instances).await;
        let tasks = line.with_bytes(tasks);
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let mut last = None;
            follow(&line, first, &mut last).await;
            while let Some(Some(Ok(message))) = shutdown.run_until_cancelled(messages.next()).await
            {
                follow(&line, message, &mut last).await;
            }
            tracing::info!("a source is gone");
        });
        let next = async |mut tasks: Tasks| Some((Ok(to_source(tasks.next().await?)), tasks));
        Ok(Response::new(Box::pin(unfold(tasks, next))))
    }
}

/// The instance that came last, and its name: most tasks come back from the same one.
type Last = Option<(InstanceId, Arc<str>)>;

async fn follow(line: &Line, message: v1::FromSource, last: &mut Last) {
    if let Some(copies) = message.instances {
        line.copies(copies).await;
    }
    if let Some(open) = message.open {
        line.open(open).await;
    }
    if !message.outcomes.is_empty() {
        let outcomes = message.outcomes.into_iter().map(|it| outcome(it, last));
        line.outcomes(outcomes.collect()).await;
    }
}

fn outcome(outcome: v1::TaskOutcome, last: &mut Last) -> (Ticket, Outcome) {
    let ticket = Ticket(outcome.ticket);
    let instance = outcome
        .instance
        .and_then(|id| InstanceId::try_from(id).ok());
    let came = match outcome.result {
        Some(Came::Reply(payload)) => Outcome::Reply {
            payload,
            instance: instance.map(|id| name_of(id, last)),
        },
        Some(Came::Failed(reason)) => Outcome::Failed(reason),
        Some(Came::NoReply(_)) => Outcome::Failed("the function gave no answer".to_owned()),
        Some(Came::Undelivered(reason)) => Outcome::Undelivered(reason),
        Some(Came::TimedOut(_)) => Outcome::TimedOut,
        None => Outcome::Failed("an outcome without a result".to_owned()),
    };
    (ticket, came)
}

fn name_of(id: InstanceId, last: &mut Last) -> Arc<str> {
    match last {
        Some((known, name)) if *known == id => Arc::clone(name),
        _ => {
            let name: Arc<str> = id.to_string().into();
            *last = Some((id, Arc::clone(&name)));
            name
        }
    }
}

fn to_source(taken: Taken) -> v1::ToSource {
    let task = |handout: Handout, payload: Bytes| v1::Task {
        ticket: handout.ticket.0,
        payload,
        timeout_ms: u32::try_from(handout.timeout.as_millis())
            .unwrap_or(u32::MAX)
            .max(1),
    };
    let message = match taken {
        Taken::Json(message) => message,
        Taken::Bytes(handout, bytes) => {
            return v1::ToSource {
                tasks: vec![task(handout, bytes)],
                cancelled: Vec::new(),
            };
        }
    };
    let json = |handout: Handout| {
        let payload = handout.payload.bytes();
        task(handout, payload)
    };
    v1::ToSource {
        tasks: message.tasks.into_iter().map(json).collect(),
        cancelled: message
            .cancelled
            .into_iter()
            .map(|ticket| ticket.0)
            .collect(),
    }
}
