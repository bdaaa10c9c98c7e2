//! Registers the node with its ε-ORC, refreshes the registration, and takes leave.
//!
//! An ε-ORC that cannot be reached changes nothing for what the node runs: it is tried again, with
//! backoff and jitter, forever.

mod report;

use std::{
    future::Future,
    pin::pin,
    time::{Duration, Instant},
};

use edgeless_daemon::status::Readiness;
use edgeless_proto::{
    convert::{id_bytes, provider_to_wire},
    v1::{self, node_registration_client::NodeRegistrationClient},
};
use edgeless_types::{
    Backlog, Demand, NodeCapabilities, NodeHealth, NodeId, ResourceProvider, RunningInstance,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

pub use self::report::{News, Next, Report, Update};
use crate::agent::Failure;

/// Answers are small.
const MAX_ANSWER_BYTES: usize = 1 << 20;
/// When something is urgent, updates are at least this far apart.
const URGENT_INTERVAL: Duration = Duration::from_millis(5);
/// An answer may take so long at least.
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(20);
/// While the node leaves, it asks this often whether it may.
const LEAVING_INTERVAL: Duration = Duration::from_millis(200);
/// A node that leaves gives up on an ε-ORC that fails so many times in a row.
const LEAVING_ATTEMPTS: u32 = 3;
/// The name of this part in `/readyz`.
const PART: &str = "registration";

/// What the node says about itself.
pub trait Source: Send + 'static {
    /// How it is now.
    fn health(&mut self) -> NodeHealth;
    /// All that runs on it.
    fn running(&mut self) -> Vec<RunningInstance>;
    /// Takes what is to be reported once; `full`: and what all that runs has saved, which was told to an ε-ORC that
    /// may have forgotten it.
    fn news(&mut self, full: bool) -> impl Future<Output = News> + Send;
    /// ε-ORC has all states that were among what was taken.
    fn states_acknowledged(&mut self);
    /// Waits until something must be reported before the next refresh is due.
    fn urgent(&self) -> impl Future<Output = ()> + Send;
}

/// Who registers, and with what; never changes while the agent lives.
#[derive(Clone, Debug)]
pub struct Profile {
    /// The node.
    pub node_id: NodeId,
    /// Drawn when the agent started.
    pub nonce: u64,
    /// Where it takes steps.
    pub agent_url: String,
    /// Where it takes messages.
    pub invocation_url: String,
    /// What it can do.
    pub capabilities: NodeCapabilities,
    /// What it provides.
    pub providers: Vec<ResourceProvider>,
}

/// When to refresh.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How often.
    pub interval: Duration,
    /// After how long without a refresh ε-ORC takes the node for lost.
    pub deadline: Duration,
    /// How long to wait for leave.
    pub leave_timeout: Duration,
}

/// The registration of one node.
pub struct Registration<S> {
    profile: Profile,
    pace: Pace,
    source: S,
    readiness: Readiness,
    client: NodeRegistrationClient<Channel>,
    url: String,
    report: Report,
}

/// The address of ε-ORC is none.
#[derive(Debug, thiserror::Error)]
#[error("`{url}` is no address of an ε-ORC")]
pub struct AddressError {
    url: String,
    source: tonic::transport::Error,
}

/// Where ε-ORC is; nothing is sent yet.
///
/// # Errors
/// The address is none.
pub fn endpoint(url: &str, pace: Pace) -> Result<Endpoint, AddressError> {
    // An answer that is lost leaves time for another try before the node counts as lost.
    let timeout = (pace.deadline / 2).clamp(SHORTEST_TIMEOUT, Duration::from_secs(5));
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|source| AddressError {
        url: url.to_owned(),
        source,
    })?;
    Ok(endpoint
        .tcp_nodelay(true)
        .connect_timeout(timeout)
        .timeout(timeout)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5)))
}

