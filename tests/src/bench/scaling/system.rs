//! Three nodes, ε-ORC, ε-CON and Redis with functions that are scaled, and the load on them.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use edgeless_dataset::{
    replay::{daemons::Entry, handling},
    synth::Trace,
};
use edgeless_orc::scale::Settings;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::Instant};

use super::waits::{START, Waits};
use crate::{
    client::{Rest, resource},
    cluster::{Cluster, Mirror, NodePlan, Plan},
    wait::{until, until_within},
};

/// What the function is called.
const CLASS: &str = "waiter";
/// Its code: waits for what a server says.
const CODE: &str = include_str!("waiter.wat");
/// As often as nodes refresh by default.
pub(super) const REFRESH: Duration = Duration::from_secs(1);
pub(super) const NODES: usize = 3;
/// More than enough, so that there is one on each node.
const EGRESSES: usize = 16;
/// Longer than any order takes.
const LONGEST: Duration = Duration::from_mins(10);
/// Until a request that failed is sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// Before the load begins, everything has been there for so long.
const SETTLED: Duration = Duration::from_secs(5);

/// What was seen of a run.
pub(super) struct Seen {
    /// Seconds that each order took beyond its handling.
    pub(super) waits: Vec<f64>,
    /// For each function: from when on, in seconds since the begin of the load, it had how many copies.
    pub(super) copies: Vec<Vec<(f64, u32)>>,
    /// Requests over HTTP that were answered with 502, and sent again.
    pub(super) failed: u64,
}

/// The cluster with the functions of a trace.
pub(super) struct System {
    cluster: Cluster,
    waits: Waits,
    /// The logical ids of the functions of the trace.
    functions: Vec<String>,
    ingress: Option<String>,
    http: reqwest::Client,
}

impl System {
    /// Starts everything, and waits until it has settled.
    pub(super) async fn start(
        trace: &Trace,
        seed: u64,
        settings: &Settings,
        start_time: Duration,
        entry: Entry,
    ) -> anyhow::Result<Self> {
        let node = || NodePlan {
            resources: true,
            labels: Vec::new(),
            refresh_interval: REFRESH,
            shards: 1,
        };
        let plan = Plan {
            nodes: (0..NODES).map(|_| node()).collect(),
            mirror: Mirror::Running,
        };
        let cluster = Cluster::start(plan).await?;
        let waits = Waits::start(trace.clone(), seed, start_time).await?;
        let http = reqwest::Client::builder().timeout(LONGEST).build()?;
        let mut system = Self {
            cluster,
            waits,
            functions: Vec::new(),
            ingress: None,
            http,
        };
        let code = wat::parse_str(CODE)?;
        let path = format!("/api/v1/functions/{CLASS}/0.1?function_type=RUST_WASM&outputs=");
        let (status, body) = system.rest().send(Method::PUT, &path, code).await?;
        anyhow::ensure!(status.is_success(), "{path}: {status} {body}");
        let egresses = system.egresses().await?;
        let payload = |step| system.init_payload(&egresses, step, start_time, entry);
        let payloads: Vec<_> = (0..trace.functions.len()).map(payload).collect();
        match entry {
            Entry::Orders => {
                for (function, payload) in trace.functions.iter().zip(&payloads) {
                    system.serve(&function.name, settings, payload).await?;
                }
            }
            Entry::Http => system.enter(settings, &payloads[0]).await?,
        }
        tokio::time::sleep(SETTLED).await;
        Ok(system)
    }

    fn rest(&self) -> &Rest {
        &self.cluster.rest
    }

    /// An `http-egress` on each node: node id and physical id.
    async fn egresses(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let settings = json!({"max_in_flight": "4096", "timeout": "60s"});
        let resources = (0..EGRESSES).map(|number| {
            let name = format!("outside{number}");
            resource(&name, "http-egress", &json!({}), &settings)
        });
        let resources: Vec<Value> = resources.collect();
        let document = json!({"functions": [], "resources": resources});
        let id = self.rest().start(&document).await?;
        let placed = self.rest().placed(&id).await?;
        let placed = placed.into_iter().map(|(_, node, id)| (node, id));
        let egresses: BTreeMap<_, _> = placed.collect();
        anyhow::ensure!(egresses.len() == NODES, "a node has no `http-egress`");
        Ok(egresses)
    }

