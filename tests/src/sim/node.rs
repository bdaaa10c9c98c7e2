//! A node: the real ledger and the real report, and around them what the agent's shell does. Instances
//! are names; starting and stopping them takes a moment.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_node::{
    agent::{Decision, Failure, Ledger},
    registration::{News, Next, Report},
};
use edgeless_orc::domain::{NodeUpdate, NodeUpdateReply, Output, Profile, Step, StepResult};
use edgeless_types::{NodeCapabilities, NodeId, PhysicalId, RunningInstance, workflow::VertexSpec};
use rand::{Rng, seq::IteratorRandom};

use super::{
    Sabotage,
    net::{Call, Context, Place, Reply, Request, Timer},
    states,
};

/// How often a node refreshes; it counts as lost after three times as long.
const INTERVAL: Duration = Duration::from_secs(1);
/// How far apart updates are when something is urgent.
const URGENT: Duration = Duration::from_millis(20);

/// A copy that runs, or is about to, or is being stopped.
pub(super) struct Running {
    pub(super) instance: RunningInstance,
    pub(super) spec: Arc<VertexSpec>,
    pub(super) outputs: Vec<Output>,
    pub(super) stopping: bool,
    /// What it last saved, or was given.
    state: Option<Bytes>,
}

pub(super) struct Node {
    pub(super) number: usize,
    pub(super) node_id: NodeId,
    pub(super) domain: usize,
    pub(super) profile: Profile,
    pub(super) running: BTreeMap<PhysicalId, Running>,
    life: u64,
    ledger: Ledger,
    report: Report,
    failures: Vec<Failure>,
    /// What was saved and has not been said.
    states: BTreeMap<PhysicalId, Bytes>,
    jobs: BTreeMap<Call, Job>,
    /// The update under way, and whether it repeats another.
    update: Option<(Call, bool)>,
    /// The update that was planned last.
    planned: u64,
}

/// A batch of steps that is being carried out.
struct Job {
    caller: (Place, u64),
    call: Call,
    steps: Vec<Step>,
    outcomes: Vec<Option<StepResult>>,
    under_way: Vec<bool>,
    /// Steps before this one are done; those of its kind that follow it go at once.
    from: usize,
}

