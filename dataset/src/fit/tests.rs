//! What is learnt from rows.

use std::{path::Path, time::Duration};

use edgeless_types::{NodeId, WorkflowId, mirror::ScalingDecision};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

const F: LogicalId = LogicalId::new(Uuid::from_u128(1));
const G: LogicalId = LogicalId::new(Uuid::from_u128(2));
/// A whole hour.
const BEGIN: f64 = 1_700_006_400.0;

fn at(secs: f64) -> Timestamp {
    Timestamp::from_unix(Duration::from_secs_f64(BEGIN + secs))
}

fn vertex(logical_id: LogicalId, kind: VertexKind, class_id: &str) -> Row {
    Row::Vertex(Vertex {
        timestamp: at(0.0),
        logical_id,
        workflow_id: WorkflowId::new(Uuid::nil()),
        name: "f".to_owned(),
        kind,
        class_id: class_id.to_owned(),
        version: "0.1".to_owned(),
    })
}

fn decision(logical_id: LogicalId, secs: f64, before: u32, copies: u32) -> Row {
    Row::Scaling(ScalingDecision {
        timestamp: at(secs),
        logical_id,
        policy: "queue".to_owned(),
        before,
        copies,
        reason: String::new(),
    })
}

fn copy(number: u128) -> PhysicalId {
    PhysicalId::new(Uuid::from_u128(number))
}

fn placed(logical_id: LogicalId, secs: f64, copies: &[u128]) -> Row {
    let node_id = NodeId::new(Uuid::nil());
    let instances = copies.iter().map(|&number| InstanceId {
        node_id,
        physical_id: copy(number),
    });
    Row::Mapping {
        at: at(secs),
        logical_id,
        instances: instances.collect(),
    }
}

/// An event that arrived then, waited and was handled for so long.
fn event(number: u128, arrived: f64, waited: f64, took: f64) -> [Row; 2] {
    let sample = |kind, secs: f64, ended: f64| {
        Row::Sample(Sample {
            physical_id: copy(number),
            kind,
            timestamp: at(ended),
            nanos: (secs * 1e9).round() as u64,
        })
    };
    let (began, ended) = (arrived + waited, arrived + waited + took);
    [
        sample(SampleKind::FunctionTransferTime, waited, began),
        sample(SampleKind::FunctionExecutionTime, took, ended),
    ]
}

fn fit(rows: &[Row]) -> Result<(Priors, LeftOut), NothingToFit> {
    let mut fit = Fit::default();
    rows.iter().for_each(|row| fit.take(row));
    fit.priors()
}

#[test]
fn times_of_classes_are_those_of_their_functions() {
    let mut rows = vec![
        vertex(F, VertexKind::Function, "a"),
        vertex(G, VertexKind::Function, "a"),
        placed(F, 0.0, &[10]),
        placed(G, 0.0, &[20]),
    ];
    for step in 0..100 {
        rows.extend(event(10, f64::from(step), 0.01, 0.1));
        rows.extend(event(20, f64::from(step), 0.03, 0.3));
    }
    let (priors, left_out) = fit(&rows).unwrap();
    assert_eq!(left_out, LeftOut::default());
    let prior = priors.of("a").unwrap();
    let service = prior.service.unwrap();
    assert_eq!(
        (service.count, service.mean, service.variation),
        (200, 0.2, 0.5)
    );
    assert!((service.p50 - 0.1).abs() < 0.002 && (service.p95 - 0.3).abs() < 0.005);
    assert_eq!(prior.transfer.unwrap().mean, 0.02);
    assert_eq!(prior.start, None);
}

#[test]
fn starts_are_from_decisions_to_rows_of_the_mapping() {
    let rows = [
        vertex(F, VertexKind::Function, "a"),
        decision(F, 1.0, 1, 3),
        decision(F, 20.0, 3, 5),
        decision(F, 21.0, 5, 4),
        decision(F, 2_000.0, 4, 5),
        placed(F, 0.5, &[10]),
        placed(F, 3.0, &[10, 11]),
        placed(F, 5.0, &[10, 11, 12]),
        // One of two was called off; the third copy was lost and came back without a decision.
        placed(F, 22.0, &[10, 11, 12, 13]),
        placed(F, 23.0, &[10, 11, 13]),
        placed(F, 24.0, &[10, 11, 13, 14]),
        // There was no room for long.
        placed(F, 4_000.0, &[10, 11, 13, 14, 15]),
    ];
    let (priors, _) = fit(&rows).unwrap();
    let start = priors.of("a").unwrap().start.unwrap();
    assert_eq!(start.count, 3);
    assert!(
        (start.mean - 8.0 / 3.0).abs() < 1e-3,
        "2, 4 and 2 s: {}",
        start.mean
    );
}

