//! Nodes and a controller as they would behave, around a domain: for its tests.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{
    CodeDigest, DomainId, LogicalId, NodeCapabilities, NodeId, PhysicalId, ResourceProvider,
    RunningInstance, Timestamp, WorkflowId,
    intent::Intent,
    workflow::{FunctionSpec, VertexSpec},
};
use proptest::{prelude::*, strategy::Strategy as Values};
use uuid::Uuid;

use super::{
    Command, Domain, Effect, NodeUpdate, NodeUpdateReply, Output, Overcommit, Profile, Settings,
    Step, StepResult, StrategyKind, Ticket, VertexRequest,
};

const NODES: u128 = 4;
const VERTICES: u128 = 6;
const ROOM: usize = 2; // Each vertex asks for 400 thousandths of the one core of its node.

/// What may happen.
#[derive(Clone, Debug)]
pub(super) enum Happening {
    Start(u128),
    Stop(u128),
    Refresh(u128),
    Restart(u128),
    /// ε-ORC dies and returns; ε-CON tells it what is desired.
    RestartDomain,
    Silence(u64),
    Migrate(u128, u128),
    Cordon(u128),
    Uncordon(u128),
    Leave(u128),
    Deliver,
    Fail,
}

pub(super) fn happening() -> impl Values<Value = Happening> {
    let (node, vertex) = (0..NODES, 0..VERTICES);
    prop_oneof![
        3 => vertex.clone().prop_map(Happening::Start),
        1 => vertex.clone().prop_map(Happening::Stop),
        6 => node.clone().prop_map(Happening::Refresh),
        1 => node.clone().prop_map(Happening::Restart),
        1 => Just(Happening::RestartDomain),
        2 => (0_u64..1_500).prop_map(Happening::Silence),
        1 => (vertex, node.clone()).prop_map(|(vertex, node)| Happening::Migrate(vertex, node)),
        1 => node.clone().prop_map(Happening::Cordon),
        1 => node.clone().prop_map(Happening::Uncordon),
        1 => node.prop_map(Happening::Leave),
        8 => Just(Happening::Deliver),
        1 => Just(Happening::Fail),
    ]
}

/// A node as it would behave.
#[derive(Default)]
pub(super) struct SimulatedNode {
    pub(super) nonce: u64,
    sequence: u64,
    leaving: bool,
    /// It refuses every start.
    pub(super) unwilling: bool,
    pub(super) running: BTreeMap<PhysicalId, RunningInstance>,
    outputs: BTreeMap<PhysicalId, Vec<Output>>,
    steps: Vec<Step>,
}

pub(super) struct Simulation {
    pub(super) domain: Domain,
    now: Timestamp,
    pub(super) nodes: BTreeMap<NodeId, SimulatedNode>,
    cordoned: BTreeSet<NodeId>,
    /// What ε-CON desires.
    desired: BTreeSet<u128>,
    life: u64,
    ticket: u64,
}

pub(super) fn node_id(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(100 + number))
}

pub(super) fn logical_id(number: u128) -> LogicalId {
    LogicalId::new(Uuid::from_u128(200 + number))
}

fn request(number: u128) -> VertexRequest {
    let target = logical_id((number + 1) % VERTICES);
    VertexRequest {
        logical_id: logical_id(number),
        workflow_id: WorkflowId::new(Uuid::from_u128(300)),
        spec: VertexSpec::Function(FunctionSpec {
            name: format!("f{number}"),
            class_id: "f".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: "1".to_owned(),
            code: CodeDigest::of(b"f"),
            outputs: ["out".to_owned()].into(),
            annotations: [("cpu_millis".to_owned(), "400".to_owned())].into(),
        }),
        outputs: [("out".to_owned(), target)].into(),
    }
}

fn settings(life: u64) -> Settings {
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
    }
}

impl Simulation {
    pub(super) fn new() -> Self {
        let nodes = (0..NODES).map(|number| (node_id(number), SimulatedNode::default()));
        Self {
            domain: Domain::new(settings(0), true),
            now: Timestamp::from_nanos(1_000_000_000),
            nodes: nodes.collect(),
            cordoned: BTreeSet::new(),
            desired: BTreeSet::new(),
            life: 0,
            ticket: 0,
        }
    }

