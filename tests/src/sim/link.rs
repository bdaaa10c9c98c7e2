//! The worker of ε-CON for one domain, as `con/src/worker.rs` has it: orders in batches; whatever the domain
//! could not be told makes it owe a reconciliation, which is tried with growing pauses.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use edgeless_con::{
    cluster::Cluster,
    epoch::Epochs,
    orc_client::Started,
    store::{VertexRecord, WorkflowRecord},
};
use edgeless_orc::domain::{StartOutcome, VertexRequest};
use edgeless_types::{
    DomainId, Epoch, LogicalId, Timestamp, WaitReason, WorkflowId, workflow::VertexSpec,
};
use rand::Rng;

use super::{
    con::Told,
    net::{Call, Context, Place, Reply, Request, Timer},
};

/// How long a domain may take for starts, and for anything else.
pub(super) const START: Duration = Duration::from_secs(20);
pub(super) const DEADLINE: Duration = Duration::from_secs(5);
/// How often a start that was overtaken is asked for.
const ATTEMPTS: u32 = 3;
/// Bounds of the pause before a domain that did not answer is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));

/// What the domain is to do, and what follows.
pub(super) enum Order {
    Start(Arc<WorkflowRecord>, Told),
    Stop(WorkflowId, Vec<LogicalId>, Told),
}

impl Order {
    pub(super) fn told(self) -> Told {
        match self {
            Self::Start(_, told) | Self::Stop(_, _, told) => told,
        }
    }
}

/// What came of orders.
pub(super) type Answers = Vec<(Told, Result<Vec<Started>, String>)>;

/// The domain must be told everything.
struct Debt {
    reason: String,
    next: Timestamp,
    failures: u32,
}

pub(super) struct Link {
    pub(super) to: Place,
    domain_id: DomainId,
    epochs: Epochs,
    orders: VecDeque<Order>,
    debt: Option<Debt>,
    /// It was said that the domain is to be told everything.
    owed: bool,
    /// The reconciliation under way, and how often it was tried before.
    settling: Option<(Call, u32)>,
    starts: Vec<Starting>,
    stops: Vec<(Call, Vec<Told>)>,
}

/// Functions and resources are started by two calls at the same time.
struct Starting {
    orders: Vec<(Arc<WorkflowRecord>, Told)>,
    calls: Vec<Part>,
    /// How often it was asked for.
    attempts: u32,
}

/// One of these calls.
struct Part {
    call: Call,
    /// Order and vertex of each of its vertices.
    places: Vec<(usize, usize)>,
    reply: Option<Reply>,
}

impl Link {
    pub(super) fn new(domain_id: &DomainId, epochs: Epochs) -> Self {
        let number = domain_id.as_str().trim_start_matches('d').parse();
        Self {
            to: Place::Orc(number.unwrap_or_default()),
            domain_id: domain_id.clone(),
            epochs,
            orders: VecDeque::new(),
            debt: None,
            owed: false,
            settling: None,
            starts: Vec::new(),
            stops: Vec::new(),
        }
    }

    /// The domain is to be told everything, soon.
    pub(super) fn owe(&mut self, context: &mut Context) {
        self.owed = true;
        self.look_soon(Duration::ZERO, context);
    }

    fn look_soon(&self, delay: Duration, context: &mut Context) {
        let timer = Timer::Settle(self.domain_id.clone());
        context.timer(delay, Place::Con, timer);
    }

    pub(super) fn order(&mut self, order: Order) {
        self.orders.push_back(order);
    }

    /// A moment has come at which something may be owed.
    fn settle(&mut self, desired: &[Arc<WorkflowRecord>], context: &mut Context) {
        if self.settling.is_some() {
            return;
        }
        if std::mem::take(&mut self.owed) {
            self.debt = Some(Debt {
                reason: "it is being told everything".to_owned(),
                next: context.now,
                failures: 0,
            });
        }
        if let Some(debt) = self.debt.take_if(|debt| debt.next <= context.now) {
            let epoch = self.epochs.next();
            let vertices = desired.iter().flat_map(|record| requests(record));
            let request = Request::Reconcile(vertices.map(|(_, it)| it).collect(), epoch);
            let call = context.call(Place::Con, self.to, START, request);
            context.say(|| format!("Con tells {} everything, call {call}", self.domain_id));
            self.settling = Some((call, debt.failures));
        }
    }

