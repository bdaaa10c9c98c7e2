//! One queue of events, one generator, and a network that loses, repeats and holds up messages.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use bytes::Bytes;
use edgeless_con::cluster::{Answer, DomainUpdate, Lookup, Question};
use edgeless_orc::domain::{
    NodeUpdate, NodeUpdateReply, StartOutcome, Step, StepResult, VertexRequest,
};
use edgeless_types::{
    DomainId, Epoch, LogicalId, PhysicalId, Timestamp, WorkflowId, intent::Intent,
    workflow::VertexSpec,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{Sabotage, faults::WorldEvent};

/// The first moment of every history.
const BEGIN: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

/// A process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Client,
    Con,
    Orc(usize),
    Node(usize),
}

/// Names a call; never reused.
pub(super) type Call = u64;

/// A vertex as a client writes it: what it is, and its outputs by the number of the vertex they lead to.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    pub(super) spec: VertexSpec,
    pub(super) outputs: BTreeMap<String, usize>,
}

/// What is asked of another process.
#[derive(Clone, Debug)]
pub(super) enum Request {
    UpdateNode(Box<NodeUpdate>),
    UpdateDomain(Box<DomainUpdate>),
    Start(Vec<VertexRequest>, Epoch),
    Reconcile(Vec<VertexRequest>, Epoch),
    StopVertices(Vec<LogicalId>, Epoch),
    Lookup(BTreeSet<Question>),
    Apply(Vec<Step>),
    Submit(String, Vec<Vertex>, bool),
    StopWorkflow(WorkflowId),
    MoveWorkflow(WorkflowId, DomainId),
    Intent(Intent),
}

/// What comes back.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Node(NodeUpdateReply),
    /// With the life of ε-CON.
    Domain(Answer, u64),
    Looked(Lookup),
    /// ε-CON has decided something else since.
    Overtaken,
    Started(Vec<StartOutcome>),
    Applied(Vec<StepResult>),
    Accepted(WorkflowId),
    Done,
    /// It is not done, and nothing of it is left.
    Refused(String),
    /// The other process is not there or the connection broke.
    Broken,
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    Request(Request),
    Reply(Reply),
}

/// What a process set for itself.
#[derive(Clone, Debug)]
pub(super) enum Timer {
    Tick,
    /// A call was not answered in time.
    Deadline(Call),
    /// The update is due that was planned last.
    Refresh(u64),
    /// A step of a batch has come to its end.
    StepDone(Call, usize),
    /// A worker tries again.
    Retry(u64),
    Mirror,
    /// The disk has done what it began.
    Synced,
    /// The disk has had its pause.
    Disk,
    /// A domain is told everything again.
    Settle(DomainId),
}

pub(super) enum Event {
    /// `life`: of the receiver; none: whichever is there.
    Deliver {
        from: (Place, u64),
        to: Place,
        life: Option<u64>,
        call: Call,
        body: Body,
    },
    Timer {
        place: Place,
        life: u64,
        timer: Timer,
    },
    World(WorldEvent),
}

/// How often the network does what it should not; probabilities.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Weather {
    pub(super) lost: f64,
    pub(super) twice: f64,
    pub(super) slow: f64,
    pub(super) late: f64,
    /// Of the answer of a node to steps: the connection breaks.
    pub(super) torn: f64,
    /// Of a start on a node, and of a write of ε-CON and ε-ORC.
    pub(super) failing: f64,
}

/// What everybody shares: time, chance, the queue, the network.
pub(super) struct Context {
    pub(super) now: Timestamp,
    pub(super) rng: StdRng,
    pub(super) weather: Weather,
    pub(super) sabotage: Option<Sabotage>,
    /// The first invariant that did not hold, in words.
    pub(super) broken: Option<String>,
    pub(super) events: u64,
    /// Calls that ε-CON has answered.
    pub(super) answered: BTreeSet<Call>,
    /// What copies had saved that have stopped, and the number of their node, which still lives.
    pub(super) saved: BTreeMap<PhysicalId, (usize, Bytes)>,
    queue: BTreeMap<(Timestamp, u64), Event>,
    next: u64,
    lives: BTreeMap<Place, Option<u64>>,
    cuts: BTreeMap<(Place, Place), Timestamp>,
    /// Until when something was wrong with each process or its connections.
    trouble: BTreeMap<Place, Timestamp>,
    /// So many events are noted; 0: none.
    shown: usize,
    trace: VecDeque<String>,
}

