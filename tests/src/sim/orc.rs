//! ε-ORC: the real domain and fence, and around them what the shell does (`orc/src/orchestrator.rs`): one worker per
//! node, what is desired kept before it is answered, the subscription to ε-CON, the mirror.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_con::cluster::{Lookup, Question};
use edgeless_orc::{
    admission::{self, Admitted, Left},
    change::{Change, What},
    domain::{
        Command, Domain, Effect, Flapping, Rebalancing, Settings, StartOutcome, Step, StepKey,
        StepResult, Things, Ticket, VertexRequest,
    },
    fence::Fence,
    journal::Difference,
    plan::{fleet::Overcommit, strategy::StrategyKind},
};
use edgeless_types::{
    DomainId, LogicalId, NodeId, PhysicalId, ProviderId, Timestamp, intent::Intent,
};
use rand::{Rng, seq::IteratorRandom};

use super::{
    Sabotage,
    check::{self, Asked},
    con::Caller,
    journal::{Journal, Waiting},
    mirror::{self, Mirror, Redis},
    net::{Call, Context, Place, Reply, Request, Timer},
    states::States,
    subscription::{Next, SUBSCRIBE, Subscription},
    worker::Worker,
};

/// How often time passes for the domain; the product is more exact.
const TICK: Duration = Duration::from_millis(100);
/// A start is answered when it has come to something and is kept.
struct StartWaiting {
    caller: Caller,
    outcomes: Option<Vec<StartOutcome>>,
    is_kept: bool,
    left: Left,
}

pub(super) struct Orc {
    pub(super) number: usize,
    pub(super) domain_id: DomainId,
    pub(super) redis: Redis,
    /// How far its clock is ahead of the true time.
    pub(super) ahead: Duration,
    journal: Journal,
    /// Nodes whose cordon was acknowledged, and that were not uncordoned since.
    pub(super) cordons: BTreeSet<NodeId>,
    /// None while the process is dead.
    pub(super) alive: Option<Alive>,
    /// Which process each node id is.
    nodes: BTreeMap<NodeId, usize>,
}

/// What ends with the process.
pub(super) struct Alive {
    pub(super) domain: Domain,
    pub(super) asked: Asked,
    states: States,
    ahead: Duration,
    /// So many copies were asked for, of vertices that are desired.
    scaled: BTreeMap<LogicalId, usize>,
    /// When nodes get nothing new for a while.
    flapping: Flapping,
    workers: BTreeMap<u64, Worker>,
    current: BTreeMap<NodeId, u64>,
    fence: Fence,
    tickets: BTreeMap<Ticket, StartWaiting>,
    failed: Vec<(NodeId, StepKey)>,
    changes: Vec<Change>,
    mirror: Mirror,
    subscription: Subscription,
}

impl Orc {
    pub(super) fn new(number: usize, nodes: BTreeMap<NodeId, usize>) -> Self {
        Self {
            number,
            domain_id: DomainId::new(format!("d{number}")),
            redis: Redis::default(),
            ahead: Duration::ZERO,
            journal: Journal::new(Place::Orc(number)),
            cordons: BTreeSet::new(),
            alive: None,
            nodes,
        }
    }

    pub(super) fn place(&self) -> Place {
        Place::Orc(self.number)
    }

