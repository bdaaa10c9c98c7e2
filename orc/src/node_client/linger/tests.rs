//! Workers against a node that takes long. Its socket is one of this machine and its clock is stopped: time passes
//! when nothing else happens.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use edgeless_proto::v1::{
    self,
    node_agent_server::{NodeAgent, NodeAgentServer},
    step::Kind,
    step_outcome,
};
use edgeless_types::{NodeId, PhysicalId};
use tokio::{net::UnixListener, task::JoinSet};
use tokio_stream::{Stream, StreamExt, wrappers::UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use uuid::Uuid;

use super::*;
use crate::{
    domain::StepKey,
    metrics::Metrics,
    node_client::{
        CodeStore, NodeClients,
        tests::{patch, pid, start, stop},
    },
};

/// After so long the node says of steps that it works on them.
const WORKING: Duration = Duration::from_millis(400);
/// How much later than this nothing is answered that nothing holds up.
const SOON: Duration = Duration::from_millis(50);

/// A node whose steps take their time.
#[derive(Clone)]
struct SlowNode {
    takes: fn(PhysicalId) -> Duration,
    /// Whether it does not answer so long after it began.
    is_silent: fn(Duration) -> bool,
    begun: Instant,
    seen: Arc<Mutex<Seen>>,
}

/// What it was asked for.
#[derive(Default)]
struct Seen {
    asked: BTreeMap<PhysicalId, Asked>,
    /// How many questions it is at, and was at most.
    open: usize,
    most: usize,
}

/// When it was asked for an instance.
#[derive(Clone, Copy)]
struct Asked {
    first: Instant,
    last: Instant,
    number: u32,
    /// The longest time between two questions.
    longest: Duration,
}

impl SlowNode {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, physical_id: PhysicalId) -> Option<Asked> {
        self.seen().asked.get(&physical_id).copied()
    }

    /// Takes note of what it is asked for; when each is done.
    fn begin(&self, steps: &[v1::Step]) -> Vec<Instant> {
        let (mut seen, now) = (self.seen(), Instant::now());
        seen.open += 1;
        seen.most = seen.most.max(seen.open);
        let mut dues = Vec::new();
        for step in steps {
            let id = match step.kind.as_ref().unwrap() {
                Kind::Start(it) => &it.instance.as_ref().unwrap().physical_id,
                Kind::Stop(it) => &it.physical_id,
                Kind::Patch(it) => &it.physical_id,
            };
            let id = PhysicalId::new(Uuid::from_slice(id).unwrap());
            let asked = seen.asked.entry(id).or_insert(Asked {
                first: now,
                last: now,
                number: 0,
                longest: Duration::ZERO,
            });
            asked.number += 1;
            asked.longest = asked.longest.max(now - asked.last);
            asked.last = now;
            dues.push(asked.first + (self.takes)(id));
        }
        dues
    }

    async fn answer(&self, steps: &[v1::Step]) -> v1::ApplyReply {
        let dues = self.begin(steps);
        if (self.is_silent)(self.begun.elapsed()) {
            tokio::time::sleep(SILENCE * 10).await;
        }
        let last = dues.iter().copied().max().unwrap();
        tokio::time::sleep_until(last.min(Instant::now() + WORKING)).await;
        self.seen().open -= 1;
        let outcomes = dues.into_iter().map(|due| v1::StepOutcome {
            kind: Some(match due <= Instant::now() {
                true => step_outcome::Kind::Done(v1::StepDone { state: None }),
                false => step_outcome::Kind::Working(v1::StepWorking {}),
            }),
        });
        v1::ApplyReply {
            outcomes: outcomes.collect(),
        }
    }
}

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl NodeAgent for SlowNode {
    type ApplyStream = Replies<v1::ApplyReply>;
    type TapStream = Replies<v1::Tapped>;

    async fn apply(
        &self,
        requests: Request<Streaming<v1::ApplyRequest>>,
    ) -> Result<Response<Self::ApplyStream>, Status> {
        let node = self.clone();
        let replies = requests.into_inner().then(move |request| {
            let node = node.clone();
            async move { Ok(node.answer(&request?.steps).await) }
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn put_code(
        &self,
        _: Request<v1::PutCodeRequest>,
    ) -> Result<Response<v1::PutCodeReply>, Status> {
        Err(Status::unimplemented("it has all code"))
    }

    async fn tap(&self, _: Request<v1::TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        Err(Status::unimplemented("nothing runs here"))
    }
}

/// A slow node, and what asks it.
struct Case {
    node: SlowNode,
    clients: NodeClients,
    outcomes: mpsc::Receiver<Outcomes>,
    _server: JoinSet<()>,
    _folder: tempfile::TempDir,
}

const NODE: NodeId = NodeId::new(Uuid::from_u128(1));

impl Case {
    fn new(takes: fn(PhysicalId) -> Duration) -> Self {
        Self::with_silence(takes, |_| false)
    }

    fn with_silence(takes: fn(PhysicalId) -> Duration, is_silent: fn(Duration) -> bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("agent");
        let incoming = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let node = SlowNode {
            takes,
            is_silent,
            begun: Instant::now(),
            seen: Arc::default(),
        };
        let service = NodeAgentServer::new(node.clone());
        let mut server = JoinSet::new();
        server.spawn(async move {
            let router = Server::builder().add_service(service);
            router.serve_with_incoming(incoming).await.unwrap();
        });
        let code = CodeStore::open(folder.path().join("code")).unwrap();
        let (sender, outcomes) = mpsc::channel(16);
        let mut clients = NodeClients::new(sender, code, Metrics::default());
        clients.meet(NODE, &format!("unix://{}", socket.display()));
        Self {
            node,
            clients,
            outcomes,
            _server: server,
            _folder: folder,
        }
    }

    fn send(&self, step: Step) {
        assert_eq!(self.clients.send(NODE, step), None);
    }

    /// What the next steps came to, if that is told within that time.
    async fn told(&mut self, within: Duration) -> Option<Vec<(StepKey, StepResult)>> {
        let told = tokio::time::timeout(within, self.outcomes.recv()).await;
        told.ok().map(|told| told.unwrap().1)
    }

    /// Waits until the node is asked for something.
    async fn asked(&self, physical_id: PhysicalId) {
        let begun = Instant::now();
        while self.node.asked(physical_id).is_none() {
            assert!(begun.elapsed() < WORKING * 2, "it is not held up");
            tokio::time::sleep(BETWEEN).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_under_way_for_ever_fails_after_five_minutes_and_a_stop_does_not() {
    const STOP: Duration = START.saturating_mul(2);
    let mut case = Case::new(|id| if id == pid(1) { STOP * 2 } else { STOP });
    let begun = Instant::now();
    case.send(start(1));
    case.send(stop(2, Duration::ZERO));
    let told = case.told(START * 2).await.expect("the start is given up");
    let [(StepKey::Start(id), StepResult::Failed(why))] = &told[..] else {
        panic!("{told:?}");
    };
    assert_eq!((*id, &**why), (pid(1), "it has not started within 300 s"));
    let took = begun.elapsed();
    assert!(START < took && took < START + WORKING * 3, "{took:?}");
    let asked = case.node.asked(pid(1)).unwrap().number;
    let told = case.told(STOP * 2).await.expect("the stop is waited for");
    let stopped = (StepKey::Stop(pid(2)), StepResult::Done(None));
    assert_eq!(told, [stopped]);
    assert!(begun.elapsed() < STOP + SOON, "{:?}", begun.elapsed());
    let now = case.node.asked(pid(1)).unwrap().number;
    assert_eq!(asked, now, "nobody asks after a start that has failed");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_is_under_way_outlives_a_silence_of_its_node_and_not_a_long_one() {
    const LONG: Duration = Duration::from_secs(20);
    let short = |begun| (Duration::from_secs(2)..SILENCE).contains(&begun);
    let mut case = Case::with_silence(|_| LONG, short);
    case.send(start(1));
    let told = case.told(LONG * 2).await.expect("it is asked after");
    assert_eq!(told, [(StepKey::Start(pid(1)), StepResult::Done(None))]);

    let mut case = Case::with_silence(|_| LONG, |begun| begun > Duration::from_secs(2));
    case.send(start(1));
    let told = case.told(LONG).await.expect("the node is lost");
    assert!(matches!(told[..], [(_, StepResult::Failed(_))]), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn more_long_starts_than_streams_take_turns_and_hold_up_nobody_else() {
    const LONG: Duration = Duration::from_secs(30);
    let number = STREAMS + 8;
    let mut case = Case::new(|id| match id < pid(1_000) {
        true => LONG,
        false => Duration::ZERO,
    });
    // Each comes when the node is at the one before, so that it is a batch of its own.
    for number in 0..number as u128 {
        case.send(start(number));
        case.asked(pid(number)).await;
    }
    tokio::time::sleep(WORKING * 2).await;
    for step in [start(1_000), patch(1_000), stop(1_000, Duration::ZERO)] {
        let key = step.key();
        case.send(step);
        let told = case.told(SOON).await.expect("it is not held up");
        assert_eq!(told, [(key, StepResult::Done(None))]);
    }
    let turns = u32::try_from(number.div_ceil(STREAMS)).unwrap();
    let longest = (WORKING + SOON) * turns;
    let mut open: Vec<PhysicalId> = (0..number as u128).map(pid).collect();
    while !open.is_empty() {
        let told = case.told(LONG * 2).await.expect("all come to an end");
        for (key, result) in told {
            assert_eq!(result, StepResult::Done(None));
            let id = key.physical_id();
            let at = open.iter().position(|it| *it == id).expect("told once");
            open.swap_remove(at);
            let asked = case.node.asked(id).unwrap();
            let late = asked.first.elapsed().checked_sub(LONG).unwrap();
            assert!(late < longest, "{id} is known late: {late:?}");
            let without = asked.longest;
            assert!(without < longest, "{id} had no turn for {without:?}");
        }
    }
    // Those that linger, and the line of the worker itself.
    let most = case.node.seen().most;
    assert!((STREAMS..=STREAMS + 1).contains(&most), "{most}");
}
