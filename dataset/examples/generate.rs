//! Writes a large dataset of a made-up domain, to measure with: `generate FOLDER SAMPLES [FUNCTIONS [NODES]]`.
//! The same arguments give the same files.

use std::{env, error::Error};

use edgeless_tables::{Additional, Dataset, Settings, Vertex, VertexKind};
use edgeless_types::{
    InstanceId, LogEntry, LogicalId, NodeCapabilities, NodeHealth, NodeId, PhysicalId, Sample,
    SampleKind, SampleSummary, Timestamp, WorkflowId,
};
use uuid::Uuid;

/// When it begins: 2026-01-01.
const BEGIN: u64 = 1_767_225_600_000_000_000;
/// How long it lasts.
const HOURS: u64 = 6;

/// Pseudo-random numbers: G. Marsaglia, "Xorshift RNGs", 2003.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Up to, but not one.
    fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A made-up domain.
struct Domain {
    node_ids: Vec<NodeId>,
    logical_ids: Vec<LogicalId>,
    /// Four for each function.
    physical_ids: Vec<PhysicalId>,
}

/// The length of the recording in nanoseconds.
const LENGTH: u64 = HOURS * 3_600_000_000_000;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().collect();
    let number = |index: usize, default: u64| {
        let given = arguments.get(index);
        given.map_or(Ok(default), |text| text.parse::<u64>())
    };
    let folder = arguments.get(1).ok_or("a folder is missing")?;
    let (samples, functions, nodes) = (number(2, 100_000)?, number(3, 12)?, number(4, 5)?);
    let mut dataset = Dataset::open(&Settings {
        path: format!("{folder}/"),
        append: false,
        additional: Additional::parse("", "")?,
    })?;
    let mut chance = Chance(42);
    let mut ids = || Uuid::from_u64_pair(chance.next(), chance.next());
    let domain = Domain {
        node_ids: (0..nodes).map(|_| NodeId::new(ids())).collect(),
        logical_ids: (0..functions).map(|_| LogicalId::new(ids())).collect(),
        physical_ids: (0..functions * 4).map(|_| PhysicalId::new(ids())).collect(),
    };
    domain.vertices(&mut dataset)?;
    domain.placements(&mut dataset)?;
    domain.health(&mut dataset, &mut chance)?;
    domain.samples(&mut dataset, &mut chance, samples)?;
    dataset.flush()?;
    Ok(())
}

impl Domain {
    /// Three classes of functions.
    fn vertices(&self, dataset: &mut Dataset) -> std::io::Result<()> {
        for (index, &logical_id) in self.logical_ids.iter().enumerate() {
            dataset.vertex(&Vertex {
                timestamp: Timestamp::from_nanos(BEGIN),
                logical_id,
                workflow_id: WorkflowId::new(Uuid::nil()),
                name: format!("f{index}"),
                kind: VertexKind::Function,
                class_id: format!("class-{}", index % 3),
                version: "0.1".to_owned(),
            })?;
        }
        Ok(())
    }

    /// Each quarter of an hour some function has another number of instances.
    fn placements(&self, dataset: &mut Dataset) -> std::io::Result<()> {
        for (index, &node_id) in self.node_ids.iter().enumerate() {
            let at = Timestamp::from_nanos(BEGIN + index as u64);
            let capabilities = NodeCapabilities {
                num_cores: 4,
                ..NodeCapabilities::default()
            };
            dataset.capabilities(at, node_id, &capabilities)?;
        }
        for quarter in 0..HOURS * 4 {
            let at = Timestamp::from_nanos(BEGIN + 1_000_000 + quarter * LENGTH / (HOURS * 4));
            let quarter = quarter as usize;
            for (index, &logical_id) in self.logical_ids.iter().enumerate() {
                let wanted = 1 + (quarter * (index + 1) / 7) % 4;
                if quarter > 0 && !quarter.is_multiple_of(index % 5 + 1) {
                    continue;
                }
                let copies = self.physical_ids[index * 4..].iter().take(wanted);
                let instances: Vec<InstanceId> = copies
                    .enumerate()
                    .map(|(copy, &physical_id)| InstanceId {
                        node_id: self.node_ids[(index + copy) % self.node_ids.len()],
                        physical_id,
                    })
                    .collect();
                dataset.mapping(at, logical_id, &instances)?;
            }
        }
        Ok(())
    }

    /// Nodes report every ten seconds.
    fn health(&self, dataset: &mut Dataset, chance: &mut Chance) -> std::io::Result<()> {
        for second in (0..LENGTH / 1_000_000_000).step_by(10) {
            let at = Timestamp::from_nanos(BEGIN + 2_000_000 + second * 1_000_000_000);
            let day = (second as f64 / 7_200.0).sin() + 1.0;
            for (index, &node_id) in self.node_ids.iter().enumerate() {
                let load = 20.0 + 60.0 * day * (1.0 + index as f64 / 3.0) + 20.0 * chance.share();
                let health = NodeHealth {
                    mem_used: 900 + index as u64 * 300 + second / 60,
                    mem_available: 3_000,
                    proc_cpu_usage: load as u32,
                    load_avg_1: (load * 1.5) as u32,
                    ..NodeHealth::default()
                };
                dataset.health(at, node_id, &health)?;
            }
        }
        Ok(())
    }

    /// So many samples; with every thousandth an entry of the log and a summary.
    fn samples(
        &self,
        dataset: &mut Dataset,
        chance: &mut Chance,
        samples: u64,
    ) -> std::io::Result<()> {
        let functions = self.logical_ids.len() as u64;
        for sample in 0..samples {
            let offset = (sample as f64 / samples as f64 * LENGTH as f64) as u64;
            let timestamp = Timestamp::from_nanos(BEGIN + 10_000_000 + offset);
            let popularity = chance.share() * chance.share();
            let function = ((popularity * functions as f64) as u64).min(functions - 1);
            let copy = chance.next() % 4;
            let physical_id = self.physical_ids[(function * 4 + copy) as usize];
            let slow = 1.0 + 4.0 * ((offset as f64 / LENGTH as f64) * 9.0).sin().max(0.0);
            let base = 200_000.0 * (function + 1) as f64;
            let nanos = base * slow * (1.0 - chance.share()).ln().abs();
            let (kind, nanos) = match sample % 2 {
                0 => (SampleKind::FunctionExecutionTime, nanos),
                _ => (SampleKind::FunctionTransferTime, nanos * slow),
            };
            dataset.sample(&Sample {
                physical_id,
                kind,
                timestamp,
                nanos: nanos as u64,
            })?;
            if sample % 1_000 == 999 {
                dataset.log(&LogEntry {
                    physical_id,
                    target: "temperature".to_owned(),
                    value: format!("{:.1}, \"warm\"", 20.0 + chance.share()),
                    timestamp,
                })?;
                let summary = SampleSummary {
                    physical_id,
                    kind: SampleKind::FunctionExecutionTime,
                    count: 10,
                    sum_nanos: 20_000_000,
                    max_nanos: 5_000_000,
                };
                dataset.summary(timestamp, &summary)?;
            }
        }
        Ok(())
    }
}
