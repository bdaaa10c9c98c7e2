//! What nodes say they run, against what should run.

use rustc_hash::FxHashSet;

use edgeless_types::{NodeId, PhysicalId, RunningInstance};

use super::{
    Domain,
    model::{ClassKey, Instance, Phase, ReplicaKey},
};

impl Domain {
    /// Compares what a node says it runs with what it should run.
    pub(super) fn on_running(&mut self, node_id: NodeId, running: Vec<RunningInstance>) {
        let mut reported = FxHashSet::default();
        for instance in running {
            reported.insert(instance.physical_id);
            self.adopt(node_id, instance);
        }
        // What it ran before it is known whether that is desired.
        self.orphans
            .retain(|it, (home, _)| *home != node_id || reported.contains(it));
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let hosted = node.instances.keys();
        let missing = hosted.filter(|it| !reported.contains(it)).copied();
        let mut missing: Vec<_> = missing.collect();
        missing.sort_unstable();
        for physical_id in missing {
            let Some(key) = self.model.replica_of(physical_id) else {
                continue;
            };
            let instance = self.model.replica(key).instance;
            let under_way = instance
                .is_some_and(|it| it.physical_id == physical_id && it.phase != Phase::Running);
            if !under_way {
                self.unhost(node_id, physical_id);
                self.gone(physical_id);
                // Its start may still be on its way to the node.
                self.stop_copy(node_id, physical_id);
            }
        }
    }

    /// An instance was stopped. If nobody in this life asked for that, a step of an earlier life was held up
    /// on its way, and the replica is placed anew.
    pub(super) fn on_stopped(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        self.orphans.remove(&physical_id);
        let Some(key) = self.model.replica_of(physical_id) else {
            return;
        };
        let running = self.model.replica(key).running();
        if running.is_some_and(|it| it.physical_id == physical_id) {
            self.unhost(node_id, physical_id);
            self.gone(physical_id);
        }
    }

    pub(super) fn adopt(&mut self, node_id: NodeId, running: RunningInstance) {
        let physical_id = running.physical_id;
        self.generation = self.generation.max(running.generation);
        if let Some(key) = self.model.replica_of(physical_id) {
            let instance = self.model.replica(key).instance;
            if instance.is_some_and(|it| it.physical_id == physical_id && it.phase.is_starting()) {
                self.started(physical_id);
            }
            return;
        }
        let Some(vertex) = self.model.key_of(running.logical_id) else {
            if self.reconciled {
                self.stop_stray(node_id, physical_id);
            } else {
                self.orphans.insert(physical_id, (node_id, running));
            }
            return;
        };
        let mut replicas = self.model.vertex(vertex).replicas.iter();
        let is_free = |it: &&ReplicaKey| self.model.replica(**it).instance.is_none();
        if let Some(&free) = replicas.find(is_free) {
            tracing::info!(%node_id, %physical_id, "an instance is adopted");
            return self.take_over(free, node_id, running);
        }
        if let Some(free) = self.place_for_found(vertex, running.generation) {
            tracing::info!(%node_id, %physical_id, "an instance is adopted beside others");
            return self.take_over(free, node_id, running);
        }
        let replicas = &self.model.vertex(vertex).replicas;
        let instance = |it: &ReplicaKey| self.model.replica(*it).instance;
        // Of those that outlived a restart the newer are right, whichever were reported first.
        let adopted = replicas
            .iter()
            .filter(|it| !self.model.replica(**it).is_superfluous())
            .filter_map(|&it| Some((instance(&it)?.adopted?, it)));
        match adopted.min() {
            Some((generation, key)) if running.generation > generation => {
                if let Some(older) = instance(&key) {
                    self.unhost(older.node_id, older.physical_id);
                    self.gone(older.physical_id);
                    self.stop_stray(older.node_id, older.physical_id);
                }
                self.take_over(key, node_id, running);
            }
            // Moved or stopped meanwhile.
            Some(_) | None => self.stop_stray(node_id, physical_id),
        }
    }

    /// A replica without an instance takes one that runs already.
    fn take_over(&mut self, key: ReplicaKey, node_id: NodeId, running: RunningInstance) {
        let physical_id = running.physical_id;
        self.waiting.remove(key);
        self.release(key);
        let vertex_key = self.model.replica(key).vertex;
        let generation = self.generation;
        let vertex = self.model.vertex_mut(vertex_key);
        vertex.generation = generation;
        let (mut class, before) = (vertex.class, vertex.update.as_ref().map(|it| it.before));
        let is = |class: ClassKey| self.model.class(class).of_copy == running.fingerprint;
        let is_before = !is(class) && before.is_some_and(is);
        let outdated = running.fingerprint != 0 && !is(class) && !is_before;
        if is_before && let Some(before) = before {
            class = before;
        }
        let since = self.now;
        let replica = self.model.replica_mut(key);
        if let Some(extra) = &mut replica.extra {
            extra.lost = false;
        }
        replica.instance = Some(Instance {
            node_id,
            physical_id,
            class,
            phase: Phase::Starting,
            since,
            outdated,
            adopted: Some(running.generation),
        });
        if let Some(state) = self.told.remove(&physical_id) {
            // Before its successor begins with it.
            self.model.replica_mut(key).extra_mut().state = Some(state);
        }
        self.host(node_id, physical_id, key);
        self.note_if_overfull(node_id);
        self.started(physical_id);
        self.note_found(vertex_key, running.generation);
        // Its outputs may be those of another time.
        self.patch_sender(vertex_key);
        if outdated {
            self.go_on_updating(vertex_key);
        }
    }

    fn stop_stray(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        tracing::info!(%node_id, %physical_id, "an instance is not desired any more: stopped");
        self.stop_copy(node_id, physical_id);
    }

    /// A copy of a replica counts as one of its node.
    pub(super) fn host(&mut self, node_id: NodeId, physical_id: PhysicalId, of: ReplicaKey) {
        self.model.bind(physical_id, of);
        let Some(class) = self.model.replica(of).instance.map(|it| it.class) else {
            return;
        };
        if let Some(node) = self.nodes.get_mut(&node_id)
            && node.instances.insert(physical_id, class).is_none()
        {
            self.model.share_class(class);
            self.fleet.take(node_id, self.model.class(class).ask);
            self.note_came(node_id, physical_id);
        }
    }

    /// A copy does not count as one of its node any more.
    pub(super) fn unhost(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        let node = self.nodes.get_mut(&node_id);
        let class: Option<ClassKey> = node.and_then(|node| node.instances.remove(&physical_id));
        if let Some(class) = class {
            self.fleet.give_back(node_id, self.model.class(class).ask);
            self.model.leave_class(class, &mut self.fleet);
            self.note_moved(node_id, physical_id);
        }
    }
}
