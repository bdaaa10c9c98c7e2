//! What ε-CON desires: start, stop, patch, reconcile, reset.

use std::collections::BTreeSet;

use edgeless_types::{
    LogicalId, PhysicalId, Timestamp, WaitReason,
    workflow::{OutputMapping, VertexSpec},
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Domain, Effect, StartOutcome, Ticket, VertexRequest,
    model::{ReplicaKey, VertexKey},
};
use crate::change::What;

/// A start that is answered when each of its vertices has come to something.
#[derive(Debug)]
pub(super) struct PendingTicket {
    order: Vec<LogicalId>,
    open: FxHashSet<LogicalId>,
    outcomes: FxHashMap<LogicalId, StartOutcome>,
}

#[cfg(test)]
impl PendingTicket {
    pub(super) fn open(&self) -> &FxHashSet<LogicalId> {
        &self.open
    }
}

impl Domain {
    pub(super) fn start(&mut self, requests: Vec<VertexRequest>, ticket: Ticket) {
        let logical_ids = self.open(&requests, ticket);
        for request in requests {
            self.desire(request, Timestamp::EPOCH);
        }
        for logical_id in logical_ids {
            self.place_or_answer(logical_id);
        }
        self.answer(ticket);
    }

    fn open(&mut self, requests: &[VertexRequest], ticket: Ticket) -> Vec<LogicalId> {
        let order: Vec<_> = requests.iter().map(|request| request.logical_id).collect();
        let pending = PendingTicket {
            order: order.clone(),
            open: order.iter().copied().collect(),
            outcomes: FxHashMap::default(),
        };
        self.tickets.insert(ticket, pending);
        for &logical_id in &order {
            if let Some(before) = self.ticket_of.insert(logical_id, ticket)
                && before != ticket
            {
                // Asked twice: the first is answered with what is known.
                let outcome = self.outcome_now(logical_id);
                self.resolve_ticket(before, logical_id, outcome);
            }
        }
        order
    }

    /// Adds a vertex to what is desired, or makes it what it is to be now. Its ticket learns when its
    /// annotations are wrong.
    fn desire(&mut self, request: VertexRequest, not_before: Timestamp) {
        let logical_id = request.logical_id;
        if let Some(key) = self.model.key_of(logical_id) {
            let outputs = &self.model.vertex(key).outputs;
            let same = outputs.len() == request.outputs.len()
                && outputs
                    .iter()
                    .all(|(channel, to)| request.outputs.get(&**channel) == Some(to));
            if !same {
                self.repatch(key, request.outputs);
            }
            return self.update(key, request.spec);
        }
        let class = match self.model.enter_class(request.spec, &mut self.fleet) {
            Ok(class) => class,
            Err(error) => {
                return self.resolve(logical_id, StartOutcome::Refused(error.to_string()));
            }
        };
        let workflow_id = request.workflow_id;
        let key = self
            .model
            .insert_vertex(logical_id, workflow_id, class, &request.outputs);
        self.desired = self.desired.plus(self.model.class(class).least_ask());
        self.change(What::Dependencies(logical_id, request.outputs));
        if !self.sleeps_on(key) {
            for _ in 0..self.model.class(class).requirements.least_instances() {
                self.add_replica(key, not_before);
            }
        }
        self.enter_scaling(key);
        self.touch(key);
    }

    /// One copy more of a vertex is desired.
    pub(super) fn add_replica(&mut self, key: VertexKey, not_before: Timestamp) -> ReplicaKey {
        let replica = self.model.add_replica(key, self.now);
        if let Some(state) = self.saved_before(key) {
            self.model.replica_mut(replica).extra_mut().state = Some(state);
        }
        if not_before > self.now {
            self.model.replica_mut(replica).extra_mut().not_before = not_before;
        }
        let priority = self.priority_of(replica);
        self.count_priority(priority, true);
        self.waiting.for_turn(replica, priority);
        replica
    }

    pub(super) fn priority_of(&self, key: ReplicaKey) -> i32 {
        self.model.class_of(key).requirements.priority
    }

    /// One replica of a priority more, or less.
    pub(super) fn count_priority(&mut self, priority: i32, more: bool) {
        let number = self.priorities.entry(priority).or_default();
        *number = if more { *number + 1 } else { *number - 1 };
        if *number == 0 {
            self.priorities.remove(&priority);
        }
    }

    fn place_or_answer(&mut self, logical_id: LogicalId) {
        let Some(key) = self.model.key_of(logical_id) else {
            return;
        };
        for replica in self.model.vertex(key).replicas.clone() {
            self.place(replica);
        }
        self.resolve_if_known(key);
    }

    pub(super) fn outcome_now(&self, logical_id: LogicalId) -> StartOutcome {
        let Some(key) = self.model.key_of(logical_id) else {
            return StartOutcome::Refused("stopped".to_owned());
        };
        let running = self.running_of(key);
        let mut replicas = self.model.vertex(key).replicas.iter();
        let reason = replicas.find_map(|&it| self.model.replica(it).waiting.as_deref());
        let reason = reason.map(|(_, reason)| reason);
        match running.is_empty() {
            true => StartOutcome::Waiting(reason.unwrap_or(&WaitReason::Starting).to_string()),
            false => StartOutcome::Running(running, reason.map(ToString::to_string)),
        }
    }

