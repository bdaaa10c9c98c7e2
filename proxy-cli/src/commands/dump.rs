//! `proxy_cli dump`: writes what a source has into files, in the form of the datasets.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use edgeless_dataset::{Table, header};
use edgeless_types::{PhysicalId, SampleKind, Timestamp, mirror};
use serde_json::json;

use super::CommandError;
use crate::{domain::Domain, output::Rows, source::Source};

/// What is written.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Dump {
    /// All measurements: performance_samples.csv and application_logs.csv
    Performance {
        /// The folder; it is created
        dir: PathBuf,
    },
    /// Where everything runs: mapping_to_instance_id.csv and instances.json
    Instances {
        /// The folder; it is created
        dir: PathBuf,
    },
}

/// Writes the files, which must not exist yet; the rows tell their names and numbers of records.
pub(crate) async fn dump(
    source: &mut Source,
    what: &Dump,
    now: Timestamp,
) -> Result<Rows, CommandError> {
    let mut rows = Rows::new(&["file", "records"]);
    let written = match what {
        Dump::Performance { dir } => performance(source, dir).await?,
        Dump::Instances { dir } => instances(&Domain::load(source).await?, dir, now)?,
    };
    for (path, records) in written {
        rows.push([json!(path), json!(records)]);
    }
    Ok(rows)
}

type Written = Vec<(PathBuf, usize)>;

/// The keys of measurements, or of those that running instances are known to have.
async fn keys(source: &mut Source) -> Result<Vec<String>, CommandError> {
    if let Some(keys) = source.performance_keys().await? {
        return Ok(keys);
    }
    eprintln!(
        "proxy_cli: {} lists no sets of measurements: only times of running instances in the last \
         two minutes are written; --redis-url gives all",
        source.url()
    );
    let domain = Domain::load(source).await?;
    let copies = domain
        .instances
        .values()
        .flat_map(|active| &active.instances);
    let of = |id: PhysicalId| {
        [
            SampleKind::FunctionExecutionTime,
            SampleKind::FunctionTransferTime,
        ]
        .map(|kind| mirror::performance_key(kind.name(), id))
    };
    Ok(copies.flat_map(|copy| of(copy.physical_id)).collect())
}

async fn performance(source: &mut Source, dir: &Path) -> Result<Written, CommandError> {
    let keys = keys(source).await?;
    let mut times = Sheet::create(dir, Table::PerformanceSamples)?;
    let mut logs = Sheet::create(dir, Table::ApplicationLogs)?;
    for key in keys {
        let Some((metric, identifier)) = parts(&key) else {
            continue;
        };
        let is_time = [
            SampleKind::FunctionExecutionTime,
            SampleKind::FunctionTransferTime,
        ]
        .iter()
        .any(|kind| kind.name() == metric);
        for member in source.all_samples(&key).await? {
            let Some((timestamp, value)) = member.split_once(':') else {
                continue;
            };
            if is_time {
                times.write(&[metric, identifier, value, timestamp])?;
            } else {
                logs.write(&[identifier, metric, value, timestamp])?;
            }
        }
    }
    Ok(vec![times.finish()?, logs.finish()?])
}

/// Metric and physical id of a key. Custom log entries are also there by their value; these keys
/// are passed over, else each entry would be written twice.
fn parts(key: &str) -> Option<(&str, &str)> {
    let (metric, id) = key.strip_prefix("performance:")?.rsplit_once(':')?;
    id.parse::<PhysicalId>().ok()?;
    Some((metric, id))
}

fn instances(domain: &Domain, dir: &Path, now: Timestamp) -> Result<Written, CommandError> {
    let mut mapping = Sheet::create(dir, Table::MappingToInstanceId)?;
    for (logical_id, active) in &domain.instances {
        let mut record = vec![now.to_string(), logical_id.to_string()];
        for copy in &active.instances {
            record.extend([copy.node_id.to_string(), copy.physical_id.to_string()]);
        }
        mapping.write(&record)?;
    }
    let path = dir.join("instances.json");
    let file = create(&path)?;
    serde_json::to_writer_pretty(io::BufWriter::new(file), &domain.instances).map_err(|error| {
        CommandError::File {
            path: path.clone(),
            error: error.into(),
        }
    })?;
    Ok(vec![mapping.finish()?, (path, domain.instances.len())])
}

/// One table that is being written.
struct Sheet {
    path: PathBuf,
    records: usize,
    csv: csv::Writer<File>,
}

impl Sheet {
    fn create(dir: &Path, table: Table) -> Result<Self, CommandError> {
        fs::create_dir_all(dir).map_err(|error| CommandError::File {
            path: dir.to_owned(),
            error,
        })?;
        let path = dir.join(table.file_name());
        let csv = csv::WriterBuilder::new()
            .flexible(true)
            .from_writer(create(&path)?);
        let mut sheet = Self {
            path,
            records: 0,
            csv,
        };
        sheet.write(header(table))?;
        sheet.records = 0;
        Ok(sheet)
    }

    fn write(&mut self, record: &[impl AsRef<[u8]>]) -> Result<(), CommandError> {
        self.records += 1;
        let written = self.csv.write_record(record);
        written.map_err(|error| self.failed(error.into()))
    }

    fn finish(mut self) -> Result<(PathBuf, usize), CommandError> {
        let flushed = self.csv.flush();
        flushed.map_err(|error| self.failed(error))?;
        Ok((self.path, self.records))
    }

    fn failed(&self, error: io::Error) -> CommandError {
        CommandError::File {
            path: self.path.clone(),
            error,
        }
    }
}

/// A file that was not there before: measurements are not overwritten.
fn create(path: &Path) -> Result<File, CommandError> {
    File::create_new(path).map_err(|error| CommandError::File {
        path: path.to_owned(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0b6f2e62-4a0e-4a2c-8f6e-2f0f6d6b7a11";

    #[test]
    fn targets_may_have_colons_and_keys_by_value_are_passed_over() {
        assert_eq!(parts(&format!("performance:a:b:{ID}")), Some(("a:b", ID)));
        assert_eq!(parts("performance:temperature:21.5"), None);
        assert_eq!(parts(&format!("node:health:{ID}")), None);
    }
}
