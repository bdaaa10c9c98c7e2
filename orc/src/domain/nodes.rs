//! Nodes: registration, refresh, loss, cordon.

use std::{collections::BTreeMap, time::Duration};

use edgeless_types::{
    Demand, NodeHealth, NodeId, PhysicalId, Timestamp, WaitReason, intent::Intent,
};

use super::{Domain, Effect, NodeUpdate, NodeUpdateReply, Profile, Refusal};
use crate::{change::What, plan::Ask};

/// How long a life that was replaced is remembered.
pub(super) const FORMER: Duration = Duration::from_mins(1);

/// A registered node.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) nonce: u64,
    sequence: u64,
    deadline: Timestamp,
    pub(super) profile: Profile,
    pub(super) health: Option<NodeHealth>,
    pub(super) last_update: Timestamp,
    pub(super) leaving: bool,
    pub(super) instances: BTreeMap<PhysicalId, Ask>,
    pub(super) demand: Vec<Demand>,
}

impl Domain {
    /// Takes a registration or refresh.
    pub fn on_node_update(
        &mut self,
        update: NodeUpdate,
        now: Timestamp,
    ) -> (NodeUpdateReply, Vec<Effect>) {
        self.now = now;
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
            Some((nonce, _)) if nonce != update.nonce => {
                if self.is_duplicate(node_id, update.nonce) {
                    return NodeUpdateReply {
                        duplicate: true,
                        ..NodeUpdateReply::default()
                    };
                }
                tracing::info!(%node_id, "the node began a new life");
                self.former.insert(node_id, (nonce, self.now));
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
                profile,
                health: None,
                last_update: self.now,
                leaving: update.leaving,
                instances: BTreeMap::new(),
                demand: Vec::new(),
            },
        );
        self.effects.push(Effect::Meet { node_id, agent_url });
        self.announce(node_id);
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
        node.last_update = now;
        let began_to_leave = update.leaving && !node.leaving;
        node.leaving = update.leaving;
        let mut open_for_more = false;
        if let Some(profile) = update.profile
            && profile != node.profile
        {
            let agent_url = profile.agent_url.clone();
            node.profile = profile;
            self.effects.push(Effect::Meet { node_id, agent_url });
            self.announce(node_id);
            open_for_more = true;
        }
        if let Some(node) = self.nodes.get_mut(&node_id) {
            node.demand = update.demand;
        }
        self.recheck_closed(node_id);
        if let Some(health) = update.health {
            self.fleet.set_health(node_id, health.clone());
            if let Some(node) = self.nodes.get_mut(&node_id) {
                node.health = Some(health.clone());
            }
            self.change(What::Health(node_id, health));
        }
        if let Some(samples) = update.samples {
            self.change(What::Samples(node_id, samples));
        }
        if let Some(running) = update.running {
            self.on_running(node_id, running);
            open_for_more = true;
        }
        for (physical_id, state) in update.states {
            if let Some(&logical_id) = self.by_physical.get(&physical_id) {
                self.states.insert(logical_id, state);
            }
        }
        for (physical_id, message) in update.failures {
            self.on_failure(node_id, physical_id, message);
        }
        if began_to_leave {
            self.evacuate(node_id);
        }
        if open_for_more {
            self.place_all();
        }
        let may_leave = update.leaving && self.is_empty(node_id);
        if may_leave {
            tracing::info!(%node_id, "a node left");
            self.lose(node_id);
        }
        NodeUpdateReply {
            may_leave,
            ..NodeUpdateReply::default()
        }
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
    fn recheck_closed(&mut self, node_id: NodeId) {
        let leaving = self.nodes.get(&node_id).is_some_and(|node| node.leaving);
        let closed = leaving || self.cordoned.contains(&node_id);
        self.fleet.set_closed(node_id, closed);
    }

    /// Planning, mirror and datasets are told what the node is.
    fn announce(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
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
        self.deadlines.remove(&(node.deadline, node_id));
        self.orphans.retain(|_, (home, _)| *home != node_id);
        self.effects.push(Effect::Forget(node_id));
        for provider in &node.profile.providers {
            self.change(What::ProviderGone(provider.provider_id.clone()));
        }
        self.change(What::NodeGone(node_id));
        for physical_id in node.instances.into_keys() {
            self.gone(node_id, physical_id);
        }
        for retiring in self.retiring.values_mut() {
            let gone = &self.by_physical;
            retiring.senders.retain(|sender| gone.contains_key(sender));
        }
        self.retire_ready();
        self.place_all();
    }

    /// An instance ended by itself.
    fn on_failure(&mut self, node_id: NodeId, physical_id: PhysicalId, message: String) {
        let Some(&logical_id) = self.by_physical.get(&physical_id) else {
            return;
        };
        tracing::warn!(%node_id, %physical_id, message, "an instance failed");
        self.gone(node_id, physical_id);
        self.delay_after_failure(logical_id, message);
    }

    /// The instance does not run any more: the vertex waits, its senders hold.
    pub(super) fn gone(&mut self, node_id: NodeId, physical_id: PhysicalId) {
        self.retiring.remove(&physical_id);
        self.lingering.retain(|&(_, other)| other != physical_id);
        let Some(logical_id) = self.unhost(node_id, physical_id) else {
            return;
        };
        let now = self.now;
        let Some(vertex) = self.vertices.get_mut(&logical_id) else {
            return;
        };
        if vertex
            .instance
            .is_some_and(|instance| instance.physical_id == physical_id)
        {
            vertex.instance = None;
            vertex.waiting = Some((now, WaitReason::Starting));
            self.unplaced.insert(logical_id);
            self.touch(logical_id);
            self.patch_senders_of(logical_id);
        }
    }

    /// Everything on a node that leaves goes elsewhere.
    fn evacuate(&mut self, node_id: NodeId) {
        let Some(node) = self.nodes.get(&node_id) else {
            return;
        };
        let instances: Vec<_> = node.instances.keys().copied().collect();
        for physical_id in instances {
            if let Some(&logical_id) = self.by_physical.get(&physical_id) {
                self.move_away(logical_id, None);
            }
        }
    }

    /// Whether nothing on the node can still be moved.
    fn is_empty(&mut self, node_id: NodeId) -> bool {
        let Some(node) = self.nodes.get(&node_id) else {
            return true;
        };
        let instances: Vec<_> = node.instances.keys().copied().collect();
        instances.into_iter().all(|physical_id| {
            let Some(&logical_id) = self.by_physical.get(&physical_id) else {
                return true;
            };
            !self.retiring.contains_key(&physical_id) && !self.is_placeable(logical_id)
        })
    }

    /// Carries out an intent.
    ///
    /// # Errors
    /// It names what is not known, or asks for what is not feasible.
    pub fn on_intent(
        &mut self,
        intent: Intent,
        now: Timestamp,
    ) -> (Result<(), Refusal>, Vec<Effect>) {
        self.now = now;
        let outcome = match intent {
            Intent::Migrate {
                logical_id,
                node_id,
            } => self.migrate(logical_id, node_id),
            Intent::Cordon { node_id } => self.known(node_id).map(|()| {
                self.cordoned.insert(node_id);
                self.recheck_closed(node_id);
            }),
            Intent::Uncordon { node_id } => self.known(node_id).map(|()| {
                self.cordoned.remove(&node_id);
                self.recheck_closed(node_id);
                self.place_all();
            }),
        };
        (outcome, self.finish())
    }

    fn known(&self, node_id: NodeId) -> Result<(), Refusal> {
        if self.nodes.contains_key(&node_id) {
            return Ok(());
        }
        Err(Refusal::UnknownNode(node_id))
    }
}
