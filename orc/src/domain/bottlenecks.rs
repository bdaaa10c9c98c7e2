//! What limits each workflow with traffic: looked at once a second, told to the mirror when it is another one, and
//! explained to those who ask. Functions before the one that limits get no more copies.

mod looks;

use std::time::Duration;

use edgeless_types::{
    LogicalId, NodeId, SampleKind, Samples, Timestamp, WaitReason, WorkflowId,
    mirror::{Bottleneck, ScalingDecision},
};
use rustc_hash::FxHashMap;

use super::{Domain, model::VertexKey};
use crate::{
    change::What,
    scale::{
        Traffic,
        bottleneck::{self, Action, Finding, Held, Stage, Why},
    },
};

/// Between two looks at a workflow.
const PERIOD: Duration = Duration::from_secs(1);
/// The same, where something waits.
const SOON: Duration = Duration::from_millis(200);
/// Between two tellings of the same with other numbers; longer for so many workflows with traffic, up to that.
const AGAIN: Duration = Duration::from_secs(2);
const WATCHED: usize = 500;
const LONGEST_AGAIN: Duration = Duration::from_secs(10);
/// Vertices for each of which a workflow is looked at a period more rarely.
const MANY: usize = 500;
/// How many vertices after a function are looked at for the one that limits.
const FURTHEST: usize = 64;
/// Workflows looked at in one turn; the others come with the next.
const AT_ONCE: usize = 256;

/// What is known of a workflow with traffic.
#[derive(Debug)]
pub(super) struct Watched {
    /// When it was looked at last, and when it is again.
    looked: Timestamp,
    next: Timestamp,
    /// The function that was found last.
    found: Option<(LogicalId, Finding)>,
    /// What was told last.
    told: Option<Box<Bottleneck>>,
}

/// A vertex of a workflow as it is explained.
#[derive(Clone, Debug)]
pub struct StageReport {
    /// The vertex.
    pub logical_id: LogicalId,
    /// Its name.
    pub name: String,
    /// Function class or resource class.
    pub class: String,
    /// What it has and does.
    pub stage: Stage,
    /// Why a copy that is desired does not run, beyond that it is being started.
    pub waiting: Option<String>,
    /// What was decided last about its copies.
    pub decision: Option<Box<ScalingDecision>>,
}

/// What a workflow does, and what limits it.
#[derive(Clone, Debug, Default)]
pub struct Explanation {
    /// Its vertices, by their ids.
    pub stages: Vec<StageReport>,
    /// What limits it; none: nothing happens.
    pub bottleneck: Option<Bottleneck>,
}

/// A look at a workflow of many vertices takes longer: it comes as much more rarely.
fn slower(vertices: usize) -> u32 {
    1 + u32::try_from(vertices / MANY).unwrap_or(u32::MAX - 1)
}

impl Domain {
    /// What a node has measured counts for the vertices it is about.
    pub(super) fn note_traffic(&mut self, node_id: NodeId, samples: Option<&Samples>) {
        let now = self.now;
        let mut last = None;
        for sample in samples.into_iter().flat_map(|it| &it.times) {
            // Samples of one instance come one after the other.
            let key = match last {
                Some((physical_id, key)) if physical_id == sample.physical_id => key,
                _ => {
                    let replica = self.model.replica_of(sample.physical_id);
                    replica.map(|it| self.model.replica(it).vertex)
                }
            };
            last = Some((sample.physical_id, key));
            let Some(key) = key else {
                continue;
            };
            let traffic = self.traffic_of(key);
            let took = Duration::from_nanos(sample.nanos).as_secs_f64();
            match sample.kind {
                SampleKind::FunctionExecutionTime => traffic.executed(took, sample.timestamp, now),
                SampleKind::FunctionTransferTime => {
                    traffic.transferred(took, sample.timestamp, now);
                }
            }
        }
        for summary in samples.into_iter().flat_map(|it| &it.summaries) {
            if summary.kind == SampleKind::FunctionExecutionTime
                && let Some(replica) = self.model.replica_of(summary.physical_id)
            {
                let key = self.model.replica(replica).vertex;
                let count = u32::try_from(summary.count).unwrap_or(u32::MAX);
                let sum = Duration::from_nanos(summary.sum_nanos).as_secs_f64();
                self.traffic_of(key).executed_many(count, sum, now);
            }
        }
        let node = self.nodes.get(&node_id);
        let backlog = node.into_iter().flat_map(|it| &it.backlog);
        let waits = backlog.filter(|it| it.queued > 0);
        let waits = waits.filter_map(|it| self.model.replica_of(it.physical_id));
        let waits: Vec<VertexKey> = waits.map(|it| self.model.replica(it).vertex).collect();
        for key in waits {
            self.traffic_of(key);
        }
    }

