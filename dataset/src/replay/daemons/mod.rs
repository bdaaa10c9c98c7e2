//! Load in simulated time as the daemons carry it: the state of ε-ORC itself places, starts and stops copies, and learns
//! of the load only what nodes and ε-CON tell it, when they tell it.
//!
//! [`super::run`] is how well a policy does that knows everything at once; this is how well the system does. Copies
//! handle one task at once, as functions do; each has an inbox of its own, and what sends to them chooses as the engine
//! of a node does. Tasks of orders wait in ε-CON as well, which hands out as many as its window allows. What is not
//! simulated: time on the network, syncs of the log, services that ε-CON switches off, nodes that fail.

mod flow;
mod node;
mod service;
mod source;
mod steps;
mod vertices;

use std::{collections::BTreeMap, time::Duration};

use edgeless_orc::{
    domain::{Command, Domain, Step, Ticket},
    plan::{fleet::Overcommit, strategy::StrategyKind},
};
use edgeless_types::{BACKLOG_LOOK, DomainId, LogicalId, NodeId, PhysicalId, Timestamp};
use rand::{Rng, SeedableRng, rngs::SmallRng};
use uuid::Uuid;

use self::{
    node::{Instance, Node, Task},
    service::Service,
    source::Source,
};
use super::{
    Outcome, Setup,
    world::{BEGIN, FLAP, service},
};
use crate::synth::Trace;

/// The channel of an `http-ingress`.
const ENTRY: &str = "new_request";
/// How often time passes for ε-ORC: `TICK` of `orc/src/orchestrator.rs`.
const TICK: f64 = 0.02;
/// How often ε-CON tells ε-ORC what orders want: `LOOK` of `con/src/orders/deploy/mod.rs`.
const TELL: f64 = 1.0;
/// Refreshes are at least so far apart: `URGENT_INTERVAL` of `node/src/registration/mod.rs`.
const URGENT: f64 = 0.005;
/// How long a step is on its way to a node.
const STEP: f64 = 0.001;
/// So long before the load everything is there.
const SETTLED: f64 = 5.0;

/// How orders reach functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Entry {
    /// Through the order book: each function is a service.
    Orders,
    /// Through an `http-ingress`, which leads to the first function of the chain; there are no others.
    Http,
}

/// What the daemons are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Daemons {
    /// How many nodes; at least 1.
    pub nodes: u32,
    /// How often each refreshes its registration.
    pub refresh: Duration,
    /// How orders reach functions.
    pub entry: Entry,
    /// Seed of what differs from run to run with the same load: phases of the clock and of refreshes, choices of copies and nodes,
    /// single start times.
    pub chance: u64,
}

/// What a run came to, and how many copies there were.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Instance-seconds count copies that run, as `mapping_to_instance_id.csv` does, from the begin to the end of
    /// the trace.
    pub outcome: Outcome,
    /// For each function: from when on, in seconds since the begin of the trace, it had how many copies.
    pub copies: Vec<Vec<(f64, u32)>>,
}

/// Runs a trace; the same trace, setup and daemons give the same outcome. With [`Entry::Http`] only the first function
/// of each chain is passed.
pub fn run(trace: &Trace, setup: Setup, daemons: Daemons) -> Run {
    World::new(trace, setup, daemons).run()
}

/// Instance-seconds from 0 to `lasts`: copies by the moment, in seconds, from which on there were so many.
pub fn bill(copies: &[(f64, u32)], lasts: f64) -> f64 {
    let (mut sum, mut before) = (0.0, (0.0, 0));
    for (at, number) in copies.iter().copied().chain([(lasts, 0)]) {
        let at = at.clamp(before.0, lasts);
        sum += f64::from(before.1) * (at - before.0);
        before = (at, number);
    }
    sum
}

