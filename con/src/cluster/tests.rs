//! What a cluster decides, case by case.

use std::{collections::BTreeSet, sync::Arc};

use super::{
    simulation::{at, domain, record, update},
    *,
};

fn kept(number: u128, class: &str, place: &str) -> WorkflowRecord {
    let domain_id = Some(domain(place));
    WorkflowRecord {
        domain_id,
        ..record(number, class)
    }
}

/// A cluster that `a` and `b` have entered before.
fn cluster(workflows: Vec<WorkflowRecord>) -> Cluster {
    Cluster::new(workflows, ["a", "b"].map(domain).into(), at(0))
}

#[test]
fn only_a_domain_that_enters_for_the_first_time_is_reset_and_not_used_before() {
    let mut cluster = Cluster::default();
    let entered = (Answer::Reset, vec![Effect::Entered(domain("a"))]);
    assert_eq!(
        cluster.on_update(update("a", 1, 1, "file-log"), at(0)),
        entered
    );
    assert!(cluster.domains().is_empty());
    let (reset, effects) = cluster.on_update(update("a", 1, 2, "file-log"), at(1));
    assert_eq!(reset, Answer::Taken);
    assert_eq!(effects.last(), Some(&Effect::Reconcile(domain("a"))));
}

#[test]
fn a_domain_is_told_everything_after_each_restart() {
    let mut cluster = cluster(vec![]);
    let (_, effects) = cluster.on_update(update("a", 1, 1, "file-log"), at(0));
    let meet = Effect::Meet {
        domain_id: domain("a"),
        orchestrator_url: "http://a:1".into(),
    };
    let reconcile = Effect::Reconcile(domain("a"));
    assert_eq!(effects, [meet, reconcile.clone()]);
    assert_eq!(
        cluster.on_update(update("a", 1, 2, "file-log"), at(1)).1,
        []
    );
    assert_eq!(
        cluster.on_update(update("a", 2, 1, "file-log"), at(2)).1,
        [reconcile]
    );
}

#[test]
fn a_workflow_that_moves_is_desired_where_it_goes_and_where_it_is() {
    let mut cluster = cluster(vec![kept(1, "file-log", "a")]);
    let there = Arc::new(kept(1, "file-log", "b"));
    let workflow_id = there.workflow_id;
    let desired = |cluster: &Cluster| {
        ["a", "b"].map(|it| {
            let place = domain(it);
            let is_desired = cluster.is_desired(workflow_id, &place);
            assert_eq!(is_desired, !cluster.desired(&place).is_empty());
            cluster.desired(&place).len()
        })
    };
    assert_eq!(desired(&cluster), [1, 0]);
    cluster.begin_move(there);
    assert_eq!(desired(&cluster), [1, 1]);
    cluster.assign(workflow_id, Some(domain("b")));
    assert_eq!(desired(&cluster), [0, 1]);
    cluster.end_move(workflow_id);
    assert_eq!(desired(&cluster), [0, 1]);
}

#[test]
fn a_part_of_a_workflow_is_desired_as_it_is_now_and_where_it_is() {
    let was = Arc::new(kept(1, "file-log", "a"));
    let mut cluster = cluster(vec![WorkflowRecord::clone(&was)]);
    let now = kept(1, "redis", "a");
    cluster.update(&now);
    let seen = cluster.as_desired(&was, &domain("a"));
    assert_eq!(seen.as_deref(), Some(&now));
    let none = Arc::new(WorkflowRecord {
        vertices: vec![],
        ..WorkflowRecord::clone(&was)
    });
    let seen = cluster.as_desired(&none, &domain("a")).unwrap();
    assert_eq!(seen.vertices, []);
    assert_eq!(cluster.as_desired(&was, &domain("b")), None);
    cluster.begin_move(Arc::new(kept(1, "redis", "b")));
    assert!(cluster.as_desired(&was, &domain("b")).is_some());
}

#[test]
fn an_update_that_was_overtaken_changes_nothing() {
    let mut cluster = cluster(vec![]);
    cluster.on_update(update("a", 1, 2, "file-log"), at(0));
    assert_eq!(cluster.on_update(update("a", 1, 1, "redis"), at(9)).1, []);
    assert_eq!(cluster.domains()[&domain("a")].deadline, at(3));
}

#[test]
fn a_workflow_in_stand_by_goes_to_the_first_domain_that_can_run_it() {
    let mut cluster = cluster(vec![record(1, "file-log")]);
    let id = record(1, "").workflow_id;
    cluster.on_update(update("a", 1, 1, "redis"), at(0));
    assert_eq!(cluster.stand_by(), 1);
    let (_, effects) = cluster.on_update(update("b", 1, 1, "file-log"), at(0));
    let assigned = Effect::Assigned(domain("b"), vec![id]);
    assert!(effects.contains(&assigned), "{effects:?}");
    assert_eq!(effects.last(), Some(&Effect::Reconcile(domain("b"))));
    assert_eq!(cluster.stand_by(), 0);
}