    /// The ticket of a vertex learns what came of it, once no copy of it is on its way.
    pub(super) fn resolve_if_known(&mut self, key: VertexKey) {
        let vertex = self.model.vertex(key);
        let under_way = |it: &ReplicaKey| {
            let replica = self.model.replica(*it);
            let starting = replica.instance.is_some_and(|it| it.phase.is_starting());
            let reason = replica.waiting.as_deref().map(|(_, reason)| reason);
            starting || (replica.instance.is_none() && reason == Some(&WaitReason::Starting))
        };
        let logical_id = vertex.logical_id;
        let updating = vertex.update.is_some();
        if self.ticket_of.contains_key(&logical_id)
            && !updating
            && !vertex.replicas.iter().any(under_way)
        {
            let outcome = self.outcome_now(logical_id);
            self.resolve(logical_id, outcome);
        }
    }

    /// A vertex has come to something: its ticket learns it.
    pub(super) fn resolve(&mut self, logical_id: LogicalId, outcome: StartOutcome) {
        if let Some(ticket) = self.ticket_of.remove(&logical_id) {
            self.resolve_ticket(ticket, logical_id, outcome);
        }
    }

    fn resolve_ticket(&mut self, ticket: Ticket, logical_id: LogicalId, outcome: StartOutcome) {
        if let Some(pending) = self.tickets.get_mut(&ticket)
            && pending.open.remove(&logical_id)
        {
            pending.outcomes.insert(logical_id, outcome);
            self.answer(ticket);
        }
    }

    fn answer(&mut self, ticket: Ticket) {
        if self
            .tickets
            .get(&ticket)
            .is_some_and(|pending| pending.open.is_empty())
            && let Some(pending) = self.tickets.remove(&ticket)
        {
            let gone = || StartOutcome::Refused("stopped before it ran".to_owned());
            // A vertex that is named twice has one outcome.
            let outcome = |id: &LogicalId| pending.outcomes.get(id).cloned().unwrap_or_else(gone);
            let outcomes = pending.order.iter().map(outcome).collect();
            self.effects.push(Effect::Answer { ticket, outcomes });
        }
    }

    pub(super) fn stop(&mut self, logical_ids: &[LogicalId]) {
        let mut stopped = Vec::new();
        for &logical_id in logical_ids {
            if let Some(key) = self.model.key_of(logical_id) {
                self.forget_vertex(key);
                stopped.push(logical_id);
            }
        }
        // Those who still send there learn that it leads to nothing.
        for logical_id in stopped {
            self.patch_senders_of(logical_id);
        }
    }

    fn forget_vertex(&mut self, key: VertexKey) {
        for replica in self.model.vertex(key).replicas.clone() {
            self.forget_replica(replica);
        }
        let vertex = self.model.remove_vertex(key);
        self.desired = self
            .desired
            .minus(self.model.class(vertex.class).least_ask());
        self.model.leave_class(vertex.class, &mut self.fleet);
        if let Some(update) = vertex.update {
            self.model.leave_class(update.before, &mut self.fleet);
        }
        self.updating.remove(&key);
        self.asleep.remove(&key);
        self.leave_scaling(key);
        self.traffic.remove(&key);
        let logical_id = vertex.logical_id;
        self.given_up.remove(&logical_id);
        self.resolve(logical_id, StartOutcome::Refused("stopped".to_owned()));
        self.change(What::DependenciesGone(logical_id));
        self.change(What::InstanceGone(logical_id));
    }

    /// A replica is not desired any more: all its copies are stopped at once.
    pub(super) fn forget_replica(&mut self, key: ReplicaKey) {
        self.waiting.remove(key);
        self.release(key);
        self.count_priority(self.priority_of(key), false);
        let predecessors = self.model.replica(key).predecessors().to_vec();
        for physical_id in predecessors {
            if let Some(old) = self.retiring.remove(physical_id) {
                self.stop_copy(old.instance.node_id, physical_id);
                self.unhost(old.instance.node_id, physical_id);
                // It may be the one that others still send to.
                self.gone_astray.push(old.logical_id);
            }
            self.model.unbind(physical_id);
        }
        if let Some(instance) = self.model.replica(key).instance {
            self.retiring.remove(instance.physical_id);
            self.stop_copy(instance.node_id, instance.physical_id);
            self.end_healing(instance);
            self.unhost(instance.node_id, instance.physical_id);
            self.model.unbind(instance.physical_id);
        }
        self.model.remove_replica(key);
    }

    pub(super) fn patch(&mut self, patches: Vec<(LogicalId, OutputMapping)>) {
        for (logical_id, outputs) in patches {
            if let Some(key) = self.model.key_of(logical_id) {
                self.repatch(key, outputs);
            }
        }
    }

    fn repatch(&mut self, key: VertexKey, outputs: OutputMapping) {
        self.model.set_outputs(key, &outputs);
        let logical_id = self.model.vertex(key).logical_id;
        self.change(What::Dependencies(logical_id, outputs));
        self.patch_sender(key);
    }