    pub(super) fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Start(number) => {
                self.desired.insert(number);
                let (vertices, ticket) = (vec![request(number)], self.ticket());
                self.command(Command::Start { vertices, ticket });
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
            Happening::Cordon(number) => {
                if self.intent(Intent::Cordon {
                    node_id: node_id(number),
                }) {
                    self.cordoned.insert(node_id(number));
                }
            }
            Happening::Uncordon(number) => {
                // Its effects are allowed to use the node already.
                let was = self.cordoned.remove(&node_id(number));
                let done = self.intent(Intent::Uncordon {
                    node_id: node_id(number),
                });
                if was && !done {
                    self.cordoned.insert(node_id(number));
                }
            }
            Happening::Leave(number) => {
                self.nodes.get_mut(&node_id(number)).unwrap().leaving = true;
                self.refresh(node_id(number), false);
            }
            Happening::Deliver => self.deliver(false),
            Happening::Fail => self.deliver(true),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    /// All that ε-ORC knew and all that was on its way to nodes is gone.
    pub(super) fn restart_domain(&mut self) {
        self.life += 1;
        self.domain = Domain::new(settings(self.life), false);
        self.cordoned.clear();
        for node in self.nodes.values_mut() {
            node.steps.clear();
        }
        let vertices = self.desired.iter().copied().map(request).collect();
        let ticket = self.ticket();
        self.command(Command::Reconcile { vertices, ticket });
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.command(Command::Tick);
    }

    fn command(&mut self, command: Command) {
        let effects = self.domain.on_command(command, self.now);
        self.carry_out(effects);
    }

    fn intent(&mut self, intent: Intent) -> bool {
        let (outcome, effects) = self.domain.on_intent(intent, self.now);
        self.carry_out(effects);
        outcome.is_ok()
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
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
                Effect::Meet { .. } | Effect::Answer { .. } | Effect::Change(_) => {}
            }
        }
    }

    pub(super) fn refresh(&mut self, id: NodeId, full: bool) -> NodeUpdateReply {
        let node = self.nodes.get_mut(&id).unwrap();
        node.sequence += 1;
        let capabilities = NodeCapabilities {
            num_cores: 1,
            runtimes: vec!["RUST_WASM".to_owned()],
            ..NodeCapabilities::default()
        };
        let profile = Profile {
            agent_url: format!("http://{id}:1"),
            invocation_url: format!("http://{id}:2"),
            capabilities: Arc::new(capabilities),
            providers: Vec::<ResourceProvider>::new(),
        };
        let update = NodeUpdate {
            node_id: id,
            nonce: node.nonce,
            sequence: node.sequence,
            refresh_deadline: Duration::from_secs(1),
            profile: full.then_some(profile),
            health: None,
            samples: None,
            running: full.then(|| node.running.values().copied().collect()),
            failures: Vec::new(),
            states: Vec::new(),
            demand: Vec::new(),
            leaving: node.leaving,
        };
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
            let id = node_id(number);
            let node = self.nodes.get_mut(&id).unwrap();
            if node.steps.is_empty() {
                continue;
            }
            let step = node.steps.remove(0);
            let key = step.key();
            let result = match step {
                Step::Start { .. } if fail || node.unwilling => StepResult::Failed("no".to_owned()),
                Step::Start {
                    instance, outputs, ..
                } => {
                    node.running.insert(instance.physical_id, instance);
                    node.outputs.insert(instance.physical_id, outputs);
                    StepResult::Done(None)
                }
                Step::Stop {
                    physical_id,
                    generation,
                    ..
                } => match node.running.get(&physical_id) {
                    Some(it) if it.generation > generation => {
                        StepResult::Failed("older".to_owned())
                    }
                    Some(_) | None => {
                        node.running.remove(&physical_id);
                        node.outputs.remove(&physical_id);
                        StepResult::Done(None)
                    }
                },
                Step::Patch {
                    physical_id,
                    generation,
                    outputs,
                } => match node.running.get_mut(&physical_id) {
                    Some(it) if it.generation <= generation => {
                        it.generation = generation;
                        node.outputs.insert(physical_id, outputs);
                        StepResult::Done(None)
                    }
                    Some(_) => StepResult::Failed("older".to_owned()),
                    None => StepResult::Failed("not here".to_owned()),
                },
            };
            self.command(Command::Outcome {
                node_id: id,
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

    pub(super) fn check_at_rest(&self) {
        let mut running: BTreeMap<LogicalId, Vec<(NodeId, PhysicalId)>> = BTreeMap::new();
        for (&id, node) in &self.nodes {
            for instance in node.running.values() {
                running
                    .entry(instance.logical_id)
                    .or_default()
                    .push((id, instance.physical_id));
            }
        }
        let desired: BTreeSet<LogicalId> = self.desired.iter().copied().map(logical_id).collect();
        let found: BTreeSet<LogicalId> = running.keys().copied().collect();
        assert_eq!(found, desired, "what is desired runs, and nothing else");
        for (logical_id, copies) in &running {
            assert_eq!(copies.len(), 1, "{logical_id} runs once");
            let shown = self.domain.active_instance(*logical_id).unwrap();
            let told: Vec<_> = shown
                .instances
                .iter()
                .map(|one| (one.node_id, one.physical_id))
                .collect();
            assert_eq!(&told, copies, "the mirror tells the truth");
        }
        for (id, node) in &self.nodes {
            assert!(
                node.running.len() <= ROOM,
                "{id} has more than it has room for"
            );
            for output in node.outputs.values().flatten() {
                let there = running.get(&output.logical_id).map(|copies| copies[0]);
                let leads = output.instances.first();
                let leads = leads.map(|(id, _)| (id.node_id, id.physical_id));
                assert_eq!(leads, there, "senders know where {} is", output.logical_id);
            }
        }
    }
}
