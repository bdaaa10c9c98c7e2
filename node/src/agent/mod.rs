//! The one owner of what the node runs: carries out steps, keeps the ledger, collects failures.
//!
//! How an instance really runs is left to a [`Host`]: the engine with its runtimes and resources.

mod ledger;
mod saved;
mod step;

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use edgeless_dataflow::{TapPlan, Tapped};
use edgeless_types::{CodeDigest, Generation, PhysicalId, RunningInstance};
use futures_util::future::join_all;
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::task::TaskTracker;

pub use self::{
    ledger::{Changes, Decision, Ledger},
    step::{Outcome, Output, Patch, Start, Step, Stop},
};

/// Failures wait for the next refresh in a queue of this length; the oldest go first.
const MAX_FAILURES: usize = 10_000;
/// How long steps may take together, beside what instances drain, before it is said that they are under
/// way: half of what ε-ORC waits for an answer.
const PATIENCE: Duration = Duration::from_millis(400);
/// How much each may take even if those before it took long.
const AT_LEAST: Duration = Duration::from_millis(10);

/// Where instances run. Methods may be called for several instances at once.
pub trait Host: Send + Sync + 'static {
    /// Starts an instance; returns when it takes messages.
    fn start(&self, start: Start) -> impl Future<Output = Result<(), StartError>> + Send;
    /// Leads the outputs of an instance elsewhere.
    fn patch(&self, patch: Patch) -> impl Future<Output = Result<(), String>> + Send;
    /// Ends an instance after at most `drain`; what it last saved.
    fn stop(&self, id: PhysicalId, drain: Duration) -> impl Future<Output = Option<Bytes>> + Send;
    /// Looks at the messages of an instance; none: it does not run.
    fn tap(
        &self,
        id: PhysicalId,
        plan: TapPlan,
    ) -> impl Future<Output = Option<mpsc::Receiver<Tapped>>> + Send;
}

/// Why an instance was not started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its code is not on this node.
    #[error("the code {0} is not on this node")]
    MissingCode(CodeDigest),
    /// Anything else, in words for whoever submitted the workflow.
    #[error("{0}")]
    Failed(String),
}

/// An instance that ended by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which one.
    pub physical_id: PhysicalId,
    /// Why.
    pub message: String,
}

/// A handle of the owner of what the node runs.
pub struct Agent<H>(Arc<Inner<H>>);

struct Inner<H> {
    host: H,
    state: Mutex<State>,
    /// Some step has finished: those who wait look again.
    finished: Notify,
    /// Something must be reported before the next refresh is due.
    urgent: Notify,
    tasks: TaskTracker,
}

#[derive(Default)]
struct State {
    ledger: Ledger,
    failures: VecDeque<Failure>,
    /// Of instances that ended before it was known here that they had started.
    early: HashMap<PhysicalId, Failure>,
    ending: bool,
}

impl<H> Clone for Agent<H> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<H: Host> Agent<H> {
    /// An agent that runs nothing yet.
    pub fn new(host: H) -> Self {
        Self(Arc::new(Inner {
            host,
            state: Mutex::default(),
            finished: Notify::new(),
            urgent: Notify::new(),
            tasks: TaskTracker::new(),
        }))
    }

    /// Where the instances run.
    pub fn host(&self) -> &H {
        &self.0.host
    }

