//! What a replica wishes of its node beside what it requires, and the node that has most of it.

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::NodeId;
use smallvec::SmallVec;

use super::{
    Domain,
    model::{ClassKey, ReplicaKey, VertexKey},
};
use crate::plan::{
    fleet::{Choice, KindId, Wish},
    strategy::StrategyKind,
};

/// Values of a label by which copies are spread that are looked at, those with the fewest copies first.
const ZONES: usize = 8;

type Nodes = SmallVec<[NodeId; 4]>;

impl Domain {
    /// The node for a replica: the one that was asked for, if it takes it, else the one that its
    /// preferences and the strategy say.
    pub(super) fn choose(&mut self, key: ReplicaKey, calm: Option<u32>) -> Choice {
        let near = self.near(key);
        let avoid = self.to_avoid(key);
        let narrowed = self.narrowed(key);
        let class = self.model.class_of(key);
        let (kind, ask) = (class.kind, class.ask);
        let extra = self.model.replica(key).extra.as_deref();
        let wish = Wish {
            near: &near,
            avoid: &avoid,
            refused: extra.map_or(&[], |it| &it.refused_by),
            narrowed: &narrowed,
            calm,
        };
        self.fleet.choose(kind, ask, &wish, &mut self.rng)
    }

    /// Nodes that are preferred to all others.
    fn near(&self, key: ReplicaKey) -> Nodes {
        let replica = self.model.replica(key);
        let vertex = self.model.vertex(replica.vertex);
        let class = self.model.class(vertex.class);
        let mut near = Nodes::new();
        near.extend(replica.extra.as_ref().and_then(|it| it.wanted_node));
        near.extend(self.nodes_of_named(replica.vertex, &class.requirements.affinity_with));
        near.extend(self.beside(key));
        near.extend(self.to_wake_on(key));
        if self.settings.strategy == StrategyKind::Affine {
            let mut neighbours = self.model.senders_of(vertex.logical_id);
            let targets = vertex.outputs.iter();
            neighbours.extend(targets.filter_map(|(_, to)| self.model.key_of(*to)));
            near.extend(self.most_used(&neighbours));
        }
        near
    }

    /// Nodes that are used only when there are no others.
    fn to_avoid(&self, key: ReplicaKey) -> Nodes {
        let replica = self.model.replica(key);
        let vertex = self.model.vertex(replica.vertex);
        let class = self.model.class(vertex.class);
        let mut avoid = Nodes::new();
        avoid.extend(self.nodes_of_named(replica.vertex, &class.requirements.anti_affinity_with));
        let apart = !matches!(
            self.settings.strategy,
            StrategyKind::BinPack | StrategyKind::Affine
        );
        if apart || class.requirements.spread_by.is_some() {
            let others = vertex.replicas.iter().filter(|it| **it != key);
            avoid.extend(others.filter_map(|&it| Some(self.model.replica(it).instance?.node_id)));
        }
        avoid
    }

    /// Where vertices of the same workflow run, those with the most of them first.
    fn nodes_of_named(&self, of: VertexKey, names: &[String]) -> Vec<NodeId> {
        if names.is_empty() {
            return Vec::new();
        }
        let workflow_id = self.model.vertex(of).workflow_id;
        let all = self.model.of_workflow(workflow_id).iter().copied();
        let named = all.filter(|&it| {
            let class = self.model.class(self.model.vertex(it).class);
            it != of && names.iter().any(|name| name == class.spec.name())
        });
        self.most_used(&Vec::from_iter(named))
    }

    /// The nodes of vertices, those with the most copies of them first.
    pub(super) fn most_used(&self, vertices: &[VertexKey]) -> Vec<NodeId> {
        let replicas = vertices
            .iter()
            .flat_map(|&it| &self.model.vertex(it).replicas);
        let instances = replicas.filter_map(|&it| self.model.replica(it).instance);
        let mut numbers = BTreeMap::<NodeId, usize>::new();
        for instance in instances {
            *numbers.entry(instance.node_id).or_default() += 1;
        }
        let mut nodes: Vec<_> = numbers.into_iter().collect();
        nodes.sort_by_key(|&(_, number)| std::cmp::Reverse(number));
        nodes.into_iter().map(|(node_id, _)| node_id).collect()
    }

    /// Kinds that leave out what is not preferred: values of a label with few copies, preferred labels.
    fn narrowed(&mut self, key: ReplicaKey) -> SmallVec<[KindId; 4]> {
        let replica = self.model.replica(key);
        let vertex = self.model.vertex(replica.vertex);
        let class = self.model.class(vertex.class);
        let mut narrowed = SmallVec::new();
        if let Some(label) = class.requirements.spread_by.clone() {
            let others = vertex.replicas.iter().filter(|it| **it != key);
            let homes = others.filter_map(|&it| Some(self.model.replica(it).instance?.node_id));
            let zones = self.fleet.zones(&label, homes);
            let key = vertex.class;
            if class.zones.len() > zones.len() {
                self.forget_zones(key, &zones);
            }
            for zone in zones.into_iter().take(ZONES) {
                let class = self.model.class_mut(key);
                let kind = match class.zones.get(&zone) {
                    Some(&kind) => kind,
                    None => {
                        let narrow = self
                            .fleet
                            .kind(class.kind)
                            .narrowed(std::slice::from_ref(&zone));
                        let kind = self.fleet.enter(narrow);
                        class.zones.insert(zone, kind);
                        kind
                    }
                };
                narrowed.push(kind);
            }
        } else {
            narrowed.extend_from_slice(&class.preferred);
        }
        narrowed
    }

    /// Of the values of a label those that no node has any more are forgotten.
    fn forget_zones(&mut self, key: ClassKey, there: &[String]) {
        let there: BTreeSet<&String> = there.iter().collect();
        let zones = &mut self.model.class_mut(key).zones;
        let gone = zones.extract_if(|zone, _| !there.contains(zone));
        let gone: Vec<KindId> = gone.map(|(_, kind)| kind).collect();
        for kind in gone {
            self.fleet.leave(kind);
        }
    }
}
