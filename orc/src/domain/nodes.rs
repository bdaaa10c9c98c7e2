//! Nodes: registration, refresh, loss, cordon.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use edgeless_types::{
    Backlog, Demand, NodeHealth, NodeId, PhysicalId, SampleKind, Samples, Timestamp, WaitReason,
};
use rustc_hash::FxHashMap;

use super::{
    Domain, Drain, Effect, NodeUpdate, NodeUpdateReply, Profile,
    model::{ClassKey, Phase},
};
use crate::{change::What, plan::strategy::StrategyKind};

/// How long a life that was replaced is remembered.
pub(super) const FORMER: Duration = Duration::from_mins(1);

/// A registered node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) nonce: u64,
    sequence: u64,
    deadline: Timestamp,
    pub(super) profile: Profile,
    pub(super) invocation_url: Arc<str>,
    pub(super) health: Option<NodeHealth>,
    pub(super) last_update: Timestamp,
    /// After how long it says something again when nothing is urgent, as it was lately.
    pub(super) every: Duration,
    pub(super) leaving: bool,
    /// Its copies, and what they are of.
    pub(super) instances: FxHashMap<PhysicalId, ClassKey>,
    pub(super) demand: Vec<Demand>,
    pub(super) backlog: Vec<Backlog>,
}

#[cfg(test)]
impl Node {
    pub(super) fn deadline(&self) -> Timestamp {
        self.deadline
    }
}

impl Domain {
    /// Takes a registration or refresh.
    pub fn on_node_update(
        &mut self,
        update: NodeUpdate,
        now: Timestamp,
    ) -> (NodeUpdateReply, Vec<Effect>) {
        self.set_now(now);
        let reply = self.node_update(update);
        (reply, self.finish())
    }

    fn node_update(&mut self, update: NodeUpdate) -> NodeUpdateReply {
        let node_id = update.node_id;
        let known = self
            .nodes
            .get(&node_id)
            .map(|node| (node.nonce, node.sequence));
        match known {
            Some((nonce, sequence)) if nonce == update.nonce && sequence >= update.sequence => {
                // Late or repeated: nothing newer in it.
                return NodeUpdateReply::default();
            }
            Some((nonce, sequence))
                if nonce == update.nonce
                    && sequence + 1 < update.sequence
                    && update.running.is_none() =>
            {
                // What lies between was told to an earlier life, or before the node was lost: what it
                // registered with here is as old.
                return NodeUpdateReply {
                    want_full: true,
                    ..NodeUpdateReply::default()
                };
            }
            Some((nonce, _)) if nonce != update.nonce => {
                if self.is_duplicate(node_id, update.nonce) {
                    return NodeUpdateReply {
                        duplicate: true,
                        ..NodeUpdateReply::default()
                    };
                }
                tracing::info!(%node_id, "the node began a new life");
                self.former.insert(node_id, (nonce, self.now));
                self.absences
                    .note(node_id, self.now, self.settings.flapping);
                self.lose(node_id);
            }
            Some(_) | None => {}
        }
        if !self.nodes.contains_key(&node_id) {
            let (Some(profile), true) = (update.profile.clone(), update.running.is_some()) else {
                return NodeUpdateReply {
                    want_full: true,
                    ..NodeUpdateReply::default()
                };
            };
            self.join(&update, profile);
        }
        self.refresh(update)
    }

    fn join(&mut self, update: &NodeUpdate, profile: Profile) {
        let node_id = update.node_id;
        tracing::info!(%node_id, "a node joined");
        let agent_url = profile.agent_url.clone();
        self.nodes.insert(
            node_id,
            Node {
                nonce: update.nonce,
                sequence: 0,
                deadline: self.now,
                invocation_url: profile.invocation_url.as_str().into(),
                profile,
                health: None,
                last_update: self.now,
                every: Duration::ZERO,
                leaving: false,
                instances: FxHashMap::default(),
                demand: Vec::new(),
                backlog: Vec::new(),
            },
        );
        self.effects.push(Effect::Meet { node_id, agent_url });
        self.announce(node_id);
        if self.to_drain.contains(&node_id) {
            self.begin_drain(node_id);
        }
        if self
            .absences
            .rest_if_flapping(node_id, self.now, self.settings.flapping)
        {
            tracing::warn!(%node_id, "the node came and went too often: it gets nothing new for a while");
        }
    }

