//! What happens to the world: clients, operators, crashes, partitions, weather; all drawn from the seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_types::{
    CodeDigest, DomainId, LogicalId, WorkflowId,
    intent::Intent,
    workflow::{FunctionSpec, ResourceSpec, VertexSpec},
};
use rand::{Rng, seq::IteratorRandom};

use super::{
    World, check,
    net::{Call, Context, Place, Reply, Request, Timer, Vertex, Weather},
    quiet,
};

/// How long faults go on.
const FAULTS: Duration = Duration::from_secs(40);
/// How long the world is quiet before it is looked at: longer than the longest deadline and pause.
const QUIET: Duration = Duration::from_secs(75);
/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long a client waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something that happens to the world.
#[derive(Clone, Copy, Debug)]
pub(super) enum WorldEvent {
    Crash(Place),
    Restart(Place),
    Cut(Place, Place, Duration),
    RedisAway(usize, Duration),
    RedisStalls(usize, Duration),
    RedisEmpty(usize),
    InstanceFails(usize),
    Saves(usize),
    Scales(usize),
    /// The wall clock of ε-CON or an ε-ORC is set, which takes it over with its next start.
    ClockIsSet(Place),
    Submit,
    Stop,
    Move,
    Intent,
    Look,
    Heal,
    End,
}

/// All clients, and what they know.
#[derive(Default)]
pub(super) struct Client {
    pub(super) accepted: BTreeMap<WorkflowId, String>,
    /// Their stop was asked for.
    pub(super) stopping: BTreeSet<WorkflowId>,
    /// Their stop was acknowledged.
    pub(super) stopped: BTreeSet<WorkflowId>,
    /// Names of workflows that were refused, and why.
    pub(super) refused: BTreeMap<String, String>,
    asked: BTreeMap<Call, What>,
    submitted: u64,
}

enum What {
    Submit(String),
    Stop(WorkflowId),
    Other,
}

impl Client {
    pub(super) fn on_reply(&mut self, call: Call, reply: Reply, context: &mut Context) {
        let Some(what) = self.asked.remove(&call) else {
            return;
        };
        context.say(|| format!("the client learns of call {call}: {reply:?}"));
        match (what, reply) {
            (What::Submit(name), Reply::Accepted(workflow_id)) => {
                self.accepted.insert(workflow_id, name);
            }
            (What::Submit(name), Reply::Refused(reason)) => {
                self.refused.insert(name, reason);
            }
            (What::Stop(workflow_id), Reply::Done) => {
                self.stopped.insert(workflow_id);
            }
            _ => {}
        }
    }

    pub(super) fn on_timer(&mut self, timer: &Timer) {
        if let Timer::Deadline(call) = timer {
            self.asked.remove(call);
        }
    }

    fn ask(&mut self, to: Place, request: Request, what: What, context: &mut Context) {
        let call = context.call(Place::Client, to, PATIENCE, request);
        self.asked.insert(call, what);
    }

    fn submit(&mut self, node_ids: &[edgeless_types::NodeId], context: &mut Context) {
        self.submitted += 1;
        let name = format!("w{}", self.submitted);
        let length = context.rng.random_range(1..=4);
        let mut vertices = Vec::new();
        for number in 0..length {
            let target = (number + 1) % length;
            let resource = number + 1 == length && context.chance(0.4);
            let name = format!("{name}/{number}");
            let spec = match resource {
                true => this_resource(name, context),
                false => this_function(name, node_ids, context),
            };
            let outputs = match resource || target == number {
                true => BTreeMap::new(),
                false => [("out".to_owned(), target)].into(),
            };
            vertices.push(Vertex { spec, outputs });
        }
        let may_wait = context.chance(0.5);
        context.say(|| format!("the client submits {name}: {length} vertices"));
        let request = Request::Submit(name.clone(), vertices, may_wait);
        self.ask(Place::Con, request, What::Submit(name), context);
    }
}

