//! What datasets of one run say of functions is known to ε-ORC in the next: `fit` and `[scaling] priors`.

use std::{collections::BTreeMap, path::Path, process::Command};

use edgeless_dataset::{
    fault::Faults,
    files::find,
    fit::{Fit, ORDER},
    progress::Progress,
    scan::Scan,
};
use edgeless_orc::scale::Priors;
use edgeless_tests::{
    client::{function, resource},
    cluster::{Cluster, Mirror},
    process::binary,
    wait::until,
};
use edgeless_types::Timestamp;
use serde_json::json;

use super::{plan, request};

const RIGHT: &str = "version = 1\n\n[[class]]\nid = \"http_processor\"\n\n[class.service]\ncount = 1000\nmean = 7.0\n\
    variation = 0.5\np50 = 6.5\np95 = 12.0\np99 = 16.0\n";

/// What ε-ORC says with that file of priors, and that it does not start.
fn refused(priors: Option<&str>) -> String {
    let folder = tempfile::tempdir().unwrap();
    if let Some(text) = priors {
        std::fs::write(folder.path().join("scaling.toml"), text).unwrap();
    }
    let orc = binary("edgeless_orc_d").unwrap();
    let template = Command::new(&orc).arg("-t").output().unwrap();
    let template = String::from_utf8(template.stdout).unwrap();
    let config = template.replace("# priors = ", "priors = ");
    assert!(config.contains("\npriors = \"scaling.toml\"\n"));
    std::fs::write(folder.path().join("orchestrator.toml"), config).unwrap();
    let output = Command::new(orc).current_dir(&folder).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn a_wrong_file_of_priors_ends_the_start_and_is_named_with_its_line() {
    for (from, to, wanted) in [
        ("mean = 7.0", "mean = nan", "scaling.toml:8: key `mean`: "),
        ("mean = 7.0", "mean = -7.0", "scaling.toml:8: key `mean`: "),
        ("p95 = 12.0", "p95 = 1.0", "percentiles have to rise"),
        ("version = 1", "version = 9", "must be 1, not 9"),
        ("variation", "varation", "scaling.toml:9: key `varation`"),
        ("[class.service]", "[class.service", "scaling.toml:6"),
    ] {
        let said = refused(Some(&RIGHT.replace(from, to)));
        assert!(said.contains("key `scaling.priors`: "), "{said}");
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    let said = refused(None);
    assert!(said.contains("could not read `scaling.toml`"), "{said}");
}

/// What the datasets of a cluster say.
fn fitted(dataset: &Path) -> anyhow::Result<Priors> {
    let (mut fit, mut faults) = (Fit::new(BTreeMap::new()), Faults::new(true));
    let since_epoch = std::time::SystemTime::UNIX_EPOCH.elapsed()?;
    let mut scan = Scan {
        files: &find(dataset)?,
        not_after: Timestamp::from_unix(since_epoch),
        faults: &mut faults,
        progress: Progress::hidden(),
    };
    scan.rows(&ORDER, |row, _| fit.take(row))?;
    Ok(fit.priors()?.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_class_decides_from_the_first_event_on_and_datasets_say_it() {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.orc.kill();
    let priors = cluster.folder().join("scaling.toml");
    std::fs::write(&priors, RIGHT).unwrap();
    let config = cluster.folder().join("orchestrator.toml");
    let mut text = std::fs::read_to_string(&config).unwrap();
    text += &format!("\n[scaling]\npriors = {:?}\n", priors.display().to_string());
    std::fs::write(&config, text).unwrap();
    cluster.orc.restart().unwrap();
    until("the nodes are registered again", async || {
        let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
        Ok((nodes.as_array().map(Vec::len) == Some(3)).then_some(()))
    })
    .await
    .unwrap();
    cluster.rest.push("http_processor").await.unwrap();
    let annotations = json!({"label_match_all": "zone=functions", "max_instances": "32"});
    let entry = json!({"host": "slow.test"});
    let document = json!({
        "name": "slow",
        "functions": [function("answer", "http_processor", &json!({}), &annotations)],
        "resources": [resource("entry", "http-ingress", &json!({"new_request": "answer"}), &entry)],
    });
    until("ε-CON has heard of the nodes", async || {
        cluster.rest.start(&document).await.map(Some)
    })
    .await
    .unwrap();
    let (http, url) = (reqwest::Client::new(), cluster.nodes[0].ingress_url.clone());
    let path = cluster.dataset.join("scaling_decisions.csv");
    // Its own times are far below a millisecond: the load that is seen is that of the prior.
    until("one request is answered", async || {
        let answered = request(&http, &url, "slow.test", "7".to_owned()).await;
        Ok(answered.then_some(()))
    })
    .await
    .unwrap();
    let first = until("a decision is recorded", async || {
        let text = std::fs::read_to_string(&path)?;
        Ok(text.lines().nth(1).map(str::to_owned))
    })
    .await
    .unwrap();
    let took = first
        .split("take ")
        .nth(1)
        .and_then(|it| it.split(' ').next());
    let took: f64 = took.and_then(|it| it.parse().ok()).unwrap_or_default();
    assert!((1.0..=7.0).contains(&took), "{first}");
    // And the other way round.
    let prior = until("the datasets say what the class takes", async || {
        let priors = fitted(&cluster.dataset).ok();
        let prior = priors.and_then(|it| it.of("http_processor").cloned());
        Ok(prior.filter(|it| it.service.is_some() && it.start.is_some()))
    })
    .await
    .unwrap();
    let (service, start) = (prior.service.unwrap(), prior.start.unwrap());
    assert!(service.mean < 1.0 && start.mean < 60.0, "{prior:?}");
}
