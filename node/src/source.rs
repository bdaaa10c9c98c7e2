//! What the node says about itself in its registration, gathered from engine, agent and system.

use std::{collections::BTreeMap, time::Instant};

use edgeless_types::{BACKLOG_LOOK, Backlog, NodeHealth, RunningInstance, Samples, has_grown};

use crate::{
    agent::{Agent, Failure},
    health::HealthReader,
    host::Host,
    registration::{News, Source},
};

/// What the node says about itself in its registration.
pub(crate) struct NodeSource {
    agent: Agent<Host>,
    health: HealthReader,
    /// Whether samples are reported.
    samples: bool,
    /// What was reported last of what waits.
    backlog: Vec<Backlog>,
}

impl NodeSource {
    pub(crate) fn new(agent: Agent<Host>, health: HealthReader, samples: bool) -> Self {
        Self {
            agent,
            health,
            samples,
            backlog: Vec::new(),
        }
    }

    /// Tells the agent what ended by itself in the engine.
    fn collect_failures(&self) {
        for failure in self.agent.host().engine.drain_failures() {
            self.agent.failed(Failure {
                physical_id: failure.physical_id,
                message: failure.message,
            });
        }
    }

    /// Waits until much more waits at an instance than was reported.
    async fn crowded(&self) {
        let engine = &self.agent.host().engine;
        loop {
            engine.begins_to_wait().await;
            tokio::time::sleep(BACKLOG_LOOK).await;
            if has_grown(&self.backlog, &engine.backlog().await) {
                return;
            }
        }
    }
}

impl Source for NodeSource {
    fn health(&mut self) -> NodeHealth {
        self.health.read(Instant::now())
    }

    fn running(&mut self) -> Vec<RunningInstance> {
        self.agent.running()
    }

    async fn news(&mut self, full: bool) -> News {
        self.collect_failures();
        let engine = &self.agent.host().engine;
        let samples = engine.drain_samples().await;
        // Of what has stopped, the last it saved is among those as well.
        let mut states = BTreeMap::new();
        if full {
            states.extend(engine.saved().await);
        }
        states.extend(engine.drain_states());
        states.extend(self.agent.tell_saved());
        self.backlog = engine.backlog().await;
        News {
            samples: if self.samples {
                samples
            } else {
                Samples::default()
            },
            failures: self.agent.take_failures(),
            changes: self.agent.take_changes(),
            states,
            demand: engine.demand().await,
            backlog: self.backlog.clone(),
        }
    }

    fn states_acknowledged(&mut self) {
        self.agent.states_acknowledged();
    }

    async fn urgent(&self) {
        let look = async {
            loop {
                self.agent.host().engine.failed().await;
                self.collect_failures();
            }
        };
        tokio::select! {
            () = look => {}
            () = self.agent.urgent() => {}
            () = self.crowded() => {}
            () = self.agent.host().engine.wanted() => {}
        }
    }
}