    pub(super) fn crash(&mut self, context: &mut Context) {
        self.alive = None;
        self.journal.crash(context);
        context.set_life(self.place(), None);
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        let life = context.unique();
        let strategies = [
            StrategyKind::Random,
            StrategyKind::RoundRobin,
            StrategyKind::LeastLoaded,
            StrategyKind::BinPack,
        ];
        let flapping = Flapping {
            times: if context.chance(0.4) { 2 } else { 0 },
            within: Duration::from_secs(20),
            rest: Duration::from_secs(8),
        };
        let settings = Settings {
            domain_id: self.domain_id.clone(),
            strategy: strategies[context.rng.random_range(0..strategies.len())],
            overcommit: Overcommit::default(),
            seed: context.rng.random(),
            life: context.rng.random(),
            adoption_grace: Duration::from_secs(3),
            linger: Duration::from_millis(250),
            healing_per_node: 4,
            flapping: match context.sabotage == Some(Sabotage::NobodyRests) {
                true => Flapping {
                    times: 0,
                    ..flapping
                },
                false => flapping,
            },
            rebalancing: Rebalancing::default(),
            scaling: edgeless_orc::scale::Settings::default(),
        };
        let ahead = self.ahead;
        let reset = Change {
            at: context.now + ahead,
            what: What::Reset(self.domain_id.clone()),
        };
        self.alive = Some(Alive {
            domain: Domain::new(settings, false),
            asked: Asked::default(),
            states: States::default(),
            ahead,
            scaled: BTreeMap::new(),
            flapping,
            workers: BTreeMap::new(),
            current: BTreeMap::new(),
            fence: Fence::default(),
            tickets: BTreeMap::new(),
            failed: Vec::new(),
            changes: vec![reset],
            mirror: Mirror::default(),
            subscription: Subscription::new(self.domain_id.clone(), life),
        });
        context.set_life(self.place(), Some(life));
        if !self.journal.kept.told {
            // Until ε-CON has told it what is desired.
            context.troubled(self.place(), context.now + Duration::from_secs(25));
        }
        context.timer(TICK, self.place(), Timer::Tick);
        context.timer(mirror::PAUSE, self.place(), Timer::Mirror);
        context.timer(Duration::ZERO, self.place(), Timer::Refresh(0));
        self.restore(context);
    }

    /// What was desired before the end of an earlier life is desired again; nodes report what of it runs.
    fn restore(&mut self, context: &mut Context) {
        let mut kept = self.journal.kept.clone();
        if context.sabotage == Some(Sabotage::JournalForgetsCordons) {
            kept.cordoned.clear();
        }
        if let Some(alive) = &mut self.alive {
            alive.asked.cordoned.clone_from(&kept.cordoned);
        }
        if let Some(node_id) = self.cordons.difference(&kept.cordoned).next() {
            context.break_with(|| format!("the cordon of {node_id} was acknowledged and is gone"));
        }
        let cordoned = kept.cordoned.into_iter().collect();
        self.command(Command::Cordoned(cordoned), context);
        let drained = kept.drained.into_iter().collect();
        self.command(Command::Drained(drained), context);
        self.command(Command::Asleep(kept.asleep), context);
        if kept.told {
            let (vertices, ticket) = (kept.vertices, Ticket(context.unique()));
            self.command(Command::Reconcile { vertices, ticket }, context);
        }
        self.settle(context);
    }

