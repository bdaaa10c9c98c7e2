//! Suite `scaling`: how long the first request to a function without copies takes, with its module compiled on its node,
//! and how the policy compares with Knative's algorithm and an oracle on made-up load.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use anyhow::Context;
use serde_json::json;

use super::{Measured, Options, main_suite::nodes, quantile, replayed, scaling::validation};
use crate::{
    client::{function, resource},
    cluster::{Cluster, Mirror, Plan},
    wait::until,
};

const SUITE: &str = "scaling";
/// From the creation of the message to the start of its handling, and from the request to its answer.
const NAMES: [&str; 2] = ["from_zero_p99_ms", "http_from_zero_p99_ms"];

/// Runs all benchmarks of the suite.
///
/// # Errors
/// A daemon does not start, a function is not switched off, or a request is not answered.
pub async fn run(options: &Options) -> anyhow::Result<Vec<Measured>> {
    let mut found: [Vec<f64>; 2] = Default::default();
    if options.wants(&NAMES) {
        for _ in 0..options.runs() {
            for (all, value) in found.iter_mut().zip(from_zero(options).await?) {
                all.push(value);
            }
        }
    }
    let results = NAMES.into_iter().zip(found);
    let results = results.filter_map(|(name, values)| Measured::of(SUITE, name, "ms", values));
    let mut results: Vec<_> = results.collect();
    let asked = options.clone();
    let replays = tokio::task::spawn_blocking(move || replayed::run(SUITE, &asked));
    results.extend(replays.await.context("replaying")?);
    for Measured {
        name, value, unit, ..
    } in &results
    {
        eprintln!("{name} {value:.2} {unit}");
    }
    let mut ratios = BTreeMap::<_, Vec<f64>>::new();
    validation::validate(options, |name, ratio| {
        ratios.entry(name).or_default().push(ratio);
    })
    .await?;
    let ratios = ratios.into_iter();
    results.extend(ratios.filter_map(|(name, all)| Measured::of(SUITE, name, "", all)));
    Ok(results)
}

/// Requests to a function that was switched off, one after the other; both 99th percentiles.
async fn from_zero(options: &Options) -> anyhow::Result<[f64; 2]> {
    let plan = Plan {
        nodes: nodes(2, 1),
        mirror: Mirror::Without,
    };
    let cluster = Cluster::start(plan).await?;
    cluster.rest.push("http_processor").await?;
    let annotations =
        json!({"min_instances": "0", "idle_after": "100ms", "label_match_all": "name=n1"});
    let entry = json!({"host": "zero.test", "timeout": "20s"});
    let document = json!({
        "functions": [function("f", "http_processor", &json!({}), &annotations)],
        "resources": [resource("entry", "http-ingress", &json!({"new_request": "f"}), &entry)],
    });
    let id = cluster.rest.start(&document).await?;
    let copies = async || {
        let placed = cluster.rest.placed(&id).await?;
        let mine = placed.into_iter().filter(|(name, ..)| name == "f");
        anyhow::Ok(
            mine.map(|(_, _, physical_id)| physical_id)
                .collect::<Vec<_>>(),
        )
    };
    let placed = cluster.rest.placed(&id).await?;
    let entry = placed.iter().find(|(name, ..)| name == "entry");
    let (_, home, _) = entry.context("the entry runs")?;
    let mut nodes = cluster.nodes.iter();
    let home = nodes.find(|node| node.node_id == *home);
    let (http, url) = (
        reqwest::Client::new(),
        &home.context("its node")?.ingress_url,
    );
    let (mut took, mut woken) = (Vec::new(), Vec::new());
    for round in 0..if options.quick { 20 } else { 200 } {
        until("it is switched off", async || {
            Ok(copies().await?.is_empty().then_some(()))
        })
        .await?;
        let request = http.post(url).header("host", "zero.test").body("7");
        let begun = Instant::now();
        let answer = request.send().await?;
        let elapsed = begun.elapsed().as_secs_f64() * 1e3;
        anyhow::ensure!(answer.status().is_success(), "request {round}: {answer:?}");
        took.push(elapsed);
        woken.extend(copies().await?);
    }
    let path = cluster.dataset.join("performance_samples.csv");
    let mut handled = until("each first request is in the dataset", async || {
        let text = tokio::fs::read_to_string(&path).await?;
        let mut first = HashMap::new();
        for row in csv::Reader::from_reader(text.as_bytes()).records() {
            let row = row?;
            let (metric, instance) = (row.get(0), row.get(1).context("an identifier")?);
            if metric == Some("function_transfer_time") {
                let seconds: f64 = row.get(2).context("a value")?.parse()?;
                first.entry(instance.to_owned()).or_insert(seconds * 1e3);
            }
        }
        let found: Option<Vec<f64>> = woken.iter().map(|it| first.get(it).copied()).collect();
        Ok(found)
    })
    .await?;
    eprintln!(
        "{} requests: p50 {:.2} ms to the start of the handling, {:.2} ms to the answer",
        took.len(),
        quantile(&mut handled, 0.5),
        quantile(&mut took, 0.5)
    );
    Ok([quantile(&mut handled, 0.99), quantile(&mut took, 0.99)])
}
