//! Writes rows. A disk that refuses them is an error of that moment: they wait, bounded, and are tried
//! again.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use edgeless_types::{
    InstanceId, LogEntry, LogicalId, NodeCapabilities, NodeHealth, NodeId, Sample, SampleSummary,
    Timestamp, mirror::ScalingDecision,
};

use crate::{Table, Vertex, header, sheet::Sheet};

/// Where the files are and whether they are continued.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A prefix: `dataset/` is a folder, `out/run1-` a folder and the beginning of file names.
    pub path: String,
    /// Whether files that are there are continued; else they begin anew.
    pub append: bool,
    /// Further columns.
    pub additional: Additional,
}

/// Further columns, which come first, and their values in every row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Additional {
    names: Vec<String>,
    values: Vec<String>,
}

/// The files cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// Names and values do not match.
    #[error("additional_fields names {names} columns but additional_header has {values} values")]
    Additional {
        /// How many names.
        names: usize,
        /// How many values.
        values: usize,
    },
    /// A file or folder cannot be made.
    #[error("could not open the dataset file `{}`", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file that is to be continued has other columns.
    #[error("`{}` has the columns `{found}`, not `{expected}`; move it away, or use append = false", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// What it has.
        found: String,
        /// What it should have.
        expected: String,
    },
}

impl Additional {
    /// Reads comma-separated names and values.
    ///
    /// # Errors
    /// There are more of one than of the other.
    pub fn parse(names: &str, values: &str) -> Result<Self, DatasetError> {
        let split = |text: &str| -> Vec<String> {
            let items = text.split(',').map(|item| item.trim().to_owned());
            if text.trim().is_empty() {
                Vec::new()
            } else {
                items.collect()
            }
        };
        let (names, values) = (split(names), split(values));
        if names.len() != values.len() {
            return Err(DatasetError::Additional {
                names: names.len(),
                values: values.len(),
            });
        }
        Ok(Self { names, values })
    }
}

/// All tables, open for writing.
pub struct Dataset {
    additional: Additional,
    sheets: Vec<Sheet>,
    /// The additional values as every row has them first.
    prefix: Vec<u8>,
    row: Vec<u8>,
}

