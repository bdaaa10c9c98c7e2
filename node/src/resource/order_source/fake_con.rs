//! The ε-CON of tests: takes streams of sources, sends tasks and reads what came of them.

use std::{collections::BTreeMap, time::Duration};

use edgeless_proto::v1::{
    self,
    order_tasks_server::{OrderTasks, OrderTasksServer},
    task_outcome::Result as Outcome,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, transport::server::TcpIncoming};

/// One stream, as ε-CON has it.
pub(super) struct Served {
    pub(super) from: Streaming<v1::FromSource>,
    pub(super) to: mpsc::Sender<Result<v1::ToSource, Status>>,
}

struct Con(mpsc::Sender<Served>);

#[tonic::async_trait]
impl OrderTasks for Con {
    type ServeStream = ReceiverStream<Result<v1::ToSource, Status>>;

    async fn serve(
        &self,
        request: Request<Streaming<v1::FromSource>>,
    ) -> Result<Response<Self::ServeStream>, Status> {
        let (to, stream) = mpsc::channel(16);
        let from = request.into_inner();
        let served = Served { from, to };
        let gone = |_| Status::unavailable("the test is over");
        self.0.send(served).await.map_err(gone)?;
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// The ε-CON of a test, and the streams to it as they come.
pub(super) async fn con() -> (String, mpsc::Receiver<Served>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, con_at(listener))
}

/// The same on this socket.
pub(super) fn con_at(listener: TcpListener) -> mpsc::Receiver<Served> {
    let (give, streams) = mpsc::channel(16);
    let server = tonic::transport::Server::builder()
        .add_service(OrderTasksServer::new(Con(give)))
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)));
    tokio::spawn(server);
    streams
}

impl Served {
    pub(super) async fn next(&mut self) -> Option<v1::FromSource> {
        soon(self.from.message()).await.unwrap()
    }

    pub(super) async fn send(&self, tasks: &[(u64, &'static str, u32)]) {
        let task = |&(ticket, payload, timeout_ms): &(u64, &'static str, u32)| v1::Task {
            ticket,
            payload: payload.into(),
            timeout_ms,
        };
        let tasks = tasks.iter().map(task).collect();
        self.tell(tasks, vec![]).await;
    }

    pub(super) async fn tell(&self, tasks: Vec<v1::Task>, cancelled: Vec<u64>) {
        let message = v1::ToSource { tasks, cancelled };
        self.to.send(Ok(message)).await.unwrap();
    }

    /// The next outcomes, by ticket.
    pub(super) async fn outcomes(&mut self, number: usize) -> BTreeMap<u64, v1::TaskOutcome> {
        let mut all = BTreeMap::new();
        while all.len() < number {
            for outcome in self.next().await.unwrap().outcomes {
                let ticket = outcome.ticket;
                assert!(all.insert(ticket, outcome).is_none(), "{ticket} came twice");
            }
        }
        all
    }

    pub(super) async fn results(&mut self, number: usize) -> Vec<(u64, Outcome)> {
        let outcomes = self.outcomes(number).await.into_values();
        let result = |it: v1::TaskOutcome| (it.ticket, it.result.unwrap());
        outcomes.map(result).collect()
    }
}

pub(super) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let soon = tokio::time::timeout(Duration::from_secs(20), what).await;
    soon.expect("it comes soon")
}
