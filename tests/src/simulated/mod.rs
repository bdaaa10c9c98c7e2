//! Thousands of nodes in one process: they speak the real protocol with a real ε-ORC and run nothing.
//!
//! Each has a connection of its own for its registration, and an address of its own in the loopback
//! network, `127.x.y.z`, where it takes steps; all addresses share one listening socket. A node keeps what
//! it was told to start, so that it can report it.

mod agent;
mod node;
mod refresh;
mod tally;

use std::{
    collections::HashMap,
    net::Ipv4Addr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use anyhow::Context;
use edgeless_proto::v1::node_agent_server::NodeAgentServer;
use edgeless_types::NodeId;
use tokio::{net::TcpListener, task::JoinSet};
use tokio_stream::{StreamExt, wrappers::TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Server};

use node::Node;
pub use tally::{Seen, SeenStep, Summary, Tally};

/// How many nodes there are and what they do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where ε-ORC takes registrations.
    pub register_url: String,
    /// How many nodes; 1 to [`MOST`].
    pub nodes: usize,
    /// How often each refreshes its registration. The nodes are spread evenly over that time. Zero: again as
    /// soon as it is answered.
    pub refresh: Duration,
    /// After how long without a refresh a node is lost; 100 ms to an hour.
    pub deadline: Duration,
    /// Samples in each refresh.
    pub samples: usize,
    /// How long a node takes for the steps of one call.
    pub delay: Duration,
}

/// The most nodes of one process: each needs two connections.
pub const MOST: usize = 60_000;

/// Nodes that run until this is dropped.
#[derive(Debug)]
pub struct Fleet {
    nodes: Arc<Vec<Arc<Node>>>,
    tally: Arc<Tally>,
    pace: Arc<refresh::Pace>,
    stop: CancellationToken,
    // Its tasks end with it.
    _tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts the nodes; they register in the first refresh interval, or within five seconds if that is
    /// longer.
    ///
    /// # Errors
    /// The address of ε-ORC is none, no port is free, or this process may not have so many connections.
    pub async fn start(settings: &Settings) -> anyhow::Result<Self> {
        anyhow::ensure!(
            (1..=MOST).contains(&settings.nodes),
            "the number of nodes must be 1 to {MOST}, not {}",
            settings.nodes
        );
        enough_files(settings.nodes)?;
        let url = &settings.register_url;
        let endpoint = Endpoint::from_shared(url.clone())
            .with_context(|| format!("`{url}` is no address of an ε-ORC"))?
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(5));
        // All addresses of the loopback network, which this machine alone reaches, and no less.
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await?;
        let port = listener.local_addr()?.port();
        let nodes: Vec<_> = (0..settings.nodes)
            .map(|index| Arc::new(Node::new(index, port)))
            .collect();
        let tally = Arc::new(Tally::default());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let by_address: HashMap<_, _> = nodes
            .iter()
            .map(|node| (node.address, Arc::clone(node)))
            .collect();
        let agent = agent::Agent::new(by_address, Arc::clone(&tally), settings.delay);
        let service = NodeAgentServer::new(agent).max_decoding_message_size(64 << 20);
        let incoming = TcpListenerStream::new(listener)
            .map(|stream| stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming);
        tasks.spawn(async move {
            if let Err(error) = serving.await {
                eprintln!("simulated nodes take no more steps: {error}");
            }
        });
        let pace = Arc::new(refresh::Pace::of(settings));
        for node in &nodes {
            let run = refresh::run(
                Arc::clone(node),
                endpoint.connect_lazy(),
                Arc::clone(&pace),
                Arc::clone(&tally),
            );
            let node_ends = node.dead.clone();
            let all_end = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = run => {}
                    () = node_ends.cancelled() => {}
                    () = all_end.cancelled() => {}
                }
            });
        }
        Ok(Self {
            nodes: Arc::new(nodes),
            tally,
            pace,
            stop,
            _tasks: tasks,
        })
    }

    /// What has been counted so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// From its next refresh on, each node refreshes so often and with so many samples.
    pub fn set_pace(&self, refresh: Duration, samples: usize) {
        self.pace.set(refresh, samples);
    }

    /// The nodes refresh no more; they still take steps.
    pub fn stop_refreshing(&self) {
        self.stop.cancel();
    }

    /// A node goes silent at once, without a word. Gives back when it last sent a refresh that was answered.
    pub fn kill(&self, index: usize) -> Option<Instant> {
        let node = self.nodes.get(index)?;
        node.dead.cancel();
        let (running, holding) = node.clear();
        self.tally.running.fetch_sub(running, Relaxed);
        self.tally.holding.fetch_sub(holding, Relaxed);
        node.refreshed()
    }

    /// The id of a node.
    pub fn node_id(&self, index: usize) -> Option<NodeId> {
        self.nodes.get(index).map(|node| node.node_id)
    }

    /// How many instances a node has.
    pub fn instances(&self, index: usize) -> usize {
        self.nodes.get(index).map_or(0, |node| node.instances())
    }
}

/// Whether a process may have as many connections as this one and ε-ORC need: two for each node.
fn enough_files(nodes: usize) -> anyhow::Result<()> {
    let Ok(limits) = std::fs::read_to_string("/proc/self/limits") else {
        return Ok(());
    };
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let limit = line.and_then(|line| line.split_whitespace().next());
    let limit: usize = limit
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(usize::MAX);
    let needed = 2 * nodes + OTHER_FILES;
    anyhow::ensure!(
        limit >= needed,
        "{nodes} nodes need {needed} open files, here and in ε-ORC, but only {limit} are allowed; \
         `ulimit -n {needed}` before both are started allows more"
    );
    Ok(())
}

/// Files of a process beside the connections of nodes.
const OTHER_FILES: usize = 200;
