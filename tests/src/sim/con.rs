//! ε-CON: the real cluster, and around it what its shell does: writes before it acknowledges, one worker
//! per domain that owes what could not be told, requests of clients carried through step by step.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_con::{
    cluster::{Answer, Cluster, Effect},
    controller::{Outcome, judge},
    epoch::Epochs,
    orc_client::Started,
    store::{VertexRecord, WorkflowRecord, Write},
};
use edgeless_types::{DomainId, DomainRequirements, LogicalId, Timestamp, WorkflowId};

use super::{
    Sabotage,
    choice::{Asking, Choosing},
    disk::Disk,
    link::{Link, Order},
    net::{Call, Context, Place, Reply, Request, Timer, Vertex},
};

/// How often time passes for the cluster.
const TICK: Duration = Duration::from_millis(200);

/// Who waits for an answer, and the number of its call.
pub(super) type Caller = ((Place, u64), Call);

/// A workflow that is being started for a client.
pub(super) struct Begin {
    pub(super) record: Arc<WorkflowRecord>,
    pub(super) may_wait: bool,
    pub(super) tried: BTreeSet<DomainId>,
    pub(super) caller: Caller,
}

/// What is done once something is on disk, or cannot be.
pub(super) enum Then {
    /// A workflow is accepted: it is started.
    Begin(Begin),
    /// The effects of an update are carried out, and the domain learns whether it is reset.
    CarryOut(Vec<Effect>, Option<(Caller, Answer)>),
    /// A workflow is stopped where it is; then the answer goes out.
    Stop(Arc<WorkflowRecord>, Option<(Caller, Reply)>),
    /// A workflow is in another domain: it is stopped where it was, and goes on there.
    Reassigned(Arc<WorkflowRecord>, Moving),
}

/// Why a workflow changes its domain.
pub(super) enum Moving {
    /// It finds no place where it is.
    Begin(Begin),
    /// It was asked for; the domain has been told already.
    Asked(Arc<WorkflowRecord>, Caller),
}

/// What is done once a domain has answered an order.
pub(super) enum Told {
    Begin(Begin),
    /// A move that was asked for: the workflow as it is, and as it is to be.
    Move(Arc<WorkflowRecord>, Arc<WorkflowRecord>, Caller),
    /// The stop was the last there was to do.
    Answer(Caller, Reply),
    /// A stop that comes before the rest of a move.
    ThenBegin(Begin),
    /// A workflow that the cluster has moved is started, unless it went on since.
    Moved(Arc<WorkflowRecord>),
    Nothing,
}

pub(super) struct Con {
    /// None while the process is dead.
    pub(super) cluster: Option<Cluster>,
    pub(super) disk: Disk,
    /// How far its clock will be ahead of the true time when it is started again.
    pub(super) ahead: Duration,
    /// The same, since it was started.
    was_ahead: Duration,
    pub(super) links: BTreeMap<DomainId, Link>,
    pub(super) asking: Vec<Asking>,
    /// Workflows that are being put into a domain, until the call is answered.
    moving: BTreeMap<Call, WorkflowId>,
    epochs: Epochs,
}

impl Con {
    pub(super) fn new() -> Self {
        Self {
            cluster: None,
            disk: Disk::default(),
            ahead: Duration::ZERO,
            was_ahead: Duration::ZERO,
            links: BTreeMap::new(),
            asking: Vec::new(),
            moving: BTreeMap::new(),
            epochs: Epochs::default(),
        }
    }

    fn now(&self, context: &Context) -> Timestamp {
        context.now + self.was_ahead
    }

    pub(super) fn crash(&mut self, context: &mut Context) {
        self.cluster = None;
        self.links.clear();
        self.asking.clear();
        self.moving.clear();
        self.disk.crash(context);
        context.set_life(Place::Con, None);
    }

    pub(super) fn start(&mut self, context: &mut Context) {
        let life = context.unique();
        context.set_life(Place::Con, Some(life));
        self.was_ahead = self.ahead;
        let now = self.now(context);
        if context.sabotage == Some(Sabotage::LivesFollowTheClock) {
            self.disk.life = 0;
        }
        self.disk.life = self.disk.life.max(now.as_nanos()) + 1;
        self.epochs = Epochs::new(self.disk.life);
        let workflows = self.disk.workflows.values().cloned().collect();
        let cluster = Cluster::new(workflows, self.disk.domains.clone(), now);
        self.cluster = Some(cluster);
        context.timer(TICK, Place::Con, Timer::Tick);
    }