    pub(super) fn on_request(
        &mut self,
        from: (Place, u64),
        call: Call,
        request: Request,
        context: &mut Context,
    ) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        let now = context.now + alive.ahead;
        let caller = (from, call);
        if context.sabotage == Some(Sabotage::OrdersAreNotFenced) {
            alive.fence = Fence::default();
        }
        match request {
            Request::UpdateNode(mut update) => {
                alive.asked.on_update(&update);
                alive.states.on_update(&update);
                let (node_id, number) = (update.node_id, (update.nonce, update.sequence));
                let states = match context.sabotage == Some(Sabotage::StatesAreForgotten) {
                    true => std::mem::take(&mut update.states),
                    false => update.states.clone(),
                };
                let (reply, effects) = alive.domain.on_node_update(*update, now);
                alive.states.on_answer(node_id, number, states, reply);
                self.carry_out(effects, context);
                context.reply(place, from, call, Reply::Node(reply));
            }
            Request::Start(vertices, epoch) => {
                let difference = Difference::start(&vertices);
                let (fence, asked) = (&mut alive.fence, (vertices, difference));
                let Ok(admitted) = admission::start(fence, asked, epoch) else {
                    return context.reply(place, from, call, Reply::Overtaken);
                };
                let start = |vertices, ticket| Command::Start { vertices, ticket };
                self.start_vertices(admitted, start, caller, context);
            }
            Request::Reconcile(vertices, epoch) => {
                let difference = Difference::reconcile(&vertices);
                let (fence, asked) = (&mut alive.fence, (vertices, difference));
                let Ok(admitted) = admission::reconcile(fence, &alive.domain, asked, epoch) else {
                    return context.reply(place, from, call, Reply::Overtaken);
                };
                context.troubled(place, context.now);
                let start = |vertices, ticket| Command::Reconcile { vertices, ticket };
                self.start_vertices(admitted, start, caller, context);
            }
            Request::StopVertices(logical_ids, epoch) => {
                let difference = Difference::stop(&logical_ids);
                let asked = (Command::Stop(logical_ids), difference);
                let Ok(admitted) = admission::change(&mut alive.fence, asked, epoch) else {
                    return context.reply(place, from, call, Reply::Overtaken);
                };
                let (command, difference) = admitted;
                self.command(command, context);
                self.keep(difference, Waiting::Answer(caller, Reply::Done), context);
            }
            Request::Lookup(questions) => {
                let answer = alive.look_up(questions);
                context.reply(place, from, call, Reply::Looked(answer));
            }
            Request::Intent(intent) => self.intent(intent, caller, context),
            Request::UpdateDomain(_)
            | Request::Apply(_)
            | Request::Submit(..)
            | Request::StopWorkflow(_)
            | Request::MoveWorkflow(..) => return,
        }
        self.settle(context);
    }

    fn start_vertices(
        &mut self,
        admitted: Admitted,
        command: impl FnOnce(Vec<VertexRequest>, Ticket) -> Command,
        caller: Caller,
        context: &mut Context,
    ) {
        let (place, call) = (self.place(), caller.1);
        let (vertices, difference) = (admitted.vertices, admitted.difference);
        context.say(|| {
            let names: Vec<_> = vertices.iter().map(|it| it.spec.name()).collect();
            format!("{place:?} takes call {call}: {names:?}")
        });
        let Some(alive) = &mut self.alive else {
            return;
        };
        let ticket = Ticket(context.unique());
        let waiting = StartWaiting {
            caller,
            outcomes: None,
            is_kept: difference.is_empty(),
            left: admitted.left,
        };
        alive.tickets.insert(ticket, waiting);
        if !difference.is_empty() {
            self.journal.keep(difference, Waiting::Start(ticket));
        }
        self.command(command(vertices, ticket), context);
    }

    /// What is asked for is kept before it is answered.
    fn keep(&mut self, difference: Difference, waiting: Waiting, context: &mut Context) {
        match difference.is_empty() {
            true => self.answer(waiting, true, context),
            false => self.journal.keep(difference, waiting),
        }
    }

    /// Answers one who waited for the journal.
    fn answer(&mut self, waiting: Waiting, is_kept: bool, context: &mut Context) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        match waiting {
            Waiting::Start(ticket) if is_kept => {
                if let Some(start) = alive.tickets.get_mut(&ticket) {
                    start.is_kept = true;
                }
                alive.answer_start(place, ticket, context);
            }
            Waiting::Start(ticket) => {
                if let Some(StartWaiting { caller, .. }) = alive.tickets.remove(&ticket) {
                    context.reply(place, caller.0, caller.1, Reply::Broken);
                }
            }
            Waiting::Answer((to, call), reply) => {
                let reply = if is_kept { reply } else { Reply::Broken };
                context.reply(place, to, call, reply);
            }
            Waiting::Intent((to, call), intent) => {
                let mut reply = Reply::Refused("it is not kept".to_owned());
                if is_kept {
                    reply = Reply::Done;
                    if let Intent::Cordon { node_id } | Intent::Drain { node_id } = intent
                        && alive.asked.cordoned.contains(&node_id)
                    {
                        self.cordons.insert(node_id);
                    }
                }
                context.reply(place, to, call, reply);
            }
            Waiting::Reset => {
                alive.subscription.forget();
                context.timer(Duration::ZERO, place, Timer::Refresh(0));
            }
        }
    }

    /// What the domain makes of an intent is done; what of it is to be kept is kept before it is answered.
    fn intent(&mut self, intent: Intent, caller: Caller, context: &mut Context) {
        let place = self.place();
        let forgets = context.sabotage == Some(Sabotage::CordonsAreForgotten);
        let Some(alive) = &mut self.alive else {
            return;
        };
        // What follows from the end of a cordon may use the node already.
        if let Intent::Uncordon { node_id } = intent {
            alive.asked.open(node_id);
            self.cordons.remove(&node_id);
        }
        let now = context.now + alive.ahead;
        let (outcome, effects) = match intent {
            Intent::Cordon { .. } if forgets => (Ok(()), Vec::new()),
            _ => alive.domain.on_intent(intent, now),
        };
        if let (Ok(()), Intent::Cordon { node_id } | Intent::Drain { node_id }) = (&outcome, intent)
        {
            alive.asked.cordoned.insert(node_id);
        }
        self.carry_out(effects, context);
        if let Err(refusal) = outcome {
            let reply = Reply::Refused(refusal.to_string());
            return context.reply(place, caller.0, caller.1, reply);
        }
        let difference = match intent {
            Intent::Cordon { node_id } => Difference::cordon(node_id, true),
            Intent::Drain { node_id } => Difference::drain(node_id),
            Intent::Uncordon { node_id } => Difference::cordon(node_id, false),
            Intent::Migrate { .. } | Intent::Rebalance => Difference::default(),
        };
        self.keep(difference, Waiting::Intent(caller, intent), context);
    }

    pub(super) fn on_reply(&mut self, call: Call, reply: Reply, context: &mut Context) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        if let Some(next) = alive.subscription.on_reply(call, &reply) {
            match next {
                Next::Later => context.timer(SUBSCRIBE, place, Timer::Refresh(0)),
                Next::AtOnce => context.timer(Duration::ZERO, place, Timer::Refresh(0)),
                Next::Reset(life) => {
                    context.say(|| format!("{} is reset", self.domain_id));
                    alive.fence.reset(life);
                    self.command(Command::Reset, context);
                    self.keep(Difference::reset(), Waiting::Reset, context);
                }
            }
            return self.settle(context);
        }
        let mut workers = alive.workers.iter();
        let Some((&name, _)) = workers.find(|(_, worker)| worker.call == Some(call)) else {
            return;
        };
        let answer = match reply {
            Reply::Applied(results) => Some(results),
            _ => None,
        };
        self.on_applied(name, answer, context);
        self.settle(context);
    }

    pub(super) fn on_timer(&mut self, timer: &Timer, context: &mut Context) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        match timer {
            Timer::Tick => {
                context.timer(TICK, place, Timer::Tick);
                self.command(Command::Tick, context);
                if let Some(alive) = &mut self.alive {
                    alive.asked.tick(context.now);
                }
            }
            Timer::Deadline(call) => return self.on_reply(*call, Reply::Broken, context),
            Timer::Refresh(_) => alive.subscription.refresh(place, &alive.domain, context),
            Timer::Retry(name) => {
                if let Some(worker) = alive.workers.get_mut(name) {
                    worker.on_pause();
                }
                self.work(*name, context);
            }
            Timer::Mirror => {
                context.timer(mirror::PAUSE, place, Timer::Mirror);
                let now = context.now + alive.ahead;
                let (mirror, domain) = (&mut alive.mirror, &alive.domain);
                mirror.turn(&mut self.redis, domain, now, context);
            }
            Timer::Synced => {
                let (is_kept, waiting) = self.journal.on_written(context);
                for waiting in waiting {
                    self.answer(waiting, is_kept, context);
                }
            }
            Timer::Disk => self.journal.on_pause(),
            Timer::StepDone(..) | Timer::Settle(_) => {}
        }
        self.settle(context);
    }

    /// So many copies of some vertex are asked for.
    pub(super) fn scale_one(&mut self, context: &mut Context) {
        let Some(alive) = &mut self.alive else {
            return;
        };
        let known = alive.domain.active_instances().into_iter();
        let Some(vertex) = known.choose(&mut context.rng) else {
            return;
        };
        let (logical_id, copies) = (vertex.logical_id, context.rng.random_range(1..=3));
        context.say(|| format!("{copies} copies of {logical_id} are asked for"));
        alive.scaled.insert(logical_id, copies);
        alive.states.scale(logical_id);
        context.troubled(Place::Orc(self.number), context.now);
        let copies = u32::try_from(copies).unwrap_or(u32::MAX);
        if context.sabotage != Some(Sabotage::NothingIsScaled) {
            self.command(Command::Scale { logical_id, copies }, context);
        }
        self.settle(context);
    }

    fn command(&mut self, command: Command, context: &mut Context) {
        if let Some(alive) = &mut self.alive {
            let may_drop = matches!(
                command,
                Command::Stop(_) | Command::Reconcile { .. } | Command::Reset
            );
            let effects = alive.domain.on_command(command, context.now + alive.ahead);
            if may_drop {
                let domain = &alive.domain;
                alive.states.retain(|id| domain.outcome(id).is_some());
                alive.scaled.retain(|id, _| domain.outcome(*id).is_some());
            }
            self.carry_out(effects, context);
        }
    }

    /// Steps that no worker took have failed; then the observers learn what changed.
    fn settle(&mut self, context: &mut Context) {
        while let Some((node_id, key)) = self.alive.as_mut().and_then(|it| it.failed.pop()) {
            let result = StepResult::Failed("the node is not there".to_owned());
            let outcome = Command::Outcome {
                node_id,
                key,
                result,
            };
            self.command(outcome, context);
        }
        if self.alive.is_some() {
            self.journal.hand_over(context);
        }
        if let Some(alive) = &mut self.alive {
            alive.mirror.publish(&mut alive.changes, context);
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, context: &mut Context) {
        let place = self.place();
        let mut woken = BTreeSet::new();
        for effect in effects {
            let Some(alive) = &mut self.alive else {
                return;
            };
            match effect {
                Effect::Step { node_id, step } => {
                    context.say(|| {
                        format!(
                            "{place:?} wants of {}: {}",
                            self.nodes[&node_id],
                            shown(&step)
                        )
                    });
                    check::step(&alive.domain, &mut alive.asked, node_id, &step, context);
                    alive.states.on_step(&step, context);
                    if context.sabotage == Some(Sabotage::StraysStay) && is_stop_of_stray(&step) {
                        continue;
                    }
                    let current = alive.current.get(&node_id);
                    match current.and_then(|name| Some((*name, alive.workers.get_mut(name)?))) {
                        Some((name, worker)) => {
                            let refused = worker.push(step);
                            alive.failed.extend(refused.map(|(key, _)| (node_id, key)));
                            woken.insert(name);
                        }
                        None => alive.failed.push((node_id, step.key())),
                    }
                }
                Effect::Forget(node_id) => {
                    context.say(|| format!("{place:?} forgets {}", self.nodes[&node_id]));
                    alive.asked.forget(node_id, context.now);
                    alive.states.forget(node_id);
                    alive.close(node_id);
                }
                Effect::Meet { node_id, .. } => {
                    alive.close(node_id);
                    alive.asked.meet(node_id, alive.flapping, context.now);
                    let name = context.unique();
                    alive.workers.insert(name, Worker::new(name, node_id));
                    alive.current.insert(node_id, name);
                }
                Effect::Answer { ticket, outcomes } => {
                    if let Some(start) = alive.tickets.get_mut(&ticket) {
                        start.outcomes = Some(outcomes);
                        alive.answer_start(place, ticket, context);
                    }
                }
                Effect::Asleep { logical_id, state } => {
                    let difference = Difference::asleep(logical_id, state);
                    self.journal.keep_quietly(difference);
                }
                Effect::Awake(logical_id) => {
                    self.journal.keep_quietly(Difference::awake(logical_id));
                }
                Effect::Change(change) => alive.changes.push(change),
            }
        }
        for name in woken {
            self.work(name, context);
        }
    }

    /// A worker that is free sends what waits.
    fn work(&mut self, name: u64, context: &mut Context) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        let Some(worker) = alive.workers.get_mut(&name) else {
            return;
        };
        let to = Place::Node(self.nodes[&worker.node_id]);
        if !worker.work(place, to, context) {
            alive.workers.remove(&name);
        }
    }

    /// A batch has come to something.
    fn on_applied(&mut self, name: u64, answer: Option<Vec<StepResult>>, context: &mut Context) {
        let place = self.place();
        let Some(alive) = &mut self.alive else {
            return;
        };
        let Some(worker) = alive.workers.get_mut(&name) else {
            return;
        };
        let node_id = worker.node_id;
        let done = worker.on_answer(place, answer, context);
        for (key, result) in &done {
            alive.states.on_outcome(node_id, *key, result, context);
        }
        for (key, result) in done {
            let outcome = Command::Outcome {
                node_id,
                key,
                result,
            };
            self.command(outcome, context);
        }
        self.work(name, context);
    }
}

