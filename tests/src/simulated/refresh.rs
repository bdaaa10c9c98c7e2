//! Registers one simulated node and refreshes its registration.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use edgeless_proto::{
    convert::id_bytes,
    v1::{self, node_registration_client::NodeRegistrationClient},
};
use tonic::transport::Channel;

use super::{Settings, node::Node, tally::Tally};

/// All nodes are there after this, however seldom they refresh.
const JOINING: Duration = Duration::from_secs(5);
/// Between two tries to reach ε-ORC.
const RETRY: Duration = Duration::from_millis(500);
/// Instances that the samples of one refresh are about.
const MEASURED: usize = 5;

/// When to refresh, and with what; may change at any time.
#[derive(Debug)]
pub(super) struct Pace {
    begun: Instant,
    nodes: usize,
    deadline: Duration,
    refresh_micros: AtomicU64,
    samples: AtomicUsize,
}

impl Pace {
    pub(super) fn of(settings: &Settings) -> Self {
        let pace = Self {
            begun: Instant::now(),
            nodes: settings.nodes,
            deadline: settings.deadline,
            refresh_micros: AtomicU64::default(),
            samples: AtomicUsize::default(),
        };
        pace.set(settings.refresh, settings.samples);
        pace
    }

    /// From the next refresh of each node on.
    pub(super) fn set(&self, refresh: Duration, samples: usize) {
        let micros = u64::try_from(refresh.as_micros()).unwrap_or(u64::MAX);
        self.refresh_micros.store(micros, Relaxed);
        self.samples.store(samples, Relaxed);
    }

    fn refresh(&self) -> Duration {
        Duration::from_micros(self.refresh_micros.load(Relaxed))
    }

    /// How long the node with this index waits before it refreshes again: all of them are spread evenly over the
    /// interval, and what is late is not made up for.
    fn rest(&self, index: usize) -> Duration {
        let interval = self.refresh();
        if interval.is_zero() {
            return interval;
        }
        let offset = interval.mul_f64(index as f64 / self.nodes as f64);
        let into = (self.begun.elapsed() + interval - offset).as_nanos() % interval.as_nanos();
        interval - Duration::from_nanos(u64::try_from(into).unwrap_or_default())
    }

    /// How long the node with this index waits before it registers.
    fn offset(&self, index: usize) -> Duration {
        let spread = self.refresh().clamp(Duration::from_secs(1), JOINING);
        spread.mul_f64(index as f64 / self.nodes as f64)
    }
}

/// Keeps a node registered for as long as this is polled.
pub(super) async fn run(node: Arc<Node>, channel: Channel, pace: Arc<Pace>, tally: Arc<Tally>) {
    let mut client = NodeRegistrationClient::new(channel);
    tokio::time::sleep(pace.offset(node.index)).await;
    let nonce = u64::from(node.address.to_bits()) << 32 | u64::from(std::process::id());
    let (mut sequence, mut full, mut measured_at) = (0, true, nanos());
    loop {
        sequence += 1;
        let samples = if full { 0 } else { pace.samples.load(Relaxed) };
        let request = v1::UpdateNodeRequest {
            node_id: id_bytes(&node.node_id),
            nonce,
            sequence,
            refresh_deadline_ms: u64::try_from(pace.deadline.as_millis()).unwrap_or(u64::MAX),
            profile: full.then(|| profile(&node)),
            health: Some(health(sequence)),
            samples: (samples > 0).then(|| measure(&node, samples, &mut measured_at)),
            running: full.then(|| node.running()),
            ..v1::UpdateNodeRequest::default()
        };
        let sent = Instant::now();
        match client.update_node(request).await {
            Ok(reply) => {
                node.set_refreshed(sent);
                let registers = std::mem::replace(&mut full, reply.into_inner().want_full);
                // An ε-ORC that wants all has taken nothing.
                tally.answered(sent.elapsed(), if full { 0 } else { samples });
                if registers && !full {
                    tally.registered.fetch_add(1, Relaxed);
                }
            }
            Err(_) => {
                tally.failed.fetch_add(1, Relaxed);
                tokio::time::sleep(RETRY).await;
            }
        }
        if !full {
            tokio::time::sleep(pace.rest(node.index)).await;
        }
    }
}

fn nanos() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn profile(node: &Node) -> v1::NodeProfile {
    v1::NodeProfile {
        agent_url: node.agent_url.clone(),
        invocation_url: node.agent_url.clone(),
        capabilities: Some(v1::NodeCapabilities {
            num_cpus: 1,
            model_name_cpu: "simulated".to_owned(),
            clock_freq_cpu: 2_000.0,
            num_cores: 64,
            mem_size: 262_144,
            labels: vec![format!("zone={}", node.address.octets()[3] % 10)],
            runtimes: vec!["RUST_WASM".to_owned()],
            disk_tot_space: 1 << 20,
            ..v1::NodeCapabilities::default()
        }),
        providers: Vec::new(),
    }
}

fn health(sequence: u64) -> v1::NodeHealth {
    v1::NodeHealth {
        mem_free: 100_000 + sequence % 1_000,
        mem_used: 20_000,
        mem_available: 110_000,
        proc_cpu_usage: 12,
        proc_memory: 80_000,
        proc_vmemory: 900_000,
        load_avg_1: 31,
        load_avg_5: 27,
        load_avg_15: 22,
        tot_rx_bytes: sequence * 12_345,
        tot_rx_pkts: sequence * 123,
        tot_tx_bytes: sequence * 23_456,
        tot_tx_pkts: sequence * 234,
        disk_free_space: 500_000,
        ..v1::NodeHealth::default()
    }
}

/// Samples of some of the instances that run, half of them of either kind, no two at one moment.
fn measure(node: &Node, number: usize, measured_at: &mut u64) -> v1::Samples {
    let instances = node.measured(MEASURED.min(number.div_ceil(2)));
    let kinds = [
        v1::SampleKind::FunctionExecutionTime,
        v1::SampleKind::FunctionTransferTime,
    ];
    let columns = instances.len() * kinds.len();
    // From the last refresh until now, and always onwards.
    let step = (nanos().saturating_sub(*measured_at) / (number as u64 + 1)).max(1_000);
    let mut series = Vec::with_capacity(columns);
    let mut first = 0;
    for (index, physical_id) in instances.into_iter().enumerate() {
        for (other, &kind) in kinds.iter().enumerate() {
            let column = index * kinds.len() + other;
            let last = number * (column + 1) / columns;
            let mut timestamp_deltas_ns = vec![step.cast_signed(); last - first];
            if let Some(begin) = timestamp_deltas_ns.first_mut() {
                *begin = (*measured_at + step * (1 + first as u64)).cast_signed();
            }
            series.push(v1::SampleSeries {
                physical_id: physical_id.clone(),
                kind: kind.into(),
                values_ns: (first..last).map(|it| 150_000 + 37 * it as u64).collect(),
                timestamp_deltas_ns,
            });
            first = last;
        }
    }
    *measured_at += step * (1 + number as u64);
    v1::Samples {
        series,
        logs: Vec::new(),
        summaries: Vec::new(),
    }
}
