//! Real daemons with the two services, and what they and the system say of themselves. All settings that a user would
//! leave out are left out.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    load::{Load, Pace},
    wire::{Request, Wanted},
};
use crate::{
    bench::costs::Costs,
    client::Rest,
    cluster::{Announced, Around, Node, NodePlan, daemon, quoted, start_node},
    process::{Daemon, free_port, rss_mib, thread_times, used},
    wait::{until, until_within},
};

/// The services by their name, function and node.
const SERVICES: [(&str, &str, &str); 2] = [("A", "add", "a"), ("B", "times", "b")];
/// Within so much of a second of a processor in a second a daemon is at rest.
const REST: f64 = 0.01;
/// So few tasks a second are none.
const QUIET: f64 = 0.01;
/// How long work in the background may go on.
const SETTLE: Duration = Duration::from_secs(120);
/// How far apart two looks at memory and processors are.
const LOOK: Duration = Duration::from_secs(1);

/// ε-CON, ε-ORC and two nodes with a service on each.
pub(super) struct System {
    con: Daemon,
    orc: Daemon,
    nodes: Vec<Node>,
    rest: Rest,
    address: SocketAddr,
    /// Is removed last.
    _folder: tempfile::TempDir,
}

/// What ε-CON has written since its start.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Bytes of the log.
    pub(super) log: u64,
    /// Syncs of the log, if it says so.
    pub(super) syncs: Option<u64>,
}

impl System {
    /// Starts everything, with each sync of the log of orders so much longer, and services that are idempotent or say
    /// nothing of it.
    pub(super) async fn start(sync_delay: Duration, idempotent: bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let around = Around {
            path,
            environment: &[],
        };
        let url = || Ok::<_, anyhow::Error>(format!("http://127.0.0.1:{}", free_port()?));
        let (domains, register, rest) = (url()?, url()?, url()?);
        let data = |name: &str| quoted(&path.join(name).display().to_string());
        let text = format!(
            "[controller]\ncontroller_url = {}\ndomain_register_url = {}\nrest_url = {}\ndata_dir = {}\n\n\
             [orders]\nsync_delay = \"{}ms\"\n",
            quoted(&url()?),
            quoted(&domains),
            quoted(&rest),
            data("con"),
            sync_delay.as_millis(),
        );
        let con = daemon(around, "edgeless_con_d", "controller", &text)?;
        let text = format!(
            "[general]\ndomain_register_url = {}\ndomain_id = \"bench\"\norchestrator_url = {}\n\
             node_register_url = {}\nstatus_url = {}\ndata_dir = {}\n",
            quoted(&domains),
            quoted(&url()?),
            quoted(&register),
            quoted(&url()?),
            data("orc"),
        );
        let orc = daemon(around, "edgeless_orc_d", "orchestrator", &text)?;
        let mut nodes = Vec::new();
        for (index, (_, _, node)) in SERVICES.iter().enumerate() {
            let plan = NodePlan {
                resources: false,
                labels: vec![format!("node={node}")],
                refresh_interval: Duration::from_secs(1),
                shards: 1,
            };
            nodes.push(start_node(
                around,
                index,
                &plan,
                &register,
                Announced::default(),
            )?);
        }
        let system = Self {
            con,
            orc,
            nodes,
            address: rest.trim_start_matches("http://").parse()?,
            rest: Rest::new(rest),
            _folder: folder,
        };
        system.serve(idempotent).await?;
        Ok(system)
    }

    /// Defines the services, when all nodes are there.
    async fn serve(&self, idempotent: bool) -> anyhow::Result<()> {
        until("all nodes are registered", async || {
            let domains = self.rest.get("/api/v1/domains").await?;
            Ok((domains[0]["nodes"] == SERVICES.len()).then_some(()))
        })
        .await?;
        for (name, class, node) in SERVICES {
            self.rest.push(class).await?;
            let mut spec = json!({
                "class_specification": {"id": class, "version": "0.1", "function_type": "RUST_WASM"},
                "annotations": {"label_match_all": format!("node={node}")},
            });
            if idempotent {
                spec["idempotent"] = json!(true);
            }
            let path = format!("/api/v1/services/{name}");
            let sent = self.rest.send(Method::PUT, &path, spec.to_string());
            let (status, body) = sent.await?;
            anyhow::ensure!(status == StatusCode::CREATED, "{path}: {status} {body}");
        }
        Ok(())
    }

    /// A load whose orders are answered with their results, so many of them at once.
    pub(super) fn results(&self, in_flight: usize, pace: Pace) -> Load {
        Load {
            address: self.address,
            request: Request::new("bench", "/api/v1/orders?wait=30s"),
            wanted: Wanted::Result,
            connections: in_flight,
            pace,
            most: u64::MAX,
        }
    }