enum Event {
    Tick,
    Tell,
    /// ε-CON looks at what waits for services.
    LookAtQueues,
    Refresh {
        node: usize,
        turn: u64,
    },
    /// A node looks at what waits there.
    Look {
        node: usize,
        turn: u64,
    },
    Step {
        node: usize,
        step: Box<Step>,
    },
    Ready {
        physical_id: PhysicalId,
    },
    Done {
        physical_id: PhysicalId,
    },
    /// It had long enough to drain.
    Cut {
        physical_id: PhysicalId,
    },
    /// A task that failed is tried again.
    Again {
        order: usize,
    },
}

#[derive(Clone, Copy, Default)]
struct Order {
    arrived: f64,
    step: usize,
    handled: f64,
    /// When its task was handed out.
    handed: f64,
    /// How often its task has failed.
    failed: i32,
}

struct World<'a> {
    trace: &'a Trace,
    setup: Setup,
    daemons: Daemons,
    domain: Domain,
    nodes: Vec<Node>,
    copies: BTreeMap<PhysicalId, Instance>,
    /// Copies that start: where, and of what.
    starting: BTreeMap<PhysicalId, (usize, usize)>,
    sources: BTreeMap<PhysicalId, Source>,
    /// The source of each function that tasks go to, and what waits until there is one.
    newest: Vec<Option<PhysicalId>>,
    homeless: Vec<Vec<usize>>,
    services: Vec<Service>,
    orders: Vec<Order>,
    events: BTreeMap<(u64, u64), Event>,
    number: u64,
    now: f64,
    /// When the load begins: first everything starts and settles.
    begin: f64,
    /// At which part of a second of the clock the load begins: windows count by these.
    phase: f64,
    rng: SmallRng,
    counts: Vec<Vec<(f64, u32)>>,
    outcome: Outcome,
}

fn moment(seconds: f64) -> Timestamp {
    Timestamp::from_unix(Duration::from_secs_f64(BEGIN + seconds))
}

fn node_id(place: usize) -> NodeId {
    NodeId::new(Uuid::from_u128(1 + place as u128))
}

const FUNCTIONS: u128 = 1 << 32;
const SOURCES: u128 = 1 << 33;

fn logical_id(kind: u128, function: usize) -> LogicalId {
    LogicalId::new(Uuid::from_u128(kind + function as u128))
}

/// The function that a vertex is, or brings tasks to.
fn function_of(logical_id: LogicalId) -> (bool, usize) {
    let number = logical_id.uuid().as_u128();
    let place = usize::try_from(number & (FUNCTIONS - 1)).unwrap_or(usize::MAX);
    (number < SOURCES, place)
}

impl<'a> World<'a> {
    fn new(trace: &'a Trace, setup: Setup, daemons: Daemons) -> Self {
        let functions = trace.functions.len();
        let settings = edgeless_orc::domain::Settings {
            domain_id: DomainId::new("replay"),
            strategy: StrategyKind::default(),
            overcommit: Overcommit::default(),
            seed: daemons.chance,
            life: daemons.chance,
            adoption_grace: Duration::ZERO,
            linger: Duration::from_millis(200),
            healing_per_node: 64,
            flapping: edgeless_orc::domain::Flapping::default(),
            rebalancing: edgeless_orc::domain::Rebalancing::default(),
            scaling: edgeless_orc::scale::Settings::default(),
        };
        let nodes = 0..daemons.nodes.max(1) as usize;
        let mut rng = SmallRng::seed_from_u64(daemons.chance ^ 0xdae0_0000);
        Self {
            trace,
            setup,
            daemons,
            domain: Domain::new(settings, true),
            nodes: nodes.map(|place| Node::new(node_id(place))).collect(),
            copies: BTreeMap::new(),
            starting: BTreeMap::new(),
            sources: BTreeMap::new(),
            newest: vec![None; functions],
            homeless: vec![Vec::new(); functions],
            services: (0..functions).map(|_| Service::default()).collect(),
            orders: Vec::with_capacity(trace.arrivals.len()),
            events: BTreeMap::new(),
            number: 0,
            now: 0.0,
            begin: setup.start_time.as_secs_f64() + SETTLED,
            phase: rng.random_range(0.0..1.0),
            rng,
            counts: vec![Vec::new(); functions],
            outcome: Outcome::default(),
        }
    }