#[test]
fn a_function_that_no_policy_scales_starts_when_it_is_desired() {
    let rows = [
        vertex(F, VertexKind::Function, "a"),
        placed(F, 1.0, &[]),
        placed(F, 1.5, &[10]),
        placed(F, 9.0, &[]),
        placed(F, 99.0, &[11]),
    ];
    let (priors, _) = fit(&rows).unwrap();
    let start = priors.of("a").unwrap().start.unwrap();
    assert_eq!((start.count, start.mean), (1, 0.5));
}

#[test]
fn idle_times_trains_and_times_of_day_do_not_depend_on_the_order_of_rows() {
    let mut events = Vec::new();
    // Each ten seconds one, from a quarter past on, for three hours.
    for step in 0..1_080 {
        events.push(event(10, 900.0 + 10.0 * f64::from(step), 1.0, 1.0));
    }
    // Nodes tell what happened every other event, the later one first.
    let refreshes = events.chunks(2).flat_map(|two| two.iter().rev().flatten());
    let mut rows = vec![vertex(F, VertexKind::Function, "a"), placed(F, 0.0, &[10])];
    rows.extend(refreshes.cloned());
    let (priors, _) = fit(&rows).unwrap();
    let prior = priors.of("a").unwrap();
    assert_eq!(prior.gaps.len(), 1, "{:?}", prior.gaps);
    let (seconds, count) = prior.gaps[0];
    assert!(
        count == 1_079 && (6.5..9.5).contains(&seconds),
        "{seconds} s"
    );
    let bursts = prior.bursts.unwrap();
    assert_eq!((bursts.batch, bursts.period), (1.0, Some(10.0)));
    let rates: Vec<f64> = prior.day.values().copied().collect();
    assert_eq!(rates, [0.1; 5], "the half hours at both ends are not whole");
    assert_eq!(
        prior.day.keys().next().map(ToString::to_string).as_deref(),
        Some("00:30")
    );
}

#[test]
fn files_are_recordings_of_their_own_in_whatever_order_they_come() {
    let recording = |day: f64| {
        let begin = day * 86_400.0 + 900.0;
        (0..721).flat_map(move |step| event(10, begin + 10.0 * f64::from(step), 0.0, 1.0))
    };
    let mut learning = Fit::default();
    learning.take(&vertex(F, VertexKind::Function, "a"));
    learning.take(&placed(F, 0.0, &[10]));
    for day in [9.0, 0.0, 5.0] {
        learning.next_file();
        recording(day).for_each(|row| learning.take(&row));
    }
    let (priors, _) = learning.priors().unwrap();
    let prior = priors.of("a").unwrap();
    assert_eq!(prior.gaps.iter().map(|it| it.1).sum::<u64>(), 3 * 720);
    assert_eq!(prior.gaps.len(), 1, "the days between are no idle times");
    let rates: Vec<f64> = prior.day.values().copied().collect();
    assert_eq!(rates, [0.1; 3]);
}

#[test]
fn what_waits_for_a_start_is_no_idle_time_of_those_behind_it() {
    let mut rows = vec![vertex(F, VertexKind::Function, "a"), placed(F, 0.0, &[10])];
    rows.extend(event(10, 0.0, 0.0, 0.1));
    // One that waited for three seconds, another that came meanwhile.
    rows.extend(event(10, 100.0, 3.0, 0.1));
    rows.extend(event(10, 102.0, 1.1, 0.1));
    let (priors, _) = fit(&rows).unwrap();
    let gaps = &priors.of("a").unwrap().gaps;
    assert_eq!(gaps.iter().map(|it| it.1).sum::<u64>(), 1, "{gaps:?}");
}