    /// A load of so many orders that are only accepted.
    pub(super) fn acceptances(&self, orders: u64) -> Load {
        Load {
            request: Request::new("bench", "/api/v1/orders"),
            wanted: Wanted::Acceptance,
            most: orders,
            ..self.results(256, Pace::Closed)
        }
    }

    /// Holds the first service up.
    pub(super) async fn pause(&self) -> anyhow::Result<()> {
        let path = format!("/api/v1/services/{}/pause", SERVICES[0].0);
        let (status, body) = self.rest.send(Method::POST, &path, "").await?;
        anyhow::ensure!(status.is_success(), "{path}: {status} {body}");
        Ok(())
    }

    /// Orders that have not come to their end.
    pub(super) async fn active(&self) -> anyhow::Result<u64> {
        let figures = self.rest.get("/api/v1/orders/figures").await?;
        figures["active_orders"]
            .as_u64()
            .context("the figures have `active_orders`")
    }

    /// Begins to count what all who take part use of the processors; the load is this process.
    pub(super) fn costs(&self) -> anyhow::Result<Costs> {
        let nodes = self.nodes.iter().map(|node| ("nodes", node.daemon.pid()));
        let mut all = vec![("con", self.con.pid()), ("orc", self.orc.pid())];
        all.extend(nodes);
        all.push(("load", Some(std::process::id())));
        Costs::begin(&all)
    }

    /// What ε-CON has written.
    pub(super) async fn written(&self) -> anyhow::Result<Written> {
        let metrics = match self.rest.get("/metrics").await? {
            Value::String(text) => text,
            other => anyhow::bail!("the metrics are no text: {other}"),
        };
        let log = number(&metrics, "edgeless_con_order_log_bytes_total");
        Ok(Written {
            log: log.map_or_else(|| log_thread_bytes(self.con()?), Ok)?,
            syncs: number(&metrics, "edgeless_con_order_log_syncs_total"),
        })
    }

    /// The resident memory of ε-CON in MiB, when it neither works nor grows or shrinks any more.
    pub(super) async fn settled_rss_mib(&self) -> anyhow::Result<f64> {
        let pid = self.con()?;
        let rss = || rss_mib(pid).context("ε-CON has ended");
        let mut before = rss()?;
        until_within(SETTLE, "the memory of ε-CON stays as it is", async || {
            let rests = self.cores(LOOK).await? < REST;
            let last = std::mem::replace(&mut before, rss()?);
            Ok((rests && (before - last).abs() <= last / 100.0).then_some(before))
        })
        .await
    }

    /// Waits until ε-CON has nothing left to do.
    pub(super) async fn rests(&self) -> anyhow::Result<()> {
        until_within(SETTLE, "ε-CON rests", async || {
            Ok((self.cores(LOOK).await? < REST).then_some(()))
        })
        .await
    }

    /// Waits until no rate of a service tells of the load before: until then it is told to ε-ORC each second.
    pub(super) async fn is_quiet(&self) -> anyhow::Result<()> {
        until_within(SETTLE, "the load is forgotten", async || {
            let figures = self.rest.get("/api/v1/orders/figures").await?;
            let services = figures["services"].as_object();
            let services = services.context("the figures have `services`")?.values();
            let rate = |service: &Value| service["done_per_second"].as_f64().unwrap_or_default();
            let most = services.map(rate).fold(0.0, f64::max);
            tokio::time::sleep(LOOK).await;
            Ok((most < QUIET).then_some(()))
        })
        .await
    }

    /// The cores that ε-CON uses, as a mean over some time.
    pub(super) async fn cores(&self, time: Duration) -> anyhow::Result<f64> {
        let pid = self.con()?;
        let look = || thread_times(pid).context("ε-CON has ended");
        let (before, begun) = (look()?, std::time::Instant::now());
        tokio::time::sleep(time).await;
        Ok(used(&before, &look()?) / begun.elapsed().as_secs_f64())
    }

    /// The process id of ε-CON.
    pub(super) fn con(&self) -> anyhow::Result<u32> {
        self.con.pid().context("ε-CON runs")
    }
}

/// What the thread of the log has written: only to its files. (What reached the disk is told by no counter of a process:
/// `write_bytes` counts whole folios of the page cache, which have up to some MiB.)
fn log_thread_bytes(pid: u32) -> anyhow::Result<u64> {
    for thread in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = thread?.path();
        if std::fs::read_to_string(path.join("comm"))?.trim() == "log" {
            let io = std::fs::read_to_string(path.join("io"))?;
            return number(&io, "wchar:").context("the system counts `wchar`");
        }
    }
    anyhow::bail!("ε-CON has no thread `log`")
}

/// The number behind a name at the beginning of a line.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    value.trim().parse().ok()
}
