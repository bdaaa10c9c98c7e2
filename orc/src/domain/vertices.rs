//! What ε-CON desires: start, stop, patch, reconcile, reset.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{
    LogicalId, PhysicalId, Requirements, Timestamp, WaitReason,
    workflow::{OutputMapping, VertexSpec},
};

use super::{Domain, Effect, PendingTicket, StartOutcome, Ticket, Vertex, VertexRequest};
use crate::{
    change::What,
    plan::{Ask, fleet::Kind},
};

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
        let open = order.iter().copied().collect();
        let pending = PendingTicket {
            order: order.clone(),
            open,
            outcomes: BTreeMap::new(),
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

    /// Adds a vertex to what is desired; false when its annotations are wrong.
    fn desire(&mut self, request: VertexRequest, not_before: Timestamp) {
        let logical_id = request.logical_id;
        if let Some(vertex) = self.vertices.get(&logical_id) {
            if vertex.outputs != request.outputs {
                self.repatch(logical_id, request.outputs);
            }
            return;
        }
        let annotations = match &request.spec {
            VertexSpec::Function(function) => function.annotations.clone(),
            VertexSpec::Resource(_) => BTreeMap::new(),
        };
        let requirements = match Requirements::from_annotations(&annotations) {
            Ok(requirements) => requirements,
            Err(error) => {
                return self.resolve(logical_id, StartOutcome::Refused(error.to_string()));
            }
        };
        for &target in request.outputs.values() {
            self.dependants
                .entry(target)
                .or_default()
                .insert(logical_id);
        }
        self.change(What::Dependencies(logical_id, request.outputs.clone()));
        let kind = self.fleet.enter(Kind::of(&request.spec, &requirements));
        let vertex = Vertex {
            workflow_id: request.workflow_id,
            spec: request.spec,
            kind,
            ask: Ask::from(&requirements),
            outputs: request.outputs,
            generation: Default::default(),
            instance: None,
            waiting: Some((self.now, WaitReason::Starting)),
            not_before,
            attempts: 0,
            wanted_node: None,
            refused_by: BTreeSet::new(),
            tried: None,
        };
        self.vertices.insert(logical_id, vertex);
        self.unplaced.insert(logical_id);
        self.touch(logical_id);
    }

    fn place_or_answer(&mut self, logical_id: LogicalId) {
        let Some(vertex) = self.vertices.get(&logical_id) else {
            return;
        };
        if let Some(running) = vertex.running() {
            self.resolve(logical_id, StartOutcome::Running(vec![running]));
        } else {
            self.place(logical_id);
        }
    }

    fn outcome_now(&self, logical_id: LogicalId) -> StartOutcome {
        let vertex = self.vertices.get(&logical_id);
        match vertex.and_then(Vertex::running) {
            Some(running) => StartOutcome::Running(vec![running]),
            None => StartOutcome::Waiting(WaitReason::Starting.to_string()),
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
            && let Some(mut pending) = self.tickets.remove(&ticket)
        {
            let gone = || StartOutcome::Refused("stopped before it ran".to_owned());
            let take = |id: &LogicalId| pending.outcomes.remove(id).unwrap_or_else(gone);
            let outcomes = pending.order.iter().map(take).collect();
            self.effects.push(Effect::Answer { ticket, outcomes });
        }
    }

    pub(super) fn stop(&mut self, logical_ids: &[LogicalId]) {
        let mut stopped = Vec::new();
        for &logical_id in logical_ids {
            if let Some(vertex) = self.vertices.remove(&logical_id) {
                self.forget_vertex(logical_id, &vertex);
                stopped.push(logical_id);
            }
        }
        // Those who still send there learn that it leads to nothing.
        for logical_id in stopped {
            self.patch_senders_of(logical_id);
        }
    }

    fn forget_vertex(&mut self, logical_id: LogicalId, vertex: &Vertex) {
        self.unplaced.remove(&logical_id);
        self.fleet.leave(vertex.kind);
        self.states.remove(&logical_id);
        let old: Vec<PhysicalId> = self
            .retiring
            .iter()
            .filter(|(_, retiring)| retiring.logical_id == logical_id)
            .map(|(&physical_id, _)| physical_id)
            .collect();
        for physical_id in old {
            self.stop_retired(physical_id);
            self.retiring.remove(&physical_id);
            self.lingering.retain(|&(_, other)| other != physical_id);
        }
        if let Some(instance) = vertex.instance {
            self.stop_copy(instance.node_id, instance.physical_id);
            self.unhost(instance.node_id, instance.physical_id);
        }
        for target in vertex.outputs.values() {
            if let Some(senders) = self.dependants.get_mut(target) {
                senders.remove(&logical_id);
                if senders.is_empty() {
                    self.dependants.remove(target);
                }
            }
        }
        self.resolve(logical_id, StartOutcome::Refused("stopped".to_owned()));
        self.change(What::DependenciesGone(logical_id));
        self.touch(logical_id);
    }

    pub(super) fn patch(&mut self, patches: Vec<(LogicalId, OutputMapping)>) {
        for (logical_id, outputs) in patches {
            self.repatch(logical_id, outputs);
        }
    }

    fn repatch(&mut self, logical_id: LogicalId, outputs: OutputMapping) {
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        let before = std::mem::replace(&mut vertex.outputs, outputs.clone());
        for target in before.values() {
            if let Some(senders) = self.dependants.get_mut(target) {
                senders.remove(&logical_id);
            }
        }
        for &target in outputs.values() {
            self.dependants
                .entry(target)
                .or_default()
                .insert(logical_id);
        }
        self.change(What::Dependencies(logical_id, outputs));
        self.patch_sender(logical_id);
    }

    /// After a restart of either side: what is not named is stopped, what runs already is adopted,
    /// the rest waits a little to be reported before it is placed anew.
    pub(super) fn reconcile(&mut self, requests: Vec<VertexRequest>, ticket: Ticket) {
        let first = !self.reconciled;
        self.reconciled = true;
        let named: BTreeSet<_> = requests.iter().map(|request| request.logical_id).collect();
        let unnamed: Vec<_> = self
            .vertices
            .keys()
            .copied()
            .filter(|id| !named.contains(id))
            .collect();
        self.stop(&unnamed);
        let logical_ids = self.open(&requests, ticket);
        let not_before = if first {
            self.now + self.settings.adoption_grace
        } else {
            Timestamp::EPOCH
        };
        for request in requests {
            self.desire(request, not_before);
        }
        for (_, (node_id, running)) in std::mem::take(&mut self.orphans) {
            self.adopt(node_id, running);
        }
        for logical_id in logical_ids {
            match self
                .vertices
                .get(&logical_id)
                .is_some_and(|vertex| vertex.instance.is_none() && vertex.not_before > self.now)
            {
                true => {
                    let text = "waiting to be reported by its node".to_owned();
                    self.resolve(logical_id, StartOutcome::Waiting(text));
                }
                false => self.place_or_answer(logical_id),
            }
        }
        self.answer(ticket);
    }

    /// The domain enters a cluster: nothing is desired, whatever runs is stopped.
    pub(super) fn reset(&mut self) {
        self.reconciled = true;
        let all: Vec<_> = self.vertices.keys().copied().collect();
        self.stop(&all);
        for (_, (node_id, running)) in std::mem::take(&mut self.orphans) {
            self.adopt(node_id, running);
        }
    }
}