    /// Carries out steps; outcomes are in the same order. Neighbouring steps of one kind are
    /// under way at once. They are finished even when the caller goes away, or when they take longer than
    /// callers wait ([`Outcome::Working`]).
    pub async fn apply(&self, steps: Vec<Step>) -> Vec<Outcome> {
        let number = steps.len();
        let agent = self.clone();
        let applying = self.0.tasks.spawn(async move {
            let mut outcomes = Vec::with_capacity(steps.len());
            let mut steps = steps.into_iter().peekable();
            let mut until = Instant::now() + PATIENCE;
            while let Some(first) = steps.next() {
                let mut group = vec![first];
                while let Some(next) = steps.next_if(|next| next.goes_with(&group[0])) {
                    group.push(next);
                }
                let drains = group.iter().map(Step::drain).max().unwrap_or_default();
                until = (until + drains).max(Instant::now() + drains + AT_LEAST);
                let group = group.into_iter().map(|it| agent.carry_out_until(it, until));
                outcomes.extend(join_all(group).await);
            }
            outcomes
        });
        applying.await.unwrap_or_else(|error| {
            let outcome = Outcome::Failed(format!("the node failed to carry out steps: {error}"));
            vec![outcome; number]
        })
    }

    /// All that runs or is about to.
    pub fn running(&self) -> Vec<RunningInstance> {
        self.state().ledger.running()
    }

    /// How many instances there are.
    pub fn instances(&self) -> usize {
        self.state().ledger.len()
    }

    /// Takes the failures since the last call.
    pub fn take_failures(&self) -> Vec<Failure> {
        self.state().failures.drain(..).collect()
    }

    /// Takes what steps have started and stopped since the last call.
    pub fn take_changes(&self) -> Changes {
        self.state().ledger.take_changes()
    }

    /// What was saved by instances that were stopped since the last call.
    pub fn tell_saved(&self) -> Vec<(PhysicalId, Bytes)> {
        self.state().ledger.tell_saved()
    }

    /// ε-ORC has all states that were told.
    pub fn states_acknowledged(&self) {
        self.state().ledger.states_acknowledged();
    }

    /// Waits until something must be reported at once.
    pub async fn urgent(&self) {
        self.0.urgent.notified().await;
    }

    /// An instance ended by itself, beyond its restart policy.
    pub fn failed(&self, failure: Failure) {
        let mut state = self.state();
        if state.ledger.is_starting(failure.physical_id) {
            state.early.insert(failure.physical_id, failure);
        } else if state.ledger.ended_by_itself(failure.physical_id) {
            self.report(&mut state, failure);
        }
    }

    /// Starts nothing more, ends all instances after at most `drain`, and waits for steps under way.
    pub async fn end(&self, drain: Duration) {
        let running = {
            let mut state = self.state();
            state.ending = true;
            state.ledger.running()
        };
        let stops = running.into_iter().map(|it| {
            self.carry_out(Step::Stop(Stop {
                physical_id: it.physical_id,
                generation: Generation(u64::MAX),
                drain,
            }))
        });
        join_all(stops).await;
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    /// Carries out a step, or says then that it is under way: it goes on by itself.
    async fn carry_out_until(&self, step: Step, until: Instant) -> Outcome {
        let agent = self.clone();
        let task = self
            .0
            .tasks
            .spawn(async move { agent.carry_out(step).await });
        match tokio::time::timeout_at(until, task).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => Outcome::Failed(format!("the node failed to do it: {error}")),
            Err(_) => Outcome::Working,
        }
    }

    async fn carry_out(&self, step: Step) -> Outcome {
        match step {
            Step::Start(start) => self.start(*start).await,
            Step::Stop(stop) => self.stop(stop).await,
            Step::Patch(patch) => self.patch(patch).await,
        }
    }

    async fn start(&self, start: Start) -> Outcome {
        let instance = start.instance;
        if self.state().ending {
            return Outcome::Failed("the node is leaving".to_owned());
        }
        match self.decide(|ledger| ledger.begin_start(&instance)).await {
            Ok(()) => {}
            Err(Decision::PatchInstead) => {
                let patch = Patch {
                    physical_id: instance.physical_id,
                    generation: instance.generation,
                    outputs: start.outputs,
                };
                return outcome(self.0.host.patch(patch).await);
            }
            Err(decided) => return already(decided),
        }
        let unfinished = Unfinished(self, instance.physical_id);
        let started = self.0.host.start(start).await;
        std::mem::forget(unfinished);
        self.finish_start(instance.physical_id, started.as_ref().err());
        match started {
            Ok(()) => Outcome::DONE,
            Err(StartError::MissingCode(digest)) => Outcome::MissingCode(digest),
            Err(StartError::Failed(message)) => Outcome::Failed(message),
        }
    }

