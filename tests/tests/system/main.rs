//! The system as its users see it: real daemons, a real Redis, real sockets.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bad_nodes;
mod bottlenecks;
mod clock;
mod configuration;
mod datasets;
mod delegation;
mod disk;
mod domains;
mod examples;
mod failures;
mod input;
mod journal;
mod long_start;
mod looking;
mod mirror;
mod operations;
mod order_blobs;
mod order_cli;
mod order_endpoint;
mod order_ends;
mod order_input;
mod order_kills;
mod order_outputs;
mod order_stores;
mod order_story;
mod order_streams;
mod order_watch;
mod order_wrong;
mod orders;
mod partition;
mod places;
mod placing;
mod priors;
mod scaling;
mod slow;
mod story;
mod timeouts;
mod updates;
mod zones;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
};

use edgeless_tests::{
    client::{Rest, function, resource},
    cluster::{Cluster, Mirror, NodePlan, OFTEN, Plan},
};
use serde_json::{Value, json};

/// One node with the resources, and others for functions.
fn plan(functions: usize, mirror: Mirror) -> Plan {
    let mut nodes = vec![NodePlan {
        resources: true,
        labels: vec!["zone=resources".to_owned()],
        refresh_interval: OFTEN,

        shards: 1,
    }];
    for number in 0..functions {
        let labels = vec!["zone=functions".to_owned(), format!("name=f{number}")];
        nodes.push(NodePlan {
            resources: false,
            labels,
            refresh_interval: OFTEN,
            shards: 1,
        });
    }
    Plan { nodes, mirror }
}

/// Ingress → `receive` → `double` → file; the functions are on nodes for functions.
fn pipeline(host: &str) -> Value {
    let functions = json!({"label_match_all": "zone=functions"});
    json!({
        "name": "pipeline",
        "functions": [
            function("receive", "http_processor", &json!({"out": "double"}), &functions),
            function("double", "double", &json!({"out": "log"}), &functions),
        ],
        "resources": [
            resource(
                "entry", "http-ingress", &json!({"new_request": "receive"}),
                &json!({"host": host, "timeout": "10s"}),
            ),
            resource("log", "file-log", &json!({}), &json!({"filename": "out.log"})),
        ],
    })
}

/// A cluster with the pipeline running in it, and the id of the workflow.
async fn with_pipeline(functions: usize, mirror: Mirror) -> (Cluster, String) {
    let cluster = Cluster::start(plan(functions, mirror)).await.unwrap();
    for name in ["http_processor", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    let id = cluster.rest.start(&pipeline("pipe.test")).await.unwrap();
    (cluster, id)
}

/// One request to a host behind an ingress; whether it was answered with 200.
async fn request(http: &reqwest::Client, url: &str, host: &str, body: String) -> bool {
    let request = http.post(url).header("host", host).body(body);
    match request.send().await {
        Ok(response) => response.status().is_success(),
        Err(_) => false,
    }
}

/// Sends numbers to the pipeline until it is told to stop; knows which were answered.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<Vec<u64>>,
}

impl Load {
    fn start(url: String, host: &'static str) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            let http = reqwest::Client::new();
            let mut accepted = Vec::new();
            let mut number = 0;
            while !stopped.load(SeqCst) {
                number += 1;
                if request(&http, &url, host, number.to_string()).await {
                    accepted.push(number);
                    counted.fetch_add(1, SeqCst);
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            accepted
        });
        Self {
            stop,
            answered,
            task,
        }
    }

    fn answered(&self) -> u64 {
        self.answered.load(SeqCst)
    }

    /// Waits until so many more are answered.
    async fn more(&self, number: u64) {
        let goal = self.answered() + number;
        let wait = async || Ok((self.answered() >= goal).then_some(()));
        edgeless_tests::wait::until("requests are answered", wait)
            .await
            .unwrap();
    }

    async fn end(self) -> Vec<u64> {
        self.stop.store(true, SeqCst);
        self.task.await.unwrap()
    }
}

/// Numbers that came out of the pipeline, halved again, sorted.
fn logged(cluster: &Cluster) -> Vec<u64> {
    let lines = cluster.logged("out.log");
    let mut numbers: Vec<u64> = lines
        .iter()
        .filter_map(|line| line.parse::<u64>().ok())
        .map(|number| number / 2)
        .collect();
    numbers.sort_unstable();
    numbers
}

/// Waits until all of `accepted` came out, each once.
async fn all_logged_once(cluster: &Cluster, accepted: &[u64]) {
    let all = async || Ok((logged(cluster).len() >= accepted.len()).then_some(()));
    if edgeless_tests::wait::until("all numbers come out", all)
        .await
        .is_err()
    {
        let out = logged(cluster);
        let lost = accepted
            .iter()
            .filter(|number| out.binary_search(number).is_err())
            .count();
        panic!("{lost} of {} numbers did not come out", accepted.len());
    }
    let mut expected = accepted.to_vec();
    expected.sort_unstable();
    assert_eq!(logged(cluster), expected);
}

/// The logical id of a vertex.
async fn logical_id(rest: &Rest, workflow: &str, name: &str) -> String {
    let status = rest
        .get(&format!("/api/v1/workflows/{workflow}"))
        .await
        .unwrap();
    let functions = status["functions"].as_array().unwrap().iter();
    let mut all = functions.chain(status["resources"].as_array().unwrap());
    let vertex = all.find(|vertex| vertex["name"] == name).unwrap();
    vertex["logical_id"].as_str().unwrap().to_owned()
}

/// The sum of the values of one of ε-ORC's metrics, named without its prefix.
async fn metric(cluster: &Cluster, name: &str) -> anyhow::Result<f64> {
    let text = cluster.orc_http.get("/metrics").await?;
    let prefix = format!("edgeless_orc_{name}");
    let lines = text.as_str().unwrap_or_default().lines();
    let values = lines.filter_map(|line| {
        let rest = line.strip_prefix(&prefix)?;
        let value = rest.rsplit(' ').next()?;
        rest.starts_with([' ', '{'])
            .then(|| value.parse::<f64>().ok())?
    });
    Ok(values.sum())
}

/// Numbers from a source to a file through `double`, each delivered at least once; the source stays where resources are.
fn tracked_numbers() -> serde_json::Value {
    use edgeless_tests::client::{function, resource};
    use serde_json::json;
    let tracked = json!({"label_match_all": "zone=functions", "at_least_once": "out"});
    let mut source = json!({"label_match_all": "zone=resources", "at_least_once": "out"});
    source["init-payload"] = "1".into();
    json!({
        "functions": [
            function("source", "message_generator", &json!({"out": "double"}), &source),
            function("double", "double", &json!({"out": "log"}), &tracked),
        ],
        "resources": [resource("log", "file-log", &json!({}), &json!({"filename": "out.log"}))],
    })
}
