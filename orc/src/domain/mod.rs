//! Desired and observed state of a domain, and every decision about it: pure.
//!
//! [`Domain`] takes events and the time, and returns effects. It reads no clock and waits for
//! nothing; its generator is seeded.

mod adopt;
mod asleep;
mod beside;
mod bottlenecks;
#[cfg(test)]
mod check;
mod drain;
mod dry_run;
mod event;
mod flapping;
mod intents;
mod model;
mod moves;
mod nodes;
mod observe;
mod outcomes;
mod overfull;
mod place;
mod progress;
mod rebalance;
mod retiring;
mod room;
mod scaling;
mod totals;
mod update;
mod vertices;
mod view;
mod waiting;
mod wishes;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use edgeless_types::{
    DomainId, Generation, LogicalId, NodeId, OrderDemand, PhysicalId, RunningInstance, Timestamp,
    WorkflowId,
};
use rand::{SeedableRng, rngs::StdRng};
use rustc_hash::FxHashMap;

use crate::{
    change::{Change, What},
    plan::{
        Ask,
        fleet::{Fleet, Overcommit},
        strategy::StrategyKind,
    },
    scale::Traffic,
};
use bottlenecks::Watched;
pub use bottlenecks::{Explanation, StageReport};
use drain::Drain;
pub use dry_run::WouldGo;
pub use event::{
    Command, Effect, NodeUpdate, NodeUpdateReply, Output, Profile, Refusal, StartOutcome, Step,
    StepKey, StepResult, Ticket, VertexRequest,
};
use flapping::Absences;
pub use flapping::Flapping;
use model::{Model, ReplicaKey, VertexKey};
use nodes::Node;
pub use observe::{NodeReport, Numbers, Part};
use overfull::Overfull;
pub use progress::{Progress, VertexReport};
pub use rebalance::Rebalancing;
use retiring::Retiring;
use room::Reserved;
use scaling::Scaled;
pub use totals::{Things, Totals};
use vertices::PendingTicket;
use waiting::Waiting;

/// Settings of a domain.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its id.
    pub domain_id: DomainId,
    /// How nodes are chosen.
    pub strategy: StrategyKind,
    /// How much of what nodes have may be promised.
    pub overcommit: Overcommit,
    /// Seed of all choices.
    pub seed: u64,
    /// Seed of the ids of instances: another one in each life, as ids of an earlier life may still
    /// run somewhere.
    pub life: u64,
    /// After a reconciliation, how long vertices wait to be reported by a node before they are
    /// placed anew.
    pub adoption_grace: std::time::Duration,
    /// How long an instance that was replaced still takes what is under way to it.
    pub linger: std::time::Duration,
    /// Starts of lost instances that a node may have unanswered: when many are lost at once, those of
    /// high priority come first, and nobody is crushed.
    pub healing_per_node: u32,
    /// When a node that comes and goes gets nothing new.
    pub flapping: Flapping,
    /// When instances move to emptier nodes by themselves.
    pub rebalancing: Rebalancing,
    /// How functions are scaled that may be, as far as they do not say.
    pub scaling: crate::scale::Settings,
}