    /// What a vertex did lately; its workflow is looked at from now on.
    pub(super) fn traffic_of(&mut self, key: VertexKey) -> &mut Traffic {
        let now = self.now;
        if !self.traffic.contains_key(&key) {
            let workflow_id = self.model.vertex(key).workflow_id;
            self.watched.entry(workflow_id).or_insert_with(|| {
                let next = now + PERIOD;
                self.examinations.insert((next, workflow_id));
                Watched {
                    looked: now,
                    next,
                    found: None,
                    told: None,
                }
            });
        }
        self.traffic.entry(key).or_default()
    }

    /// Looks at the workflows whose time has come.
    pub(super) fn examine_due(&mut self) {
        for _ in 0..AT_ONCE {
            match self.examinations.first() {
                Some(&(due, workflow_id)) if due <= self.now => {
                    self.examinations.pop_first();
                    self.examine(workflow_id);
                }
                Some(_) | None => return,
            }
        }
    }

    /// Something waits for a function: what limits its workflow is to be known before more copies are started.
    pub(super) fn examine_before_growth(&mut self, key: VertexKey) {
        let workflow_id = self.model.vertex(key).workflow_id;
        let Some(watched) = self.watched.get(&workflow_id) else {
            return;
        };
        let many = self.model.of_workflow(workflow_id).len();
        if self.now >= watched.looked + SOON * slower(many) {
            self.examinations.remove(&(watched.next, workflow_id));
            self.examine(workflow_id);
        }
    }