fn this_resource(name: String, context: &mut Context) -> VertexSpec {
    let class = ["file-log", "redis"][usize::from(context.chance(0.3))];
    VertexSpec::Resource(ResourceSpec {
        name,
        class_type: class.to_owned(),
        configurations: BTreeMap::new(),
    })
}

fn this_function(
    name: String,
    node_ids: &[edgeless_types::NodeId],
    context: &mut Context,
) -> VertexSpec {
    let mut annotations = BTreeMap::new();
    let mut add = |key: &str, value: String| annotations.insert(key.to_owned(), value);
    if context.chance(0.5) {
        // Now and then so much that room gets scarce.
        let most = if context.chance(0.3) { 1_200 } else { 400 };
        let amount: u32 = context.rng.random_range(50..most);
        add("cpu_millis", amount.to_string());
    }
    if context.chance(0.2) {
        add(
            "memory_mib",
            context.rng.random_range(100..1_500_u32).to_string(),
        );
    }
    if context.chance(0.2) {
        let zone = context.rng.random_range(0..2);
        add("label_match_all", format!("zone={zone}"));
    }
    if context.chance(0.1) {
        add("tee", "required".to_owned());
    }
    if context.chance(0.2) {
        add("min_instances", "2".to_owned());
    } else if context.chance(0.5) {
        add("max_instances", "1".to_owned());
    }
    if context.chance(0.2) {
        let priority = context.rng.random_range(-2..=2_i32);
        add("priority", priority.to_string());
    }
    if context.chance(0.1) {
        add("spread_by", "zone".to_owned());
    }
    if context.chance(0.1) {
        let zone = context.rng.random_range(0..2);
        add("label_prefer", format!("zone={zone}"));
    }
    if context.chance(0.1) {
        // Of the vertices of its workflow it need not be one that is there.
        let other = name.replace("/1", "/0");
        let key = ["affinity_with", "anti_affinity_with"][usize::from(context.chance(0.5))];
        add(key, other);
    }
    if context.chance(0.1) {
        let some = node_ids.iter().choose_multiple(&mut context.rng, 2);
        let some: Vec<_> = some.iter().map(ToString::to_string).collect();
        add("node_id_match_any", some.join(","));
    }
    VertexSpec::Function(FunctionSpec {
        name,
        class_id: "f".to_owned(),
        function_type: "RUST_WASM".to_owned(),
        version: "1".to_owned(),
        code: CodeDigest::of(b"f"),
        outputs: ["out".to_owned()].into(),
        annotations,
    })
}

impl World {
    /// Draws what will happen.
    pub(super) fn draw(&mut self) {
        let context = &mut self.context;
        let mut maybe = |most: f64| match context.chance(0.6) {
            true => context.rng.random_range(0.0..most),
            false => 0.0,
        };
        let weather = Weather {
            lost: maybe(0.05),
            twice: maybe(0.05),
            slow: maybe(0.3),
            late: maybe(0.02),
            torn: maybe(0.4),
            failing: maybe(0.3),
        };
        context.weather = weather;
        context.say(|| format!("{weather:?}"));
        for place in [Place::Con, Place::Orc(0), Place::Orc(1)] {
            context.world(Duration::ZERO, WorldEvent::Restart(place));
        }
        for number in 0..self.nodes.len() {
            context.world(Duration::ZERO, WorldEvent::Restart(Place::Node(number)));
        }
        for orc in &mut self.orcs {
            orc.ahead = context.micros(0, 60_000_000);
        }
        self.con.ahead = context.micros(0, 60_000_000);
        context.world(LOOK, WorldEvent::Look);
        context.world(FAULTS, WorldEvent::Heal);
        context.world(FAULTS + QUIET, WorldEvent::End);
        self.draw_load();
        self.draw_faults();
    }

    fn draw_load(&mut self) {
        let context = &mut self.context;
        let load = [
            (WorldEvent::Submit, 16),
            (WorldEvent::Stop, 8),
            (WorldEvent::Move, 4),
            (WorldEvent::Intent, 10),
        ];
        for (event, most) in load {
            for _ in 0..context.rng.random_range(0..=most) {
                let at = context.micros(500_000, 40_000_000);
                context.world(at, event);
            }
        }
    }