    /// Orders are given, or answered with what is owed.
    pub(super) fn turn(
        &mut self,
        desired: &[Arc<WorkflowRecord>],
        done: &mut Answers,
        context: &mut Context,
    ) {
        self.settle(desired, context);
        if self.settling.is_some() {
            return;
        }
        let (mut starts, mut stops) = (Vec::new(), Vec::new());
        let (start_epoch, stop_epoch) = (self.epochs.next(), self.epochs.next());
        for order in self.orders.drain(..) {
            if let Some(debt) = &self.debt {
                done.push((order.told(), Err(debt.reason.clone())));
                continue;
            }
            match order {
                Order::Start(record, told) if !has(desired, record.workflow_id) => {
                    done.push((told, Ok(withdrawn(&record))));
                }
                Order::Start(record, told) => {
                    let this = record.workflow_id;
                    let void = stops.extract_if(.., |(it, _, _)| *it == this);
                    done.extend(void.map(|(_, _, told)| (told, Ok(Vec::new()))));
                    starts.push((record, told));
                }
                Order::Stop(workflow_id, _, told) if has(desired, workflow_id) => {
                    done.push((told, Ok(Vec::new())));
                }
                Order::Stop(workflow_id, logical_ids, told) => {
                    stops.push((workflow_id, logical_ids, told));
                }
            }
        }
        if !starts.is_empty() {
            self.start(starts, start_epoch, 1, context);
        }
        if !stops.is_empty() {
            let stops = stops.into_iter().map(|(_, ids, told)| (ids, told));
            let (ids, told): (Vec<_>, Vec<_>) = stops.unzip();
            let request = Request::StopVertices(ids.concat(), stop_epoch);
            let call = context.call(Place::Con, self.to, DEADLINE, request);
            context.say(|| format!("Con stops in {}, call {call}: {ids:?}", self.domain_id));
            self.stops.push((call, told));
        }
    }

    fn start(
        &mut self,
        orders: Vec<(Arc<WorkflowRecord>, Told)>,
        epoch: Epoch,
        attempts: u32,
        context: &mut Context,
    ) {
        let mut kinds = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
        for (order, (record, _)) in orders.iter().enumerate() {
            for (index, vertex) in requests(record) {
                let kind = &mut kinds[usize::from(matches!(vertex.spec, VertexSpec::Resource(_)))];
                kind.0.push((order, index));
                kind.1.push(vertex);
            }
        }
        if orders.is_empty() {
            return;
        }
        let mut calls = Vec::new();
        for (places, vertices) in kinds {
            if !vertices.is_empty() {
                let request = Request::Start(vertices, epoch);
                let call = context.call(Place::Con, self.to, START, request);
                let names = places.iter().map(|&(order, _)| &orders[order].0.name);
                let names: Vec<_> = names.collect();
                context.say(|| format!("Con starts {names:?} in {}, call {call}", self.domain_id));
                calls.push(Part {
                    call,
                    places,
                    reply: None,
                });
            }
        }
        self.starts.push(Starting {
            orders,
            calls,
            attempts,
        });
    }

    /// Takes an answer if it is one to this link.
    pub(super) fn on_reply(
        &mut self,
        call: Call,
        reply: &Reply,
        cluster: &Cluster,
        done: &mut Answers,
        context: &mut Context,
    ) -> bool {
        if let Some((_, failures)) = self.settling.take_if(|(under_way, _)| *under_way == call) {
            if !matches!(reply, Reply::Started(_)) {
                let pause = (PAUSES.0 * 2_u32.pow(failures.min(8))).min(PAUSES.1);
                let pause = pause.mul_f64(context.rng.random_range(0.5..1.0));
                self.debt = Some(Debt {
                    reason: "its domain does not answer".to_owned(),
                    next: context.now + pause,
                    failures: failures + 1,
                });
                self.look_soon(pause, context);
            }
            return true;
        }
        if let Some(index) = self.stops.iter().position(|(it, _)| *it == call) {
            let (_, told) = self.stops.swap_remove(index);
            let answer = match reply {
                Reply::Done => Ok(Vec::new()),
                _ => Err(self.not_told(context)),
            };
            done.extend(told.into_iter().map(|told| (told, answer.clone())));
            return true;
        }
        for index in 0..self.starts.len() {
            let mut calls = self.starts[index].calls.iter_mut();
            if let Some(part) = calls.find(|it| it.call == call && it.reply.is_none()) {
                part.reply = Some(reply.clone());
                if self.starts[index].calls.iter().all(|it| it.reply.is_some()) {
                    let starting = self.starts.swap_remove(index);
                    self.started(starting, cluster, done, context);
                }
                return true;
            }
        }
        false
    }

