//! Saved states, and what nodes say beside what they run.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use edgeless_types::{
    PhysicalId, ProviderId, ResourceProvider, RunningInstance, workflow::VertexSpec,
};

use super::late::{BEGIN, copy, domain, start, started, update, vertex};
use crate::{
    change::What,
    domain::{
        Command, Domain, Effect, Step, StepKey, StepResult, Ticket,
        simulation::{logical_id, node_id},
    },
};

fn done(domain: &mut Domain, number: u128, key: StepKey) -> Vec<Effect> {
    let (node_id, result) = (node_id(number), StepResult::Done(None));
    let outcome = Command::Outcome {
        node_id,
        key,
        result,
    };
    domain.on_command(outcome, BEGIN)
}

fn failed(domain: &mut Domain, number: u128, key: StepKey) -> Vec<Effect> {
    let (node_id, result) = (node_id(number), StepResult::Failed("no".to_owned()));
    let outcome = Command::Outcome {
        node_id,
        key,
        result,
    };
    domain.on_command(outcome, BEGIN)
}

/// The state that a start takes along.
fn state_of(effects: &[Effect]) -> Option<Bytes> {
    effects.iter().find_map(|effect| match effect {
        Effect::Step {
            step: Step::Start { state, .. },
            ..
        } => state.clone(),
        _ => None,
    })
}

fn saved(domain: &mut Domain, number: u128, sequence: u64, of: PhysicalId, state: &'static str) {
    let mut save = update(number, sequence, None);
    save.states = vec![(of, Bytes::from_static(state.as_bytes()))];
    domain.on_node_update(save, BEGIN);
}

/// A node begins a new life, with nothing.
fn restart(domain: &mut Domain, number: u128, nonce: u64) -> Vec<Effect> {
    let mut empty = update(number, 1, Some(Vec::new()));
    empty.nonce = nonce;
    domain.on_node_update(empty, BEGIN).1
}

#[test]
fn a_state_is_kept_until_a_newer_one_is_saved() {
    let mut domain = domain(true);
    restart(&mut domain, 0, 1);
    let first = started(&start(&mut domain)).unwrap().physical_id;
    done(&mut domain, 0, StepKey::Start(first));
    saved(&mut domain, 0, 2, first, "saved");
    let effects = restart(&mut domain, 0, 2);
    assert_eq!(state_of(&effects).as_deref(), Some(&b"saved"[..]));
    let second = started(&effects).unwrap().physical_id;
    done(&mut domain, 0, StepKey::Start(second));
    // It has not saved anything yet.
    let effects = restart(&mut domain, 0, 3);
    assert_eq!(state_of(&effects).as_deref(), Some(&b"saved"[..]));
}

#[test]
fn what_a_copy_saved_before_it_ended_counts_though_its_node_says_all_that_runs() {
    let mut domain = domain(true);
    restart(&mut domain, 0, 1);
    let first = started(&start(&mut domain)).unwrap().physical_id;
    done(&mut domain, 0, StepKey::Start(first));
    let mut all = update(0, 2, Some(Vec::new()));
    all.states = vec![(first, Bytes::from_static(b"saved"))];
    all.failures = vec![(first, "a trap".to_owned())];
    let effects = domain.on_node_update(all, BEGIN).1;
    assert_eq!(state_of(&effects).as_deref(), Some(&b"saved"[..]));
}

#[test]
fn what_an_adopted_copy_saved_counts_from_the_update_that_tells_of_it() {
    let mut domain = domain(true);
    start(&mut domain);
    let mut all = update(0, 1, Some(vec![copy(7)]));
    all.states = vec![(copy(7).physical_id, Bytes::from_static(b"saved"))];
    domain.on_node_update(all, BEGIN);
    let effects = restart(&mut domain, 0, 2);
    assert_eq!(state_of(&effects).as_deref(), Some(&b"saved"[..]));
}

/// A domain in which a copy on the second node has taken the place of one on the first, as a newer version.
fn replaced() -> (Domain, PhysicalId, PhysicalId) {
    let mut domain = domain(true);
    restart(&mut domain, 0, 1);
    restart(&mut domain, 1, 1);
    let first = started(&start(&mut domain)).unwrap().physical_id;
    done(&mut domain, 0, StepKey::Start(first));
    let mut newer = vertex();
    if let VertexSpec::Function(function) = &mut newer.spec {
        function.version = "2".to_owned();
    }
    let (vertices, ticket) = (vec![newer], Ticket(2));
    let effects = domain.on_command(Command::Start { vertices, ticket }, BEGIN);
    let second = started(&effects).unwrap().physical_id;
    done(&mut domain, 1, StepKey::Start(second));
    (domain, first, second)
}

#[test]
fn what_a_copy_that_was_replaced_saves_late_is_not_the_state_of_its_successor() {
    let (mut domain, first, second) = replaced();
    saved(&mut domain, 1, 2, second, "new");
    saved(&mut domain, 0, 2, first, "old");
    let effects = restart(&mut domain, 1, 2);
    assert_eq!(state_of(&effects).as_deref(), Some(&b"new"[..]));
}