/// Desired and observed state of a domain.
pub struct Domain {
    settings: Settings,
    rng: StdRng,
    ids: StdRng,
    fleet: Fleet,
    /// The last decision about anything: never below what a node has ever reported, so that after
    /// a restart nothing that is decided is taken for older than what runs.
    generation: Generation,
    /// The first one: what has a smaller one was decided in an earlier life.
    first: Generation,
    nodes: BTreeMap<NodeId, Node>,
    deadlines: BTreeSet<(Timestamp, NodeId)>,
    /// Of nodes whose id came with another nonce: the nonce before, and when it was last seen.
    former: BTreeMap<NodeId, (u64, Timestamp)>,
    absences: Absences,
    model: Model,
    /// Desired replicas without an instance.
    waiting: Waiting,
    /// All nodes are busy healing: nothing is placed until time has passed or one of them has room.
    paused: bool,
    /// Nodes that have answered the start of a lost instance since the last time.
    healed: Vec<NodeId>,
    /// How many replicas there are of each priority.
    priorities: BTreeMap<i32, usize>,
    reserved: FxHashMap<ReplicaKey, Reserved>,
    kept_on: FxHashMap<NodeId, Vec<ReplicaKey>>,
    room_tried: Timestamp,
    rebalanced: Timestamp,
    overfull: Overfull,
    /// Vertices that get another version.
    updating: BTreeSet<VertexKey>,
    /// Vertices of which no copy has run since they had none, and what their last ones have saved.
    asleep: FxHashMap<VertexKey, Option<bytes::Bytes>>,
    /// Those of an earlier life, until they are desired again.
    slept: BTreeMap<LogicalId, Option<bytes::Bytes>>,
    /// Vertices whose last update was given up, and why; until something is said of them again.
    given_up: FxHashMap<LogicalId, String>,
    drains: BTreeMap<NodeId, Drain>,
    /// What orders want of vertices that are services, as ε-CON said last.
    order_demand: BTreeMap<LogicalId, OrderDemand>,
    /// What is known of functions before they run.
    priors: crate::scale::Priors,
    /// Functions that are scaled, and when each is looked at.
    scaled: FxHashMap<VertexKey, Box<Scaled>>,
    looks: BTreeSet<(Timestamp, VertexKey)>,
    /// What vertices did in the last seconds, of those that did something.
    traffic: FxHashMap<VertexKey, Box<Traffic>>,
    /// Workflows of these, what limits each, and when each is looked at.
    watched: FxHashMap<WorkflowId, Watched>,
    examinations: BTreeSet<(Timestamp, WorkflowId)>,
    /// Of those, the ones that have come further.
    drained: BTreeSet<NodeId>,
    /// Reported by nodes, not desired as far as is known.
    orphans: BTreeMap<PhysicalId, (NodeId, RunningInstance)>,
    /// What copies have saved that are not known yet.
    told: BTreeMap<PhysicalId, bytes::Bytes>,
    retiring: Retiring,
    cordoned: BTreeSet<NodeId>,
    /// Those of them that were told to be drained: whenever they come, everything goes elsewhere.
    to_drain: BTreeSet<NodeId>,
    tickets: FxHashMap<Ticket, PendingTicket>,
    ticket_of: FxHashMap<LogicalId, Ticket>,
    /// Whether it is known what is desired: from ε-CON, or from the journal.
    reconciled: bool,
    /// What the desired vertices ask for.
    desired: Ask,
    /// Counts the times a node came, left or changed what it is.
    membership: u64,
    /// Counts what might have changed the totals, beside the version of the fleet.
    revision: u64,
    effects: Vec<Effect>,
    /// Vertices with an instance less: their senders are told at the end of the event, each once.
    gone_astray: Vec<LogicalId>,
    touched: Vec<VertexKey>,
    now: Timestamp,
}

impl Domain {
    /// An empty domain. Without ε-CON (`reconciled`) nothing is waited for.
    pub fn new(settings: Settings, reconciled: bool) -> Self {
        Self {
            rng: StdRng::seed_from_u64(settings.seed),
            ids: StdRng::seed_from_u64(settings.life),
            fleet: Fleet::new(settings.strategy, settings.overcommit),
            settings,
            generation: Generation::default(),
            first: Generation::default(),
            nodes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            former: BTreeMap::new(),
            absences: Absences::default(),
            model: Model::default(),
            waiting: Waiting::default(),
            paused: false,
            healed: Vec::new(),
            priorities: BTreeMap::new(),
            reserved: FxHashMap::default(),
            kept_on: FxHashMap::default(),
            room_tried: Timestamp::EPOCH,
            rebalanced: Timestamp::EPOCH,
            overfull: Overfull::default(),
            updating: BTreeSet::new(),
            asleep: FxHashMap::default(),
            slept: BTreeMap::new(),
            given_up: FxHashMap::default(),
            drains: BTreeMap::new(),
            order_demand: BTreeMap::new(),
            priors: crate::scale::Priors::default(),
            scaled: FxHashMap::default(),
            looks: BTreeSet::new(),
            traffic: FxHashMap::default(),
            watched: FxHashMap::default(),
            examinations: BTreeSet::new(),
            drained: BTreeSet::new(),
            orphans: BTreeMap::new(),
            told: BTreeMap::new(),
            retiring: Retiring::default(),
            cordoned: BTreeSet::new(),
            to_drain: BTreeSet::new(),
            tickets: FxHashMap::default(),
            ticket_of: FxHashMap::default(),
            reconciled,
            desired: Ask::default(),
            membership: 0,
            revision: 0,
            effects: Vec::new(),
            gone_astray: Vec::new(),
            touched: Vec::new(),
            now: Timestamp::EPOCH,
        }
    }