    fn draw_faults(&mut self) {
        let nodes = self.nodes.len();
        let domain_of: Vec<_> = self.nodes.iter().map(|node| node.domain).collect();
        let context = &mut self.context;
        let number = |most: usize, context: &mut Context| match context.chance(0.6) {
            true => context.rng.random_range(0..=most),
            false => 0,
        };
        for _ in 0..number(5, context) {
            let place = Place::Node(context.rng.random_range(0..nodes));
            let at = context.micros(0, 40_000_000);
            context.world(at, WorldEvent::Crash(place));
            let away = context.micros(50_000, 8_000_000);
            context.world(at + away, WorldEvent::Restart(place));
        }
        for place in [Place::Con, Place::Orc(0), Place::Orc(1)] {
            for _ in 0..number(2, context) {
                let at = context.micros(0, 40_000_000);
                context.world(at, WorldEvent::Crash(place));
                let away = context.micros(50_000, 12_000_000);
                context.world(at + away, WorldEvent::Restart(place));
            }
        }
        for _ in 0..number(6, context) {
            let at = context.micros(0, 38_000_000);
            let time = context.micros(100_000, 15_000_000);
            let node = context.rng.random_range(0..nodes);
            let ends = match context.chance(0.6) {
                true => (Place::Node(node), Place::Orc(domain_of[node])),
                false => (Place::Con, Place::Orc(context.rng.random_range(0..2))),
            };
            context.world(at, WorldEvent::Cut(ends.0, ends.1, time));
        }
        for _ in 0..number(4, context) {
            let domain = context.rng.random_range(0..2);
            let at = context.micros(0, 40_000_000);
            let time = context.micros(100_000, 6_000_000);
            let event = match context.rng.random_range(0..3) {
                0 => WorldEvent::RedisAway(domain, time),
                1 => WorldEvent::RedisStalls(domain, time),
                _ => WorldEvent::RedisEmpty(domain),
            };
            context.world(at, event);
        }
        for _ in 0..number(6, context) {
            let node = context.rng.random_range(0..nodes);
            let at = context.micros(0, 40_000_000);
            context.world(at, WorldEvent::InstanceFails(node));
        }
        for _ in 0..number(60, context) {
            let node = context.rng.random_range(0..nodes);
            let at = context.micros(0, 60_000_000);
            context.world(at, WorldEvent::Saves(node));
        }
        for _ in 0..number(6, context) {
            let domain = context.rng.random_range(0..2);
            let at = context.micros(0, 60_000_000);
            context.world(at, WorldEvent::Scales(domain));
        }
        for place in [Place::Con, Place::Orc(0), Place::Orc(1)] {
            for _ in 0..number(2, context) {
                let at = context.micros(0, 40_000_000);
                context.world(at, WorldEvent::ClockIsSet(place));
            }
        }
    }

    /// Something happens; true: it was the last.
    pub(super) fn happen(&mut self, event: WorldEvent) -> bool {
        if !matches!(event, WorldEvent::Look) {
            self.context.say(|| format!("{event:?}"));
        }
        let context = &mut self.context;
        match event {
            WorldEvent::Crash(place) if context.life(place).is_some() => match place {
                Place::Con => self.con.crash(context),
                Place::Orc(number) => self.orcs[number].crash(context),
                Place::Node(number) => self.nodes[number].crash(context),
                Place::Client => {}
            },
            WorldEvent::Restart(place) if context.life(place).is_none() => self.restart(place),
            WorldEvent::Crash(_) | WorldEvent::Restart(_) => {}
            WorldEvent::Cut(one, other, time) => context.cut(one, other, time),
            WorldEvent::RedisAway(number, time) => {
                self.orcs[number].redis.away_until = context.now + time;
            }
            WorldEvent::RedisStalls(number, time) => {
                self.orcs[number].redis.stalls_until = context.now + time;
            }
            WorldEvent::RedisEmpty(number) => self.orcs[number].redis.keys.clear(),
            WorldEvent::InstanceFails(number) => self.nodes[number].lose_one(context),
            WorldEvent::Scales(number) => self.orcs[number].scale_one(context),
            WorldEvent::Saves(number) => self.nodes[number].save_one(context),
            WorldEvent::ClockIsSet(place) => self.set_clock(place),
            WorldEvent::Submit | WorldEvent::Stop | WorldEvent::Move | WorldEvent::Intent => {
                self.ask(event);
            }
            WorldEvent::Look => {
                context.world(LOOK, WorldEvent::Look);
                check::now_and_then(self);
            }
            WorldEvent::Heal => self.heal(),
            WorldEvent::End => {
                if let Err(problem) = quiet::check(self) {
                    self.context.break_with(|| problem);
                }
                return true;
            }
        }
        false
    }

