//! A cluster of real daemons: ε-CON, ε-ORC and nodes, with or without Redis.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde_json::Value;
use uuid::Uuid;

use crate::{
    client::Rest,
    process::{Daemon, binary, free_port, redis},
    proxy::Proxy,
    wait::until,
};

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// One per node: whether it provides `http-ingress` and `file-log`, and its labels.
    pub nodes: Vec<NodePlan>,
    /// Whether there is a mirror, and whether Redis runs from the start.
    pub mirror: Mirror,
}

/// Whether there is a mirror.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mirror {
    /// None.
    Without,
    /// In a Redis that runs.
    Running,
    /// In a Redis that does not run yet.
    Absent,
}

/// One node.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Whether it provides `http-ingress` and `file-log`.
    pub resources: bool,
    /// Its labels.
    pub labels: Vec<String>,
    /// How often it refreshes its registration; its deadline is five times that.
    pub refresh_interval: Duration,
    /// How many shards its engine has.
    pub shards: usize,
}

/// How often nodes of tests refresh: soon lost, soon found.
pub const OFTEN: Duration = Duration::from_millis(200);

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    /// Its process.
    pub daemon: Daemon,
    /// Its id.
    pub node_id: String,
    /// Where its HTTP ingress listens.
    pub ingress_url: String,
    /// Its status port.
    pub status_url: String,
    /// Its files.
    pub files: PathBuf,
}

/// A cluster that runs.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// ε-ORC.
    pub orc: Daemon,
    /// ε-CON.
    pub con: Daemon,
    /// Redis, where there is one.
    pub redis: Option<Daemon>,
    /// Where Redis is or would be.
    pub redis_url: String,
    /// ε-CON's REST interface.
    pub rest: Rest,
    /// ε-ORC's status port.
    pub orc_http: Rest,
    /// Where domains subscribe.
    pub domains_url: String,
    /// Where the datasets are.
    pub dataset: PathBuf,
    /// Where nodes register.
    pub register_url: String,
    folder: tempfile::TempDir,
}

