//! Random events against the invariants of a domain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{
    DomainId, LogicalId, NodeCapabilities, NodeId, PhysicalId, ResourceProvider, RunningInstance,
    Timestamp, WorkflowId,
    intent::Intent,
    workflow::{FunctionSpec, VertexSpec},
};
use proptest::{prelude::*, strategy::Strategy as Values};
use uuid::Uuid;

use super::{
    Command, Domain, Effect, NodeUpdate, Output, Profile, Settings, Step, StepResult, StrategyKind,
    Ticket, VertexRequest,
};

const NODES: u128 = 4;
const VERTICES: u128 = 6;

/// What may happen.
#[derive(Clone, Debug)]
enum Happening {
    Start(u128),
    Stop(u128),
    Refresh(u128),
    Restart(u128),
    Silence(u64),
    Migrate(u128, u128),
    Cordon(u128),
    Uncordon(u128),
    Leave(u128),
    Deliver,
    Fail,
}

fn happening() -> impl Values<Value = Happening> {
    let (node, vertex) = (0..NODES, 0..VERTICES);
    prop_oneof![
        3 => vertex.clone().prop_map(Happening::Start),
        1 => vertex.clone().prop_map(Happening::Stop),
        6 => node.clone().prop_map(Happening::Refresh),
        1 => node.clone().prop_map(Happening::Restart),
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
struct SimulatedNode {
    nonce: u64,
    sequence: u64,
    leaving: bool,
    running: BTreeMap<PhysicalId, RunningInstance>,
    outputs: BTreeMap<PhysicalId, Vec<Output>>,
    steps: Vec<Step>,
}

struct Simulation {
    domain: Domain,
    now: Timestamp,
    nodes: BTreeMap<NodeId, SimulatedNode>,
    cordoned: BTreeSet<NodeId>,
    ticket: u64,
}

fn node_id(number: u128) -> NodeId {
    NodeId::new(Uuid::from_u128(100 + number))
}

fn logical_id(number: u128) -> LogicalId {
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
            code: edgeless_types::CodeDigest::of(b"f"),
            outputs: ["out".to_owned()].into(),
            annotations: BTreeMap::new(),
        }),
        outputs: [("out".to_owned(), target)].into(),
    }
}

impl Simulation {
    fn new() -> Self {
        let settings = Settings {
            domain_id: DomainId::new("d"),
            strategy: StrategyKind::Random,
            seed: 1,
            adoption_grace: Duration::from_secs(1),
            linger: Duration::from_millis(100),
        };
        let nodes = (0..NODES).map(|number| (node_id(number), SimulatedNode::default()));
        Self {
            domain: Domain::new(settings, true),
            now: Timestamp::from_nanos(1_000_000_000),
            nodes: nodes.collect(),
            cordoned: BTreeSet::new(),
            ticket: 0,
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Start(number) => {
                self.ticket += 1;
                let ticket = Ticket(self.ticket);
                self.command(Command::Start {
                    vertices: vec![request(number)],
                    ticket,
                });
            }
            Happening::Stop(number) => self.command(Command::Stop(vec![logical_id(number)])),
            Happening::Refresh(number) => self.refresh(node_id(number), false),
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

    fn pass(&mut self, time: Duration) {
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

    fn refresh(&mut self, id: NodeId, full: bool) {
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
            leaving: node.leaving,
        };
        let (reply, effects) = self.domain.on_node_update(update, self.now);
        self.carry_out(effects);
        if reply.want_full {
            self.refresh(id, true);
        }
    }

    /// Every node does one of its steps.
    fn deliver(&mut self, fail: bool) {
        for number in 0..NODES {
            let id = node_id(number);
            let node = self.nodes.get_mut(&id).unwrap();
            if node.steps.is_empty() {
                continue;
            }
            let step = node.steps.remove(0);
            let key = step.key();
            let result = match step {
                Step::Start { .. } if fail => StepResult::Failed("no".to_owned()),
                Step::Start {
                    instance, outputs, ..
                } => {
                    node.running.insert(instance.physical_id, instance);
                    node.outputs.insert(instance.physical_id, outputs);
                    StepResult::Done(None)
                }
                Step::Stop { physical_id, .. } => {
                    node.running.remove(&physical_id);
                    node.outputs.remove(&physical_id);
                    StepResult::Done(None)
                }
                Step::Patch {
                    physical_id,
                    outputs,
                    ..
                } => {
                    if node.running.contains_key(&physical_id) {
                        node.outputs.insert(physical_id, outputs);
                    }
                    StepResult::Done(None)
                }
            };
            self.command(Command::Outcome {
                node_id: id,
                key,
                result,
            });
        }
    }

    /// Lets everything come to rest.
    fn settle(&mut self) {
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

    fn check_at_rest(&self) {
        let mut running: BTreeMap<LogicalId, Vec<(NodeId, PhysicalId)>> = BTreeMap::new();
        for (&id, node) in &self.nodes {
            for instance in node.running.values() {
                running
                    .entry(instance.logical_id)
                    .or_default()
                    .push((id, instance.physical_id));
            }
        }
        let desired: BTreeSet<LogicalId> = self.domain.vertices.keys().copied().collect();
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
        for node in self.nodes.values() {
            for output in node.outputs.values().flatten() {
                let there = running.get(&output.logical_id).map(|copies| copies[0]);
                let leads = output
                    .instance
                    .as_ref()
                    .map(|(id, _)| (id.node_id, id.physical_id));
                assert_eq!(leads, there, "senders know where {} is", output.logical_id);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_all_that_is_desired_runs_once_in_the_end(
        happenings in prop::collection::vec(happening(), 1..120)
    ) {
        let mut simulation = Simulation::new();
        for happening in happenings {
            simulation.happen(&happening);
        }
        simulation.settle();
        simulation.check_at_rest();
    }
}
