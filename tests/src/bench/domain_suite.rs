//! Suite `domain`: what planning costs, and what a whole ε-ORC does (`domain/`). For planning, the state
//! machine of a domain runs in this process, with nodes that do at once what they are told.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use edgeless_orc::{
    domain::{
        Command, Domain, Effect, Flapping, NodeUpdate, Profile, Rebalancing, Settings, Step,
        StepKey, StepResult, Ticket, VertexRequest,
    },
    plan::{fleet::Overcommit, strategy::StrategyKind},
};
use edgeless_types::{
    CodeDigest, DomainId, LogicalId, NodeCapabilities, NodeId, Timestamp, WorkflowId,
    workflow::{FunctionSpec, VertexSpec},
};
use uuid::Uuid;

use super::{Measured, Options, domain};
use crate::process::rss_mib;

const SUITE: &str = "domain";
const NODES: u128 = 5_000;
/// Nodes of a zone that is lost.
const ZONE: u128 = 1_000;
/// Vertices of one workflow, which start together.
const WORKFLOW: u128 = 100;

/// Runs all benchmarks of the suite.
///
/// # Errors
/// An instance does not find a node, a simulated history breaks an invariant, or a
/// daemon does not do what it should.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut results = Vec::new();
    let mut keep = |name: &'static str, unit: &'static str, values: Vec<f64>| {
        if let Some(measured) = Measured::of(SUITE, name, unit, values) {
            eprintln!("{} {:.2} {}", measured.name, measured.value, measured.unit);
            results.push(measured);
        }
    };
    let instances = if options.quick { 100_000 } else { 1_000_000 };
    for strategy in [
        StrategyKind::RoundRobin,
        StrategyKind::LeastLoaded,
        StrategyKind::BinPack,
    ] {
        let names = match strategy {
            StrategyKind::LeastLoaded => ["plan_least_loaded_per_s", "", ""],
            StrategyKind::BinPack => ["plan_bin_pack_per_s", "", ""],
            StrategyKind::RoundRobin
            | StrategyKind::Random
            | StrategyKind::Spread
            | StrategyKind::Affine => ["plan_per_s", "plan_last_over_first", "bytes_per_instance"],
        };
        if !options.wants(&names) {
            continue;
        }
        let (_, found) = place(strategy, NODES, instances)?;
        keep(names[0], "1/s", vec![found.decided]);
        if !names[1].is_empty() {
            keep(names[1], "", vec![found.last_over_first]);
            keep(names[2], "B", vec![found.bytes]);
        }
    }
    if options.wants(&["replan_node_ms", "replan_zone_ms"]) {
        let (nodes, instances) = if options.quick {
            (10_000, 200_000)
        } else {
            (100_000, 2_000_000)
        };
        let (mut placed, _) = place(StrategyKind::RoundRobin, nodes, instances)?;
        let node = placed.lose(0..1)?;
        keep("replan_node_ms", "ms", vec![node.as_secs_f64() * 1e3]);
        let zone = placed.lose(1..1 + ZONE)?;
        keep("replan_zone_ms", "ms", vec![zone.as_secs_f64() * 1e3]);
    }
    if options.wants(&["simulated_seeds_per_s"]) {
        let time = Duration::from_secs(if options.quick { 5 } else { 20 });
        let seeds = crate::sim::seeds_per_second(time)?;
        keep("simulated_seeds_per_s", "1/s", vec![seeds]);
    }
    // Values of one name are one figure.
    let mut found: Vec<(&'static str, &'static str, Vec<f64>)> = Vec::new();
    let outcome = domain::run(options, &mut |name, unit, value| {
        eprintln!("{name} {value:.2} {unit}");
        match found.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., values)) => values.push(value),
            None => found.push((name, unit, vec![value])),
        }
    })
    .await;
    for (name, unit, values) in found {
        results.extend(Measured::of(SUITE, name, unit, values));
    }
    outcome.map(|()| results)
}

struct Found {
    /// Decisions a second: from the request to the step for the node.
    decided: f64,
    /// Time for the last hundredth of them over that for the first.
    last_over_first: f64,
    /// Memory of this process for each instance.
    bytes: f64,
}

/// A domain full of instances.
struct Placed {
    domain: Domain,
    now: Timestamp,
}

impl Placed {
    /// Nodes say that they may be silent for a moment only, and then they are: the time that the domain
    /// takes until all that they had has a new place, on nodes that start it at once.
    fn lose(&mut self, nodes: std::ops::Range<u128>) -> anyhow::Result<Duration> {
        for number in nodes {
            self.domain.on_node_update(update(number, false), self.now);
        }
        self.now = self.now + Duration::from_secs(1);
        let (mut spent, mut moved, mut command) = (Duration::ZERO, 0, Command::Tick);
        let mut answers = VecDeque::new();
        loop {
            let begin = Instant::now();
            let effects = self.domain.on_command(command, self.now);
            spent += begin.elapsed();
            for effect in effects.into_iter().filter(is_start) {
                if let Effect::Step { node_id, step } = effect {
                    moved += 1;
                    answers.push_back((node_id, step.key()));
                }
            }
            let Some((node_id, key)) = answers.pop_front() else {
                break;
            };
            let result = StepResult::Done(None);
            command = Command::Outcome {
                node_id,
                key,
                result,
            };
        }
        anyhow::ensure!(moved > 0, "the lost nodes had nothing");
        let waiting = self.domain.numbers().waiting;
        anyhow::ensure!(waiting == 0, "{waiting} found no place");
        Ok(spent)
    }
}