impl Cluster {
    /// Starts everything and waits until all nodes are registered.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        Self::start_in(plan, tempfile::tempdir()?, &[]).await
    }

    /// The same in a folder, with the datasets in its `dataset`, and with variables in the environment of
    /// ε-CON, ε-ORC and the nodes.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start_in(
        plan: Plan,
        folder: tempfile::TempDir,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let path = folder.path();
        let around = Around { path, environment };
        let redis_port = free_port()?;
        let redis_url = format!("redis://127.0.0.1:{redis_port}");
        let redis = match plan.mirror {
            Mirror::Running => Some(redis(redis_port, path)?),
            Mirror::Without | Mirror::Absent => None,
        };
        let urls: Vec<String> = (0..6)
            .map(|_| Ok(format!("http://127.0.0.1:{}", free_port()?)))
            .collect::<anyhow::Result<_>>()?;
        let [controller, domains, rest, orchestrator, register, status] = &urls[..] else {
            anyhow::bail!("six addresses are six addresses");
        };
        let con = con(around, controller, domains, rest)?;
        let redis_url_used = (plan.mirror != Mirror::Without).then_some(redis_url.as_str());
        let orc = orc(
            around,
            domains,
            orchestrator,
            register,
            status,
            redis_url_used,
        )?;
        let mut nodes = Vec::new();
        for (index, node) in plan.nodes.iter().enumerate() {
            nodes.push(start_node(
                around,
                index,
                node,
                register,
                Announced::default(),
            )?);
        }
        let cluster = Self {
            nodes,
            orc,
            con,
            redis,
            redis_url,
            rest: Rest::new(rest.clone()),
            orc_http: Rest::new(status.clone()),
            domains_url: domains.clone(),
            dataset: path.join("dataset"),
            register_url: register.clone(),
            folder,
        };
        cluster.all_registered(plan.nodes.len()).await?;
        Ok(cluster)
    }

    /// Waits until ε-CON knows so many nodes.
    ///
    /// # Errors
    /// It does not, in time.
    pub async fn all_registered(&self, number: usize) -> anyhow::Result<()> {
        until("all nodes are registered", async || {
            let domains = self.rest.get("/api/v1/domains").await?;
            let nodes = domains[0]["nodes"].as_u64();
            Ok((nodes == Some(number as u64)).then_some(()))
        })
        .await
    }

    /// The node with this id.
    ///
    /// # Errors
    /// There is none.
    pub fn node(&mut self, node_id: &str) -> anyhow::Result<&mut Node> {
        let found = self.nodes.iter_mut().find(|node| node.node_id == node_id);
        found.with_context(|| format!("there is no node {node_id}"))
    }

    /// Adds a node.
    ///
    /// # Errors
    /// It does not start.
    pub fn add_node(&mut self, plan: &NodePlan, register_url: &str) -> anyhow::Result<()> {
        self.add(plan, register_url, Announced::default())
    }

    /// Adds a node that reaches ε-ORC through one proxy, and that ε-ORC reaches through another: both lead
    /// to where the node and ε-ORC are.
    ///
    /// # Errors
    /// It does not start.
    pub async fn add_node_behind_proxies(&mut self, plan: &NodePlan) -> anyhow::Result<[Proxy; 2]> {
        let up = Proxy::start(&self.register_url).await?;
        let agent_url = format!("http://127.0.0.1:{}", free_port()?);
        let down = Proxy::start(&agent_url).await?;
        let agent = Some(Urls {
            own: &agent_url,
            announced: &down.url,
        });
        let invocation = None;
        self.add(plan, &up.url, Announced { agent, invocation })?;
        Ok([up, down])
    }

    /// Adds a node that other nodes reach through a proxy.
    ///
    /// # Errors
    /// It does not start.
    pub async fn add_node_behind_link(&mut self, plan: &NodePlan) -> anyhow::Result<Proxy> {
        let url = format!("http://127.0.0.1:{}", free_port()?);
        let link = Proxy::start(&url).await?;
        let invocation = Some(Urls {
            own: &url,
            announced: &link.url,
        });
        let register_url = self.register_url.clone();
        let agent = None;
        self.add(plan, &register_url, Announced { agent, invocation })?;
        Ok(link)
    }

    fn add(
        &mut self,
        plan: &NodePlan,
        register_url: &str,
        announced: Announced<'_>,
    ) -> anyhow::Result<()> {
        let around = Around {
            path: self.folder.path(),
            environment: &[],
        };
        let node = start_node(around, self.nodes.len(), plan, register_url, announced)?;
        self.nodes.push(node);
        Ok(())
    }

    /// The folder of the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Lines of a file of `file-log`, over all nodes; without the last one while it is being written, of which a reader
    /// may see a part (at the end of a page).
    pub fn logged(&self, name: &str) -> Vec<String> {
        let text = |node: &Node| std::fs::read_to_string(node.files.join(name));
        let all = self.nodes.iter().filter_map(|node| text(node).ok());
        let lines = |text: String| -> Vec<String> {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            whole.lines().map(str::to_owned).collect()
        };
        all.flat_map(lines).collect()
    }

    /// The mirror's keys and values as ε-ORC itself shows them.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn state(&self, prefix: &str) -> anyhow::Result<Value> {
        self.orc_http
            .get(&format!("/api/v1/state?prefix={prefix}"))
            .await
    }
}

/// Where daemons run.
#[derive(Clone, Copy)]
pub(crate) struct Around<'a> {
    pub(crate) path: &'a Path,
    pub(crate) environment: &'a [(&'a str, String)],
}

/// Where a node takes something, and what it says of that.
#[derive(Clone, Copy)]
pub(crate) struct Urls<'a> {
    own: &'a str,
    announced: &'a str,
}

/// Where a node takes steps and messages, where that is not where it says.
#[derive(Clone, Copy, Default)]
pub(crate) struct Announced<'a> {
    agent: Option<Urls<'a>>,
    invocation: Option<Urls<'a>>,
}

pub(crate) fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn con(around: Around<'_>, controller: &str, domains: &str, rest: &str) -> anyhow::Result<Daemon> {
    let text = format!(
        "[controller]\ncontroller_url = {}\ndomain_register_url = {}\nrest_url = {}\n\
         data_dir = {}\n",
        quoted(controller),
        quoted(domains),
        quoted(rest),
        quoted(&around.path.join("con").display().to_string()),
    );
    daemon(around, "edgeless_con_d", "controller", &text)
}