    fn finish_start(&self, physical_id: PhysicalId, error: Option<&StartError>) {
        let mut state = self.state();
        let must_tell = state.ledger.finish_start(physical_id, error.is_none());
        let early = state.early.remove(&physical_id);
        let failure = match error {
            Some(error) => must_tell.then(|| Failure {
                physical_id,
                message: error.to_string(),
            }),
            None => early.filter(|_| state.ledger.ended_by_itself(physical_id)),
        };
        if let Some(failure) = failure {
            self.report(&mut state, failure);
        }
        drop(state);
        self.0.finished.notify_waiters();
    }

    async fn stop(&self, stop: Stop) -> Outcome {
        let begin = |ledger: &mut Ledger| ledger.begin_stop(stop.physical_id, stop.generation);
        if let Err(decided) = self.decide(begin).await {
            return already(decided);
        }
        let state = self.0.host.stop(stop.physical_id, stop.drain).await;
        let mut agent = self.state();
        agent.ledger.finish_stop(stop.physical_id, state.clone());
        drop(agent);
        self.0.finished.notify_waiters();
        Outcome::Done { state }
    }

    async fn patch(&self, patch: Patch) -> Outcome {
        let begin = |ledger: &mut Ledger| ledger.begin_patch(patch.physical_id, patch.generation);
        match self.decide(begin).await {
            Ok(()) => outcome(self.0.host.patch(patch).await),
            Err(decided) => already(decided),
        }
    }

    /// Asks the ledger until it need not wait; `Ok` means go.
    async fn decide(&self, mut ask: impl FnMut(&mut Ledger) -> Decision) -> Result<(), Decision> {
        loop {
            let finished = self.0.finished.notified();
            tokio::pin!(finished);
            finished.as_mut().enable();
            let decision = ask(&mut self.state().ledger);
            match decision {
                Decision::Go => return Ok(()),
                Decision::Wait => finished.await,
                Decision::Already
                | Decision::Ended(_)
                | Decision::PatchInstead
                | Decision::Refuse(_) => {
                    return Err(decision);
                }
            }
        }
    }

    fn report(&self, state: &mut State, failure: Failure) {
        tracing::warn!(physical_id = %failure.physical_id, message = failure.message, "instance ended by itself");
        if state.failures.len() == MAX_FAILURES {
            state.failures.pop_front();
        }
        state.failures.push_back(failure);
        self.0.urgent.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A start that is under way; dropped only when it panics, so that nobody waits for it forever.
struct Unfinished<'a, H: Host>(&'a Agent<H>, PhysicalId);

impl<H: Host> Drop for Unfinished<'_, H> {
    fn drop(&mut self) {
        let error = StartError::Failed("the start was broken off".to_owned());
        self.0.finish_start(self.1, Some(&error));
    }
}

fn outcome(done: Result<(), String>) -> Outcome {
    match done {
        Ok(()) => Outcome::DONE,
        Err(message) => Outcome::Failed(message),
    }
}

