//! Nodes and a controller as they would behave, around a domain: for its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_types::{
    CodeDigest, DomainId, LogicalId, NodeId, Timestamp, WorkflowId,
    intent::Intent,
    workflow::{FunctionSpec, VertexSpec},
};
use uuid::Uuid;

use super::{
    Command, Domain, Effect, NodeUpdateReply, Overcommit, Settings, StartOutcome, Step,
    StrategyKind, Ticket, VertexRequest,
};

mod check;
mod happening;
mod node;

pub(super) use happening::{Happening, happening};
use node::SimulatedNode;

const NODES: u128 = 4;
const VERTICES: u128 = 6;
/// Each copy asks for 400 thousandths of the one core of its node.
const ROOM: usize = 2;
/// Nodes refuse copies of this version.
const BAD: u8 = 9;

/// What ε-CON desires of a vertex.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desired {
    pub(super) version: u8,
    /// The version that it goes back to.
    good: u8,
    copies: usize,
}

pub(super) struct Simulation {
    pub(super) domain: Domain,
    pub(super) now: Timestamp,
    pub(super) nodes: BTreeMap<NodeId, SimulatedNode>,
    cordoned: BTreeSet<NodeId>,
    drained: BTreeSet<NodeId>,
    /// What the journal has of vertices without copies.
    pub(super) asleep: BTreeMap<LogicalId, Option<bytes::Bytes>>,
    /// What ε-CON desires.
    pub(super) desired: BTreeMap<u128, Desired>,
    life: u64,
    ticket: u64,
    /// Starts that wait for their answer: of which vertices.
    pub(super) asked: BTreeMap<Ticket, Vec<u128>>,
    /// Updates that were taken back, and why.
    pub(super) refused: Vec<String>,
    /// All that was to be done so far.
    pub(super) effects: Vec<Effect>,
}

pub(super) fn node_id(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(100 + number))
}
pub(super) fn logical_id(number: u128) -> LogicalId {
    LogicalId::new(Uuid::from_u128(200 + number))
}

/// Two copies of the last but one are wanted at least, and one of the first at most; the last comes first.
pub(super) fn request(number: u128, version: u8) -> VertexRequest {
    let mut annotations = vec![("cpu_millis", "400")];
    annotations.extend(match number {
        0 => vec![("max_instances", "1"), ("label_prefer", "zone=0")],
        1 => vec![("affinity_with", "f0"), ("priority", "-1")],
        2 => vec![("anti_affinity_with", "f0,f1")],
        4 => vec![("min_instances", "2"), ("spread_by", "zone")],
        5 => vec![("priority", "5")],
        _ => vec![],
    });
    let annotations = annotations
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()));
    let target = logical_id((number + 1) % VERTICES);
    VertexRequest {
        logical_id: logical_id(number),
        workflow_id: WorkflowId::new(Uuid::from_u128(300)),
        spec: VertexSpec::Function(FunctionSpec {
            name: format!("f{number}"),
            class_id: "f".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: version.to_string(),
            code: CodeDigest::of(b"f"),
            outputs: ["out".to_owned()].into(),
            annotations: annotations.collect(),
        }),
        outputs: [("out".to_owned(), target)].into(),
    }
}

/// How many copies are desired when so many are asked for.
fn copies(number: u128, asked: usize) -> usize {
    match number {
        0 => 1,
        4 => asked.max(2),
        _ => asked,
    }
}

fn priority(number: u128) -> i32 {
    match number {
        1 => -1,
        5 => 5,
        _ => 0,
    }
}

pub(super) fn settings(life: u64) -> Settings {
    Settings {
        domain_id: DomainId::new("d"),
        strategy: StrategyKind::Random,
        overcommit: Overcommit::default(),
        seed: 1,
        life,
        adoption_grace: Duration::from_secs(1),
        linger: Duration::from_millis(100),
        healing_per_node: 1,
        flapping: super::Flapping {
            times: 0,
            ..super::Flapping::default()
        },
        rebalancing: super::Rebalancing::default(),
        scaling: crate::scale::Settings::default(),
    }
}

