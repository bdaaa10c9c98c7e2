//! What comes late, or was meant for another life.

use std::{sync::Arc, time::Duration};

use edgeless_types::{
    CodeDigest, DomainId, Generation, NodeCapabilities, PhysicalId, RunningInstance, Timestamp,
    WorkflowId,
    workflow::{FunctionSpec, VertexSpec},
};
use uuid::Uuid;

use crate::domain::{
    Command, Domain, Effect, Flapping, NodeUpdate, Overcommit, Profile, Rebalancing, Settings,
    Step, StepKey, StepResult, StrategyKind, Ticket, VertexRequest,
    simulation::{logical_id, node_id},
};

pub(super) const BEGIN: Timestamp = Timestamp::from_nanos(1_000_000_000_000);

pub(super) fn domain(reconciled: bool) -> Domain {
    let settings = Settings {
        domain_id: DomainId::new("d"),
        strategy: StrategyKind::RoundRobin,
        overcommit: Overcommit::default(),
        seed: 1,
        life: 1,
        adoption_grace: Duration::from_secs(1),
        linger: Duration::ZERO,
        healing_per_node: 64,
        flapping: Flapping::default(),
        rebalancing: Rebalancing::default(),
        scaling: crate::scale::Settings::default(),
    };
    Domain::new(settings, reconciled)
}

pub(super) fn update(
    number: u128,
    sequence: u64,
    running: Option<Vec<RunningInstance>>,
) -> NodeUpdate {
    let capabilities = NodeCapabilities {
        num_cores: 1,
        runtimes: vec!["RUST_WASM".to_owned()],
        ..NodeCapabilities::default()
    };
    let profile = Profile {
        agent_url: "http://n:1".to_owned(),
        invocation_url: "http://n:2".to_owned(),
        capabilities: Arc::new(capabilities),
        providers: Vec::new(),
    };
    NodeUpdate {
        node_id: node_id(number),
        nonce: 1,
        sequence,
        refresh_deadline: Duration::from_secs(60),
        profile: running.is_some().then_some(profile),
        health: None,
        samples: None,
        running,
        started: Vec::new(),
        stopped: Vec::new(),
        failures: Vec::new(),
        states: Vec::new(),
        demand: Vec::new(),
        backlog: Vec::new(),
        leaving: false,
    }
}

pub(super) fn vertex() -> VertexRequest {
    VertexRequest {
        logical_id: logical_id(0),
        workflow_id: WorkflowId::new(Uuid::nil()),
        spec: VertexSpec::Function(FunctionSpec {
            name: "f".to_owned(),
            class_id: "f".to_owned(),
            function_type: "RUST_WASM".to_owned(),
            version: "1".to_owned(),
            code: CodeDigest::of(b"f"),
            outputs: Default::default(),
            annotations: Default::default(),
        }),
        outputs: Default::default(),
    }
}

pub(super) fn start(domain: &mut Domain) -> Vec<Effect> {
    let (vertices, ticket) = (vec![vertex()], Ticket(1));
    domain.on_command(Command::Start { vertices, ticket }, BEGIN)
}

pub(super) fn copy(number: u128) -> RunningInstance {
    RunningInstance {
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
        logical_id: logical_id(0),
        workflow_id: WorkflowId::new(Uuid::nil()),
        generation: Generation(1),
        fingerprint: 0,
    }
}

pub(super) fn started(effects: &[Effect]) -> Option<RunningInstance> {
    effects.iter().find_map(|effect| match effect {
        Effect::Step {
            step: Step::Start { instance, .. },
            ..
        } => Some(*instance),
        _ => None,
    })
}

fn stopped(effects: &[Effect]) -> Option<PhysicalId> {
    effects.iter().find_map(|effect| match effect {
        Effect::Step {
            step: Step::Stop { physical_id, .. },
            ..
        } => Some(*physical_id),
        _ => None,
    })
}