impl Node {
    pub(super) fn new(
        number: usize,
        domain: usize,
        node_id: NodeId,
        capabilities: NodeCapabilities,
        classes: &[&str],
    ) -> Self {
        let provider = |class: &&str| edgeless_types::ResourceProvider {
            provider_id: edgeless_types::ProviderId::new(format!("n{number}-{class}")),
            class_type: (*class).to_owned(),
            node_id,
            outputs: Vec::new(),
        };
        Self {
            number,
            node_id,
            domain,
            profile: Profile {
                agent_url: format!("http://n{number}:1"),
                invocation_url: format!("http://n{number}:2"),
                capabilities: Arc::new(capabilities),
                providers: classes.iter().map(provider).collect(),
            },
            running: BTreeMap::new(),
            life: 0,
            ledger: Ledger::default(),
            report: Report::default(),
            failures: Vec::new(),
            states: BTreeMap::new(),
            jobs: BTreeMap::new(),
            update: None,
            planned: 0,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::Node(self.number)
    }

    /// The process ends at once; what it ran is gone.
    pub(super) fn crash(&mut self, context: &mut Context) {
        context.set_life(self.place(), None);
        context
            .saved
            .retain(|_, (number, _)| *number != self.number);
        self.running.clear();
        self.ledger = Ledger::default();
        self.report = Report::default();
        self.failures.clear();
        self.states.clear();
        self.jobs.clear();
        self.update = None;
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        self.life = context.unique();
        context.set_life(self.place(), Some(self.life));
        let pause = context.micros(1_000, 300_000);
        self.plan(pause, context);
    }

    /// Some instance ends by itself.
    pub(super) fn lose_one(&mut self, context: &mut Context) {
        let running = self.running.iter().filter(|(_, it)| !it.stopping);
        let Some(physical_id) = running.map(|(&id, _)| id).choose(&mut context.rng) else {
            return;
        };
        if self.ledger.ended_by_itself(physical_id) {
            self.running.remove(&physical_id);
            self.fail(physical_id, "a trap", context);
        }
    }

    /// Some instance saves its state.
    pub(super) fn save_one(&mut self, context: &mut Context) {
        let running = self.running.iter().filter(|(_, it)| !it.stopping);
        if let Some(physical_id) = running.map(|(&id, _)| id).choose(&mut context.rng) {
            self.save(physical_id, context);
        }
    }

    fn save(&mut self, physical_id: PhysicalId, context: &mut Context) {
        if let Some(running) = self.running.get_mut(&physical_id)
            && matches!(*running.spec, VertexSpec::Function(_))
        {
            let state = states::write(running.instance.logical_id, context);
            running.state = Some(state.clone());
            self.states.insert(physical_id, state);
        }
    }

    fn fail(&mut self, physical_id: PhysicalId, message: &str, context: &mut Context) {
        let message = message.to_owned();
        self.failures.push(Failure {
            physical_id,
            message,
        });
        // What repeats another update carries nothing new.
        if self.update.is_none() && !self.report.repeats() {
            self.plan(URGENT, context);
        }
    }

    fn plan(&mut self, delay: Duration, context: &mut Context) {
        self.planned = context.unique();
        context.timer(delay, self.place(), Timer::Refresh(self.planned));
    }

    pub(super) fn on_timer(&mut self, timer: &Timer, context: &mut Context) {
        match timer {
            Timer::Refresh(planned) if *planned == self.planned && self.update.is_none() => {
                self.refresh(context);
            }
            Timer::Deadline(call)
                if self.update.is_some_and(|(under_way, _)| under_way == *call) =>
            {
                self.unanswered(context);
            }
            Timer::StepDone(call, index) => self.on_step_done(*call, *index, context),
            Timer::Refresh(_)
            | Timer::Deadline(_)
            | Timer::Tick
            | Timer::Retry(_)
            | Timer::Mirror
            | Timer::Synced
            | Timer::Disk
            | Timer::Settle(_) => {}
        }
    }

    fn refresh(&mut self, context: &mut Context) {
        let repeated = self.report.repeats();
        let mut news = News::default();
        if !repeated {
            news.failures = std::mem::take(&mut self.failures);
            news.changes = self.ledger.take_changes();
            news.states = std::mem::take(&mut self.states);
            news.states.extend(self.ledger.tell_saved());
        }
        let update = self.report.next(news);
        let failures = update.news.failures.into_iter();
        let changes = update.news.changes;
        let stopped = changes.iter().filter(|(_, started)| started.is_none());
        let request = NodeUpdate {
            node_id: self.node_id,
            nonce: self.life,
            sequence: update.sequence,
            refresh_deadline: INTERVAL * 3,
            profile: update.full.then(|| self.profile.clone()),
            health: None,
            samples: None,
            running: update.full.then(|| self.ledger.running()),
            stopped: stopped.map(|(physical_id, _)| *physical_id).collect(),
            started: changes.into_values().flatten().collect(),
            failures: failures.map(|it| (it.physical_id, it.message)).collect(),
            states: update.news.states.into_iter().collect(),
            demand: Vec::new(),
            backlog: Vec::new(),
            leaving: false,
        };
        if update.full {
            let (number, sequence) = (self.number, update.sequence);
            context.say(|| format!("node {number} says all, update {sequence}"));
        }
        let to = Place::Orc(self.domain);
        let request = Request::UpdateNode(Box::new(request));
        let call = context.call(self.place(), to, INTERVAL * 3 / 2, request);
        self.update = Some((call, repeated));
    }

    pub(super) fn on_reply(&mut self, call: Call, reply: &Reply, context: &mut Context) {
        let Some((_, repeated)) = self.update.filter(|&(under_way, _)| under_way == call) else {
            return;
        };
        let Reply::Node(NodeUpdateReply {
            want_full,
            duplicate: false,
            ..
        }) = reply
        else {
            return self.unanswered(context);
        };
        self.update = None;
        let next = self.report.answered(*want_full, repeated);
        if self.report.has_told_states() {
            self.ledger.states_acknowledged();
        }
        match next {
            Next::AtOnce => self.plan(URGENT, context),
            Next::WhenDue if !self.failures.is_empty() => self.plan(URGENT, context),
            Next::WhenDue => self.plan(INTERVAL, context),
        }
    }

    fn unanswered(&mut self, context: &mut Context) {
        self.update = None;
        let pause = context.micros(100_000, 2_000_000);
        self.plan(pause, context);
    }

    /// Carries out a batch; it is finished even when the caller goes away.
    pub(super) fn apply(
        &mut self,
        caller: (Place, u64),
        call: Call,
        steps: Vec<Step>,
        context: &mut Context,
    ) {
        let job = Job {
            caller,
            call,
            outcomes: vec![None; steps.len()],
            under_way: vec![false; steps.len()],
            steps,
            from: 0,
        };
        // A repeated request is a batch of its own.
        let name = context.unique();
        self.jobs.insert(name, job);
        self.advance(name, context);
    }

    fn advance(&mut self, name: Call, context: &mut Context) {
        let Some(mut job) = self.jobs.remove(&name) else {
            return;
        };
        while let Some(first) = job.steps.get(job.from) {
            let kind = std::mem::discriminant(first);
            let same = |step: &&Step| std::mem::discriminant(*step) == kind;
            let to = job.from + job.steps[job.from..].iter().take_while(same).count();
            for index in job.from..to {
                if job.outcomes[index].is_none() && !job.under_way[index] {
                    match self.ask(&job.steps[index], context) {
                        Decision::Go => {
                            job.under_way[index] = true;
                            let time = context.micros(500, 60_000);
                            let done = Timer::StepDone(name, index);
                            context.timer(time, self.place(), done);
                        }
                        Decision::Wait => {}
                        Decision::Already | Decision::PatchInstead => {
                            job.outcomes[index] = Some(StepResult::Done(None));
                        }
                        Decision::Ended(state) => {
                            let forgets = context.sabotage == Some(Sabotage::StopsAreNotRepeated);
                            let state = state.filter(|_| !forgets);
                            job.outcomes[index] = Some(StepResult::Done(state));
                        }
                        Decision::Refuse(reason) => {
                            job.outcomes[index] = Some(StepResult::Failed(reason));
                        }
                    }
                }
            }
            if job.outcomes[job.from..to].iter().any(Option::is_none) {
                self.jobs.insert(name, job);
                return;
            }
            job.from = to;
        }
        let outcomes = job.outcomes.into_iter().flatten().collect();
        let reply = Reply::Applied(outcomes);
        context.reply(self.place(), job.caller, job.call, reply);
    }

    /// What the ledger says of a step; what takes no time is done.
    fn ask(&mut self, step: &Step, context: &mut Context) -> Decision {
        let careless = context.sabotage == Some(Sabotage::NodeIgnoresGenerations);
        match step {
            Step::Patch {
                physical_id,
                outputs,
                ..
            } if careless => {
                self.lead(*physical_id, outputs);
                Decision::Already
            }
            Step::Start {
                instance,
                spec,
                outputs,
                state,
                ..
            } => {
                let decision = self.ledger.begin_start(instance);
                match decision {
                    Decision::Go => {
                        let physical_id = instance.physical_id;
                        context.say(|| format!("node {} starts {physical_id}", self.number));
                        let running = Running {
                            instance: *instance,
                            spec: Arc::clone(spec),
                            outputs: outputs.clone(),
                            stopping: false,
                            state: state.clone(),
                        };
                        self.running.insert(instance.physical_id, running);
                    }
                    Decision::PatchInstead => self.lead(instance.physical_id, outputs),
                    Decision::Already
                    | Decision::Ended(_)
                    | Decision::Wait
                    | Decision::Refuse(_) => {}
                }
                decision
            }
            Step::Stop {
                physical_id,
                generation,
                ..
            } => {
                let decision = self.ledger.begin_stop(*physical_id, *generation);
                if decision == Decision::Go
                    && let Some(running) = self.running.get_mut(physical_id)
                {
                    running.stopping = true;
                }
                decision
            }
            Step::Patch {
                physical_id,
                generation,
                outputs,
            } => match self.ledger.begin_patch(*physical_id, *generation) {
                Decision::Go => {
                    self.lead(*physical_id, outputs);
                    Decision::Already
                }
                other => other,
            },
        }
    }

    fn lead(&mut self, physical_id: PhysicalId, outputs: &[Output]) {
        if let Some(running) = self.running.get_mut(&physical_id) {
            running.outputs = outputs.to_vec();
        }
    }

    fn on_step_done(&mut self, name: Call, index: usize, context: &mut Context) {
        let Some(job) = self.jobs.get(&name) else {
            return;
        };
        let physical_id = job.steps[index].key().physical_id();
        let result = match job.steps[index] {
            Step::Start { .. } => {
                let succeeds = !context.chance(context.weather.failing);
                let must_tell = self.ledger.finish_start(physical_id, succeeds);
                if succeeds {
                    StepResult::Done(None)
                } else {
                    self.running.remove(&physical_id);
                    if must_tell {
                        self.fail(physical_id, "it did not start", context);
                    }
                    StepResult::Failed("it did not start".to_owned())
                }
            }
            Step::Stop { .. } => {
                context.say(|| format!("node {} has stopped {physical_id}", self.number));
                if context.chance(0.5) {
                    self.save(physical_id, context);
                }
                let running = self.running.remove(&physical_id);
                let state = running.and_then(|it| it.state);
                self.ledger.finish_stop(physical_id, state.clone());
                if let Some(state) = &state {
                    let saved = (self.number, state.clone());
                    context.saved.insert(physical_id, saved);
                }
                StepResult::Done(state)
            }
            Step::Patch { .. } => StepResult::Done(None),
        };
        if let Some(job) = self.jobs.get_mut(&name) {
            job.outcomes[index] = Some(result);
        }
        let all: Vec<_> = self.jobs.keys().copied().collect();
        for name in all {
            self.advance(name, context);
        }
    }
}

/// What a node of a domain has: cores, labels and classes differ from seed to seed.
pub(super) fn capabilities(context: &mut Context) -> NodeCapabilities {
    let zone = context.rng.random_range(0..2);
    NodeCapabilities {
        num_cpus: 1,
        num_cores: context.rng.random_range(1..=2),
        mem_size: 4_096,
        labels: vec![format!("zone={zone}")],
        is_tee_running: context.chance(0.5),
        runtimes: vec!["RUST_WASM".to_owned()],
        ..NodeCapabilities::default()
    }
}