#[test]
fn workflows_of_a_lost_domain_move_if_they_can_and_the_returning_one_is_told() {
    let mut cluster = cluster(vec![kept(1, "file-log", "a")]);
    let id = record(1, "").workflow_id;
    cluster.on_update(update("a", 1, 1, "file-log"), at(0));
    assert_eq!(
        cluster.on_tick(at(10)),
        [Effect::Lost(domain("a"))],
        "nowhere to go"
    );
    cluster.on_update(update("a", 1, 2, "file-log"), at(10));
    cluster.on_update(update("b", 1, 1, "file-log"), at(12));
    let expected = [
        Effect::Lost(domain("a")),
        Effect::Assigned(domain("b"), vec![id]),
        Effect::Start(domain("b"), vec![id]),
    ];
    assert_eq!(cluster.on_tick(at(14)), expected);
    let (_, effects) = cluster.on_update(update("a", 1, 3, "file-log"), at(15));
    assert!(
        effects.contains(&Effect::Reconcile(domain("a"))),
        "{effects:?}"
    );
    assert!(cluster.desired(&domain("a")).is_empty());
}

#[test]
fn after_a_restart_nothing_moves_before_its_domain_had_time_to_return() {
    let mut cluster = cluster(vec![kept(1, "file-log", "a")]);
    cluster.on_update(update("b", 1, 1, "file-log"), at(1));
    assert_eq!(cluster.count(&domain("a")), 1);
    cluster.on_update(update("b", 1, 2, "file-log"), at(29));
    cluster.on_tick(at(29));
    assert_eq!(cluster.count(&domain("a")), 1);
    cluster.on_tick(at(30));
    assert_eq!(cluster.count(&domain("b")), 1);
}

#[test]
fn the_domain_with_the_most_room_is_chosen_and_the_tried_ones_are_not() {
    let mut cluster = cluster(vec![]);
    cluster.on_update(update("a", 1, 1, "file-log"), at(0));
    cluster.on_update(update("b", 1, 1, "file-log"), at(0));
    cluster.put(Arc::new(kept(1, "file-log", "a")));
    let next = record(2, "file-log");
    assert_eq!(cluster.choose(&next, &BTreeSet::new()), Ok(domain("b")));
    assert_eq!(
        cluster.choose(&next, &[domain("b")].into()),
        Ok(domain("a"))
    );
    let reason = cluster
        .choose(&record(3, "redis"), &BTreeSet::new())
        .unwrap_err()
        .reason;
    assert!(reason.contains("a: no node provides `redis`"), "{reason}");
}

#[test]
fn of_two_domains_with_one_id_one_is_refused() {
    let mut cluster = cluster(vec![]);
    cluster.on_update(update("a", 1, 1, "file-log"), at(0));
    let mut elsewhere = update("a", 2, 1, "file-log");
    elsewhere.orchestrator_url = "http://other:1".to_owned();
    let refused = |url: &str| (Answer::Duplicate(url.to_owned()), vec![]);
    // While the first is there, the second is the one too many.
    let (answer, effects) = cluster.on_update(elsewhere.clone(), at(1));
    assert_eq!((answer, effects), refused("http://a:1"));
    // At the same address the first must have ended: the second is its next life.
    let (answer, _) = cluster.on_update(update("a", 3, 1, "file-log"), at(2));
    assert_eq!(answer, Answer::Taken);
    let (answer, effects) = cluster.on_update(update("a", 1, 2, "file-log"), at(2));
    assert_eq!((answer, effects), refused("http://a:1"));
    // Once it is lost it may be anywhere.
    cluster.on_tick(at(9));
    let (answer, _) = cluster.on_update(elsewhere, at(9));
    assert_eq!(answer, Answer::Taken);
}

#[test]
fn a_domain_whose_nodes_are_not_known_is_asked_for_them() {
    let mut cluster = cluster(vec![]);
    let mut short = update("a", 1, 2, "file-log");
    short.totals = None;
    let wanted = (Answer::WantTotals, vec![]);
    assert_eq!(cluster.on_update(short.clone(), at(0)), wanted);
    cluster.on_update(update("a", 1, 3, "file-log"), at(0));
    short.counter = 4;
    assert_eq!(cluster.on_update(short.clone(), at(1)).0, Answer::Taken);
    let there = &cluster.domains()[&domain("a")];
    assert_eq!((there.totals.num_cores, there.deadline), (4, at(4)));
    cluster.on_tick(at(9));
    short.counter = 5;
    assert_eq!(cluster.on_update(short, at(9)), wanted);
}