    fn started(
        &mut self,
        mut starting: Starting,
        cluster: &Cluster,
        done: &mut Answers,
        context: &mut Context,
    ) {
        let mut replies = starting.calls.iter().filter_map(|part| part.reply.as_ref());
        let first_bad = replies.find(|reply| !matches!(reply, Reply::Started(_)));
        // A reconciliation has come first: what is desired is asked for as a newer decision.
        if matches!(first_bad, Some(Reply::Overtaken)) && starting.attempts < ATTEMPTS {
            let epoch = self.epochs.next();
            let is_void = |(record, _): &mut (Arc<WorkflowRecord>, Told)| {
                !cluster.is_desired(record.workflow_id, &self.domain_id)
            };
            let void = starting.orders.extract_if(.., is_void);
            done.extend(void.map(|(record, told)| (told, Ok(withdrawn(&record)))));
            return self.start(starting.orders, epoch, starting.attempts + 1, context);
        }
        let empty = |(record, _): &(Arc<WorkflowRecord>, Told)| withdrawn(record);
        let mut outcomes: Vec<_> = starting.orders.iter().map(empty).collect();
        for Part { places, reply, .. } in starting.calls {
            let Some(Reply::Started(of_vertices)) = reply else {
                let reason = self.not_told(context);
                let orders = starting.orders.into_iter();
                return done.extend(orders.map(|(_, told)| (told, Err(reason.clone()))));
            };
            for ((order, index), outcome) in places.into_iter().zip(of_vertices) {
                outcomes[order][index] = match outcome {
                    StartOutcome::Running(instances, waiting) => {
                        Started::Running(instances, waiting)
                    }
                    StartOutcome::Waiting(reason) => Started::Waiting(reason),
                    StartOutcome::Refused(reason) => Started::Refused(reason),
                };
            }
        }
        let orders = starting.orders.into_iter().zip(outcomes);
        done.extend(orders.map(|((_, told), outcomes)| (told, Ok(outcomes))));
    }

    /// The domain could not be told: it is owed everything, if it was not before.
    fn not_told(&mut self, context: &mut Context) -> String {
        let reason = "its domain does not answer".to_owned();
        if self.debt.is_none() {
            self.debt = Some(Debt {
                reason: reason.clone(),
                next: context.now,
                failures: 0,
            });
            self.look_soon(Duration::ZERO, context);
        }
        reason
    }
}

fn has(desired: &[Arc<WorkflowRecord>], workflow_id: WorkflowId) -> bool {
    let mut workflow_ids = desired.iter().map(|record| record.workflow_id);
    workflow_ids.any(|it| it == workflow_id)
}

/// Of each of its vertices: another order sees to it, if it is still desired.
fn withdrawn(record: &WorkflowRecord) -> Vec<Started> {
    let on_its_way = Started::Waiting(WaitReason::Starting.to_string());
    vec![on_its_way; record.vertices.len()]
}

/// The vertices of a workflow as the domain is told of them, with their numbers.
fn requests(record: &WorkflowRecord) -> impl Iterator<Item = (usize, VertexRequest)> {
    let workflow_id: WorkflowId = record.workflow_id;
    let request = move |vertex: &VertexRecord| VertexRequest {
        logical_id: vertex.logical_id,
        workflow_id,
        spec: vertex.spec.clone(),
        outputs: vertex.outputs.clone(),
    };
    let vertices = record.vertices.iter().enumerate();
    vertices.map(move |(number, vertex)| (number, request(vertex)))
}