impl Context {
    pub(super) fn new(seed: u64, sabotage: Option<Sabotage>, shown: usize) -> Self {
        Self {
            now: BEGIN,
            rng: StdRng::seed_from_u64(seed),
            weather: Weather::default(),
            sabotage,
            broken: None,
            events: 0,
            answered: BTreeSet::new(),
            saved: BTreeMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            lives: BTreeMap::from([(Place::Client, Some(0))]),
            cuts: BTreeMap::new(),
            trouble: BTreeMap::new(),
            shown,
            trace: VecDeque::new(),
        }
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    /// A duration between two numbers of microseconds.
    pub(super) fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(from..=to))
    }

    pub(super) fn unique(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn after(&mut self, delay: Duration, event: Event) {
        let number = self.unique();
        self.queue.insert((self.now + delay, number), event);
    }

    pub(super) fn timer(&mut self, delay: Duration, place: Place, timer: Timer) {
        if let Some(Some(life)) = self.lives.get(&place).copied() {
            self.after(delay, Event::Timer { place, life, timer });
        }
    }

    pub(super) fn world(&mut self, delay: Duration, event: WorldEvent) {
        self.after(delay, Event::World(event));
    }

    /// The next event, at its time.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let ((at, _), event) = self.queue.pop_first()?;
        self.now = at;
        self.events += 1;
        Some(event)
    }

    /// The life of a process; none: it is dead.
    pub(super) fn life(&self, place: Place) -> Option<u64> {
        self.lives.get(&place).copied().flatten()
    }

    pub(super) fn set_life(&mut self, place: Place, life: Option<u64>) {
        self.lives.insert(place, life);
        self.troubled(place, self.now);
    }

    /// Asks another process; the answer or [`Timer::Deadline`] comes with the same number.
    pub(super) fn call(
        &mut self,
        from: Place,
        to: Place,
        deadline: Duration,
        request: Request,
    ) -> Call {
        let call = self.unique();
        self.timer(deadline, from, Timer::Deadline(call));
        self.send(from, (to, self.life(to)), call, Body::Request(request));
        call
    }

    pub(super) fn reply(&mut self, from: Place, to: (Place, u64), call: Call, reply: Reply) {
        self.send(from, (to.0, Some(to.1)), call, Body::Reply(reply));
    }

    fn send(&mut self, from: Place, to: (Place, Option<u64>), call: Call, body: Body) {
        let Some(life) = self.life(from) else {
            return;
        };
        let ends = (from.min(to.0), from.max(to.0));
        let is_cut = self.cuts.get(&ends).is_some_and(|until| *until > self.now);
        let of_steps = matches!(body, Body::Reply(Reply::Applied(_)));
        let is_torn = of_steps && self.chance(self.weather.torn);
        if is_cut || is_torn || self.chance(self.weather.lost) {
            self.say(|| format!("lost: {from:?} to {:?}, call {call}", to.0));
            self.trouble_between(ends, Duration::ZERO);
            // Often it is the connection that breaks: who asked learns that much.
            if is_torn || (!is_cut && self.chance(0.5)) {
                let broken = Body::Reply(Reply::Broken);
                let (other, who) = match body {
                    Body::Request(_) => ((to.0, 0), (from, Some(life))),
                    Body::Reply(_) => ((from, life), to),
                };
                let delay = self.micros(200, 5_000);
                self.deliver(delay, other, who, call, broken);
            }
            return;
        }
        let mut delay = self.micros(200, 5_000);
        let mut to_life = to.1;
        if self.chance(self.weather.slow) {
            delay = self.micros(5_000, 900_000);
        } else if self.chance(self.weather.late) {
            // Held up for long: it reaches whoever is there by then.
            delay = self.micros(900_000, 20_000_000);
            to_life = to_life.filter(|_| matches!(body, Body::Reply(_)));
            self.say(|| format!("held up for {delay:?}: {from:?} to {:?}, call {call}", to.0));
            self.trouble_between(ends, delay);
        }
        // A client that asks again does so with an idempotency key; nobody does it for the client.
        if ends.0 != Place::Client && self.chance(self.weather.twice) {
            let again = delay + self.micros(0, 3_000_000);
            self.say(|| {
                format!(
                    "once more after {again:?}: {from:?} to {:?}, call {call}",
                    to.0
                )
            });
            self.trouble_between(ends, again);
            let body = body.clone();
            self.deliver(again, (from, life), (to.0, to_life), call, body);
        }
        self.deliver(delay, (from, life), (to.0, to_life), call, body);
    }

    fn deliver(
        &mut self,
        delay: Duration,
        from: (Place, u64),
        (to, life): (Place, Option<u64>),
        call: Call,
        body: Body,
    ) {
        let event = Event::Deliver {
            from,
            to,
            life,
            call,
            body,
        };
        self.after(delay, event);
    }

    /// The receiver has died: mostly its machine says so.
    pub(super) fn undelivered(
        &mut self,
        (from, life): (Place, u64),
        to: Place,
        call: Call,
        body: &Body,
    ) {
        if matches!(body, Body::Request(_)) && self.chance(0.8) {
            let delay = self.micros(200, 5_000);
            let body = Body::Reply(Reply::Broken);
            let life = Some(life);
            self.deliver(delay, (to, 0), (from, life), call, body);
        }
    }

    /// Two processes do not hear one another for a while.
    pub(super) fn cut(&mut self, one: Place, other: Place, time: Duration) {
        let ends = (one.min(other), one.max(other));
        self.cuts.insert(ends, self.now + time);
        self.trouble_between(ends, time);
    }

    /// Everybody hears everybody; what was held up stays so.
    pub(super) fn heal(&mut self) {
        self.cuts.clear();
        self.weather = Weather::default();
    }

    fn trouble_between(&mut self, ends: (Place, Place), time: Duration) {
        let until = self.now + time;
        self.troubled(ends.0, until);
        self.troubled(ends.1, until);
    }

    /// Something is wrong with a process until then.
    pub(super) fn troubled(&mut self, place: Place, until: Timestamp) {
        let known = self.trouble.entry(place).or_default();
        *known = (*known).max(until);
    }

    /// Until when something was wrong with any of these.
    pub(super) fn trouble_of(&self, places: &[Place]) -> Timestamp {
        let known = places.iter().filter_map(|place| self.trouble.get(place));
        known.max().copied().unwrap_or_default()
    }

    /// Notes an event, if events are noted.
    pub(super) fn say(&mut self, text: impl FnOnce() -> String) {
        let since = self.now.since(BEGIN);
        if self.shown > 0 {
            if self.trace.len() == self.shown {
                self.trace.pop_front();
            }
            let line = format!("{:>9.3} s  {}", since.as_secs_f64(), text());
            self.trace.push_back(line);
        }
    }

    /// The last events, oldest first.
    pub(super) fn noted(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace).into()
    }

    /// An invariant does not hold. The first is kept.
    pub(super) fn break_with(&mut self, text: impl FnOnce() -> String) {
        if self.broken.is_none() {
            self.broken = Some(text());
        }
    }
}