fn place(strategy: StrategyKind, nodes: u128, instances: u128) -> anyhow::Result<(Placed, Found)> {
    let settings = Settings {
        domain_id: DomainId::new("bench"),
        strategy,
        overcommit: Overcommit::default(),
        seed: 1,
        life: 1,
        adoption_grace: Duration::ZERO,
        linger: Duration::ZERO,
        healing_per_node: 64,
        flapping: Flapping::default(),
        rebalancing: Rebalancing::default(),
        scaling: edgeless_orc::scale::Settings::default(),
    };
    let own = std::process::id();
    let before = rss_mib(own).unwrap_or_default();
    let mut domain = Domain::new(settings, true);
    let mut now = Timestamp::from_unix(Duration::from_secs(1_000));
    for number in 0..nodes {
        domain.on_node_update(update(number, true), now);
    }
    let mut spent = Vec::new();
    for workflow in 0..instances / WORKFLOW {
        now = now + Duration::from_millis(1);
        let vertices = (0..WORKFLOW).map(|number| vertex(workflow, number));
        let vertices = vertices.collect();
        let ticket = Ticket(u64::try_from(workflow)?);
        let begin = Instant::now();
        let effects = domain.on_command(Command::Start { vertices, ticket }, now);
        spent.push(begin.elapsed().as_secs_f64());
        let started = obey(&mut domain, effects, now);
        anyhow::ensure!(
            started as u128 == WORKFLOW,
            "{started} of {WORKFLOW} are placed"
        );
    }
    let after = rss_mib(own).unwrap_or_default();
    let hundredth = (spent.len() / 100).max(1);
    let sum = |part: &[f64]| part.iter().sum::<f64>();
    let found = Found {
        decided: instances as f64 / sum(&spent),
        last_over_first: sum(&spent[spent.len() - hundredth..]) / sum(&spent[..hundredth]),
        bytes: (after - before) * f64::from(1 << 20) / instances as f64,
    };
    Ok((Placed { domain, now }, found))
}

fn is_start(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Step {
            step: Step::Start { .. },
            ..
        }
    )
}

/// The nodes do what they are told; how many instances they started.
fn obey(domain: &mut Domain, effects: Vec<Effect>, now: Timestamp) -> usize {
    let mut started = 0;
    for effect in effects {
        let Effect::Step { node_id, step } = effect else {
            continue;
        };
        let key = match step {
            Step::Start { instance, .. } => {
                started += 1;
                StepKey::Start(instance.physical_id)
            }
            Step::Patch { physical_id, .. } => StepKey::Patch(physical_id),
            Step::Stop { physical_id, .. } => StepKey::Stop(physical_id),
        };
        let outcome = Command::Outcome {
            node_id,
            key,
            result: StepResult::Done(None),
        };
        // What follows are patches, which change nothing here.
        drop(domain.on_command(outcome, now));
    }
    started
}

/// What a node says when it joins; or that it will be silent for a moment at most.
fn update(number: u128, joins: bool) -> NodeUpdate {
    let capabilities = NodeCapabilities {
        num_cores: 64,
        mem_size: 262_144,
        clock_freq_cpu: 2_000.0,
        labels: vec![format!("zone={}", number % 10)],
        runtimes: vec!["RUST_WASM".to_owned()],
        ..NodeCapabilities::default()
    };
    NodeUpdate {
        node_id: NodeId::new(Uuid::from_u128(1 + number)),
        nonce: 1,
        sequence: if joins { 1 } else { 2 },
        refresh_deadline: Duration::from_millis(if joins { 3_600_000 } else { 100 }),
        profile: joins.then(|| Profile {
            agent_url: format!("http://{number}:1"),
            invocation_url: format!("http://{number}:2"),
            capabilities: Arc::new(capabilities),
            providers: Vec::new(),
        }),
        health: None,
        samples: None,
        running: joins.then(Vec::new),
        started: Vec::new(),
        stopped: Vec::new(),
        failures: Vec::new(),
        states: Vec::new(),
        demand: Vec::new(),
        backlog: Vec::new(),
        leaving: false,
    }
}

/// A vertex of a chain; one in ten wants a zone, and all ask for a little.
fn vertex(workflow: u128, number: u128) -> VertexRequest {
    let id =
        |number: u128| LogicalId::new(Uuid::from_u128((1 << 100) + workflow * WORKFLOW + number));
    let mut annotations = [("cpu_millis", "100"), ("memory_mib", "16")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    if number.is_multiple_of(10) {
        annotations.push((
            "label_match_all".to_owned(),
            format!("zone={}", workflow % 10),
        ));
    }
    VertexRequest {
        logical_id: id(number),
        workflow_id: WorkflowId::new(Uuid::from_u128((1 << 101) + workflow)),
        spec: VertexSpec::Function(FunctionSpec {
            name: format!("f{number}"),
            class_id: "f".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: "1".to_owned(),
            code: CodeDigest::of(b"f"),
            outputs: ["out".to_owned()].into(),
            annotations: annotations.into_iter().collect(),
        }),
        outputs: [("out".to_owned(), id((number + 1) % WORKFLOW))].into(),
    }
}
