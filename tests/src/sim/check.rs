//! What always holds, and what holds again soon.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_orc::domain::{Domain, Flapping, NodeUpdate, Output, Step};
use edgeless_types::{
    InstanceId, LogicalId, NodeCapabilities, NodeId, PhysicalId, Presence, Requirements,
    ResourceProvider, Timestamp, workflow::VertexSpec,
};

use super::{
    World,
    link::START,
    net::{Context, Place},
    node::Running,
    orc::Orc,
};

/// The fencing window: how long a vertex may have more copies than it wants when nothing is wrong with its nodes, their ε-ORC
/// and ε-CON. A lost reconciliation ([`START`]) is the longest of what there is to wait for; then the deadline of a node,
/// confirmation by the senders, adoption, linger, drain, and some tries.
const TWICE: Duration = START.saturating_add(Duration::from_secs(10));
/// How long an output may lead to an instance that is not there, when nothing is wrong.
const DEAD: Duration = Duration::from_secs(12);

/// What one life of an ε-ORC has asked of its nodes, as far as is certain.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) cordoned: BTreeSet<NodeId>,
    hosted: BTreeMap<NodeId, BTreeMap<PhysicalId, (u64, u64)>>,
    /// When nodes were lost, and until when those rest that were lost too often.
    losses: BTreeMap<NodeId, Vec<Timestamp>>,
    resting: BTreeMap<NodeId, Timestamp>,
}

impl Asked {
    /// A node has come: it may have been lost too often.
    pub(super) fn meet(&mut self, node_id: NodeId, flapping: Flapping, now: Timestamp) {
        let losses = self.losses.get(&node_id).map_or(&[][..], Vec::as_slice);
        let oldest = losses.iter().nth_back(flapping.times.saturating_sub(1));
        if flapping.times > 0 && oldest.is_some_and(|at| now.since(*at) <= flapping.within) {
            self.resting.insert(node_id, now + flapping.rest);
        }
    }

    pub(super) fn on_update(&mut self, update: &NodeUpdate) {
        let hosted = self.hosted.entry(update.node_id).or_default();
        for (physical_id, _) in &update.failures {
            hosted.remove(physical_id);
        }
    }

    /// Whether this copy was asked for since the node came.
    pub(super) fn has(&self, node_id: NodeId, physical_id: PhysicalId) -> bool {
        let hosted = self.hosted.get(&node_id);
        hosted.is_some_and(|it| it.contains_key(&physical_id))
    }

    pub(super) fn forget(&mut self, node_id: NodeId, now: Timestamp) {
        self.hosted.remove(&node_id);
        self.losses.entry(node_id).or_default().push(now);
    }

    /// Somebody says that a node takes new ones again.
    pub(super) fn open(&mut self, node_id: NodeId) {
        self.cordoned.remove(&node_id);
        self.losses.remove(&node_id);
        self.resting.remove(&node_id);
    }

    /// Time has passed: who has rested begins anew.
    pub(super) fn tick(&mut self, now: Timestamp) {
        for (node_id, _) in self.resting.extract_if(.., |_, end| *end <= now) {
            self.losses.remove(&node_id);
        }
    }
}

/// Where an output leads.
pub(super) fn leads_to(output: &Output) -> Vec<InstanceId> {
    output.instances.iter().map(|(id, _)| *id).collect()
}