    /// So many copies of a vertex are desired, as far as its annotations allow. Of too many, those go that
    /// do not run yet, then those that came last.
    pub(super) fn scale(&mut self, logical_id: LogicalId, copies: u32) {
        let Some(key) = self.model.key_of(logical_id) else {
            return;
        };
        let requirements = &self.model.class(self.model.vertex(key).class).requirements;
        let least = match requirements.may_sleep() {
            true => 0,
            false => requirements.least_instances(),
        };
        let most = requirements.max_instances.map_or(u32::MAX, |it| it.get());
        let wanted = copies.clamp(least, most.max(least)) as usize;
        let staying = |it: &ReplicaKey| !self.model.replica(*it).is_superfluous();
        let vertex = self.model.vertex(key);
        let mut there: Vec<ReplicaKey> = vertex.replicas.iter().copied().filter(staying).collect();
        // Copies that are about to go stay instead of others that would start.
        while there.len() < wanted
            && let Some(replica) = self.keep_waiting(key)
        {
            there.push(replica);
        }
        if wanted > 0 && there.is_empty() {
            there.extend(self.keep_one(key));
        }
        for _ in there.len()..wanted {
            let replica = self.add_replica(key, Timestamp::EPOCH);
            self.place(replica);
        }
        there.sort_by_key(|&it| self.model.replica(it).running().is_none());
        for replica in there.into_iter().skip(wanted) {
            self.make_superfluous(replica);
        }
        // What a start waited for may be among those.
        self.resolve_if_known(key);
        self.touch(key);
    }

    /// How many copies of a vertex are desired, those that are going excepted.
    pub(super) fn copies_of(&self, key: VertexKey) -> u32 {
        let replicas = self.model.vertex(key).replicas.iter();
        let staying = replicas.filter(|it| !self.model.replica(**it).is_superfluous());
        u32::try_from(staying.count()).unwrap_or(u32::MAX)
    }

    /// After a restart of either side: what is not named is stopped, what runs already is adopted,
    /// the rest waits a little to be reported before it is placed anew.
    pub(super) fn reconcile(&mut self, requests: Vec<VertexRequest>, ticket: Ticket) {
        let first = !self.reconciled;
        self.reconciled = true;
        let named: FxHashSet<_> = requests.iter().map(|request| request.logical_id).collect();
        let known = self.model.vertices().map(|(_, vertex)| vertex.logical_id);
        let unnamed: BTreeSet<_> = known.filter(|id| !named.contains(id)).collect();
        self.stop(&Vec::from_iter(unnamed));
        let logical_ids = self.open(&requests, ticket);
        let not_before = if first {
            self.now + self.settings.adoption_grace
        } else {
            Timestamp::EPOCH
        };
        for request in requests {
            self.desire(request, not_before);
        }
        self.slept.clear();
        for (_, (node_id, running)) in std::mem::take(&mut self.orphans) {
            self.adopt(node_id, running);
        }
        self.told.clear();
        for logical_id in logical_ids {
            self.place_or_answer(logical_id);
            let Some(key) = self.model.key_of(logical_id) else {
                continue;
            };
            let expected = |it: &ReplicaKey| {
                let replica = self.model.replica(*it);
                replica.instance.is_none() && replica.not_before() > self.now
            };
            if self.model.vertex(key).update.is_some() {
                // One that finds no place must not keep the rest from being answered.
                let text = "it is being updated".to_owned();
                self.resolve(logical_id, StartOutcome::Waiting(text));
            } else if self.model.vertex(key).replicas.iter().any(expected) {
                let text = "waiting to be reported by its node".to_owned();
                self.resolve(logical_id, StartOutcome::Waiting(text));
            }
        }
        self.answer(ticket);
    }

    /// The domain enters a cluster: nothing is desired, whatever runs is stopped.
    pub(super) fn reset(&mut self) {
        self.reconciled = true;
        let all = self.model.vertices().map(|(_, vertex)| vertex.logical_id);
        self.stop(&Vec::from_iter(all));
        for (_, (node_id, running)) in std::mem::take(&mut self.orphans) {
            self.adopt(node_id, running);
        }
        self.told.clear();
    }

    /// The instances of a vertex that take messages.
    pub(super) fn running_of(&self, key: VertexKey) -> Vec<edgeless_types::InstanceId> {
        let replicas = self.model.vertex(key).replicas.iter();
        let running = replicas.filter_map(|&it| self.model.replica(it).running());
        running.map(|it| it.id()).collect()
    }

    /// The specification of a vertex says what it is; a resource keeps no state.
    pub(super) fn may_have_state(&self, key: ReplicaKey) -> bool {
        matches!(*self.model.class_of(key).spec, VertexSpec::Function(_))
    }

    /// The instance of a replica, if it is this one.
    pub(super) fn is_instance_of(&self, key: ReplicaKey, physical_id: PhysicalId) -> bool {
        let instance = self.model.replica(key).instance;
        instance.is_some_and(|it| it.physical_id == physical_id)
    }
}