fn already(decision: Decision) -> Outcome {
    match decision {
        Decision::Refuse(reason) => Outcome::Failed(reason),
        Decision::Ended(state) => Outcome::Done { state },
        Decision::Go | Decision::Already | Decision::PatchInstead | Decision::Wait => Outcome::DONE,
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::{
        LogicalId, WorkflowId,
        workflow::{ResourceSpec, VertexSpec},
    };
    use uuid::Uuid;

    use super::*;

    /// Writes down what it is asked; starts wait at a gate.
    struct Recorder {
        log: Mutex<Vec<String>>,
        gate: tokio::sync::Semaphore,
    }

    impl Recorder {
        fn note(&self, what: &str, id: PhysicalId) {
            let note = format!("{what} {}", id.uuid().as_u128());
            self.log.lock().unwrap().push(note);
        }
    }

    impl Host for Arc<Recorder> {
        async fn start(&self, start: Start) -> Result<(), StartError> {
            self.note("start", start.instance.physical_id);
            self.gate.acquire().await.unwrap().forget();
            self.note("started", start.instance.physical_id);
            match start.spec.name() {
                "bad" => Err(StartError::Failed("bad".to_owned())),
                _ => Ok(()),
            }
        }

        async fn patch(&self, patch: Patch) -> Result<(), String> {
            self.note("patch", patch.physical_id);
            Ok(())
        }

        async fn stop(&self, id: PhysicalId, _: Duration) -> Option<Bytes> {
            self.note("stop", id);
            Some(Bytes::from_static(b"saved"))
        }

        async fn tap(&self, _: PhysicalId, _: TapPlan) -> Option<mpsc::Receiver<Tapped>> {
            None
        }
    }

    fn agent(permits: usize) -> Agent<Arc<Recorder>> {
        let recorder = Recorder {
            log: Mutex::default(),
            gate: tokio::sync::Semaphore::new(permits),
        };
        Agent::new(Arc::new(recorder))
    }

    fn pid(id: u128) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(id))
    }

    fn start(id: u128, name: &str) -> Step {
        Step::Start(Box::new(Start {
            instance: RunningInstance {
                physical_id: pid(id),
                logical_id: LogicalId::new(Uuid::from_u128(id)),
                workflow_id: WorkflowId::new(Uuid::nil()),
                generation: Generation(1),
                fingerprint: 0,
            },
            spec: VertexSpec::Resource(ResourceSpec {
                name: name.to_owned(),
                class_type: "x".to_owned(),
                configurations: Default::default(),
            }),
            outputs: vec![],
            state: None,
        }))
    }

    fn patch(id: u128) -> Step {
        Step::Patch(Patch {
            physical_id: pid(id),
            generation: Generation(1),
            outputs: vec![],
        })
    }

    fn stop(id: u128) -> Step {
        Step::Stop(Stop {
            physical_id: pid(id),
            generation: Generation(1),
            drain: Duration::ZERO,
        })
    }

    #[tokio::test]
    async fn starts_go_at_once_and_patches_after_them() {
        let agent = agent(0);
        let applying = agent.apply(vec![start(1, "a"), start(2, "b"), patch(1), stop(2)]);
        let open = async {
            while agent.host().log.lock().unwrap().len() < 2 {
                tokio::task::yield_now().await;
            }
            agent.host().gate.add_permits(2);
        };
        let (outcomes, ()) = tokio::join!(applying, open);
        let saved = Some(Bytes::from_static(b"saved"));
        let done = Outcome::DONE;
        assert_eq!(
            outcomes,
            [
                done.clone(),
                done.clone(),
                done,
                Outcome::Done { state: saved }
            ]
        );
        let log = agent.host().log.lock().unwrap().join(", ");
        assert_eq!(
            log,
            "start 1, start 2, started 1, started 2, patch 1, stop 2"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_that_takes_long_is_under_way_and_holds_up_no_other() {
        let agent = agent(0);
        let steps = vec![start(1, "a"), patch(1), patch(2)];
        let outcomes = agent.apply(steps.clone()).await;
        let not_here = |outcome: &Outcome| matches!(outcome, Outcome::Failed(_));
        assert_eq!(outcomes[..2], [Outcome::Working, Outcome::Working]);
        assert!(not_here(&outcomes[2]), "{outcomes:?}");
        assert_eq!(agent.apply(vec![start(1, "a")]).await, [Outcome::Working]);
        let asked = agent.apply(vec![start(1, "a"), patch(1)]);
        agent.host().gate.add_permits(1);
        assert_eq!(asked.await, [Outcome::DONE, Outcome::DONE]);
        let log = agent.host().log.lock().unwrap().join(", ");
        assert_eq!(log.matches("start 1").count(), 1, "{log}");
    }

    #[tokio::test]
    async fn a_stop_that_is_repeated_is_answered_with_the_same_state() {
        let agent = agent(1);
        agent.apply(vec![start(1, "a")]).await;
        let first = agent.apply(vec![stop(1)]).await;
        assert_eq!(agent.apply(vec![stop(1)]).await, first);
        assert_eq!(agent.tell_saved().len(), 1);
        agent.states_acknowledged();
        assert_eq!(agent.apply(vec![stop(1)]).await, [Outcome::DONE]);
    }

    #[tokio::test]
    async fn the_same_start_at_the_same_time_happens_once() {
        let agent = agent(1);
        let (first, second) = tokio::join!(
            agent.apply(vec![start(1, "a")]),
            agent.apply(vec![start(1, "a")])
        );
        assert_eq!((first, second), (vec![Outcome::DONE], vec![Outcome::DONE]));
        assert_eq!(*agent.host().log.lock().unwrap(), ["start 1", "started 1"]);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_nothing_half_started() {
        let agent = agent(0);
        let mut applying = Box::pin(agent.apply(vec![start(1, "a")]));
        tokio::select! {
            _ = &mut applying => unreachable!("the gate is closed"),
            () = async { while agent.instances() == 0 { tokio::task::yield_now().await; } } => {}
        }
        drop(applying);
        agent.host().gate.add_permits(1);
        assert_eq!(agent.apply(vec![patch(1)]).await, [Outcome::DONE]);
    }

    #[tokio::test]
    async fn failed_starts_leave_nothing_and_ended_instances_are_reported() {
        let agent = agent(9);
        let outcomes = agent.apply(vec![start(1, "bad"), start(2, "a")]).await;
        assert_eq!(outcomes[0], Outcome::Failed("bad".to_owned()));
        assert_eq!(agent.instances(), 1);
        for id in [1, 2, 2] {
            agent.failed(Failure {
                physical_id: pid(id),
                message: "trap".to_owned(),
            });
        }
        agent.urgent().await;
        assert_eq!(agent.take_failures().len(), 1);
        assert_eq!(agent.instances(), 0);
    }

    #[tokio::test]
    async fn what_ends_while_it_starts_is_reported_when_it_has_started() {
        let agent = agent(0);
        let applying = agent.apply(vec![start(1, "a")]);
        let end = async {
            while agent.instances() == 0 {
                tokio::task::yield_now().await;
            }
            agent.failed(Failure {
                physical_id: pid(1),
                message: "trap".to_owned(),
            });
            assert!(agent.take_failures().is_empty());
            agent.host().gate.add_permits(1);
        };
        tokio::join!(applying, end);
        assert_eq!(agent.take_failures().len(), 1);
        assert_eq!(agent.instances(), 0);
    }

    #[tokio::test]
    async fn a_start_that_panics_keeps_nobody_waiting() {
        let agent = agent(9);
        agent.host().gate.close();
        let broken = agent.apply(vec![start(1, "a")]).await;
        assert!(matches!(broken[0], Outcome::Failed(_)));
        let again = agent.apply(vec![start(1, "a")]).await;
        assert!(matches!(again[0], Outcome::Failed(_)));
        assert_eq!(agent.instances(), 0);
    }

    #[tokio::test]
    async fn an_ending_agent_stops_all_and_starts_nothing() {
        let agent = agent(9);
        agent.apply(vec![start(1, "a"), start(2, "a")]).await;
        agent.end(Duration::ZERO).await;
        assert_eq!(agent.instances(), 0);
        let refused = agent.carry_out(start(3, "a")).await;
        assert_eq!(refused, Outcome::Failed("the node is leaving".to_owned()));
    }
}