    /// By up to a minute or an hour, forwards or backwards.
    fn set_clock(&mut self, place: Place) {
        let most = match self.context.chance(0.3) {
            true => 3_600_000_000,
            false => 60_000_000,
        };
        let ahead = self.context.micros(0, most);
        match place {
            Place::Con => self.con.ahead = ahead,
            Place::Orc(number) => self.orcs[number].ahead = ahead,
            Place::Client | Place::Node(_) => {}
        }
    }

    fn restart(&mut self, place: Place) {
        let context = &mut self.context;
        match place {
            Place::Con => self.con.start(context),
            Place::Orc(number) => self.orcs[number].start(context),
            Place::Node(number) => self.nodes[number].start(context),
            Place::Client => {}
        }
    }

    fn heal(&mut self) {
        self.context.heal();
        let mut places = vec![Place::Con];
        places.extend(self.orcs.iter().map(|orc| orc.place()));
        places.extend(self.nodes.iter().map(|node| node.place()));
        for place in places {
            if self.context.life(place).is_none() {
                self.restart(place);
            }
        }
        for orc in &mut self.orcs {
            orc.redis.away_until = self.context.now;
            orc.redis.stalls_until = self.context.now;
        }
    }

    fn ask(&mut self, event: WorldEvent) {
        let World {
            context,
            client,
            nodes,
            ..
        } = self;
        let node_ids: Vec<_> = nodes.iter().map(|node| node.node_id).collect();
        let known = client.accepted.keys().copied();
        let some = known.choose(&mut context.rng);
        match event {
            WorldEvent::Submit => client.submit(&node_ids, context),
            WorldEvent::Stop => {
                if let Some(workflow_id) = some {
                    client.stopping.insert(workflow_id);
                    let request = Request::StopWorkflow(workflow_id);
                    client.ask(Place::Con, request, What::Stop(workflow_id), context);
                }
            }
            WorldEvent::Move => {
                if let Some(workflow_id) = some {
                    let to = DomainId::new(format!("d{}", context.rng.random_range(0..2)));
                    let request = Request::MoveWorkflow(workflow_id, to);
                    client.ask(Place::Con, request, What::Other, context);
                }
            }
            _ => {
                let node = &nodes[context.rng.random_range(0..nodes.len())];
                let running = nodes.iter().filter(|it| it.domain == node.domain);
                let logical_ids = running.flat_map(|it| it.running.values());
                let vertex: Option<LogicalId> = logical_ids
                    .map(|it| it.instance.logical_id)
                    .choose(&mut context.rng);
                let node_id = node.node_id;
                let intent = match (context.rng.random_range(0..5), vertex) {
                    (0, _) => Intent::Cordon { node_id },
                    (4, _) => Intent::Drain { node_id },
                    (1, _) | (_, None) => Intent::Uncordon { node_id },
                    (_, Some(logical_id)) => Intent::Migrate {
                        logical_id,
                        node_id,
                    },
                };
                context.say(|| format!("{intent:?}"));
                let to = Place::Orc(node.domain);
                client.ask(to, Request::Intent(intent), What::Other, context);
            }
        }
    }
}