impl Simulation {
    pub(super) fn new() -> Self {
        Self::with(settings(0))
    }

    pub(super) fn with(settings: Settings) -> Self {
        let nodes = (0..NODES).map(|number| (node_id(number), SimulatedNode::default()));
        Self {
            domain: Domain::new(settings, true),
            now: Timestamp::from_nanos(1_000_000_000),
            nodes: nodes.collect(),
            cordoned: BTreeSet::new(),
            asleep: BTreeMap::new(),
            drained: BTreeSet::new(),
            desired: BTreeMap::new(),
            life: 0,
            ticket: 0,
            asked: BTreeMap::new(),
            refused: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(super) fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Start(number) => {
                let version = self.desire(number);
                self.ask(number, version);
            }
            Happening::Update(number, version) => {
                if let Some(desired) = self.desired.get_mut(&number) {
                    if desired.version != BAD {
                        desired.good = desired.version;
                    }
                    desired.version = version;
                    self.ask(number, version);
                }
            }
            Happening::Scale(number, asked) => {
                if let Some(desired) = self.desired.get_mut(&number) {
                    desired.copies = copies(number, asked as usize);
                    let logical_id = logical_id(number);
                    let copies = asked;
                    self.command(Command::Scale { logical_id, copies });
                }
            }
            Happening::Stop(number) => {
                self.desired.remove(&number);
                self.command(Command::Stop(vec![logical_id(number)]));
            }
            Happening::RestartDomain => self.restart_domain(),
            Happening::Refresh(number) => {
                self.refresh(node_id(number), false);
            }
            Happening::Restart(number) => {
                let node = self.nodes.get_mut(&node_id(number)).unwrap();
                let nonce = node.nonce + 1;
                *node = SimulatedNode {
                    nonce,
                    ..SimulatedNode::default()
                };
                self.refresh(node_id(number), true);
            }
            Happening::Silence(millis) => self.pass(Duration::from_millis(millis)),
            Happening::Migrate(vertex, node) => {
                let (logical_id, node_id) = (logical_id(vertex), node_id(node));
                self.intent(Intent::Migrate {
                    logical_id,
                    node_id,
                });
            }
            Happening::Cordon(_) | Happening::Drain(_) | Happening::Uncordon(_) => {
                self.close_or_open(happening);
            }
            Happening::Rebalance => {
                self.intent(Intent::Rebalance);
            }
            Happening::Leave(number) => {
                self.nodes.get_mut(&node_id(number)).unwrap().leaving = true;
                self.refresh(node_id(number), false);
            }
            Happening::Deliver => self.deliver(false),
            Happening::Fail => self.deliver(true),
            Happening::StartBoth(..)
            | Happening::Trap(_)
            | Happening::Save(_)
            | Happening::Patch(..)
            | Happening::Change(_)
            | Happening::Reset => self.happen_seldom(happening),
        }
    }

    /// Which version of it is desired then.
    pub(super) fn desire(&mut self, number: u128) -> u8 {
        let new = Desired {
            version: 1,
            good: 1,
            copies: copies(number, 1),
        };
        self.desired.entry(number).or_insert(new).version
    }

    pub(super) fn ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    fn ask(&mut self, number: u128, version: u8) {
        let (vertices, ticket) = (vec![request(number, version)], self.ticket());
        self.asked.insert(ticket, vec![number]);
        self.command(Command::Start { vertices, ticket });
    }

    /// ε-CON learns what came of a start.
    fn answered(&mut self, ticket: Ticket, outcomes: &[StartOutcome]) {
        let numbers = self.asked.remove(&ticket).unwrap_or_default();
        for (number, outcome) in numbers.iter().zip(outcomes) {
            let Some(desired) = self.desired.get_mut(number) else {
                continue;
            };
            // An update that waits for a node is taken back as well.
            let text = match outcome {
                StartOutcome::Refused(text) if text.contains("the old one runs again") => text,
                StartOutcome::Waiting(text) if text.starts_with("no ") => text,
                StartOutcome::Refused(_) => continue,
                StartOutcome::Running(..) | StartOutcome::Waiting(_) => continue,
            };
            if desired.version == BAD || text.contains("the old one runs again") {
                desired.version = desired.good;
                let good = desired.good;
                self.refused.push(text.clone());
                self.ask(*number, good);
            }
        }
    }