#[test]
fn a_copy_that_was_replaced_may_fail_without_a_word_about_its_successor() {
    let (mut domain, first, _) = replaced();
    let mut fails = update(0, 2, None);
    fails.failures = vec![(first, "a trap".to_owned())];
    domain.on_node_update(fails, BEGIN);
    let shown = domain.active_instance(logical_id(0)).unwrap();
    assert_eq!(shown.instances.len(), 1);
    assert_eq!(shown.waiting, None);
}

#[test]
fn what_a_node_does_not_run_any_more_is_not_adopted_later() {
    let mut domain = domain(false);
    domain.on_node_update(update(0, 1, Some(vec![copy(7)])), BEGIN);
    let running: Vec<RunningInstance> = Vec::new();
    domain.on_node_update(update(0, 3, Some(running)), BEGIN);
    let (vertices, ticket) = (vec![vertex()], Ticket(1));
    domain.on_command(Command::Reconcile { vertices, ticket }, BEGIN);
    let effects = domain.on_command(Command::Tick, BEGIN + Duration::from_secs(2));
    assert!(started(&effects).is_some(), "it has to be started");
}

#[test]
fn observers_learn_of_a_provider_that_its_node_does_not_have_any_more() {
    let mut domain = domain(true);
    let mut first = update(0, 1, Some(Vec::new()));
    let profile = first.profile.as_mut().unwrap();
    profile.providers.push(ResourceProvider {
        provider_id: ProviderId::new("p"),
        class_type: "file-log".to_owned(),
        node_id: node_id(0),
        outputs: Vec::new(),
    });
    domain.on_node_update(first, BEGIN);
    let (_, effects) = domain.on_node_update(update(0, 2, Some(Vec::new())), BEGIN);
    let is_gone = |effect: &Effect| match effect {
        Effect::Change(change) => change.what == What::ProviderGone(ProviderId::new("p")),
        _ => false,
    };
    assert!(effects.iter().any(is_gone));
}

#[test]
fn when_the_old_version_comes_back_so_does_the_number_of_its_copies() {
    let mut domain = domain(true);
    let mut large = update(0, 1, Some(Vec::new()));
    let capabilities = Arc::make_mut(&mut large.profile.as_mut().unwrap().capabilities);
    capabilities.num_cores = 8;
    domain.on_node_update(large, BEGIN);
    let mut old = vertex();
    annotate(&mut old.spec, "max_instances", "1");
    let (vertices, ticket) = (vec![old], Ticket(1));
    let effects = domain.on_command(Command::Start { vertices, ticket }, BEGIN);
    let first = started(&effects).unwrap().physical_id;
    done(&mut domain, 0, StepKey::Start(first));
    let mut newer = vertex();
    annotate(&mut newer.spec, "min_instances", "3");
    annotate(&mut newer.spec, "init-payload", "another one");
    let (vertices, ticket) = (vec![newer], Ticket(2));
    let mut effects = domain.on_command(Command::Start { vertices, ticket }, BEGIN);
    let mut now = BEGIN;
    for _ in 0..40 {
        let starts = effects.iter().filter_map(|effect| match effect {
            Effect::Step { step, .. } => match step {
                Step::Start { .. } => Some(step.key()),
                Step::Stop { .. } | Step::Patch { .. } => None,
            },
            _ => None,
        });
        let starts: Vec<StepKey> = starts.collect();
        effects = Vec::new();
        for key in starts {
            effects.extend(failed(&mut domain, 0, key));
        }
        now = now + Duration::from_millis(500);
        effects.extend(domain.on_command(Command::Tick, now));
    }
    assert_eq!(domain.numbers().replicas, 1, "`max_instances` of the old");
}

pub(super) fn annotate(spec: &mut VertexSpec, name: &str, value: &str) {
    if let VertexSpec::Function(function) = spec {
        let annotations = &mut function.annotations;
        annotations.insert(name.to_owned(), value.to_owned());
    }
}

#[test]
fn values_of_a_label_that_are_gone_are_forgotten() {
    let mut domain = domain(true);
    let mut spread = vertex();
    annotate(&mut spread.spec, "spread_by", "zone");
    let mut stays = spread.clone();
    stays.logical_id = logical_id(1);
    for number in 0..50_u64 {
        let mut moved = update(0, number + 1, Some(Vec::new()));
        let capabilities = Arc::make_mut(&mut moved.profile.as_mut().unwrap().capabilities);
        capabilities.labels = vec![format!("zone={number}")];
        domain.on_node_update(moved, BEGIN);
        for request in [&stays, &spread] {
            let (vertices, ticket) = (vec![request.clone()], Ticket(number));
            domain.on_command(Command::Start { vertices, ticket }, BEGIN);
        }
        domain.on_command(Command::Stop(vec![spread.logical_id]), BEGIN);
    }
    let kinds = domain.model.kinds_of_zones();
    assert!((1..=2).contains(&kinds), "{kinds}");
}