impl<S: Source> Registration<S> {
    /// Prepares the registration; nothing is sent yet. Must be called within a runtime.
    pub fn new(
        orchestrator: &Endpoint,
        profile: Profile,
        pace: Pace,
        source: S,
        readiness: Readiness,
    ) -> Self {
        let client = NodeRegistrationClient::new(orchestrator.connect_lazy())
            .max_decoding_message_size(MAX_ANSWER_BYTES);
        readiness.degrade(PART, "not registered yet");
        Self {
            profile,
            pace,
            source,
            readiness,
            client,
            url: orchestrator.uri().to_string(),
            report: Report::default(),
        }
    }

    /// Keeps the node registered until `leave` is cancelled, then takes leave: asks for its
    /// instances to be moved, until they are, or the time for it is over.
    pub async fn run(mut self, leave: CancellationToken) {
        self.stay(&leave).await;
        let deadline = self.pace.leave_timeout;
        match tokio::time::timeout(deadline, self.take_leave()).await {
            Ok(Ok(())) => tracing::info!("the orchestrator lets the node go"),
            Ok(Err(status)) => {
                let reason = status.message();
                tracing::warn!(
                    reason,
                    "the orchestrator does not answer: leaving without its leave"
                );
            }
            Err(_) => tracing::warn!(?deadline, "instances were not moved in time: leaving"),
        }
    }

    async fn stay(&mut self, leave: &CancellationToken) {
        let mut backoff = self.backoff();
        while !leave.is_cancelled() {
            let begun = Instant::now();
            let wait = match self.update(Some(leave)).await {
                Ok((_, Next::AtOnce)) => URGENT_INTERVAL,
                Ok((_, Next::WhenDue)) => {
                    backoff = self.backoff();
                    self.pace.interval.saturating_sub(begun.elapsed())
                }
                Err(_) => backoff.next().unwrap_or(self.pace.interval),
            };
            self.pause(wait, begun, leave).await;
        }
    }

