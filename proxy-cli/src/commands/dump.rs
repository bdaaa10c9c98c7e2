//! `proxy_cli dump`: writes what a source has into files, in the form of the datasets.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use clap::Subcommand;
use edgeless_daemon::show::Rows;
use edgeless_tables::{Table, header};
use edgeless_types::{PhysicalId, SampleKind, Timestamp, mirror};
use serde_json::json;

use super::CommandError;
use crate::{domain::Domain, source::Source};

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
    use crate::testing::{self, COPY, COUNTER, EGRESS, NODE, NOW, RedisServer};

    const ID: &str = NODE;

    #[test]
    fn targets_may_have_colons_and_keys_by_value_are_passed_over() {
        assert_eq!(parts(&format!("performance:a:b:{ID}")), Some(("a:b", ID)));
        assert_eq!(parts("performance:temperature:21.5"), None);
        assert_eq!(parts(&format!("node:health:{ID}")), None);
    }

    #[tokio::test]
    async fn measurements_become_rows_of_the_datasets_once_each() {
        let server = RedisServer::with_domain().await;
        let mut source = Source::redis(&server.url).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let what = Dump::Performance {
            dir: dir.path().join("new"),
        };
        dump(&mut source, &what, NOW).await.unwrap();
        let file = |name| fs::read_to_string(dir.path().join("new").join(name)).unwrap();
        let at = "1700000000.000000000";
        assert_eq!(
            file("performance_samples.csv"),
            format!(
                "metric,identifier,value,timestamp\n\
                 function_execution_time,{COPY},0.002,{at}\n\
                 function_transfer_time,{COPY},0.001,{at}\n"
            )
        );
        assert_eq!(
            file("application_logs.csv"),
            format!("identifier,target,value,timestamp\n{COPY},temperature,21.5,{at}\n")
        );
        let again = dump(&mut source, &what, NOW).await.unwrap_err().to_string();
        assert!(again.contains("performance_samples.csv"), "{again}");
    }

    #[tokio::test]
    async fn instances_become_the_mapping_and_a_document() {
        let url = testing::status_port().await;
        let mut source = Source::http(&url).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let what = Dump::Instances {
            dir: dir.path().to_owned(),
        };
        dump(&mut source, &what, NOW).await.unwrap();
        assert_eq!(
            fs::read_to_string(dir.path().join("mapping_to_instance_id.csv")).unwrap(),
            format!(
                "timestamp,logical_id,node_id1,physical_id1,...\n\
                 {NOW},{COUNTER},{NODE},{COPY}\n{NOW},{EGRESS}\n"
            )
        );
        let text = fs::read(dir.path().join("instances.json")).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document[EGRESS]["waiting"]["message"], "starting");
    }
}