impl Dataset {
    /// Opens all tables.
    ///
    /// # Errors
    /// A file cannot be opened, or is to be continued and has other columns.
    pub fn open(settings: &Settings) -> Result<Self, DatasetError> {
        let open = |table: Table| {
            let path = PathBuf::from(format!("{}{}", settings.path, table.file_name()));
            open_table(&path, table, settings)
        };
        let sheets = Table::ALL.into_iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self {
            additional: settings.additional.clone(),
            sheets,
            prefix: prefix(&settings.additional.values),
            row: Vec::new(),
        })
    }

    /// A health report.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn health(
        &mut self,
        at: Timestamp,
        node_id: NodeId,
        health: &NodeHealth,
    ) -> io::Result<()> {
        let json = serde_json::to_string(health)?;
        self.row(
            Table::HealthStatus,
            &[&at.to_string(), &node_id.to_string(), &json],
        )
    }

    /// The capabilities of a node.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn capabilities(
        &mut self,
        at: Timestamp,
        node_id: NodeId,
        capabilities: &NodeCapabilities,
    ) -> io::Result<()> {
        let json = serde_json::to_string(capabilities)?;
        self.row(
            Table::Capabilities,
            &[&at.to_string(), &node_id.to_string(), &json],
        )
    }

    /// Where a vertex runs now.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn mapping(
        &mut self,
        at: Timestamp,
        logical_id: LogicalId,
        instances: &[InstanceId],
    ) -> io::Result<()> {
        let mut fields = vec![at.to_string(), logical_id.to_string()];
        for instance in instances {
            fields.push(instance.node_id.to_string());
            fields.push(instance.physical_id.to_string());
        }
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        self.row(Table::MappingToInstanceId, &fields)
    }

    /// A measured time.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn sample(&mut self, sample: &Sample) -> io::Result<()> {
        self.row.clear();
        self.row.extend_from_slice(&self.prefix);
        // None of these is ever quoted.
        let name = sample.kind.name();
        let (id, secs, at) = (sample.physical_id, sample.secs(), sample.timestamp);
        writeln!(self.row, "{name},{id},{secs},{at}")?;
        self.sheets[Table::PerformanceSamples as usize].plain_row(&self.row)
    }

    /// A custom log entry.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn log(&mut self, entry: &LogEntry) -> io::Result<()> {
        let (id, at) = (entry.physical_id.to_string(), entry.timestamp.to_string());
        self.row(
            Table::ApplicationLogs,
            &[&id, &entry.target, &entry.value, &at],
        )
    }

    /// Samples that did not fit.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn summary(&mut self, at: Timestamp, summary: &SampleSummary) -> io::Result<()> {
        let secs = |nanos| {
            std::time::Duration::from_nanos(nanos)
                .as_secs_f64()
                .to_string()
        };
        let fields = [
            summary.kind.name(),
            &summary.physical_id.to_string(),
            &summary.count.to_string(),
            &secs(summary.sum_nanos),
            &secs(summary.max_nanos),
            &at.to_string(),
        ];
        self.row(Table::SampleSummaries, &fields)
    }

    /// Another number of copies of a function was decided.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn scaling(&mut self, decision: &ScalingDecision) -> io::Result<()> {
        let fields = [
            &decision.timestamp.to_string(),
            &decision.logical_id.to_string(),
            &decision.policy,
            &decision.before.to_string(),
            &decision.copies.to_string(),
            &decision.reason,
        ];
        self.row(Table::ScalingDecisions, &fields.map(String::as_str))
    }

    /// What a vertex is from now on.
    ///
    /// # Errors
    /// The disk refuses the row.
    pub fn vertex(&mut self, vertex: &Vertex) -> io::Result<()> {
        let fields = [
            &vertex.timestamp.to_string(),
            &vertex.logical_id.to_string(),
            &vertex.workflow_id.to_string(),
            vertex.name.as_str(),
            vertex.kind.name(),
            &vertex.class_id,
            &vertex.version,
        ];
        self.row(Table::Vertices, &fields)
    }

    /// Writes everything to the files.
    ///
    /// # Errors
    /// A disk refuses something; what it refuses is tried again the next time.
    pub fn flush(&mut self) -> io::Result<()> {
        let outcomes = self.sheets.iter_mut().map(Sheet::flush);
        outcomes.fold(Ok(()), io::Result::and)
    }

    /// How many rows were given up, as the disk refused them for too long.
    pub fn rows_lost(&self) -> u64 {
        self.sheets.iter().map(Sheet::rows_lost).sum()
    }

    fn row(&mut self, table: Table, fields: &[&str]) -> io::Result<()> {
        let sheet = &mut self.sheets[table as usize];
        let additional = self.additional.values.iter().map(String::as_str);
        sheet.row(additional.chain(fields.iter().copied()))
    }
}

/// Values as they begin a row.
fn prefix(values: &[String]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let mut row = csv::Writer::from_writer(Vec::new());
    let last = "-";
    let fields = values.iter().map(String::as_str).chain([last]);
    row.write_record(fields)
        .expect("writing to memory does not fail");
    let mut row = row.into_inner().expect("writing to memory does not fail");
    row.truncate(row.len() - last.len() - 1);
    row
}

