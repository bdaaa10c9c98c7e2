//! What a real run records, read by the offline tool.

use edgeless_dataset::{
    check::check,
    fault::Faults,
    files::{TableFile, find},
    progress::Progress,
    scan::Scan,
    summary::{Figures, ORDER, Summary},
};
use edgeless_tests::{
    cluster::{Cluster, Mirror},
    wait::until,
};
use edgeless_types::Timestamp;
use reqwest::Method;

use super::{Load, all_logged_once, logical_id, with_pipeline};

fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed();
    Timestamp::from_unix(since_epoch.unwrap())
}

fn figures(files: &[TableFile]) -> (Figures, Faults) {
    let (mut summary, mut faults) = (Summary::default(), Faults::new(false));
    let mut scan = Scan {
        files,
        not_after: now(),
        faults: &mut faults,
        progress: Progress::hidden(),
    };
    scan.rows(&ORDER, |row, from| summary.take(row, || from.run()))
        .unwrap();
    (summary.figures(), faults)
}

/// Executions of a vertex over all nodes.
fn executions(figures: &Figures, logical_id: &str) -> u64 {
    let all = figures.functions.iter();
    let of = all.filter(|one| {
        one.logical_id
            .is_some_and(|id| id.to_string() == logical_id)
    });
    of.map(|one| one.executions).sum()
}

/// Waits until so many executions are recorded.
async fn recorded(cluster: &Cluster, logical_id: &str, wanted: u64) -> Figures {
    until("all executions are recorded", async || {
        let (figures, _) = figures(&find(&cluster.dataset)?);
        Ok((executions(&figures, logical_id) >= wanted).then_some(figures))
    })
    .await
    .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_has_no_faults_and_every_execution_counts() {
    let (mut cluster, id) = with_pipeline(2, Mirror::Without).await;
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(200).await;
    let accepted = load.end().await;
    all_logged_once(&cluster, &accepted).await;
    let double = logical_id(&cluster.rest, &id, "double").await;
    let events = accepted.len() as u64;
    let seen = recorded(&cluster, &double, events).await;
    assert_eq!(executions(&seen, &double), events);
    let unknown = seen.functions.iter().filter(|one| one.group != "function");
    assert_eq!(unknown.count(), 0, "{:?}", seen.functions);
    assert_eq!(seen.nodes.len(), 3);
    assert_eq!(seen.placements.len(), 4);
    assert!(seen.placements.iter().all(|one| one.instances == 1));
    let path = format!("/api/v1/workflows/{id}");
    let (status, _) = cluster.rest.send(Method::DELETE, &path, "").await.unwrap();
    assert_eq!(status, 204);
    until("the end of all placements is recorded", async || {
        let (figures, _) = figures(&find(&cluster.dataset)?);
        let gone = figures.placements.iter().all(|one| one.instances == 0);
        Ok(gone.then_some(()))
    })
    .await
    .unwrap();
    // Whatever a crash leaves, a repair leaves whole files.
    cluster.orc.kill();
    let files = find(&cluster.dataset).unwrap();
    for file in &files {
        let checked = check(file, now(), &mut Progress::hidden(), |_| Ok(()));
        checked.unwrap().repair().unwrap();
    }
    let (_, faults) = figures(&find(&cluster.dataset).unwrap());
    assert_eq!(faults.total(), 0, "{faults}");
}
