//! Arrivals of a recorded dataset: each function is a contract of its own.
//!
//! Events arrive when they were created, which is their transfer time before their handling began. What a
//! dataset does not say, such as which function comes next, is not guessed.

use std::collections::BTreeMap;

use edgeless_types::{LogicalId, PhysicalId, Sample, SampleKind, Timestamp};

use crate::{
    row::Row,
    synth::{Arrival, Contract, Function, Trace},
};

/// Events that are kept; the others are counted.
const MOST_EVENTS: usize = 20_000_000;

/// Reads rows into arrivals.
#[derive(Debug, Default)]
pub struct Recorded {
    functions: BTreeMap<PhysicalId, LogicalId>,
    times: BTreeMap<LogicalId, Times>,
    arrivals: Vec<(Timestamp, LogicalId)>,
    /// Samples of instances of which no row says what they are copies of.
    pub unknown: u64,
    /// Events beyond the most that are kept.
    pub left_out: u64,
}

#[derive(Debug, Default)]
struct Times {
    count: f64,
    sum: f64,
    squares: f64,
}

/// A dataset from which nothing can be replayed.
#[derive(Debug, thiserror::Error)]
#[error(
    "there are no samples of `function_transfer_time` of known functions; record them with a dataset \
     that has `mapping_to_instance_id.csv` and `performance_samples.csv`"
)]
pub struct NothingRecorded;

impl Recorded {
    /// Takes a row; those that say what runs where come first.
    pub fn take(&mut self, row: &Row) {
        match row {
            Row::Mapping {
                logical_id,
                instances,
                ..
            } => {
                let instances = instances.iter().map(|it| (it.physical_id, *logical_id));
                self.functions.extend(instances);
            }
            Row::Sample(sample) => self.sample(sample),
            Row::Health { .. }
            | Row::Capabilities { .. }
            | Row::Log(_)
            | Row::Summary { .. }
            | Row::Scaling(_)
            | Row::Vertex(_) => {}
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let Some(&logical_id) = self.functions.get(&sample.physical_id) else {
            self.unknown += 1;
            return;
        };
        match sample.kind {
            SampleKind::FunctionExecutionTime => {
                let (times, secs) = (
                    self.times.entry(logical_id).or_default(),
                    sample.nanos as f64 / 1e9,
                );
                times.count += 1.0;
                times.sum += secs;
                times.squares += secs * secs;
            }
            SampleKind::FunctionTransferTime if self.arrivals.len() < MOST_EVENTS => {
                let created = sample.timestamp - std::time::Duration::from_nanos(sample.nanos);
                self.arrivals.push((created, logical_id));
            }
            SampleKind::FunctionTransferTime => self.left_out += 1,
        }
    }

    /// The arrivals since the first.
    ///
    /// # Errors
    /// There are none.
    pub fn trace(mut self) -> Result<Trace, NothingRecorded> {
        self.arrivals.sort_unstable();
        let (Some(&(first, _)), Some(&(last, _))) = (self.arrivals.first(), self.arrivals.last())
        else {
            return Err(NothingRecorded);
        };
        let mut places = BTreeMap::new();
        let mut trace = Trace {
            functions: Vec::new(),
            contracts: Vec::new(),
            arrivals: Vec::with_capacity(self.arrivals.len()),
            lasts: last.since(first).as_secs_f64() + 1.0,
        };
        for (at, logical_id) in self.arrivals {
            let contract = *places.entry(logical_id).or_insert_with(|| {
                let name = logical_id.to_string();
                let times = self.times.remove(&logical_id).unwrap_or_default();
                trace.functions.push(times.function(name.clone()));
                let chain = vec![trace.functions.len() - 1];
                trace.contracts.push(Contract { name, chain });
                trace.contracts.len() - 1
            });
            let at = at.since(first).as_secs_f64();
            trace.arrivals.push(Arrival { at, contract });
        }
        Ok(trace)
    }
}

impl Times {
    fn function(&self, name: String) -> Function {
        let mean = self.sum / self.count.max(1.0);
        let variance = (self.squares / self.count.max(1.0) - mean * mean).max(0.0);
        Function {
            name,
            service: mean.max(1e-6),
            variation: match mean > 0.0 {
                true => variance.sqrt() / mean,
                false => 0.0,
            },
        }
    }
}