/// Each start goes to a node that is there, meets what is required, takes new ones, and has room.
pub(super) fn step(
    domain: &Domain,
    asked: &mut Asked,
    node_id: NodeId,
    step: &Step,
    context: &mut Context,
) {
    let hosted = asked.hosted.entry(node_id).or_default();
    match step {
        Step::Start { instance, spec, .. } => {
            let reports = domain.node_reports();
            let Some(node) = reports.iter().find(|node| node.node_id == node_id) else {
                return context
                    .break_with(|| format!("a start goes to {node_id}, which is not there"));
            };
            let (capabilities, providers) = (&node.profile.capabilities, &node.profile.providers);
            let unmet = unmet(spec, node_id, capabilities, providers);
            if let Some(requirement) = unmet {
                context.break_with(|| {
                    format!(
                        "{} goes to {node_id}, which does not meet `{requirement}`",
                        spec.name()
                    )
                });
            }
            if asked.cordoned.contains(&node_id) {
                context
                    .break_with(|| format!("{} goes to {node_id}, which is cordoned", spec.name()));
            }
            if asked
                .resting
                .get(&node_id)
                .is_some_and(|end| *end > context.now)
            {
                context.break_with(|| format!("{} goes to {node_id}, which rests", spec.name()));
            }
            hosted.insert(instance.physical_id, ask(spec));
            if !fits(hosted.values().copied(), capabilities) {
                context.break_with(|| {
                    format!(
                        "{} goes to {node_id}, which has no room for it",
                        spec.name()
                    )
                });
            }
        }
        Step::Stop { physical_id, .. } => {
            hosted.remove(physical_id);
        }
        Step::Patch { .. } => {}
    }
}

pub(super) fn fits(
    asks: impl Iterator<Item = (u64, u64)>,
    capabilities: &NodeCapabilities,
) -> bool {
    excess(asks, capabilities) == (0, 0)
}

/// How much more is asked than there is: thousandths of a core, and MiB of memory.
pub(super) fn excess(
    asks: impl Iterator<Item = (u64, u64)>,
    capabilities: &NodeCapabilities,
) -> (u64, u64) {
    let (cpu, memory) = asks.fold((0, 0), |sum, ask| (sum.0 + ask.0, sum.1 + ask.1));
    (
        cpu.saturating_sub(u64::from(capabilities.num_cores) * 1_000),
        memory.saturating_sub(u64::from(capabilities.mem_size)),
    )
}

fn requirements(spec: &VertexSpec) -> Requirements {
    let annotations = match spec {
        VertexSpec::Function(function) => function.annotations.clone(),
        VertexSpec::Resource(_) => BTreeMap::new(),
    };
    Requirements::from_annotations(&annotations).unwrap_or_default()
}

/// How many copies of a vertex are desired when nobody asks for more.
pub(super) fn wanted(spec: &VertexSpec) -> usize {
    requirements(spec).least_instances() as usize
}

/// How many copies of a vertex are desired when so many are asked for.
pub(super) fn allowed(spec: &VertexSpec, copies: usize) -> usize {
    let requirements = requirements(spec);
    let most = requirements
        .max_instances
        .map_or(copies, |it| it.get() as usize);
    copies.min(most).max(wanted(spec))
}

/// Thousandths of a core and MiB of memory that a vertex asks for.
pub(super) fn ask(spec: &VertexSpec) -> (u64, u64) {
    let requirements = requirements(spec);
    let amount = |number: Option<std::num::NonZeroU32>| number.map_or(0, |it| it.get().into());
    (
        amount(requirements.cpu_millis),
        amount(requirements.memory_mib),
    )
}

/// What a node lacks for a vertex; written anew here, so that planning is checked by something else.
pub(super) fn unmet(
    spec: &VertexSpec,
    node_id: NodeId,
    capabilities: &NodeCapabilities,
    providers: &[ResourceProvider],
) -> Option<&'static str> {
    let wanted = requirements(spec);
    let runs = match spec {
        VertexSpec::Function(function) => capabilities.runtimes.contains(&function.function_type),
        VertexSpec::Resource(resource) => {
            let mut classes = providers.iter().map(|provider| &provider.class_type);
            classes.any(|class| *class == resource.class_type)
        }
    };
    let mut labels = wanted.label_match_all.iter();
    if !runs {
        return Some("runtime or class");
    }
    if !labels.all(|label| capabilities.labels.contains(label)) {
        return Some("label_match_all");
    }
    if !wanted.node_id_match_any.is_empty() && !wanted.node_id_match_any.contains(&node_id) {
        return Some("node_id_match_any");
    }
    (wanted.tee == Presence::Required && !capabilities.is_tee_running).then_some("tee")
}