    pub(super) fn on_timer(&mut self, timer: Timer, context: &mut Context) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        match timer {
            Timer::Tick => {
                context.timer(TICK, Place::Con, Timer::Tick);
                let effects = cluster.on_tick(context.now + self.was_ahead);
                self.keep(effects, None, context);
            }
            Timer::Deadline(call) => self.on_reply(call, &Reply::Broken, context),
            Timer::Synced => {
                let (done, kept) = self.disk.synced(context);
                for then in done {
                    self.written(then, kept, context);
                }
            }
            Timer::Settle(domain_id) => {
                let desired = cluster.desired(&domain_id);
                let mut done = Vec::new();
                if let Some(link) = self.links.get_mut(&domain_id) {
                    link.turn(&desired, &mut done, context);
                }
                self.tell(done, context);
            }
            Timer::Refresh(_)
            | Timer::StepDone(..)
            | Timer::Retry(_)
            | Timer::Mirror
            | Timer::Disk => {}
        }
    }

    pub(super) fn on_reply(&mut self, call: Call, reply: &Reply, context: &mut Context) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        if self.asking.iter().any(|asking| asking.waits_for(call)) {
            return self.on_looked(call, reply, context);
        }
        let mut done = Vec::new();
        for (domain_id, link) in &mut self.links {
            if link.on_reply(call, reply, cluster, &mut done, context) {
                let desired = cluster.desired(domain_id);
                link.turn(&desired, &mut done, context);
                break;
            }
        }
        self.tell(done, context);
    }

    pub(super) fn on_request(&mut self, caller: Caller, request: Request, context: &mut Context) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        match request {
            Request::UpdateDomain(update) => {
                let (answer, effects) = cluster.on_update(*update, context.now + self.was_ahead);
                self.keep(effects, Some((caller, answer)), context);
            }
            Request::Submit(name, vertices, may_wait) => {
                let record = Arc::new(new_record(name, vertices, self.now(context), context));
                let begin = Begin {
                    record,
                    may_wait,
                    tried: BTreeSet::new(),
                    caller,
                };
                self.choose(Choosing::First(begin), context);
            }
            Request::StopWorkflow(workflow_id) => match cluster.remove(workflow_id) {
                None => respond(caller, Reply::Refused("unknown".to_owned()), context),
                Some(record) => {
                    let writes = vec![Write::WorkflowGone(workflow_id)];
                    let answer = Some((caller, Reply::Done));
                    self.write(writes, Then::Stop(record, answer), context);
                }
            },
            Request::MoveWorkflow(workflow_id, domain_id) => {
                self.begin_move(workflow_id, &domain_id, caller, context);
            }
            Request::UpdateNode(_)
            | Request::Start(..)
            | Request::Reconcile(..)
            | Request::StopVertices(..)
            | Request::Lookup(_)
            | Request::Apply(_)
            | Request::Intent(_) => {}
        }
    }

    fn begin_move(
        &mut self,
        workflow_id: WorkflowId,
        domain_id: &DomainId,
        caller: Caller,
        context: &mut Context,
    ) {
        let Some(cluster) = &self.cluster else {
            return;
        };
        let Some(record) = cluster.workflow(workflow_id).cloned() else {
            return respond(caller, Reply::Refused("unknown".to_owned()), context);
        };
        if record.domain_id.as_ref() == Some(domain_id) {
            return respond(caller, Reply::Done, context);
        }
        self.moving.retain(|call, _| !context.answered.remove(call));
        if self.moving.values().any(|it| *it == workflow_id) {
            return respond(caller, Reply::Refused("moving".to_owned()), context);
        }
        self.moving.insert(caller.1, workflow_id);
        let there = (record, domain_id.clone());
        self.choose(Choosing::Move(there, caller), context);
    }

    /// A workflow that is new has a domain, or has none and waits.
    pub(super) fn chosen(
        &mut self,
        mut begin: Begin,
        choice: Result<DomainId, String>,
        context: &mut Context,
    ) {
        match (choice, begin.may_wait) {
            (Ok(domain_id), _) => Arc::make_mut(&mut begin.record).domain_id = Some(domain_id),
            (Err(_), true) => {}
            (Err(reason), false) => return respond(begin.caller, Reply::Refused(reason), context),
        }
        self.moving.insert(begin.caller.1, begin.record.workflow_id);
        if let Some(cluster) = &mut self.cluster {
            cluster.reserve(&begin.record);
        }
        let writes = vec![Write::Workflow(Arc::clone(&begin.record))];
        self.write(writes, Then::Begin(begin), context);
    }

    /// A workflow is to be moved, and can be.
    pub(super) fn start_there(
        &mut self,
        (record, domain_id): (Arc<WorkflowRecord>, DomainId),
        caller: Caller,
        context: &mut Context,
    ) {
        let mut there = WorkflowRecord::clone(&record);
        there.domain_id = Some(domain_id.clone());
        let there = Arc::new(there);
        if let Some(cluster) = &mut self.cluster {
            cluster.begin_move(Arc::clone(&there));
        }
        let told = Told::Move(record, Arc::clone(&there), caller);
        self.order(&domain_id, Order::Start(there, told), context);
    }

    fn write(&mut self, writes: Vec<Write>, then: Then, context: &mut Context) {
        if context.sabotage == Some(Sabotage::AcknowledgesBeforeDisk) {
            self.disk.queue(writes, None, context);
            return self.written(then, true, context);
        }
        self.disk.queue(writes, Some(then), context);
    }

    /// What is to be kept is kept first.
    pub(super) fn keep(
        &mut self,
        effects: Vec<Effect>,
        reply: Option<(Caller, Answer)>,
        context: &mut Context,
    ) {
        let mut writes = Vec::new();
        for effect in &effects {
            match effect {
                Effect::Entered(domain_id) => writes.push(Write::Domain(domain_id.clone())),
                Effect::Assigned(domain_id, workflow_ids) => {
                    let name = |id: &WorkflowId| Some(&self.cluster.as_ref()?.workflow(*id)?.name);
                    context.say(|| {
                        let names: Vec<_> = workflow_ids.iter().filter_map(name).collect();
                        format!("Con moves {names:?} to {domain_id}")
                    });
                    let moved = workflow_ids.iter().copied();
                    writes.extend(moved.map(|id| Write::Moved(id, domain_id.clone())));
                }
                Effect::Lost(domain_id) => {
                    context.say(|| format!("Con takes {domain_id} for lost"));
                }
                Effect::Meet { .. } | Effect::Reconcile(_) | Effect::Start(..) | Effect::Ask(_) => {
                }
            }
        }
        let then = Then::CarryOut(effects, reply);
        match writes.is_empty() {
            true => self.written(then, true, context),
            false => self.disk.queue(writes, Some(then), context),
        }
    }

    fn written(&mut self, then: Then, kept: bool, context: &mut Context) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        match then {
            Then::Begin(begin) => {
                cluster.release(&begin.record);
                if !kept {
                    let reply = Reply::Refused("disk".to_owned());
                    return respond(begin.caller, reply, context);
                }
                cluster.put(Arc::clone(&begin.record));
                self.begin(begin, context);
            }
            Then::CarryOut(effects, reply) => {
                self.carry_out(effects, context);
                if let Some((caller, answer)) = reply {
                    let life = self.epochs.life();
                    respond(caller, Reply::Domain(answer, life), context);
                }
            }
            Then::Stop(record, answer) if kept => {
                let told =
                    answer.map_or(Told::Nothing, |(caller, reply)| Told::Answer(caller, reply));
                self.stop_there(&record, told, context);
            }
            Then::Stop(record, answer) => {
                cluster.put(Arc::clone(&record));
                self.owe(&record, context);
                if let Some((caller, _)) = answer {
                    respond(caller, Reply::Broken, context);
                }
            }
            Then::Reassigned(before, moving) if kept => {
                let told = match moving {
                    Moving::Begin(begin) => Told::ThenBegin(begin),
                    Moving::Asked(_, caller) => Told::Answer(caller, Reply::Done),
                };
                self.stop_there(&before, told, context);
            }
            Then::Reassigned(before, moving) => {
                cluster.assign(before.workflow_id, before.domain_id.clone());
                self.owe(&before, context);
                match moving {
                    Moving::Begin(begin) => respond(begin.caller, Reply::Broken, context),
                    Moving::Asked(there, caller) => {
                        self.stop_there(&there, Told::Answer(caller, Reply::Broken), context);
                    }
                }
            }
        }
    }

    fn carry_out(&mut self, effects: Vec<Effect>, context: &mut Context) {
        for effect in effects {
            match effect {
                Effect::Meet { domain_id, .. } => {
                    // It has one address in all its lives here.
                    let link = self.links.entry(domain_id.clone());
                    let epochs = &self.epochs;
                    let new = || Link::new(&domain_id, epochs.clone());
                    link.or_insert_with(new).owe(context);
                }
                Effect::Reconcile(domain_id) => {
                    if let Some(link) = self.links.get_mut(&domain_id) {
                        link.owe(context);
                    }
                }
                Effect::Start(domain_id, workflow_ids) => {
                    let cluster = self.cluster.as_ref();
                    let known = |id: &WorkflowId| cluster?.workflow(*id).cloned();
                    let records: Vec<_> = workflow_ids.iter().filter_map(known).collect();
                    for record in records {
                        let told = Told::Moved(Arc::clone(&record));
                        self.order(&domain_id, Order::Start(record, told), context);
                    }
                }
                Effect::Ask(ask) => self.ask(vec![ask], None, context),
                Effect::Entered(_) | Effect::Assigned(..) | Effect::Lost(_) => {}
            }
        }
    }

    fn order(&mut self, domain_id: &DomainId, order: Order, context: &mut Context) {
        let mut done = Vec::new();
        match (self.links.get_mut(domain_id), &self.cluster) {
            (Some(link), Some(cluster)) => {
                link.order(order);
                link.turn(&cluster.desired(domain_id), &mut done, context);
            }
            _ => done.push((order.told(), Err("its domain is not there".to_owned()))),
        }
        self.tell(done, context);
    }

    /// A workflow stays where it is after all; its domain may have been told everything without it.
    fn owe(&mut self, record: &WorkflowRecord, context: &mut Context) {
        let domain_id = record.domain_id.as_ref();
        if let Some(link) = domain_id.and_then(|id| self.links.get_mut(id)) {
            link.owe(context);
        }
    }

    fn stop_there(&mut self, record: &WorkflowRecord, told: Told, context: &mut Context) {
        let order = Order::Stop(record.workflow_id, logical_ids(record), told);
        match record.domain_id.clone() {
            Some(domain_id) => self.order(&domain_id, order, context),
            None => self.tell(vec![(order.told(), Ok(Vec::new()))], context),
        }
    }

    /// Orders were answered: what waited for them goes on.
    fn tell(&mut self, done: Vec<(Told, Result<Vec<Started>, String>)>, context: &mut Context) {
        for (told, answer) in done {
            match told {
                Told::Begin(begin) => self.begun(begin, answer, context),
                Told::Move(before, there, caller) => {
                    self.moved(&before, there, caller, answer, context);
                }
                Told::Answer(caller, reply) => respond(caller, reply, context),
                Told::ThenBegin(begin) => self.begin(begin, context),
                Told::Moved(record) => {
                    if answer.is_ok() && !self.is_current(&record) {
                        self.stop_there(&record, Told::Nothing, context);
                    }
                }
                Told::Nothing => {}
            }
        }
    }

    fn begin(&mut self, begin: Begin, context: &mut Context) {
        let Some(domain_id) = begin.record.domain_id.clone() else {
            return accepted(&begin, context);
        };
        let record = Arc::clone(&begin.record);
        let order = Order::Start(record, Told::Begin(begin));
        self.order(&domain_id, order, context);
    }

    fn begun(
        &mut self,
        mut begin: Begin,
        answer: Result<Vec<Started>, String>,
        context: &mut Context,
    ) {
        let Ok(outcomes) = answer else {
            // It is kept, and the domain is told again.
            return accepted(&begin, context);
        };
        let Some(cluster) = &self.cluster else {
            return;
        };
        let workflow_id = begin.record.workflow_id;
        let is_known = cluster.workflow(workflow_id).is_some();
        if !self.is_current(&begin.record) {
            let reply = match is_known {
                true => Reply::Accepted(workflow_id),
                false => Reply::Refused("stopped meanwhile".to_owned()),
            };
            let told = Told::Answer(begin.caller, reply);
            return self.stop_there(&begin.record, told, context);
        }
        match judge(&begin.record, &outcomes) {
            Outcome::Good => accepted(&begin, context),
            Outcome::Refused(_) => self.begin_elsewhere(begin, None, context),
            Outcome::Infeasible(_) => {
                begin.tried.extend(begin.record.domain_id.clone());
                self.choose(Choosing::Next(begin), context);
            }
        }
    }

    /// A workflow found no place where it was: it goes on elsewhere, or is taken back.
    pub(super) fn begin_elsewhere(
        &mut self,
        mut begin: Begin,
        next: Option<DomainId>,
        context: &mut Context,
    ) {
        let Some(cluster) = &mut self.cluster else {
            return;
        };
        let workflow_id = begin.record.workflow_id;
        let reply = Reply::Refused("nobody can run it".to_owned());
        match next {
            None => {
                let Some(record) = cluster.remove(workflow_id) else {
                    return respond(begin.caller, reply, context);
                };
                let then = Then::Stop(record, Some((begin.caller, reply)));
                self.write(vec![Write::WorkflowGone(workflow_id)], then, context);
            }
            Some(next) => {
                let Some(assigned) = cluster.assign(workflow_id, Some(next.clone())) else {
                    return respond(begin.caller, reply, context);
                };
                let before = std::mem::replace(&mut begin.record, assigned);
                let then = Then::Reassigned(before, Moving::Begin(begin));
                self.write(vec![Write::Moved(workflow_id, next)], then, context);
            }
        }
    }

    /// Whether a workflow is where it was when this was taken down.
    fn is_current(&self, record: &WorkflowRecord) -> bool {
        let cluster = self.cluster.as_ref();
        let current = cluster.and_then(|it| it.workflow(record.workflow_id));
        current.map(|it| &it.domain_id) == Some(&record.domain_id)
    }

    fn moved(
        &mut self,
        before: &Arc<WorkflowRecord>,
        there: Arc<WorkflowRecord>,
        caller: Caller,
        answer: Result<Vec<Started>, String>,
        context: &mut Context,
    ) {
        if let Some(cluster) = &mut self.cluster {
            cluster.end_move(before.workflow_id);
        }
        let Ok(outcomes) = answer else {
            let told = Told::Answer(caller, Reply::Broken);
            return self.stop_there(&there, told, context);
        };
        if !matches!(judge(&there, &outcomes), Outcome::Good) {
            let reply = Reply::Refused("it cannot run there".to_owned());
            return self.stop_there(&there, Told::Answer(caller, reply), context);
        }
        let (workflow_id, next) = (there.workflow_id, there.domain_id.clone());
        let cluster = self.cluster.as_mut();
        let assigned = cluster.and_then(|it| it.assign(workflow_id, next.clone()));
        let (Some(_), Some(next)) = (assigned, next) else {
            let told = Told::Answer(caller, Reply::Refused("stopped meanwhile".to_owned()));
            return self.stop_there(&there, told, context);
        };
        let then = Then::Reassigned(Arc::clone(before), Moving::Asked(there, caller));
        self.write(vec![Write::Moved(workflow_id, next)], then, context);
    }
}