    fn run(mut self) -> Run {
        for node in 0..self.nodes.len() {
            self.refresh(node);
            let turn = self.nodes[node].turn;
            let first = self.rng.random_range(0.0..1.0) * self.daemons.refresh.as_secs_f64();
            self.push(first, Event::Refresh { node, turn });
            self.push(BACKLOG_LOOK.as_secs_f64(), Event::Look { node, turn });
        }
        let vertices = self.vertices();
        let ticket = Ticket(1);
        self.command(Command::Start { vertices, ticket });
        self.push(TICK, Event::Tick);
        let first = self.rng.random_range(0.0..TELL);
        self.push(first, Event::Tell);
        let first = self.rng.random_range(0.0..BACKLOG_LOOK.as_secs_f64());
        self.push(first, Event::LookAtQueues);
        let mut next = 0;
        loop {
            let arrival = self.trace.arrivals.get(next).map(|it| it.at + self.begin);
            let Some((&(at, _), _)) = self.events.first_key_value() else {
                break;
            };
            let at = at as f64 / 1e9;
            let is_over = arrival.is_none() && self.outcome.waits.len() == self.orders.len();
            if is_over && at > self.trace.lasts + self.begin {
                break;
            }
            match arrival {
                Some(arrival) if arrival <= at => {
                    self.now = arrival;
                    next += 1;
                    self.arrive();
                }
                Some(_) | None => {
                    if let Some((_, event)) = self.events.pop_first() {
                        self.now = at;
                        self.on_event(event);
                    }
                }
            }
        }
        self.end()
    }

    fn end(mut self) -> Run {
        let counts = self.counts.iter();
        self.outcome.instance_seconds = counts.map(|it| bill(it, self.trace.lasts)).sum();
        self.outcome.finish();
        Run {
            outcome: self.outcome,
            copies: self.counts,
        }
    }

    fn push(&mut self, after: f64, event: Event) {
        self.number += 1;
        let at = ((self.now + after) * 1e9) as u64;
        self.events.insert((at, self.number), event);
    }

    /// A node refreshes its registration, and will again.
    fn refresh_again(&mut self, node: usize) {
        self.refresh(node);
        let turn = self.nodes[node].turn;
        let after = self.daemons.refresh.as_secs_f64();
        self.push(after, Event::Refresh { node, turn });
        self.push(BACKLOG_LOOK.as_secs_f64(), Event::Look { node, turn });
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Tick => {
                self.command(Command::Tick);
                self.push(TICK, Event::Tick);
            }
            Event::Tell => {
                self.tell();
                self.push(TELL, Event::Tell);
            }
            Event::LookAtQueues => {
                if self.services.iter().any(Service::has_doubled) {
                    self.tell();
                }
                self.push(BACKLOG_LOOK.as_secs_f64(), Event::LookAtQueues);
            }
            Event::Refresh { node, turn } if self.nodes[node].turn == turn => {
                self.refresh_again(node);
            }
            Event::Look { node, turn } if self.nodes[node].turn == turn => {
                match self.nodes[node].is_crowded(node, &self.copies, self.now) {
                    true => self.refresh_again(node),
                    false => self.push(BACKLOG_LOOK.as_secs_f64(), Event::Look { node, turn }),
                }
            }
            Event::Refresh { .. } | Event::Look { .. } => {} // It was brought forward.
            Event::Step { node, step } => self.on_step(node, *step),
            Event::Ready { physical_id } => self.ready(physical_id),
            Event::Done { physical_id } => self.done(physical_id),
            Event::Cut { physical_id } => self.cut(physical_id),
            Event::Again { order } => self.again(order),
        }
    }
}

#[cfg(test)]
mod tests;