    /// With what is known of functions before they run.
    #[must_use]
    pub fn with_priors(mut self, priors: crate::scale::Priors) -> Self {
        self.priors = priors;
        self
    }

    /// Whether it is known what is desired, be it nothing.
    pub fn is_told(&self) -> bool {
        self.reconciled
    }

    /// Takes a command and returns what is to be done.
    pub fn on_command(&mut self, command: Command, now: Timestamp) -> Vec<Effect> {
        self.set_now(now);
        match command {
            Command::Start { vertices, ticket } => self.start(vertices, ticket),
            Command::Stop(logical_ids) => self.stop(&logical_ids),
            Command::Patch(patches) => self.patch(patches),
            Command::Scale { logical_id, copies } => self.scale_as_asked(logical_id, copies),
            Command::Reconcile { vertices, ticket } => self.reconcile(vertices, ticket),
            Command::Reset => self.reset(),
            Command::Cordoned(node_ids) => self.cordoned.extend(node_ids),
            Command::Drained(node_ids) => self.to_drain.extend(node_ids),
            Command::Asleep(asleep) => self.slept = asleep,
            Command::Outcome {
                node_id,
                key,
                result,
            } => self.on_outcome(node_id, key, result),
            Command::Tick => self.on_tick(),
        }
        self.finish()
    }

    fn on_tick(&mut self) {
        while let Some(&(deadline, node_id)) = self.deadlines.first() {
            if deadline > self.now {
                break;
            }
            self.deadlines.pop_first();
            tracing::warn!(%node_id, "a node did not refresh in time: lost");
            self.absences
                .note(node_id, self.now, self.settings.flapping);
            self.lose(node_id);
        }
        while let Some(physical_id) = self.retiring.pop_due(self.now) {
            self.stop_retired(physical_id);
        }
        let now = self.now;
        self.former
            .retain(|_, (_, seen)| now.since(*seen) <= nodes::FORMER);
        for node_id in self.absences.rested(now) {
            self.recheck_closed(node_id);
        }
        for key in self.updating.clone() {
            self.advance_update(key);
        }
        self.retry_drains();
        self.retry_room();
        self.relieve_overfull();
        self.rebalance_by_itself();
        self.examine_due();
        self.scale_due();
        self.paused = false;
    }

    /// What is to be done since the last time, with the changes of what was touched.
    fn finish(&mut self) -> Vec<Effect> {
        self.advance_drains();
        self.settle_places();
        self.tell_senders_of_gone();
        for key in std::mem::take(&mut self.touched) {
            // It may have gone meanwhile, and another may be in its place.
            if let Some(active) = self.take_touched(key) {
                self.change(What::Instance(Box::new(active)));
            }
        }
        let said = |effect: &Effect| match effect {
            Effect::Change(change) => matches!(change.what, What::Health(..) | What::Samples(..)),
            Effect::Step { .. } | Effect::Forget(_) | Effect::Meet { .. } => false,
            Effect::Asleep { .. } | Effect::Awake(_) | Effect::Answer { .. } => false,
        };
        if !self.effects.iter().all(said) {
            self.revision += 1;
        }
        std::mem::take(&mut self.effects)
    }

    fn change(&mut self, what: What) {
        self.effects
            .push(Effect::Change(Change { at: self.now, what }));
    }

    /// Time has passed. Decisions begin with the microseconds of the first moment, so that nothing decided in
    /// this life is older than what is still under way from the life before.
    fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        if self.generation == Generation::default() {
            self.generation = Generation(now.as_nanos() / 1_000);
            self.first = self.generation;
        }
    }

    /// Names the next decision.
    fn decide(&mut self) -> Generation {
        self.generation = self.generation.next();
        self.generation
    }

    /// Observers are to be told of a vertex.
    fn touch(&mut self, key: VertexKey) {
        let vertex = self.model.vertex_mut(key);
        if !std::mem::replace(&mut vertex.touched, true) {
            self.touched.push(key);
        }
    }
}