pub(super) fn accepted(begin: &Begin, context: &mut Context) {
    let reply = Reply::Accepted(begin.record.workflow_id);
    respond(begin.caller, reply, context);
}

pub(super) fn respond((to, call): Caller, reply: Reply, context: &mut Context) {
    context.answered.insert(call);
    context.reply(Place::Con, to, call, reply);
}

fn logical_ids(record: &WorkflowRecord) -> Vec<LogicalId> {
    let vertices = record.vertices.iter();
    vertices.map(|vertex| vertex.logical_id).collect()
}

fn new_record(
    name: String,
    vertices: Vec<Vertex>,
    accepted: Timestamp,
    context: &mut Context,
) -> WorkflowRecord {
    let draw = |_| LogicalId::random(&mut context.rng);
    let ids: Vec<_> = (0..vertices.len()).map(draw).collect();
    let vertex = |(number, vertex): (usize, Vertex)| VertexRecord {
        logical_id: ids[number],
        spec: vertex.spec,
        outputs: vertex
            .outputs
            .into_iter()
            .map(|(channel, to)| (channel, ids[to]))
            .collect(),
    };
    WorkflowRecord {
        workflow_id: WorkflowId::random(&mut context.rng),
        name,
        accepted,
        domain_id: None,
        vertices: vertices.into_iter().enumerate().map(vertex).collect(),
        notes: Vec::new(),
        domains: DomainRequirements::default(),
        update: None,
    }
}
