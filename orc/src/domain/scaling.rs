//! How many copies there are: functions that may be multiplied or switched off have a policy of [`crate::scale`],
//! which is asked when something changes for them; others are left as they are.
//!
//! Of copies that are not needed any more only such go as had nothing to do when their nodes last said so, and these
//! drain first.

mod ahead;
mod found;
mod scaled;
mod told;

use std::time::Duration;

use edgeless_types::{
    Demand, NodeId, PhysicalId, SampleKind, Samples, Timestamp, mirror::ScalingDecision,
    scaling::ask_for_copies, workflow::VertexSpec,
};
use rustc_hash::FxHashMap;

use super::{
    Domain,
    model::{ReplicaKey, VertexKey},
};
use crate::{
    change::What,
    scale::{self, Decision, Reason, Settings, Window},
};
pub(super) use scaled::Scaled;

/// Between two decisions about one function for which nothing new is known.
const AGAIN: Duration = Duration::from_secs(1);
/// A policy is not asked again sooner, unless something happens.
const SOONEST: Duration = Duration::from_millis(20);

impl Domain {
    /// A vertex is new, or another version of itself: whether it is scaled, and how.
    pub(super) fn enter_scaling(&mut self, key: VertexKey) {
        let class = self.model.class(self.model.vertex(key).class);
        let VertexSpec::Function(function) = &*class.spec else {
            return;
        };
        let wants = &class.requirements;
        let may_grow = wants
            .max_instances
            .is_some_and(|most| most.get() > wants.least_instances());
        let annotations = &function.annotations;
        let asks = ask_for_copies(annotations) || annotations.contains_key("idle_after");
        let is_scaled = wants.may_sleep() || may_grow || asks;
        // Only who says so may be without any copy.
        let defaults = Settings {
            min_instances: 1,
            ..self.settings.scaling
        };
        let read = Settings::from_annotations(&function.annotations, &defaults);
        let settings = read.ok().filter(|_| is_scaled);
        let (Some(settings), now) = (settings, self.now) else {
            return self.leave_scaling(key);
        };
        let copies = self.copies_of(key);
        let prior = self.priors.of(&function.class_id);
        let scaled = self.scaled.entry(key).or_insert_with(|| {
            Box::new(Scaled {
                settings,
                window: prior.map_or_else(Window::default, Window::seeded),
                next: None,
                wanted: 0,
                ahead: 0,
                copies,
                decision: None,
                home: None,
                found: None,
                has_run: false,
                worked: FxHashMap::default(),
            })
        });
        scaled.settings = settings;
        self.look_at(key, Some(now + AGAIN));
    }

    /// A vertex is not there any more, or not scaled any more.
    pub(super) fn leave_scaling(&mut self, key: VertexKey) {
        if let Some(scaled) = self.scaled.remove(&key)
            && let Some(next) = scaled.next
        {
            self.looks.remove(&(next, key));
        }
    }

