//! Where instances run: the engine, with runtimes for functions and providers of resources.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use edgeless_daemon::code::CodeStore;
use edgeless_dataflow::{Delivery, Engine, Factory, Outputs, Place, Spawn, TapPlan, Tapped};
use edgeless_types::{
    PhysicalId,
    delivery::{ack_policy, at_least_once, deadline},
    routing::{routing, shard},
    workflow::{FunctionSpec, VertexSpec},
};
use tokio::sync::mpsc;

use crate::{
    agent::{self, Output, Patch, Start, StartError},
    resource::Resources,
    runtime::{Kind, Runtime, Runtimes, component, wasm},
};

/// The engine of a node and what it runs.
pub struct Host {
    /// Runs everything.
    pub engine: Engine,
    /// Runs functions; absent where it is switched off.
    pub runtimes: Option<Runtimes>,
    /// Makes resources.
    pub resources: Resources,
    /// Has the code.
    pub code: CodeStore,
}

impl agent::Host for Host {
    async fn start(&self, start: Start) -> Result<(), StartError> {
        let none = BTreeMap::new();
        let annotations = match &start.spec {
            VertexSpec::Function(function) => &function.annotations,
            VertexSpec::Resource(_) => &none,
        };
        let delivery = delivery(annotations).map_err(StartError::Failed)?;
        let mut outputs = outputs(start.outputs);
        for (channel, routing) in routing(annotations).map_err(StartError::Failed)? {
            outputs.set_routing(&channel, routing);
        }
        let group = start.instance.workflow_id.uuid().as_u128();
        let place = match shard(annotations).map_err(StartError::Failed)? {
            Some(shard) => Place::Shard(shard, Some(group)),
            // What talks to one another is best on one shard.
            None => Place::With(group),
        };
        let factory = match start.spec {
            VertexSpec::Function(function) => self.function(&function, start.state).await?,
            VertexSpec::Resource(resource) => self
                .resources
                .prepare(&resource)
                .await
                .map_err(StartError::Failed)?,
        };
        let spawn = Spawn {
            physical_id: start.instance.physical_id,
            generation: start.instance.generation,
            place,
            outputs,
            delivery,
            factory,
        };
        let spawned = self.engine.spawn(spawn).await;
        spawned.map_err(|error| StartError::Failed(error.to_string()))
    }

    async fn patch(&self, patch: Patch) -> Result<(), String> {
        let outputs = outputs(patch.outputs);
        self.engine
            .patch(patch.physical_id, patch.generation, outputs)
            .await;
        Ok(())
    }

    async fn tap(&self, id: PhysicalId, plan: TapPlan) -> Option<mpsc::Receiver<Tapped>> {
        self.engine.tap(id, plan).await
    }

    async fn stop(&self, id: PhysicalId, drain: Duration) -> Option<Bytes> {
        let begun = Instant::now();
        // The engine knows what is queued, not what a task of the resource has taken from it.
        if tokio::time::timeout(drain, self.resources.idle(id))
            .await
            .is_err()
        {
            tracing::debug!(physical_id = %id, "messages are under way after the drain");
        }
        let rest = drain.saturating_sub(begun.elapsed());
        self.engine.stop(id, rest).await
    }
}

impl Host {
    async fn function(
        &self,
        function: &FunctionSpec,
        state: Option<Bytes>,
    ) -> Result<Factory, StartError> {
        match (function.function_type.as_str(), &self.runtimes) {
            (wasm::Core::NAME, Some(runtimes)) => self.made(&runtimes.wasm, function, state).await,
            (component::Components::NAME, Some(runtimes)) => {
                self.made(&runtimes.component, function, state).await
            }
            (other, _) => {
                let message = format!("this node has no runtime `{other}`");
                Err(StartError::Failed(message))
            }
        }
    }

    /// What makes an instance in a runtime, which has its code from now on.
    async fn made<K: Kind>(
        &self,
        runtime: &Runtime<K>,
        function: &FunctionSpec,
        state: Option<Bytes>,
    ) -> Result<Factory, StartError> {
        let digest = function.code;
        let init_payload = function.init_payload().map(str::to_owned);
        if !runtime.is_loaded(digest) {
            let code = self.code.get(digest).await.map_err(|error| {
                StartError::Failed(format!("could not read the code {digest}: {error}"))
            })?;
            let code = code.ok_or(StartError::MissingCode(digest))?;
            let loaded = runtime.load(digest, code).await;
            loaded.map_err(|error| StartError::Failed(error.to_string()))?;
        }
        runtime
            .factory(digest, init_payload, state)
            .ok_or(StartError::MissingCode(digest))
    }
}

fn delivery(annotations: &BTreeMap<String, String>) -> Result<Delivery, String> {
    Ok(Delivery {
        tracked: at_least_once(annotations),
        policy: ack_policy(annotations)?,
        deadline: deadline(annotations)?,
    })
}

fn outputs(outputs: Vec<Output>) -> Outputs {
    let channels = outputs.into_iter();
    Outputs::new(channels.map(|it| (it.channel, it.instances)).collect())
}
