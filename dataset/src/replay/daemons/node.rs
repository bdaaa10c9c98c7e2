//! Nodes and what runs on them: copies with their inboxes, and what a refresh says of them.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use edgeless_orc::domain::{NodeUpdate, Profile};
use edgeless_types::{
    Backlog, Demand, NodeCapabilities, NodeId, PhysicalId, ProviderId, ResourceProvider, Sample,
    SampleKind, Samples, has_grown, resource::order_source,
};

use super::{ENTRY, moment, source::Source};

/// A node between two refreshes.
pub(super) struct Node {
    pub(super) node_id: NodeId,
    sequence: u64,
    samples: Vec<Sample>,
    /// What was reported last of what waits.
    told: Vec<Backlog>,
    /// When it refreshed last, in seconds.
    pub(super) refreshed: f64,
    /// Which of its refreshes comes next: earlier appointments are void.
    pub(super) turn: u64,
}

/// A copy of a function.
pub(super) struct Instance {
    pub(super) node: usize,
    pub(super) function: usize,
    pub(super) inbox: VecDeque<Task>,
    /// What it handles, and since when.
    pub(super) current: Option<(Task, f64)>,
    /// It is to end when it has nothing left to do.
    pub(super) stops: bool,
}

/// A task at a copy.
#[derive(Clone, Copy)]
pub(super) struct Task {
    pub(super) order: usize,
    /// When it was sent, in seconds.
    pub(super) created: f64,
}

impl Instance {
    pub(super) fn new(node: usize, function: usize) -> Self {
        Self {
            node,
            function,
            inbox: VecDeque::new(),
            current: None,
            stops: false,
        }
    }
}

fn nanos(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// What waits at the copies of a node.
fn backlog(place: usize, copies: &BTreeMap<PhysicalId, Instance>, now: f64) -> Vec<Backlog> {
    let mine = copies.iter().filter(|(_, copy)| copy.node == place);
    let waits = mine.filter_map(|(physical_id, copy)| {
        let first = copy.inbox.front();
        let is_busy = copy.current.is_some();
        let oldest = first.map_or(0.0, |it| (now - it.created).max(0.0));
        (is_busy || first.is_some()).then(|| Backlog {
            physical_id: *physical_id,
            queued: copy.inbox.len() as u64,
            in_hand: u64::from(is_busy),
            oldest: Duration::from_secs_f64(oldest),
        })
    });
    waits.collect()
}

impl Node {
    pub(super) fn new(node_id: NodeId) -> Self {
        Self {
            node_id,
            sequence: 0,
            samples: Vec::new(),
            told: Vec::new(),
            refreshed: 0.0,
            turn: 0,
        }
    }

    /// A copy has handled a task.
    pub(super) fn measured(&mut self, copy: PhysicalId, [created, began, ended]: [f64; 3]) {
        let sample = |kind, at, seconds| Sample {
            physical_id: copy,
            kind,
            timestamp: moment(at),
            nanos: nanos(seconds),
        };
        let transfer = SampleKind::FunctionTransferTime;
        self.samples.push(sample(transfer, began, began - created));
        let execution = SampleKind::FunctionExecutionTime;
        self.samples.push(sample(execution, ended, ended - began));
    }

    /// What it says when it refreshes.
    pub(super) fn update(
        &mut self,
        place: usize,
        copies: &BTreeMap<PhysicalId, Instance>,
        sources: &BTreeMap<PhysicalId, Source>,
        now: f64,
    ) -> NodeUpdate {
        self.sequence += 1;
        let first = self.sequence == 1;
        let times = std::mem::take(&mut self.samples);
        let samples = (!times.is_empty()).then(|| {
            Arc::new(Samples {
                times,
                ..Samples::default()
            })
        });
        self.told = backlog(place, copies, now);
        let held = |(physical_id, source): (&PhysicalId, &Source)| {
            (!source.held.is_empty()).then(|| Demand {
                physical_id: *physical_id,
                channel: source.channel.clone(),
                waiting: source.held.len() as u64,
            })
        };
        let sends = sources.iter().filter(|(_, source)| source.node == place);
        NodeUpdate {
            node_id: self.node_id,
            nonce: 1,
            sequence: self.sequence,
            refresh_deadline: Duration::from_mins(1),
            profile: first.then(|| self.profile()),
            health: None,
            samples,
            running: first.then(Vec::new),
            started: Vec::new(),
            stopped: Vec::new(),
            failures: Vec::new(),
            states: Vec::new(),
            demand: sends.filter_map(held).collect(),
            backlog: self.told.clone(),
            leaving: false,
        }
    }

    /// Whether much more waits at a copy than was reported.
    pub(super) fn is_crowded(
        &self,
        place: usize,
        copies: &BTreeMap<PhysicalId, Instance>,
        now: f64,
    ) -> bool {
        has_grown(&self.told, &backlog(place, copies, now))
    }

    fn profile(&self) -> Profile {
        let provider = |class: &str, output: &str| ResourceProvider {
            provider_id: ProviderId::new(format!("{}-{class}", self.node_id)),
            class_type: class.to_owned(),
            node_id: self.node_id,
            outputs: vec![output.to_owned()],
        };
        Profile {
            agent_url: format!("http://{}:1", self.node_id),
            invocation_url: format!("http://{}:2", self.node_id),
            capabilities: Arc::new(NodeCapabilities {
                num_cores: 64,
                clock_freq_cpu: 1_000.0,
                mem_size: 1 << 20,
                runtimes: vec!["RUST_WASM".to_owned()],
                ..NodeCapabilities::default()
            }),
            providers: vec![
                provider(order_source::CLASS.class_type, order_source::TASK),
                provider("http-ingress", ENTRY),
            ],
        }
    }
}