#[test]
fn what_was_only_summarised_counts_for_means() {
    let mut rows = vec![vertex(F, VertexKind::Function, "a"), placed(F, 0.0, &[10])];
    rows.extend(event(10, 0.0, 0.0, 0.1));
    rows.push(Row::Summary {
        at: at(2.0),
        summary: SampleSummary {
            kind: SampleKind::FunctionExecutionTime,
            physical_id: copy(10),
            count: 9,
            sum_nanos: 1_900_000_000,
            max_nanos: 300_000_000,
        },
    });
    let (priors, _) = fit(&rows).unwrap();
    let service = priors.of("a").unwrap().service.unwrap();
    assert_eq!((service.count, service.mean), (10, 0.2));
}

#[test]
fn what_has_no_class_is_left_out_and_told_and_resources_are_none() {
    let mut rows = vec![
        vertex(F, VertexKind::Resource, "http-ingress"),
        placed(F, 0.0, &[10]),
        placed(G, 0.0, &[20]),
    ];
    rows.extend(event(10, 0.0, 0.0, 0.1));
    rows.extend(event(20, 0.0, 0.0, 0.1));
    rows.extend(event(30, 0.0, 0.0, 0.1));
    assert_eq!(fit(&rows).unwrap_err(), NothingToFit::NoClass);
    let mut named = Fit::new(BTreeMap::from([(
        LogicalId::new(Uuid::from_u128(9)),
        "b".to_owned(),
    )]));
    rows.iter().for_each(|row| named.take(row));
    assert_eq!(named.priors().unwrap_err(), NothingToFit::NoSample);
    let mut named = Fit::new(BTreeMap::from([(G, "b".to_owned())]));
    // What is given on the command line counts more than rows.
    named.take(&vertex(G, VertexKind::Function, "c"));
    rows.iter().for_each(|row| named.take(row));
    let (priors, left_out) = named.priors().unwrap();
    assert_eq!(priors.of("b").unwrap().service.unwrap().count, 1);
    assert_eq!((left_out.functions, left_out.samples), (0, 2), "of copy 30");
}

fn any_row() -> impl Strategy<Value = Row> {
    let logical_id = prop_oneof![Just(F), Just(G)];
    let secs = || prop_oneof![0.0..10.0_f64, 0.0..1e6_f64];
    let nanos = prop_oneof![0..1_000_000_000_u64, any::<u64>()];
    let kind = prop_oneof![
        Just(SampleKind::FunctionExecutionTime),
        Just(SampleKind::FunctionTransferTime)
    ];
    let sample = (kind, 10..14_u128, nanos, secs());
    prop_oneof![
        1 => (logical_id.clone(), "[a-c]\\PC{0,3}").prop_map(|(id, class)| vertex(id, VertexKind::Function, &class)),
        2 => (logical_id.clone(), secs(), 0..5_u32, 0..5_u32).prop_map(|(id, secs, a, b)| decision(id, secs, a, b)),
        2 => (logical_id, secs(), proptest::collection::vec(10..14_u128, 0..4))
            .prop_map(|(id, secs, copies)| placed(id, secs, &copies)),
        8 => (sample, 1..100_u64).prop_map(|((kind, number, nanos, secs), count)| match count {
            1..90 => Row::Sample(Sample {
                physical_id: copy(number),
                kind,
                timestamp: at(secs),
                nanos,
            }),
            _ => Row::Summary {
                at: at(secs),
                summary: SampleSummary {
                    kind,
                    physical_id: copy(number),
                    count,
                    sum_nanos: nanos,
                    max_nanos: nanos,
                },
            },
        }),
    ]
}

proptest! {
    #[test]
    fn whatever_rows_there_are_what_is_learnt_can_be_read(
        rows in proptest::collection::vec(any_row(), 0..200),
    ) {
        let known = [vertex(F, VertexKind::Function, "a"), placed(F, 0.0, &[10, 11])];
        let rows: Vec<Row> = known.into_iter().chain(rows).collect();
        if let Ok((priors, _)) = fit(&rows) {
            let text = priors.to_toml().unwrap();
            let read = Priors::parse(&text, Path::new("x.toml"));
            prop_assert_eq!(read.map_err(|error| error.to_string()), Ok(priors), "{}", text);
        }
    }
}