/// What has been wrong, and since when.
#[derive(Default)]
pub(super) struct Watch {
    twice: BTreeMap<LogicalId, Timestamp>,
    dead: BTreeMap<(PhysicalId, Arc<str>, PhysicalId), Timestamp>,
}

/// A vertex has as many copies and for as long as it may; outputs lead to what is there.
pub(super) fn now_and_then(world: &mut World) {
    let World {
        context,
        nodes,
        orcs,
        watch,
        ..
    } = world;
    let mut copies = BTreeMap::<LogicalId, (usize, Vec<usize>)>::new();
    let (mut twice, mut dead) = (BTreeMap::new(), BTreeMap::new());
    let everywhere = |numbers: &[usize]| {
        let of = |&number: &usize| [Place::Node(number), Place::Orc(nodes[number].domain)];
        let mut places: Vec<_> = numbers.iter().flat_map(of).collect();
        places.push(Place::Con);
        places
    };
    for node in nodes.iter() {
        for (&physical_id, running) in node.running.iter().filter(|(_, it)| !it.stopping) {
            let of_vertex = copies.entry(running.instance.logical_id);
            let (wanted, numbers) = of_vertex.or_default();
            *wanted = world_wants(orcs, node.domain, running);
            numbers.push(node.number);
            for output in &running.outputs {
                for target in leads_to(output) {
                    let home = nodes.iter().find(|node| node.node_id == target.node_id);
                    let number = home.map_or(node.number, |home| home.number);
                    if home.is_some_and(|home| home.running.contains_key(&target.physical_id)) {
                        continue;
                    }
                    let key = (physical_id, output.channel.clone(), target.physical_id);
                    let since = watch.dead.get(&key).copied().unwrap_or(context.now);
                    let places = everywhere(&[node.number, number]);
                    let calm = since.max(context.trouble_of(&places));
                    if context.now.since(calm) > DEAD {
                        let lasts = context.now.since(since);
                        context.break_with(|| {
                            format!(
                                "{physical_id} sends to {target}, which is not there, for {lasts:?}"
                            )
                        });
                    }
                    dead.insert(key, since);
                }
            }
        }
    }
    for (logical_id, (wanted, numbers)) in copies {
        if numbers.len() <= wanted {
            continue;
        }
        let since = watch.twice.get(&logical_id).copied().unwrap_or(context.now);
        let calm = since.max(context.trouble_of(&everywhere(&numbers)));
        if context.now.since(calm) > TWICE {
            let lasts = context.now.since(since);
            context.break_with(|| {
                format!("{logical_id} wants {wanted} and runs on nodes {numbers:?} for {lasts:?}")
            });
        }
        twice.insert(logical_id, since);
    }
    (watch.twice, watch.dead) = (twice, dead);
    acknowledged(world);
}

/// How many copies of a vertex its domain desires.
fn world_wants(orcs: &[Orc], domain: usize, running: &Running) -> usize {
    let alive = orcs[domain].alive.as_ref();
    let logical_id = running.instance.logical_id;
    let asked = alive.map_or(0, |it| it.scaled(logical_id));
    allowed(&running.spec, asked)
}

/// What clients were told is on disk.
fn acknowledged(world: &mut World) {
    let World {
        context,
        client,
        con,
        ..
    } = world;
    for (workflow_id, name) in &client.accepted {
        if !client.stopping.contains(workflow_id) && !con.disk.workflows.contains_key(workflow_id) {
            context.break_with(|| format!("workflow {name} was accepted and is not on disk"));
        }
    }
    for workflow_id in &client.stopped {
        if con.disk.workflows.contains_key(workflow_id) {
            context.break_with(|| format!("workflow {workflow_id} was stopped and is on disk"));
        }
    }
}