    /// Waits until the next update is due, or something is urgent, ε-ORC answers, and the last one began a while ago.
    async fn pause(&self, wait: Duration, begun: Instant, leave: &CancellationToken) {
        let urgent = async {
            if self.report.repeats() {
                std::future::pending::<()>().await;
            }
            self.source.urgent().await;
            let early = URGENT_INTERVAL.saturating_sub(begun.elapsed());
            tokio::time::sleep(early).await;
        };
        let mut urgent = pin!(urgent);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = &mut urgent => {}
            () = leave.cancelled() => {}
        }
    }

    async fn take_leave(&mut self) -> Result<(), tonic::Status> {
        let attempts = match self.report.never_registered() {
            true => 1,
            false => LEAVING_ATTEMPTS,
        };
        let mut failures = 0;
        loop {
            match self.update(None).await {
                Ok((true, _)) => return Ok(()),
                Ok((false, _)) => failures = 0,
                Err(status) => {
                    failures += 1;
                    if failures == attempts {
                        return Err(status);
                    }
                }
            }
            tokio::time::sleep(LEAVING_INTERVAL.min(self.pace.interval)).await;
        }
    }

    /// One update; whether the node may leave, and when the next update goes. With a token, the
    /// node stays until that is cancelled; without, it leaves.
    async fn update(
        &mut self,
        leave: Option<&CancellationToken>,
    ) -> Result<(bool, Next), tonic::Status> {
        let repeated = self.report.repeats();
        let news = match repeated {
            true => News::default(),
            false => self.source.news(self.report.wants_full()).await,
        };
        let update = self.report.next(news);
        let request = self.request(update, leave.is_none());
        let calling = self.client.update_node(request);
        let answered = match leave {
            Some(leave) => leave.run_until_cancelled(calling).await,
            None => Some(calling.await),
        };
        // What was under way is repeated when the node takes leave.
        match answered.ok_or_else(|| tonic::Status::cancelled("the node leaves"))? {
            Ok(reply) => {
                let reply = reply.into_inner();
                if self.readiness.restore(PART) {
                    tracing::info!("registered");
                }
                let next = self.report.answered(reply.want_full, repeated);
                if self.report.has_told_states() {
                    self.source.states_acknowledged();
                }
                Ok((reply.may_leave, next))
            }
            Err(status) => {
                self.failed(&status);
                Err(status)
            }
        }
    }

    fn failed(&mut self, status: &tonic::Status) {
        let (url, reason) = (&self.url, status.message());
        if self
            .readiness
            .degrade(PART, format!("not registered at {url}: {reason}"))
        {
            tracing::warn!(url, reason, "could not refresh the registration; trying on");
        }
        if status.code() == tonic::Code::InvalidArgument
            && let Some(news) = self.report.refused()
        {
            tracing::error!(
                reason,
                samples = news.samples.times.len(),
                failures = news.failures.len(),
                states = news.states.len(),
                "the orchestrator refuses an update; what it carried is lost"
            );
        }
    }

    fn request(&mut self, update: Update, leaving: bool) -> v1::UpdateNodeRequest {
        let running = |source: &mut S| {
            let instances = source.running().into_iter();
            v1::RunningSet {
                instances: instances.map(v1::RunningInstance::from).collect(),
            }
        };
        let failure = |failure: Failure| v1::InstanceFailure {
            physical_id: id_bytes(&failure.physical_id),
            message: failure.message,
        };
        let backlog = |backlog: Backlog| v1::Backlog {
            physical_id: id_bytes(&backlog.physical_id),
            queued: backlog.queued,
            in_hand: backlog.in_hand,
            oldest_ms: u64::try_from(backlog.oldest.as_millis()).unwrap_or(u64::MAX),
        };
        let demand = |demand: Demand| v1::Demand {
            physical_id: id_bytes(&demand.physical_id),
            channel: demand.channel,
            waiting: demand.waiting,
        };
        let news = update.news;
        let stopped = news.changes.iter().filter(|(_, started)| started.is_none());
        let stopped = stopped
            .map(|(physical_id, _)| id_bytes(physical_id))
            .collect();
        let started: Vec<_> = news.changes.into_values().flatten().collect();
        v1::UpdateNodeRequest {
            node_id: id_bytes(&self.profile.node_id),
            nonce: self.profile.nonce,
            sequence: update.sequence,
            refresh_deadline_ms: u64::try_from(self.pace.deadline.as_millis()).unwrap_or(u64::MAX),
            profile: update.full.then(|| self.profile.to_wire()),
            health: Some(self.source.health().into()),
            samples: (!news.samples.is_empty()).then(|| news.samples.into()),
            running: update.full.then(|| running(&mut self.source)),
            failures: news.failures.into_iter().map(failure).collect(),
            states: news
                .states
                .into_iter()
                .map(|(physical_id, state)| v1::SavedState {
                    physical_id: id_bytes(&physical_id),
                    state,
                })
                .collect(),
            demand: news.demand.into_iter().map(demand).collect(),
            backlog: news.backlog.into_iter().map(backlog).collect(),
            started: (!started.is_empty()).then(|| v1::RunningSet {
                instances: started.into_iter().map(Into::into).collect(),
            }),
            stopped,
            leaving,
        }
    }

    /// From a tenth of the interval up to the interval, each with up to as much again at random.
    fn backoff(&self) -> impl Iterator<Item = Duration> + Send + use<S> {
        use backon::BackoffBuilder;
        backon::ExponentialBuilder::default()
            .with_min_delay(self.pace.interval / 10)
            .with_max_delay(self.pace.interval)
            .with_jitter()
            .without_max_times()
            .build()
    }
}