#[test]
fn what_late_steps_have_done_is_undone() {
    let mut domain = domain(true);
    domain.on_node_update(update(0, 1, Some(Vec::new())), BEGIN);
    let first = started(&start(&mut domain)).unwrap();
    let done = Command::Outcome {
        node_id: node_id(0),
        key: StepKey::Start(first.physical_id),
        result: StepResult::Done(None),
    };
    domain.on_command(done, BEGIN);
    let mut late = update(0, 2, None);
    late.started = vec![first, copy(7)];
    let (_, effects) = domain.on_node_update(late, BEGIN);
    assert_eq!(stopped(&effects), Some(copy(7).physical_id));
    let mut late = update(0, 3, None);
    late.stopped = vec![first.physical_id];
    let (_, effects) = domain.on_node_update(late, BEGIN);
    assert!(started(&effects).is_some(), "it is started anew");
}

#[test]
fn a_copy_that_was_found_again_before_its_stop_goes_on_when_that_is_refused() {
    let mut domain = domain(true);
    domain.on_node_update(update(0, 1, Some(Vec::new())), BEGIN);
    let first = started(&start(&mut domain)).unwrap();
    let outcome = |key, message: &str| Command::Outcome {
        node_id: node_id(0),
        key,
        result: StepResult::Failed(message.to_owned()),
    };
    let start = StepKey::Start(first.physical_id);
    let effects = domain.on_command(outcome(start, "the node does not answer"), BEGIN);
    assert_eq!(stopped(&effects), Some(first.physical_id));
    domain.on_node_update(update(0, 2, Some(vec![first])), BEGIN);
    let stop = StepKey::Stop(first.physical_id);
    domain.on_command(outcome(stop, "it is older than a patch"), BEGIN);
    let active = domain.active_instance(logical_id(0)).unwrap();
    let shown = active.instances.iter().map(|it| it.physical_id);
    assert_eq!(shown.collect::<Vec<_>>(), [first.physical_id]);
}

#[test]
fn what_fails_before_it_is_known_to_be_desired_is_started_anew() {
    let mut domain = domain(false);
    domain.on_node_update(update(0, 1, Some(vec![copy(7)])), BEGIN);
    let mut failed = update(0, 2, None);
    failed.failures = vec![(copy(7).physical_id, "a trap".to_owned())];
    domain.on_node_update(failed, BEGIN);
    let (vertices, ticket) = (vec![vertex()], Ticket(1));
    domain.on_command(Command::Reconcile { vertices, ticket }, BEGIN);
    let effects = domain.on_command(Command::Tick, BEGIN + Duration::from_secs(2));
    assert!(started(&effects).is_some());
}

#[test]
fn an_update_after_a_gap_is_wanted_whole() {
    let mut domain = domain(true);
    domain.on_node_update(update(0, 1, Some(Vec::new())), BEGIN);
    let (reply, _) = domain.on_node_update(update(0, 3, None), BEGIN);
    assert!(reply.want_full, "the second was told to somebody else");
    let (reply, _) = domain.on_node_update(update(0, 4, Some(Vec::new())), BEGIN);
    assert!(!reply.want_full);
}

#[test]
fn decisions_are_newer_than_those_of_earlier_lives() {
    let mut domain = domain(true);
    domain.on_node_update(update(0, 1, Some(Vec::new())), BEGIN);
    let generation = started(&start(&mut domain)).unwrap().generation;
    assert!(generation > Generation(BEGIN.as_nanos() / 1_000));
}

#[test]
fn of_nodes_that_are_lost_together_none_gets_what_another_had() {
    let mut domain = domain(true);
    for number in 0..2 {
        domain.on_node_update(update(number, 1, Some(Vec::new())), BEGIN);
    }
    assert!(started(&start(&mut domain)).is_some());
    let effects = domain.on_command(Command::Tick, BEGIN + Duration::from_secs(61));
    assert_eq!(started(&effects), None);
}