impl Alive {
    pub(super) fn now(&self, context: &Context) -> Timestamp {
        context.now + self.ahead
    }

    /// How many copies of a vertex were asked for; 0: as many as it wants.
    pub(super) fn scaled(&self, logical_id: LogicalId) -> usize {
        self.scaled.get(&logical_id).copied().unwrap_or_default()
    }

    fn answer_start(&mut self, place: Place, ticket: Ticket, context: &mut Context) {
        let is_done = |start: &StartWaiting| start.is_kept && start.outcomes.is_some();
        if self.tickets.get(&ticket).is_some_and(is_done)
            && let Some(start) = self.tickets.remove(&ticket)
        {
            let outcomes = start.outcomes.unwrap_or_default();
            let reply = Reply::Started(start.left.fill(outcomes, &self.domain));
            context.reply(place, start.caller.0, start.caller.1, reply);
        }
    }

    fn look_up(&self, questions: BTreeSet<Question>) -> Lookup {
        let mut wanted = Things::default();
        for question in questions {
            match question {
                Question::Node(node_id) => {
                    wanted.node_ids.insert(node_id);
                }
                Question::Provider(id) => {
                    wanted.provider_ids.insert(id.as_str().to_owned());
                }
                Question::Label(label) => {
                    wanted.labels.insert(label);
                }
            }
        }
        let (membership, there) = self.domain.lookup(&wanted);
        let nodes = there.node_ids.into_iter().map(Question::Node);
        let providers = there.provider_ids.into_iter().map(ProviderId::new);
        let labels = there.labels.into_iter().map(Question::Label);
        let there = nodes
            .chain(providers.map(Question::Provider))
            .chain(labels)
            .collect();
        Lookup { membership, there }
    }

    /// The worker of a node ends when its queue is empty.
    fn close(&mut self, node_id: NodeId) {
        let name = self.current.remove(&node_id);
        if let Some(worker) = name.and_then(|name| self.workers.get_mut(&name)) {
            worker.is_closed = true;
        }
    }
}

/// Whether this stops a copy that nobody sends to.
fn is_stop_of_stray(step: &Step) -> bool {
    matches!(step, Step::Stop { drain, .. } if drain.is_zero())
}

fn shown(step: &Step) -> String {
    match step {
        Step::Start { instance, .. } => format!(
            "start {} as {}, generation {}",
            instance.logical_id, instance.physical_id, instance.generation
        ),
        Step::Stop {
            physical_id,
            generation,
            ..
        } => format!("stop {physical_id}, generation {generation}"),
        Step::Patch {
            physical_id,
            generation,
            outputs,
        } => {
            let leads = |it: &edgeless_orc::domain::Output| check::leads_to(it);
            let leads: Vec<PhysicalId> = outputs
                .iter()
                .flat_map(leads)
                .map(|id| id.physical_id)
                .collect();
            format!("patch {physical_id}, generation {generation}, to {leads:?}")
        }
    }
}
