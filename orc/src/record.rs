//! The same changes as rows of the datasets; works with any mirror.

use std::{hash::BuildHasher, time::Duration};

use edgeless_daemon::status::Readiness;
use edgeless_tables::{Dataset, Vertex};
use edgeless_types::{InstanceId, LogicalId, mirror::ActiveInstance};
use prometheus_client::metrics::counter::Counter;
use rustc_hash::{FxBuildHasher, FxHashMap};
use tokio::sync::mpsc;

use crate::{
    backlog::{Gauge, weight},
    change::{Change, What},
    observers::Batch,
};

/// The part of `/readyz`.
const PART: &str = "datasets";
/// How often rows are on disk at least.
const FLUSH: Duration = Duration::from_millis(500);

/// Batches of changes that wait for the disk.
pub(crate) const QUEUE: usize = 16_384;

/// Writes rows until the channel is closed.
pub(crate) async fn run(
    mut dataset: Dataset,
    mut changes: mpsc::Receiver<Batch>,
    gauge: Gauge,
    readiness: Readiness,
    lost: Counter,
) {
    let mut flush = tokio::time::interval(FLUSH);
    let mut batch = Vec::new();
    let mut vertices = Vertices::default();
    loop {
        tokio::select! {
            number = changes.recv_many(&mut batch, 256) => {
                if number == 0 {
                    break;
                }
                for changes in batch.drain(..) {
                    if let Err(error) = rows(&mut dataset, &mut vertices, &changes) {
                        tracing::warn!(%error, "a change is no row");
                    }
                    gauge.done(weight(&changes));
                }
            }
            _ = flush.tick() => {
                report(dataset.flush(), &readiness);
                lost.inc_by((dataset.rows_lost() + gauge.given_up()).saturating_sub(lost.get()));
            }
        }
    }
    report(dataset.flush(), &readiness);
}

fn report(outcome: std::io::Result<()>, readiness: &Readiness) {
    match outcome {
        Ok(()) => {
            if readiness.restore(PART) {
                tracing::info!("datasets are written again");
            }
        }
        Err(error) => {
            if readiness.degrade(PART, error.to_string()) {
                tracing::error!(%error, "datasets are not written; decisions go on");
            }
        }
    }
}

/// The vertices that have a row, and the hash of their specification then: as many as there are in the domain.
#[derive(Default)]
struct Vertices(FxHashMap<LogicalId, u64>);

impl Vertices {
    /// Writes what a vertex is, if its specification is new.
    fn tell(
        &mut self,
        dataset: &mut Dataset,
        change: &Change,
        active: &ActiveInstance,
    ) -> std::io::Result<()> {
        let (logical_id, spec) = (active.logical_id, &*active.spec);
        let hash = FxBuildHasher.hash_one(spec);
        if self.0.insert(logical_id, hash) == Some(hash) {
            return Ok(());
        }
        let workflow_id = active.workflow_id;
        dataset.vertex(&Vertex::of(change.at, logical_id, workflow_id, spec))
    }
}

fn rows(dataset: &mut Dataset, vertices: &mut Vertices, changes: &[Change]) -> std::io::Result<()> {
    for change in changes {
        let at = change.at;
        match &change.what {
            What::Node(node_id, capabilities) => {
                dataset.capabilities(at, *node_id, capabilities)?;
            }
            What::Health(node_id, health) => dataset.health(at, *node_id, health)?,
            What::Instance(active) => {
                vertices.tell(dataset, change, active)?;
                let instances: Vec<InstanceId> = active
                    .instances
                    .iter()
                    .copied()
                    .map(InstanceId::from)
                    .collect();
                dataset.mapping(at, active.logical_id, &instances)?;
            }
            What::InstanceGone(logical_id) => {
                vertices.0.remove(logical_id);
                dataset.mapping(at, *logical_id, &[])?;
            }
            What::Samples(_, samples) => {
                samples
                    .times
                    .iter()
                    .try_for_each(|sample| dataset.sample(sample))?;
                samples
                    .logs
                    .iter()
                    .try_for_each(|entry| dataset.log(entry))?;
                let mut summaries = samples.summaries.iter();
                summaries.try_for_each(|summary| dataset.summary(at, summary))?;
            }
            What::Scaling(it) => {
                dataset.scaling(it)?;
            }
            What::Reset(_) => vertices.0.clear(),
            What::NodeGone(_)
            | What::Provider(_)
            | What::ProviderGone(_)
            | What::Dependencies(..)
            | What::Bottleneck(..)
            | What::DependenciesGone(_)
            | What::Intent(_) => {}
        }
    }
    Ok(())
}