    fn examine(&mut self, workflow_id: WorkflowId) {
        let now = self.now;
        let (keys, stages) = self.stages(workflow_id);
        for key in &keys {
            if self.traffic.get_mut(key).is_some_and(|it| it.is_quiet(now)) {
                self.traffic.remove(key);
            }
        }
        let is_quiet = !keys.iter().any(|it| self.traffic.contains_key(it));
        let found = bottleneck::find(&stages);
        let found = found.map(|it| (self.model.vertex(keys[it.stage]).logical_id, it));
        let many = u32::try_from(self.watched.len() / WATCHED).unwrap_or(u32::MAX - 1);
        let again = AGAIN.saturating_mul(1 + many).min(LONGEST_AGAIN);
        let Some(watched) = self.watched.get_mut(&workflow_id) else {
            return;
        };
        let before = std::mem::replace(&mut watched.found, found);
        let is_same = match (&before, &found) {
            (Some((a, before)), Some((b, now))) => {
                let same = |it: &Finding| (it.cause, it.limits, it.held);
                a == b && same(before) == same(now)
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let told = watched.told.as_ref();
        let is_old = told.is_some_and(|it| now >= it.timestamp + again);
        if !is_same || is_old {
            let told = found.map(|(_, it)| self.told(workflow_id, &keys, &stages, &it));
            if let Some(told) = told.as_ref().filter(|it| it.limits && !is_same) {
                let Bottleneck {
                    name, why, action, ..
                } = told;
                tracing::info!(%workflow_id, name, why, action, "what limits the workflow");
            }
            let told = told.map(Box::new);
            if let Some(watched) = self.watched.get_mut(&workflow_id) {
                watched.told.clone_from(&told);
            }
            self.change(What::Bottleneck(workflow_id, told));
        }
        if is_quiet {
            self.watched.remove(&workflow_id);
            return;
        }
        let next = now + PERIOD * slower(keys.len());
        if let Some(watched) = self.watched.get_mut(&workflow_id) {
            (watched.looked, watched.next) = (now, next);
        }
        self.examinations.insert((next, workflow_id));
    }

    /// The vertices of a workflow, and what they do.
    fn stages(&mut self, workflow_id: WorkflowId) -> (Vec<VertexKey>, Vec<Stage>) {
        let mut keys = self.model.of_workflow(workflow_id).to_vec();
        keys.sort_unstable_by_key(|it| self.model.vertex(*it).logical_id);
        let places = keys.iter().enumerate();
        let places: FxHashMap<LogicalId, usize> = places
            .map(|(place, it)| (self.model.vertex(*it).logical_id, place))
            .collect();
        let stages = keys.iter().map(|&it| self.stage(it, &places));
        let mut stages: Vec<Stage> = stages.collect();
        let homes: Vec<Option<NodeId>> = keys.iter().map(|&it| self.only_home(it)).collect();
        for stage in &mut stages {
            stage.is_near = true;
        }
        for from in 0..stages.len() {
            for to in stages[from].next.clone() {
                stages[to].is_near &= homes[from].is_some() && homes[from] == homes[to];
            }
        }
        (keys, stages)
    }

    /// The node on which all running copies of a vertex are.
    fn only_home(&self, key: VertexKey) -> Option<NodeId> {
        let replicas = self.model.vertex(key).replicas.iter();
        let mut running = replicas.filter_map(|&it| self.model.replica(it).running());
        let first = running.next()?.node_id;
        running.all(|it| it.node_id == first).then_some(first)
    }

    fn stage(&mut self, key: VertexKey, places: &FxHashMap<LogicalId, usize>) -> Stage {
        let now = self.now;
        let view = self.view_of(key);
        let oldest = self.oldest(key);
        let recent = (view.queued > 0 || self.traffic.contains_key(&key)).then(|| {
            let traffic = self.traffic_of(key);
            traffic.waits(view.queued, oldest, now);
            traffic.recent(now)
        });
        let vertex = self.model.vertex(key);
        let class = self.model.class(vertex.class);
        let replicas = vertex.replicas.iter().map(|it| self.model.replica(*it));
        let no_room =
            |it: &(Timestamp, WaitReason)| matches!(it.1, WaitReason::NoFeasibleNode { .. });
        let outside = replicas.filter(|it| it.waiting.as_deref().is_some_and(no_room));
        let outside = u32::try_from(outside.count()).unwrap_or(u32::MAX);
        let is_function = class.spec.is_function();
        let (kind, ask) = (class.kind, class.ask);
        let most = self.scaled.get(&key).map_or(1, |it| it.most());
        let next = vertex.outputs.iter();
        let next = next.filter_map(|(_, to)| places.get(to).copied()).collect();
        Stage {
            copies: view.ready,
            lately: self.copies_lately(key),
            starting: view.starting.saturating_sub(outside),
            slots: if is_function { view.slots } else { 0 },
            most,
            room: match outside == 0 && self.fleet.has_room(kind, ask, &[]) {
                true => most.saturating_sub(view.copies()).max(1),
                false => 0,
            },
            is_scaled: self.scaled.contains_key(&key),
            now: recent.unwrap_or_default(),
            started: self.started_lately(key),
            processors: self.processors_of(key),
            next,
            is_near: false,
        }
    }

    /// A finding with its names and texts.
    fn told(
        &mut self,
        workflow_id: WorkflowId,
        keys: &[VertexKey],
        stages: &[Stage],
        found: &Finding,
    ) -> Bottleneck {
        let (key, stage) = (keys[found.stage], &stages[found.stage]);
        let mut action = Action(found, stage).to_string();
        let (kind, ask) = {
            let class = self.model.class(self.model.vertex(key).class);
            (class.kind, class.ask)
        };
        if found.held == Some(Held::NoRoom) {
            let excluded = self.fleet.excluded(kind, ask);
            action = format!("{action} ({})", excluded.join(", "));
        }
        let mut why = Why(found, stage).to_string();
        if stage.copies == 0
            && let Some(reason) = self.why_not_running(key)
        {
            why = format!("{why}: {reason}");
        }
        let vertex = self.model.vertex(key);
        Bottleneck {
            timestamp: self.now,
            workflow_id,
            logical_id: vertex.logical_id,
            name: self.model.class(vertex.class).spec.name().to_owned(),
            cause: found.cause.name().to_owned(),
            limits: found.limits,
            held: found.held.map(|it| it.name().to_owned()),
            why,
            action,
        }
    }

    /// Whether a function leads to one that limits its workflow: more copies of it would only lengthen the queue there.
    pub(super) fn is_before_what_limits(&self, key: VertexKey) -> bool {
        let watched = self.watched.get(&self.model.vertex(key).workflow_id);
        let found = watched.and_then(|it| it.found);
        let Some((limits, _)) = found.filter(|(_, it)| it.limits) else {
            return false;
        };
        if self.model.vertex(key).logical_id == limits {
            return false;
        }
        let (mut seen, mut at) = (vec![key], 0);
        while at < seen.len() && seen.len() <= FURTHEST {
            for (_, to) in &self.model.vertex(seen[at]).outputs {
                if *to == limits {
                    return true;
                }
                let next = self.model.key_of(*to).filter(|it| !seen.contains(it));
                seen.extend(next);
            }
            at += 1;
        }
        false
    }

    /// What a workflow does and what limits it, as of now; none: nothing of it is desired here.
    pub fn explain(&mut self, workflow_id: WorkflowId, now: Timestamp) -> Option<Explanation> {
        self.set_now(now);
        let (keys, stages) = self.stages(workflow_id);
        let found = bottleneck::find(&stages);
        let bottleneck = found.map(|it| self.told(workflow_id, &keys, &stages, &it));
        let report = |(key, stage): (&VertexKey, Stage)| {
            let vertex = self.model.vertex(*key);
            let spec = &self.model.class(vertex.class).spec;
            StageReport {
                logical_id: vertex.logical_id,
                name: spec.name().to_owned(),
                class: spec.class().to_owned(),
                stage,
                waiting: self.why_not_running(*key),
                decision: self.scaled.get(key).and_then(|it| it.last_decision()),
            }
        };
        let stages: Vec<StageReport> = keys.iter().zip(stages).map(report).collect();
        (!stages.is_empty()).then_some(Explanation { stages, bottleneck })
    }

    /// What limits the workflows with traffic, as it was told last.
    pub(super) fn bottlenecks(&self) -> impl Iterator<Item = &Bottleneck> {
        self.watched.values().filter_map(|it| it.told.as_deref())
    }
}