fn orc(
    around: Around<'_>,
    domains: &str,
    orchestrator: &str,
    register: &str,
    status: &str,
    redis_url: Option<&str>,
) -> anyhow::Result<Daemon> {
    let proxy = redis_url.map_or_else(
        || "proxy_type = \"None\"".to_owned(),
        |url| format!("proxy_type = \"Redis\"\nredis_url = {}", quoted(url)),
    );
    let text = format!(
        "[general]\ndomain_register_url = {}\nsubscription_refresh_interval = \"200ms\"\n\
         domain_id = \"test-domain\"\norchestrator_url = {}\nnode_register_url = {}\n\
         status_url = {}\ndata_dir = {}\n\n[baseline]\nseed = 1\nadoption_grace = \"2s\"\n\n\
         [proxy]\n{proxy}\n\n\
         [proxy.dataset_settings]\ndataset_path = {}\nappend = true\n",
        quoted(domains),
        quoted(orchestrator),
        quoted(register),
        quoted(status),
        quoted(&around.path.join("orc").display().to_string()),
        quoted(&format!("{}/", around.path.join("dataset").display())),
    );
    daemon(around, "edgeless_orc_d", "orchestrator", &text)
}

pub(crate) fn start_node(
    around: Around<'_>,
    index: usize,
    plan: &NodePlan,
    register: &str,
    announced: Announced<'_>,
) -> anyhow::Result<Node> {
    let name = format!("node-{index}");
    let node_id = Uuid::new_v4().to_string();
    let ingress_url = format!("http://127.0.0.1:{}", free_port()?);
    let folder = around.path.join(&name);
    let files = folder.join("files");
    let status_url = format!("http://127.0.0.1:{}", free_port()?);
    let url = || Ok::<_, anyhow::Error>(quoted(&format!("http://127.0.0.1:{}", free_port()?)));
    let urls = |name: &str, urls: Option<Urls<'_>>| {
        Ok::<_, anyhow::Error>(match urls {
            Some(urls) => format!(
                "{name} = {}\n{name}_announced = {}",
                quoted(urls.own),
                quoted(urls.announced)
            ),
            None => format!("{name} = {}", url()?),
        })
    };
    let agent_url = urls("agent_url", announced.agent)?;
    let invocation_url = urls("invocation_url", announced.invocation)?;
    let mut text = format!(
        "[general]\nnode_id = {}\n{agent_url}\n{invocation_url}\n\
         node_register_url = {}\nrefresh_interval = \"{}ms\"\nrefresh_deadline = \"{}ms\"\n\
         leave_timeout = \"5s\"\ndata_dir = {}\nstatus_url = {}\n\n[engine]\nshards = {}\n\n\
         [resources]\n",
        quoted(&node_id),
        quoted(register),
        plan.refresh_interval.as_millis(),
        plan.refresh_interval.as_millis() * 5,
        quoted(&folder.join("state").display().to_string()),
        quoted(&status_url),
        plan.shards,
    );
    if plan.resources {
        let files = quoted(&files.display().to_string());
        text += &format!(
            "http_ingress_url = {}\nfile_log_path = {files}\n",
            quoted(&ingress_url)
        );
    }
    text += &format!(
        "\n[user_node_capabilities]\nlabels = {}\n",
        Value::from(plan.labels.clone())
    );
    let daemon = daemon(around, "node_d", &name, &text)?;
    Ok(Node {
        daemon,
        node_id,
        ingress_url,
        status_url,
        files,
    })
}

pub(crate) fn daemon(
    around: Around<'_>,
    program: &str,
    name: &str,
    config: &str,
) -> anyhow::Result<Daemon> {
    let path = around.path;
    let file = path.join(format!("{name}.toml"));
    std::fs::write(&file, config)?;
    let arguments = vec!["-c".to_owned(), file.display().to_string()];
    Daemon::start_with(
        binary(program)?,
        arguments,
        around.environment,
        path.join(format!("{name}.log")),
    )
}
