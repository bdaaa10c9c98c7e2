//! What the node says about itself in its registration, gathered from engine, agent and system.

use std::{collections::BTreeMap, time::Instant};

use edgeless_types::{NodeHealth, RunningInstance, Samples};

use crate::{
    agent::{Agent, Failure},
    health::HealthReader,
    host::Host,
    registration::{News, Source},
};

/// What the node says about itself in its registration.
pub(crate) struct NodeSource {
    pub(crate) agent: Agent<Host>,
    pub(crate) health: HealthReader,
    /// Whether samples are reported.
    pub(crate) samples: bool,
}

impl NodeSource {
    /// Tells the agent what ended by itself in the engine.
    fn collect_failures(&self) {
        for failure in self.agent.host().engine.drain_failures() {
            self.agent.failed(Failure {
                physical_id: failure.physical_id,
                message: failure.message,
            });
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

    async fn news(&mut self) -> News {
        self.collect_failures();
        let engine = &self.agent.host().engine;
        let samples = engine.drain_samples().await;
        // Of what has stopped, the last it saved is among those as well.
        let mut states: BTreeMap<_, _> = engine.drain_states().into_iter().collect();
        states.extend(self.agent.tell_saved());
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
            backlog: engine.backlog().await,
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
            () = self.agent.host().engine.wanted() => {}
        }
    }
}