    /// What copies have saved that are known is kept with them.
    fn keep_states(&mut self) {
        for (physical_id, state) in std::mem::take(&mut self.told) {
            // What a copy saves that has a successor already, that one does not know.
            let key = self.model.replica_of(physical_id).filter(|&key| {
                self.is_instance_of(key, physical_id) || self.retiring.is_working(physical_id)
            });
            match key {
                Some(key) => self.model.replica_mut(key).extra_mut().state = Some(state),
                None => drop(self.told.insert(physical_id, state)),
            }
        }
    }

    /// Others are known only now, or when it is known what is desired.
    fn keep_late_states(&mut self) {
        self.keep_states();
        let orphans = &self.orphans;
        self.told.retain(|it, _| orphans.contains_key(it));
    }

    fn refresh(&mut self, update: NodeUpdate) -> NodeUpdateReply {
        let node_id = update.node_id;
        let now = self.now;
        let Some(node) = self.nodes.get_mut(&node_id) else {
            return NodeUpdateReply::default();
        };
        self.deadlines.remove(&(node.deadline, node_id));
        node.deadline = now + update.refresh_deadline;
        self.deadlines.insert((node.deadline, node_id));
        node.sequence = update.sequence;
        let before = std::mem::replace(&mut node.last_update, now);
        let began_to_leave = update.leaving && !node.leaving;
        if node.leaving && !update.leaving && !self.to_drain.contains(&node_id) {
            self.drains.remove(&node_id);
        }
        node.leaving = update.leaving;
        if let Some(profile) = update.profile
            && profile != node.profile
        {
            self.become_another(node_id, profile);
        }
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.demand = update.demand;
            node.backlog = update.backlog;
        }
        self.recheck_closed(node_id);
        if let Some(health) = update.health {
            self.fleet.set_health(node_id, health.clone());
            if let Some(node) = self.nodes.get_mut(&node_id) {
                node.health = Some(health.clone());
            }
            self.change(What::Health(node_id, health));
        }
        self.note_traffic(node_id, update.samples.as_deref());
        self.note_work(node_id, update.samples.as_deref(), before);
        if let Some(samples) = update.samples {
            if self.settings.strategy == StrategyKind::Affine {
                self.note_transfer(node_id, &samples);
            }
            self.change(What::Samples(node_id, samples));
        }
        // Of what has ended and is not reported any more, what it saved still counts.
        self.told.extend(update.states);
        self.keep_states();
        if let Some(running) = update.running {
            self.on_running(node_id, running);
        }
        self.wake_wanted(node_id);
        for instance in update.started {
            self.adopt(node_id, instance);
        }
        for physical_id in update.stopped {
            self.on_stopped(node_id, physical_id);
        }
        self.keep_late_states();
        for (physical_id, message) in update.failures {
            self.on_failure(node_id, physical_id, &message);
        }
        if began_to_leave {
            self.membership += 1;
            self.begin_drain(node_id);
        }
        let drained = self.drains.get(&node_id).is_none_or(Drain::is_over);
        // What it has may turn out to be desired.
        let may_leave = update.leaving && drained && self.reconciled;
        if may_leave {
            tracing::info!(%node_id, "a node left");
            self.lose(node_id);
        }
        NodeUpdateReply {
            may_leave,
            ..NodeUpdateReply::default()
        }
    }

    /// A node is another than it was.
    fn become_another(&mut self, node_id: NodeId, profile: Profile) {
        let Some(node) = self.nodes.get_mut(&node_id) else {
            return;
        };
        let agent_url = profile.agent_url.clone();
        node.invocation_url = profile.invocation_url.as_str().into();
        let before = std::mem::replace(&mut node.profile, profile);
        let there = node.profile.providers.iter().map(|it| &it.provider_id);
        let there: BTreeSet<_> = there.cloned().collect();
        self.effects.push(Effect::Meet { node_id, agent_url });
        let ids = before.providers.into_iter().map(|it| it.provider_id);
        for gone in ids.filter(|it| !there.contains(it)) {
            self.change(What::ProviderGone(gone));
        }
        self.announce(node_id);
        self.note_if_overfull(node_id);
    }

    /// Whether a registration comes from the life before the present one: then two processes use one id,
    /// and the one that came first gives way.
    fn is_duplicate(&mut self, node_id: NodeId, nonce: u64) -> bool {
        let now = self.now;
        let Some((former, seen)) = self.former.get_mut(&node_id) else {
            return false;
        };
        if *former != nonce || now.since(*seen) > FORMER {
            return false;
        }
        *seen = now;
        tracing::warn!(%node_id, "two processes use this node id: the older one is refused");
        true
    }

    /// Whether a node takes anything new may have changed.
    pub(super) fn recheck_closed(&mut self, node_id: NodeId) {
        if self.fleet.set_closed(node_id, self.why_closed(node_id)) {
            self.revision += 1;
        }
    }

    /// Planning, mirror and datasets are told what the node is.
    fn announce(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        self.membership += 1;
        let capabilities = std::sync::Arc::clone(&node.profile.capabilities);
        let providers = node.profile.providers.clone();
        let shared = providers.as_slice().into();
        self.fleet
            .put(node_id, std::sync::Arc::clone(&capabilities), shared);
        self.change(What::Node(node_id, capabilities));
        for provider in providers {
            self.change(What::Provider(provider));
        }
    }

    /// A node is lost: so are its instances.
    pub(super) fn lose(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.remove(&node_id) else {
            return;
        };
        self.fleet.remove(node_id);
        self.membership += 1;
        self.deadlines.remove(&(node.deadline, node_id));
        self.orphans.retain(|_, (home, _)| *home != node_id);
        self.effects.push(Effect::Forget(node_id));
        for provider in &node.profile.providers {
            self.change(What::ProviderGone(provider.provider_id.clone()));
        }
        self.change(What::NodeGone(node_id));
        self.drains.remove(&node_id);
        for (physical_id, class) in node.instances {
            self.lost_with_node(physical_id);
            self.model.leave_class(class, &mut self.fleet);
        }
        for key in self.kept_on.get(&node_id).cloned().unwrap_or_default() {
            self.release(key);
            let priority = self.priority_of(key);
            self.waiting.for_turn(key, priority);
        }
    }

    /// Its node is lost: it is started elsewhere, in its turn.
    fn lost_with_node(&mut self, physical_id: PhysicalId) {
        if let Some(key) = self.model.replica_of(physical_id)
            && let Some(instance) = self.model.replica(key).instance
            && instance.physical_id == physical_id
            && instance.phase != Phase::Handing
        {
            self.model.replica_mut(key).extra_mut().lost = true;
        }
        self.gone(physical_id);
    }

    /// The mean transfer time of what a node handled.
    fn note_transfer(&mut self, node_id: NodeId, samples: &Samples) {
        let times = samples.times.iter();
        let transfers = times.filter(|it| it.kind == SampleKind::FunctionTransferTime);
        let (number, sum) = transfers.fold((0_u64, 0_u64), |(number, sum), it| {
            (number + 1, sum.saturating_add(it.nanos))
        });
        if let Some(mean) = sum.checked_div(number) {
            self.fleet.set_transfer(node_id, mean);
        }
    }

    /// An instance ended by itself.
    fn on_failure(&mut self, node_id: NodeId, physical_id: PhysicalId, message: &str) {
        // It may not be known yet whether it is desired.
        self.orphans.remove(&physical_id);
        let Some(key) = self.model.replica_of(physical_id) else {
            return;
        };
        tracing::warn!(%node_id, %physical_id, message, "an instance failed");
        let instance = self.model.replica(key).instance;
        self.unhost(node_id, physical_id);
        self.gone(physical_id);
        // Of one that was replaced only its successor matters.
        if let Some(instance) = instance.filter(|it| it.physical_id == physical_id)
            && self.model.has_replica(key)
        {
            self.delay_after_failure(key, message.to_owned());
            self.count_failure(key, instance.class, message);
        }
    }

    /// A copy does not run any more: if it was the instance of its replica, that waits and its senders hold.
    /// Its node has forgotten it already.
    pub(super) fn gone(&mut self, physical_id: PhysicalId) {
        self.retiring.remove(physical_id);
        let linger = self.now + self.settings.linger;
        self.retiring.confirmed(physical_id, linger);
        let Some(key) = self.model.unbind(physical_id) else {
            return;
        };
        let now = self.now;
        let replica = self.model.replica_mut(key);
        if let Some(extra) = &mut replica.extra {
            extra.predecessors.retain(|it| *it != physical_id);
        }
        let Some(instance) = replica.instance.filter(|it| it.physical_id == physical_id) else {
            return;
        };
        replica.instance = None;
        replica.waiting = Some(Box::new((now, WaitReason::Starting)));
        let vertex = replica.vertex;
        self.end_healing(instance);
        self.touch(vertex);
        if self.model.replica(key).is_superfluous() {
            self.let_go(key);
        } else {
            let priority = self.priority_of(key);
            self.waiting.for_turn(key, priority);
        }
        // Nobody knows of one that did not run, and all were told of one that is handed over.
        if instance.phase == Phase::Running {
            self.gone_astray.push(self.model.vertex(vertex).logical_id);
        }
    }
}