impl Profile {
    fn to_wire(&self) -> v1::NodeProfile {
        v1::NodeProfile {
            agent_url: self.agent_url.clone(),
            invocation_url: self.invocation_url.clone(),
            capabilities: Some(self.capabilities.clone().into()),
            providers: self.providers.iter().map(provider_to_wire).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        sync::{Arc, Mutex},
    };

    use edgeless_daemon::{net::Listen, status::ReadinessStatus};
    use edgeless_proto::v1::node_registration_server::{NodeRegistration, NodeRegistrationServer};
    use tokio::{sync::Notify, task::JoinHandle};
    use tokio_stream::wrappers::TcpListenerStream;
    use tokio_util::sync::DropGuard;
    use tonic::{Request, Response, Status};
    use uuid::Uuid;

    use super::*;

    /// An ε-ORC that writes down what it is told and answers as prepared, then with defaults.
    #[derive(Clone, Default)]
    struct FakeOrc {
        updates: Arc<Mutex<Vec<v1::UpdateNodeRequest>>>,
        answers: Arc<Mutex<VecDeque<Result<v1::UpdateNodeReply, Status>>>>,
        told: Arc<Notify>,
    }

    #[tonic::async_trait]
    impl NodeRegistration for FakeOrc {
        async fn update_node(
            &self,
            request: Request<v1::UpdateNodeRequest>,
        ) -> Result<Response<v1::UpdateNodeReply>, Status> {
            self.updates.lock().unwrap().push(request.into_inner());
            self.told.notify_one();
            let answer = self.answers.lock().unwrap().pop_front();
            answer
                .unwrap_or_else(|| Ok(v1::UpdateNodeReply::default()))
                .map(Response::new)
        }
    }

    impl FakeOrc {
        async fn serve(&self, at: &Listen) -> (Listen, Serving) {
            let bound = at.bind("fake").await.unwrap();
            let service = NodeRegistrationServer::new(self.clone());
            let end = CancellationToken::new();
            let serving = tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming_shutdown(
                    TcpListenerStream::new(bound.listener),
                    end.clone().cancelled_owned(),
                );
            let task = tokio::spawn(async move { serving.await.unwrap() });
            (bound.url, Serving(end.drop_guard(), task))
        }

        fn answer(&self, answer: Result<v1::UpdateNodeReply, Status>) {
            self.answers.lock().unwrap().push_back(answer);
        }

        /// Waits for an update that is as expected.
        async fn sees(&self, expected: impl Fn(&v1::UpdateNodeRequest) -> bool) {
            while !self.updates.lock().unwrap().iter().any(&expected) {
                self.told.notified().await;
            }
        }
    }

    /// Ends the server when dropped.
    struct Serving(DropGuard, JoinHandle<()>);

    impl Serving {
        async fn end(self) {
            drop(self.0);
            self.1.await.unwrap();
        }
    }

    #[derive(Clone, Default)]
    struct FakeSource {
        news: Arc<Mutex<News>>,
        urgent: Arc<Notify>,
    }

    impl Source for FakeSource {
        fn health(&mut self) -> NodeHealth {
            NodeHealth::default()
        }

        fn running(&mut self) -> Vec<RunningInstance> {
            vec![]
        }

        async fn news(&mut self, _: bool) -> News {
            std::mem::take(&mut self.news.lock().unwrap())
        }

        fn states_acknowledged(&mut self) {}

        async fn urgent(&self) {
            self.urgent.notified().await;
        }
    }

    struct Case {
        source: FakeSource,
        readiness: Readiness,
        leave: CancellationToken,
        task: JoinHandle<()>,
    }

    fn register(url: &Listen, interval: Duration) -> Case {
        let profile = Profile {
            node_id: NodeId::new(Uuid::from_u128(1)),
            nonce: 7,
            agent_url: "http://a:1".to_owned(),
            invocation_url: "http://a:2".to_owned(),
            capabilities: NodeCapabilities::default(),
            providers: vec![],
        };
        let pace = Pace {
            interval,
            deadline: Duration::from_secs(5),
            leave_timeout: Duration::from_secs(60),
        };
        let (source, readiness) = (FakeSource::default(), Readiness::default());
        readiness.started();
        let endpoint = endpoint(&url.to_string(), pace).unwrap();
        let registration =
            Registration::new(&endpoint, profile, pace, source.clone(), readiness.clone());
        let leave = CancellationToken::new();
        Case {
            source,
            readiness,
            leave: leave.clone(),
            task: tokio::spawn(registration.run(leave)),
        }
    }

    const OFTEN: Duration = Duration::from_millis(5);
    const NEVER: Duration = Duration::from_secs(1000);

    #[tokio::test]
    async fn a_node_registers_in_full_and_then_refreshes() {
        let orc = FakeOrc::default();
        let (url, _serving) = orc.serve(&Listen::loopback()).await;
        let case = register(&url, OFTEN);
        orc.sees(|update| update.sequence == 3).await;
        let updates = orc.updates.lock().unwrap().clone();
        assert!(updates[0].profile.is_some() && updates[0].running.is_some());
        assert_eq!(
            (updates[0].nonce, updates[0].refresh_deadline_ms),
            (7, 5000)
        );
        assert!(updates[1].profile.is_none() && updates[1].health.is_some());
        assert_eq!(case.readiness.report().status, ReadinessStatus::Ready);
    }

    #[tokio::test]
    async fn a_wanted_full_update_and_urgent_news_do_not_wait_for_the_interval() {
        let orc = FakeOrc::default();
        let want_full = true;
        orc.answer(Ok(v1::UpdateNodeReply {
            want_full,
            may_leave: false,
        }));
        let (url, _serving) = orc.serve(&Listen::loopback()).await;
        let case = register(&url, NEVER);
        orc.sees(|update| update.sequence == 2 && update.profile.is_some())
            .await;
        case.source.news.lock().unwrap().failures.push(Failure {
            physical_id: edgeless_types::PhysicalId::new(Uuid::from_u128(9)),
            message: "trap".to_owned(),
        });
        case.source.urgent.notify_one();
        orc.sees(|update| update.failures.len() == 1).await;
    }

    #[tokio::test]
    async fn an_orchestrator_that_comes_late_or_back_is_found() {
        let url = Listen::loopback().bind("free port").await.unwrap().url;
        let case = register(&url, OFTEN);
        let first = FakeOrc::default();
        let (_, serving) = first.serve(&url).await;
        first.sees(|update| update.sequence == 2).await;
        serving.end().await;
        let second = FakeOrc::default();
        second.answer(Ok(v1::UpdateNodeReply {
            want_full: true,
            may_leave: false,
        }));
        let (_, _serving) = second.serve(&url).await;
        second.sees(|update| update.running.is_some()).await;
        assert!(!case.task.is_finished());
    }

    #[tokio::test]
    async fn an_unanswered_update_keeps_its_number_and_a_refused_one_does_not() {
        let orc = FakeOrc::default();
        orc.answer(Err(Status::unavailable("busy")));
        orc.answer(Ok(v1::UpdateNodeReply::default()));
        orc.answer(Err(Status::invalid_argument("field `x`")));
        let (url, _serving) = orc.serve(&Listen::loopback()).await;
        let _case = register(&url, OFTEN);
        orc.sees(|update| update.sequence == 3).await;
        let updates = orc.updates.lock().unwrap();
        let numbers: Vec<_> = updates.iter().map(|update| update.sequence).collect();
        assert_eq!(numbers[..4], [1, 1, 2, 3]);
    }

    #[tokio::test]
    async fn a_leaving_node_says_so_until_it_may_go() {
        let orc = FakeOrc::default();
        let (url, _serving) = orc.serve(&Listen::loopback()).await;
        let case = register(&url, OFTEN);
        orc.sees(|update| update.sequence == 1).await;
        case.leave.cancel();
        orc.sees(|update| update.leaving).await;
        orc.answer(Ok(v1::UpdateNodeReply {
            want_full: false,
            may_leave: true,
        }));
        case.task.await.unwrap();
    }

    #[tokio::test]
    async fn a_node_that_never_registered_does_not_wait_for_leave() {
        let url = Listen::loopback().bind("free port").await.unwrap().url;
        let case = register(&url, NEVER);
        case.leave.cancel();
        case.task.await.unwrap();
    }
}