    fn init_payload(
        &self,
        egresses: &BTreeMap<String, String>,
        step: usize,
        start_time: Duration,
        entry: Entry,
    ) -> String {
        let mut payload = match entry {
            Entry::Orders => format!("o{step}"),
            Entry::Http => format!("h{step}"),
        };
        for (node, physical_id) in egresses {
            payload += &[node, physical_id].map(|it| it.replace('-', "")).concat();
        }
        if !start_time.is_zero() {
            payload += ";";
            payload += &self.request(START).to_string();
        }
        payload
    }

    /// A request to the server that waits.
    fn request(&self, path: &str) -> Value {
        let host = self.waits.address.to_string();
        json!({"protocol": "HTTP", "method": "GET", "host": host, "path": path})
    }

    /// Defines a service.
    async fn serve(
        &mut self,
        name: &str,
        settings: &Settings,
        payload: &str,
    ) -> anyhow::Result<()> {
        let spec = json!({
            "class_specification": {"id": CLASS, "version": "0.1", "function_type": "RUST_WASM"},
            "annotations": {"scale_policy": settings.policy.name(), "init-payload": payload},
            "min_instances": settings.min_instances,
            "max_instances": settings.max_instances,
            "timeout": "2min",
        });
        let path = format!("/api/v1/services/{name}");
        let sent = self.rest().send(Method::PUT, &path, spec.to_string());
        let (status, body) = sent.await?;
        anyhow::ensure!(status == StatusCode::CREATED, "{path}: {status} {body}");
        let id = until("the service runs", async || {
            let service = self.rest().get(&path).await?;
            let runs = service["state"] == "running";
            Ok(service["workflow_id"]
                .as_str()
                .filter(|_| runs)
                .map(str::to_owned))
        })
        .await?;
        let function = self.function_of(&id).await?;
        self.functions.push(function);
        Ok(())
    }

    /// Starts a function behind an `http-ingress`.
    async fn enter(&mut self, settings: &Settings, payload: &str) -> anyhow::Result<()> {
        let mut annotations = json!({
            "scale_policy": settings.policy.name(),
            "min_instances": settings.min_instances.to_string(),
            "max_instances": settings.max_instances.to_string(),
            "init-payload": payload,
        });
        if settings.min_instances == 0 {
            annotations["idle_after"] = format!("{}ms", settings.idle_after.as_millis()).into();
        }
        let entry = json!({"host": "*", "timeout": "10min"});
        let document = json!({
            "functions": [crate::client::function("a", CLASS, &json!({}), &annotations)],
            "resources": [resource("entry", "http-ingress", &json!({"new_request": "a"}), &entry)],
        });
        let id = self.rest().start(&document).await?;
        let function = self.function_of(&id).await?;
        self.functions.push(function);
        let placed = self.rest().placed(&id).await?;
        let entry = placed.iter().find(|(name, ..)| name == "entry");
        let (_, home, _) = entry.context("the entry runs")?;
        let home = self.cluster.node(home)?;
        self.ingress = Some(home.ingress_url.clone());
        Ok(())
    }

    /// The logical id of the only function of a workflow.
    async fn function_of(&self, workflow_id: &str) -> anyhow::Result<String> {
        let status = self
            .rest()
            .get(&format!("/api/v1/workflows/{workflow_id}"))
            .await?;
        let logical_id = status["functions"][0]["logical_id"].as_str();
        Ok(logical_id.context("a function has an id")?.to_owned())
    }