    /// All that ε-ORC knew and all that was on its way to nodes is gone.
    pub(super) fn restart_domain(&mut self) {
        self.life += 1;
        self.domain = Domain::new(settings(self.life), false);
        for node in self.nodes.values_mut() {
            node.steps.clear();
        }
        self.command(Command::Cordoned(self.cordoned.iter().copied().collect()));
        self.command(Command::Drained(self.drained.iter().copied().collect()));
        self.command(Command::Asleep(self.asleep.clone()));
        let mut vertices = Vec::new();
        for (&number, desired) in &mut self.desired {
            desired.copies = copies(number, 1);
            if desired.version == BAD {
                // Where it is the only one that is known, nothing can come back.
                desired.version = desired.good;
            }
            vertices.push(request(number, desired.version));
        }
        let ticket = self.ticket();
        self.asked.clear();
        self.asked
            .insert(ticket, self.desired.keys().copied().collect());
        self.command(Command::Reconcile { vertices, ticket });
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.command(Command::Tick);
    }

    pub(super) fn command(&mut self, command: Command) {
        let effects = self.domain.on_command(command, self.now);
        self.carry_out(effects);
    }

    pub(super) fn intent(&mut self, intent: Intent) -> bool {
        let (outcome, effects) = self.domain.on_intent(intent, self.now);
        self.carry_out(effects);
        outcome.is_ok()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        self.domain.check();
        self.effects.extend(effects.iter().cloned());
        for effect in effects {
            match effect {
                Effect::Step { node_id, step } => {
                    if matches!(step, Step::Start { .. }) {
                        assert!(
                            !self.cordoned.contains(&node_id),
                            "a start on a cordoned node"
                        );
                        let leaving = self.nodes[&node_id].leaving;
                        assert!(!leaving, "a start on a node that leaves");
                    }
                    self.nodes.get_mut(&node_id).unwrap().steps.push(step);
                }
                Effect::Forget(node_id) => {
                    self.nodes.get_mut(&node_id).unwrap().steps.clear();
                }
                Effect::Answer { ticket, outcomes } => self.answered(ticket, &outcomes),
                Effect::Asleep { logical_id, state } => {
                    self.asleep.insert(logical_id, state);
                }
                Effect::Awake(logical_id) => {
                    self.asleep.remove(&logical_id);
                }
                Effect::Meet { .. } | Effect::Change(_) => {}
            }
        }
    }

    pub(super) fn refresh(&mut self, id: NodeId, full: bool) -> NodeUpdateReply {
        let update = self.nodes.get_mut(&id).unwrap().update(id, full);
        let (reply, effects) = self.domain.on_node_update(update, self.now);
        self.carry_out(effects);
        if reply.want_full {
            return self.refresh(id, true);
        }
        reply
    }

    /// Every node does one of its steps.
    pub(super) fn deliver(&mut self, fail: bool) {
        for number in 0..NODES {
            self.deliver_to(node_id(number), fail);
        }
    }

    /// A node does one of its steps.
    pub(super) fn deliver_to(&mut self, node_id: NodeId, fail: bool) {
        let node = self.nodes.get_mut(&node_id).unwrap();
        if let Some((key, result)) = node.obey(fail) {
            self.command(Command::Outcome {
                node_id,
                key,
                result,
            });
        }
    }

    /// Lets everything come to rest.
    pub(super) fn settle(&mut self) {
        for node in self.nodes.values_mut() {
            node.leaving = false;
        }
        self.drained.clear();
        for id in std::mem::take(&mut self.cordoned) {
            self.refresh(id, false);
            self.intent(Intent::Uncordon { node_id: id });
        }
        for round in 0..200 {
            for number in 0..NODES {
                self.refresh(node_id(number), round == 0);
            }
            self.deliver(false);
            self.pass(Duration::from_millis(150));
        }
    }
}