fn open_table(path: &Path, table: Table, settings: &Settings) -> Result<Sheet, DatasetError> {
    let names = settings.additional.names.iter().map(String::as_str);
    let columns: Vec<&str> = names.chain(header(table).iter().copied()).collect();
    let opened = Sheet::open(path, &columns, settings.append);
    let (sheet, found) = opened.map_err(|source| DatasetError::Open {
        path: path.to_owned(),
        source,
    })?;
    match found {
        Some(found) if found != columns => Err(DatasetError::Header {
            path: path.to_owned(),
            found: found.join(","),
            expected: columns.join(","),
        }),
        Some(_) | None => Ok(sheet),
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::{PhysicalId, SampleKind};
    use uuid::Uuid;

    use super::*;

    fn settings(folder: &Path, append: bool, names: &str, values: &str) -> Settings {
        Settings {
            path: format!("{}/", folder.display()),
            append,
            additional: Additional::parse(names, values).unwrap(),
        }
    }

    fn sample() -> Sample {
        Sample {
            physical_id: PhysicalId::new(Uuid::from_u128(1)),
            kind: SampleKind::FunctionExecutionTime,
            timestamp: Timestamp::from_nanos(1_500_000_000),
            nanos: 2_500_000,
        }
    }

    fn read(folder: &Path, table: Table) -> String {
        std::fs::read_to_string(folder.join(table.file_name())).unwrap()
    }

    #[test]
    fn headers_are_those_of_the_document() {
        let folder = tempfile::tempdir().unwrap();
        Dataset::open(&settings(folder.path(), false, "", "")).unwrap();
        for (table, line) in [
            (
                Table::HealthStatus,
                "timestamp,node_id,node_health_status\n",
            ),
            (Table::Capabilities, "timestamp,node_id,node_capabilities\n"),
            (
                Table::MappingToInstanceId,
                "timestamp,logical_id,node_id1,physical_id1,...\n",
            ),
            (
                Table::PerformanceSamples,
                "metric,identifier,value,timestamp\n",
            ),
            (
                Table::ApplicationLogs,
                "identifier,target,value,timestamp\n",
            ),
        ] {
            assert_eq!(read(folder.path(), table), line);
        }
    }

    #[test]
    fn rows_have_their_additional_columns_and_are_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings(folder.path(), false, "experiment_name", "a \"b\"");
        let mut dataset = Dataset::open(&settings).unwrap();
        dataset.sample(&sample()).unwrap();
        dataset.sample(&sample()).unwrap();
        dataset
            .health(
                Timestamp::EPOCH,
                NodeId::new(Uuid::nil()),
                &NodeHealth::default(),
            )
            .unwrap();
        dataset.flush().unwrap();
        let row = "\"a \"\"b\"\"\",function_execution_time,\
            00000000-0000-0000-0000-000000000001,0.0025,1.500000000\n";
        let header = "experiment_name,metric,identifier,value,timestamp\n";
        let text = read(folder.path(), Table::PerformanceSamples);
        assert_eq!(text, format!("{header}{row}{row}"));
        let path = folder.path().join("health_status.csv");
        let mut reader = csv::Reader::from_path(path).unwrap();
        let record = reader.records().next().unwrap().unwrap();
        let health: NodeHealth = serde_json::from_str(&record[3]).unwrap();
        assert_eq!(health, NodeHealth::default());
    }

    #[test]
    fn columns_that_need_quotes_are_found_again() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let settings = settings(folder.path(), true, "exp,no\"te", "a,b\"q");
            let mut dataset = Dataset::open(&settings).unwrap();
            dataset.sample(&sample()).unwrap();
            dataset.flush().unwrap();
        }
        let text = read(folder.path(), Table::PerformanceSamples);
        assert_eq!(text.lines().count(), 3, "{text}");
    }

    #[test]
    fn appending_continues_cuts_a_torn_line_and_refuses_other_columns() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("performance_samples.csv");
        std::fs::write(&path, "metric,identifier,value,timestamp\na,b,1,2\ntorn,li").unwrap();
        let append = settings(folder.path(), true, "", "");
        let mut dataset = Dataset::open(&append).unwrap();
        dataset.sample(&sample()).unwrap();
        dataset.flush().unwrap();
        let text = read(folder.path(), Table::PerformanceSamples);
        assert_eq!(text.lines().count(), 3, "{text}");
        assert!(!text.contains("torn"), "{text}");
        drop(dataset);
        Dataset::open(&append).unwrap();
        let other = settings(folder.path(), true, "x", "1");
        assert!(matches!(
            Dataset::open(&other),
            Err(DatasetError::Header { .. })
        ));
        assert!(Additional::parse("a,b", "1").is_err());
    }
}