    /// Sends the orders of the trace when they arrive, whether others are answered or not.
    pub(super) async fn run(&mut self, trace: &Trace, seed: u64) -> anyhow::Result<Seen> {
        let orders = Arc::new(self.orders(trace));
        let begun = Instant::now();
        let wall = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64();
        let mut running = JoinSet::new();
        for (number, arrival) in trace.arrivals.iter().enumerate() {
            let due = begun + Duration::from_secs_f64(arrival.at);
            tokio::time::sleep_until(due).await;
            let orders = Arc::clone(&orders);
            let http = self.http.clone();
            running.spawn(async move {
                let failed = orders.send(&http, number).await?;
                anyhow::Ok((number, due.elapsed().as_secs_f64(), failed))
            });
        }
        let (mut waits, mut failed) = (vec![0.0; trace.arrivals.len()], 0);
        while let Some(ended) = running.join_next().await {
            let (number, took, times) = ended??;
            failed += times;
            let steps = 0..self.functions.len();
            let handled: f64 = steps.map(|step| handling(trace, seed, number, step)).sum();
            waits[number] = took - handled;
        }
        let end = begun + Duration::from_secs_f64(trace.lasts);
        tokio::time::sleep_until(end).await;
        let copies = self.copies(wall)?;
        Ok(Seen {
            waits,
            copies,
            failed,
        })
    }

    fn orders(&self, trace: &Trace) -> Orders {
        let tasks: Vec<_> = trace.functions.iter().map(|it| it.name.clone()).collect();
        match &self.ingress {
            Some(url) => Orders::Http {
                url: url.clone(),
                host: self.waits.address.to_string(),
            },
            None => Orders::Book {
                url: format!("{}/api/v1/orders?wait=10min", self.rest().url),
                request: self.request("/"),
                tasks,
            },
        }
    }

    /// How many copies each function had, as ε-ORC has recorded it.
    fn copies(&self, begin: f64) -> anyhow::Result<Vec<Vec<(f64, u32)>>> {
        let text =
            std::fs::read_to_string(self.cluster.dataset.join("mapping_to_instance_id.csv"))?;
        let mut copies = vec![Vec::new(); self.functions.len()];
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let [at, logical_id, pairs @ ..] = fields.as_slice() else {
                anyhow::bail!("`{line}` is no row of the mapping");
            };
            let mine = self.functions.iter().position(|it| it == logical_id);
            if let Some(function) = mine {
                let pairs = pairs.iter().filter(|it| !it.is_empty()).count();
                let number = u32::try_from(pairs / 2)?;
                copies[function].push((at.parse::<f64>()? - begin, number));
            }
        }
        Ok(copies)
    }

    /// Copies the dataset, when all that happened is in it.
    pub(super) async fn keep_dataset(&self, to: &Path, orders: usize) -> anyhow::Result<()> {
        let from = &self.cluster.dataset;
        until_within(Duration::from_secs(10), "all is recorded", async || {
            let text = tokio::fs::read_to_string(from.join("performance_samples.csv")).await?;
            let rows = text.matches("function_execution_time").count();
            // What the function asks of the outside is handled and recorded as well.
            Ok((rows >= 2 * orders * self.functions.len()).then_some(()))
        })
        .await?;
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
        Ok(())
    }
}

/// Where orders go.
enum Orders {
    Book {
        url: String,
        request: Value,
        tasks: Vec<String>,
    },
    Http {
        url: String,
        host: String,
    },
}

impl Orders {
    /// Sends an order until it is done; how often it failed.
    async fn send(&self, http: &reqwest::Client, number: usize) -> anyhow::Result<u64> {
        let mut failed = 0;
        loop {
            let answer = self.request(http, number).send().await?;
            let status = answer.status();
            if status == StatusCode::BAD_GATEWAY {
                failed += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            let body = answer.text().await?;
            anyhow::ensure!(status == StatusCode::OK, "order {number}: {status} {body}");
            return Ok(failed);
        }
    }

    fn request(&self, http: &reqwest::Client, number: usize) -> reqwest::RequestBuilder {
        match self {
            Self::Book {
                url,
                request,
                tasks,
            } => {
                let mut request = request.clone();
                request["path"] = Value::from(format!("/~/{number}"));
                let order = json!({"input": request, "tasks": tasks});
                let sent = http.post(url).header("content-type", "application/json");
                sent.body(order.to_string())
            }
            Self::Http { url, host } => {
                let url = format!("{url}/0/{number}");
                http.get(url).header("host", host)
            }
        }
    }
}
