//! What ε-ORC decides, carried out by the nodes.

use edgeless_orc::{
    change::What,
    domain::{Command, Effect, Step, StepKey, StepResult},
};
use edgeless_types::{NodeId, PhysicalId, Timestamp, workflow::VertexSpec};
use rand::Rng;

use super::{Event, FLAP, Instance, STEP, Source, World, function_of, moment};

impl World<'_> {
    /// What clocks show now.
    fn clock(&self) -> Timestamp {
        moment(self.phase + self.now)
    }

    pub(super) fn command(&mut self, command: Command) {
        let effects = self.domain.on_command(command, self.clock());
        self.carry_out(effects);
    }

    /// A node refreshes its registration; other appointments for that are void.
    pub(super) fn refresh(&mut self, node: usize) {
        let (copies, sources) = (&self.copies, &self.sources);
        let it = &mut self.nodes[node];
        (it.refreshed, it.turn) = (self.now, it.turn + 1);
        let update = it.update(node, copies, sources, self.now);
        let (_, effects) = self.domain.on_node_update(update, self.clock());
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Step { node_id, step } => {
                    if let Some(node) = self.place_of(node_id) {
                        let step = Box::new(step);
                        self.push(STEP, Event::Step { node, step });
                    }
                }
                Effect::Change(change) => self.note(&change.what),
                Effect::Forget(_) | Effect::Meet { .. } | Effect::Answer { .. } => {}
                // There is no journal: the domain lives as long as the load.
                Effect::Asleep { .. } | Effect::Awake(_) => {}
            }
        }
    }

    fn place_of(&self, node_id: NodeId) -> Option<usize> {
        self.nodes.iter().position(|node| node.node_id == node_id)
    }

    /// What a dataset would have.
    fn note(&mut self, what: &What) {
        match what {
            What::Instance(active) => {
                let (true, function) = function_of(active.logical_id) else {
                    return;
                };
                let copies = u32::try_from(active.instances.len()).unwrap_or(u32::MAX);
                let counts = &mut self.counts[function];
                let before = counts.last().map_or(0, |it| it.1);
                if copies == before {
                    return;
                }
                let at = self.now - self.begin;
                self.outcome.starts += u64::from(copies.saturating_sub(before));
                self.outcome.stops += u64::from(before.saturating_sub(copies));
                if copies > before && counts.len() > 1 {
                    let last = counts[counts.len() - 2].1;
                    let is_back = last > before && at - counts[counts.len() - 1].0 < FLAP;
                    self.outcome.flaps += u64::from(is_back);
                }
                counts.push((at, copies));
            }
            What::Scaling(_) => self.outcome.decisions += 1,
            What::Reset(_)
            | What::Node(..)
            | What::NodeGone(_)
            | What::Health(..)
            | What::Provider(_)
            | What::ProviderGone(_)
            | What::InstanceGone(_)
            | What::Dependencies(..)
            | What::DependenciesGone(_)
            | What::Samples(..)
            | What::Bottleneck(..)
            | What::Intent(_) => {}
        }
    }

    fn done_with(&mut self, node: usize, key: StepKey) {
        self.command(Command::Outcome {
            node_id: self.nodes[node].node_id,
            key,
            result: StepResult::Done(None),
        });
    }

    pub(super) fn on_step(&mut self, node: usize, step: Step) {
        let key = step.key();
        match step {
            Step::Start {
                instance,
                spec,
                outputs,
                ..
            } => {
                let physical_id = instance.physical_id;
                let (_, function) = function_of(instance.logical_id);
                match &*spec {
                    VertexSpec::Function(_) => {
                        self.starting.insert(physical_id, (node, function));
                        let mean = self.setup.start_time.as_secs_f64();
                        let after = mean * self.rng.random_range(0.8..1.2);
                        self.push(after, Event::Ready { physical_id });
                    }
                    VertexSpec::Resource(_) => {
                        let source = Source::new(node, function, &outputs);
                        self.sources.insert(physical_id, source);
                        self.newest[function] = Some(physical_id);
                        self.done_with(node, key);
                        self.leads(physical_id);
                    }
                }
            }
            Step::Stop {
                physical_id, drain, ..
            } => self.stop(node, physical_id, drain.as_secs_f64()),
            Step::Patch {
                physical_id,
                outputs,
                ..
            } => {
                if let Some(source) = self.sources.get_mut(&physical_id) {
                    source.lead(&outputs);
                    self.leads(physical_id);
                }
                self.done_with(node, key);
            }
        }
    }

    /// A copy has started.
    pub(super) fn ready(&mut self, physical_id: PhysicalId) {
        let Some((node, function)) = self.starting.remove(&physical_id) else {
            return; // It was stopped before.
        };
        self.copies
            .insert(physical_id, Instance::new(node, function));
        self.done_with(node, StepKey::Start(physical_id));
    }

    fn stop(&mut self, node: usize, physical_id: PhysicalId, drain: f64) {
        if let Some(copy) = self.copies.get_mut(&physical_id) {
            copy.stops = true;
            self.push(drain, Event::Cut { physical_id });
            return self.end_if_idle(physical_id);
        }
        self.starting.remove(&physical_id);
        if let Some(source) = self.sources.remove(&physical_id) {
            for order in source.held {
                self.send(source.function, order);
            }
        }
        self.done_with(node, StepKey::Stop(physical_id));
    }

    /// A copy that had long enough to drain ends: what it has not handled fails.
    pub(super) fn cut(&mut self, physical_id: PhysicalId) {
        let Some(copy) = self.copies.remove(&physical_id) else {
            return; // It has ended before.
        };
        let tasks = copy.current.into_iter().map(|(task, _)| task);
        for task in tasks.chain(copy.inbox) {
            self.fail(copy.function, task.order);
        }
        self.done_with(copy.node, StepKey::Stop(physical_id));
    }

    /// A copy that is to stop does, when it has nothing left to do.
    pub(super) fn end_if_idle(&mut self, physical_id: PhysicalId) {
        let copy = self.copies.get(&physical_id);
        if let Some(copy) = copy.filter(|it| it.stops && it.current.is_none()) {
            let node = copy.node;
            self.copies.remove(&physical_id);
            self.done_with(node, StepKey::Stop(physical_id));
        }
    }
}