    /// A function is looked at then, if nothing comes before.
    fn look_at(&mut self, key: VertexKey, next: Option<Timestamp>) {
        let Some(scaled) = self.scaled.get_mut(&key) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut scaled.next, next) {
            self.looks.remove(&(before, key));
        }
        if let Some(next) = next {
            self.looks.insert((next, key));
        }
    }

    /// What a node has said of what it does counts for the functions that are scaled.
    /// `before`: when it said something last.
    pub(super) fn note_work(
        &mut self,
        node_id: NodeId,
        samples: Option<&Samples>,
        before: Timestamp,
    ) {
        let every = self.note_every(node_id, before);
        if self.scaled.is_empty() {
            return;
        }
        let mut arrived = FxHashMap::<VertexKey, u32>::default();
        for sample in samples.into_iter().flat_map(|it| &it.times) {
            let Some(key) = self.scaled_by(sample.physical_id) else {
                continue;
            };
            let Some(scaled) = self.scaled.get_mut(&key) else {
                continue;
            };
            let took = Duration::from_nanos(sample.nanos);
            match sample.kind {
                SampleKind::FunctionExecutionTime => {
                    scaled.window.executed(took);
                    scaled.worked.insert(sample.physical_id, self.now);
                    *arrived.entry(key).or_default() += 1;
                }
                SampleKind::FunctionTransferTime => scaled.window.transferred(took),
            }
        }
        for summary in samples.into_iter().flat_map(|it| &it.summaries) {
            if summary.kind == SampleKind::FunctionExecutionTime
                && let Some(key) = self.scaled_by(summary.physical_id)
            {
                let count = u32::try_from(summary.count).unwrap_or(u32::MAX);
                let number = arrived.entry(key).or_default();
                *number = number.saturating_add(count);
            }
        }
        let mut changed: Vec<VertexKey> = arrived.keys().copied().collect();
        for (key, count) in arrived {
            let Some(scaled) = self.scaled.get_mut(&key) else {
                continue;
            };
            let known = count.min(scaled.ahead);
            scaled.ahead -= known;
            if count > known {
                let more = count - known;
                scaled.window.arrived_within(more, every, self.now);
            }
            scaled.window.told_after(every);
        }
        let backlog = self.nodes.get(&node_id).map(|node| node.backlog.clone());
        for waits in backlog.unwrap_or_default() {
            if let Some(key) = self.scaled_by(waits.physical_id)
                && let Some(scaled) = self.scaled.get_mut(&key)
            {
                scaled.worked.insert(waits.physical_id, self.now);
                scaled.window.waits(waits.oldest);
                if waits.queued > 0 {
                    self.examine_before_growth(key);
                }
                changed.push(key);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for key in changed {
            // What was handled before the last copy went wants none.
            if self.copies_of(key) > 0 {
                self.decide_copies(key);
            }
        }
    }

    /// The function that is scaled of which this is a copy.
    fn scaled_by(&self, physical_id: PhysicalId) -> Option<VertexKey> {
        let key = self.model.replica_of(physical_id)?;
        let vertex = self.model.replica(key).vertex;
        self.scaled.contains_key(&vertex).then_some(vertex)
    }

    /// Functions that have no copy, and for which something waits on a node, get one.
    pub(super) fn wake_wanted(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let demand: Vec<Demand> = node.demand.clone();
        for demand in demand {
            let target = self.target_of(&demand).and_then(|it| self.model.key_of(it));
            // What waits for a copy that nobody takes is looked at as well.
            if let Some(key) = target.filter(|it| self.running_of(*it).is_empty()) {
                self.traffic_of(key);
            }
            let Some(key) = target.filter(|it| self.copies_of(*it) == 0) else {
                continue;
            };
            if let Some(scaled) = self.scaled.get_mut(&key) {
                let count = u32::try_from(demand.waiting).unwrap_or(u32::MAX);
                let before = scaled.window.last();
                scaled.window.arrived(count, self.now);
                scaled.ahead = count;
                scaled.wanted = demand.waiting.max(1);
                self.decide_copies(key);
                if let Some(before) = before {
                    self.expect_after(key, before);
                }
            } else {
                let logical_id = self.model.vertex(key).logical_id;
                self.scale(logical_id, 1);
            }
        }
    }

    /// What orders want of services counts for those that are scaled.
    pub(super) fn note_order_demand(&mut self) {
        let keys: Vec<VertexKey> = self.scaled.keys().copied().collect();
        for key in keys {
            let logical_id = self.model.vertex(key).logical_id;
            let demand = self.demand_of_orders(logical_id);
            let Some(scaled) = self.scaled.get_mut(&key) else {
                continue;
            };
            if scaled.window.demand() != demand {
                scaled.window.demanded(demand);
                self.decide_copies(key);
            }
        }
    }

    /// A copy of a function is started on a node.
    pub(super) fn note_home(&mut self, key: VertexKey, node_id: NodeId) {
        if let Some(scaled) = self.scaled.get_mut(&key) {
            scaled.home = Some(node_id);
        }
    }

    /// Where the first copy of a function that was switched off is to run: where its code is ready, then near those who
    /// send to it.
    pub(super) fn to_wake_on(&self, key: ReplicaKey) -> Vec<NodeId> {
        let vertex_key = self.model.replica(key).vertex;
        let vertex = self.model.vertex(vertex_key);
        let Some(scaled) = self.scaled.get(&vertex_key) else {
            return Vec::new();
        };
        let mut copies = vertex.replicas.iter();
        if copies.any(|&it| self.model.replica(it).instance.is_some()) {
            return Vec::new();
        }
        let mut nodes = Vec::from_iter(scaled.home);
        nodes.extend(self.most_used(&self.model.senders_of(vertex.logical_id)));
        nodes
    }

    /// A copy took so long to start, on a node that tells of events once in a while.
    pub(super) fn note_start(&mut self, key: VertexKey, node_id: NodeId, took: Duration) {
        let every = self.nodes.get(&node_id).map(|node| node.every);
        if let Some(scaled) = self.scaled.get_mut(&key) {
            scaled.window.started(took);
            scaled.window.told_after(every.unwrap_or_default());
            scaled.wanted = 0;
        }
    }

    /// Looks at the functions whose time has come.
    pub(super) fn scale_due(&mut self) {
        while let Some(&(due, key)) = self.looks.first() {
            if due > self.now {
                return;
            }
            self.looks.pop_first();
            if let Some(scaled) = self.scaled.get_mut(&key) {
                scaled.next = None;
            }
            self.decide_copies(key);
        }
    }

    /// Asks the policy of a function, and does what it says.
    pub(in crate::domain) fn decide_copies(&mut self, key: VertexKey) {
        let view = self.view_of(key);
        let (now, heard) = (self.now, self.heard_until(key));
        let Some(scaled) = self.scaled.get_mut(&key) else {
            return;
        };
        scaled.window.heard(heard);
        if view.ready > 0 {
            scaled.wanted = 0;
        }
        let decision = scale::decide(&scaled.settings, &mut scaled.window, &view, now);
        let Decision {
            mut copies,
            mut next,
            ..
        } = decision;
        let mut found_before = None;
        scaled.found = scaled.found.filter(|(_, until)| *until > now);
        if let Some((found, until)) = scaled.found
            && copies < found
        {
            found_before = Some(Reason::Found { needed: copies });
            (copies, next) = (found, Some(next.unwrap_or(until).min(until)));
        }
        scaled.has_run |= view.ready > 0;
        if copies == 0 && view.starting > 0 && !scaled.has_run {
            // Whoever has started it waits until it runs.
            (copies, next) = (1, Some(now + AGAIN));
        }
        let model = &self.model;
        scaled
            .worked
            .retain(|it, _| model.replica_of(*it).is_some());
        let policy = scaled.settings.policy.name();
        let before = std::mem::replace(&mut scaled.copies, copies);
        let next = next.map(|next| next.max(now + SOONEST));
        self.look_at(key, next);
        let there = self.copies_of(key);
        let logical_id = self.model.vertex(key).logical_id;
        if copies != before {
            let reason = found_before.map_or_else(|| decision.reason(), |it| it.to_string());
            tracing::debug!(%logical_id, before, copies, reason, "copies");
            let decision = Box::new(ScalingDecision {
                timestamp: now,
                logical_id,
                policy: policy.to_owned(),
                before,
                copies,
                reason,
            });
            if let Some(scaled) = self.scaled.get_mut(&key) {
                scaled.decision = Some(decision.clone());
            }
            self.change(What::Scaling(decision));
        }
        if copies > there {
            self.scale(logical_id, copies);
        }
        if copies < there {
            self.stop_idle(key, there - copies);
        }
    }

    /// So many copies fewer are needed: those go that do not run yet, then those that have had nothing to do since
    /// their nodes last said something; the others stay until they have.
    fn stop_idle(&mut self, key: VertexKey, number: u32) {
        let now = self.now;
        let scaled = self.scaled.get(&key);
        let is_idle = |it: &ReplicaKey| {
            let replica = self.model.replica(*it);
            if replica.is_superfluous() {
                return false;
            }
            let Some(instance) = replica.instance else {
                return true;
            };
            let worked = scaled.and_then(|it| it.worked.get(&instance.physical_id));
            let node = self.nodes.get(&instance.node_id);
            let said = node.map_or(now, |node| node.last_update);
            let mut backlog = node.iter().flat_map(|it| &it.backlog);
            let waits = backlog.any(|it| it.physical_id == instance.physical_id);
            !waits && worked.is_none_or(|worked| *worked < said)
        };
        let replicas = &self.model.vertex(key).replicas;
        let mut idle: Vec<ReplicaKey> = replicas.iter().copied().filter(is_idle).collect();
        idle.sort_by_key(|&it| self.model.replica(it).running().is_some());
        let least = self.copies_of(key).saturating_sub(number);
        for replica in idle.into_iter().take(number as usize) {
            self.make_superfluous(replica);
        }
        if self.copies_of(key) > least {
            self.look_at(key, Some(now + AGAIN));
        }
        self.touch(key);
    }
}
