//! Writes tables as Parquet: the columns of the CSV files with their types, row group after row group.
//!
//! Moments are nanoseconds since the epoch (UTC), times are seconds. The mapping has one row per
//! instance, and one without node and instance where a function runs nowhere. Where a file has another
//! header in the middle, a further Parquet file begins.

mod column;

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeless_tables::{Table, Vertex, header};
use edgeless_types::{InstanceId, LogicalId, Timestamp};
use parquet::{
    basic::Compression,
    errors::ParquetError,
    file::{properties::WriterProperties, writer::SerializedFileWriter},
    schema::types::{Type, TypePtr},
};

use crate::{
    fault::Faults,
    files::TableFile,
    progress::Progress,
    reader::{Item, Reader},
    row::Row,
    scan::ScanError,
};

use self::column::{Column, Kind, Value};

/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 17;
/// Bytes of texts of a row group; what is kept in memory until it is written.
const GROUP_BYTES: usize = 64 << 20;

/// The tables cannot be exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// A file of the dataset cannot be read; or the first fault, where faults are strict.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A file cannot be made; it must not be there already.
    #[error("could not create `{}`", path.display())]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("could not write `{}`", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the format or the system said.
        source: ParquetError,
    },
}

/// A file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
    /// Its rows.
    pub rows: u64,
}

/// One Parquet file.
struct Sheet {
    path: PathBuf,
    writer: SerializedFileWriter<File>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    written: u64,
}

/// Writes one file of a dataset into files of `folder`; faults are counted.
///
/// # Errors
/// See [`ExportError`].
pub fn export(
    file: &TableFile,
    folder: &Path,
    not_after: Timestamp,
    faults: &mut Faults,
    progress: &mut Progress,
) -> Result<Vec<Written>, ExportError> {
    let failed = |source| ScanError::Read {
        path: file.path.to_path_buf(),
        source,
    };
    let mut reader = file.open(not_after).map_err(failed)?;
    let mut all = Vec::new();
    let mut sheet: Option<(usize, Sheet)> = None;
    let mut seen = 0;
    while let Some(item) = reader.read().map_err(failed)? {
        match item {
            Item::Fault(fault) => {
                let added = faults.add(fault);
                added.map_err(|fault| ScanError::Fault(Box::new(fault)))?;
            }
            Item::Row(row) => {
                let section = reader.sections();
                if sheet.as_ref().is_none_or(|(of, _)| *of != section) {
                    if let Some((_, done)) = sheet.take() {
                        all.push(done.finish()?);
                    }
                    let created = Sheet::create(folder, file, all.len() + 1, &reader)?;
                    sheet = Some((section, created));
                }
                if let Some((_, sheet)) = &mut sheet {
                    sheet.row(&row, &reader)?;
                }
            }
        }
        let offset = reader.offset();
        if offset - seen > 1 << 20 {
            progress.add(offset - seen);
            seen = offset;
        }
    }
    if let Some((_, done)) = sheet {
        all.push(done.finish()?);
    }
    Ok(all)
}

/// The columns of a table in Parquet, with whether they may be absent.
fn columns(table: Table) -> Vec<(&'static str, Kind)> {
    let kind = |&name: &&'static str| {
        let kind = match name {
            "timestamp" => Kind::Moment,
            "count" | "before" | "copies" => Kind::Count,
            "sum" | "max" => Kind::Secs,
            "value" if table == Table::PerformanceSamples => Kind::Secs,
            _ => Kind::Text,
        };
        (name, kind)
    };
    match table {
        Table::MappingToInstanceId => vec![
            ("timestamp", Kind::Moment),
            ("logical_id", Kind::Text),
            ("node_id", Kind::Optional),
            ("physical_id", Kind::Optional),
        ],
        Table::HealthStatus
        | Table::Capabilities
        | Table::PerformanceSamples
        | Table::ApplicationLogs
        | Table::SampleSummaries
        | Table::ScalingDecisions
        | Table::Vertices => header(table).iter().map(kind).collect(),
    }
}

impl Sheet {
    fn create(
        folder: &Path,
        file: &TableFile,
        number: usize,
        reader: &Reader<File>,
    ) -> Result<Self, ExportError> {
        let stem = file.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match number {
            1 => format!("{stem}.parquet"),
            number => format!("{stem}-{number}.parquet"),
        };
        let path = folder.join(name);
        let create = fs::create_dir_all(folder).and_then(|()| File::create_new(&path));
        let created = create.map_err(|source| ExportError::Create {
            path: path.clone(),
            source,
        })?;
        let failed = |source| ExportError::Write {
            path: path.clone(),
            source,
        };
        let additional = reader
            .layout()
            .into_iter()
            .flat_map(|layout| layout.additional());
        let additional = additional.map(|name| (name, Kind::Text));
        let kinds: Vec<(&str, Kind)> = columns(file.table).into_iter().chain(additional).collect();
        let fields: Result<Vec<TypePtr>, ParquetError> =
            kinds.iter().map(|(name, kind)| kind.field(name)).collect();
        let schema = Type::group_type_builder(&stem).with_fields(fields.map_err(failed)?);
        let schema = Arc::new(schema.build().map_err(failed)?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let writer = SerializedFileWriter::new(created, schema, Arc::new(properties.build()));
        Ok(Self {
            writer: writer.map_err(failed)?,
            columns: kinds.iter().map(|(_, kind)| kind.empty()).collect(),
            path,
            rows: 0,
            bytes: 0,
            written: 0,
        })
    }

    fn row(&mut self, row: &Row, reader: &Reader<File>) -> Result<(), ExportError> {
        use Value::{Count, Moment, Secs, Text};
        let secs = |nanos: u64| Secs(nanos as f64 / 1e9);
        let failed = |error: serde_json::Error| ScanError::Read {
            path: self.path.clone(),
            source: error.into(),
        };
        match row {
            Row::Health {
                at,
                node_id,
                health,
            } => {
                let json = serde_json::to_string(health).map_err(failed)?;
                let node_id = node_id.to_string();
                self.add(&[Moment(*at), Text(&node_id), Text(&json)], reader);
            }
            Row::Capabilities {
                at,
                node_id,
                capabilities,
            } => {
                let json = serde_json::to_string(capabilities).map_err(failed)?;
                let node_id = node_id.to_string();
                self.add(&[Moment(*at), Text(&node_id), Text(&json)], reader);
            }
            Row::Mapping {
                at,
                logical_id,
                instances,
            } => self.placed(*at, *logical_id, instances, reader),
            Row::Sample(sample) => {
                let id = sample.physical_id.to_string();
                let (kind, at) = (sample.kind.name(), sample.timestamp);
                self.add(
                    &[Text(kind), Text(&id), secs(sample.nanos), Moment(at)],
                    reader,
                );
            }
            Row::Log(entry) => {
                let id = entry.physical_id.to_string();
                let (target, value) = (Text(&entry.target), Text(&entry.value));
                self.add(&[Text(&id), target, value, Moment(entry.timestamp)], reader);
            }
            Row::Summary { at, summary } => {
                let id = summary.physical_id.to_string();
                let (sum, max) = (secs(summary.sum_nanos), secs(summary.max_nanos));
                let (kind, count) = (summary.kind.name(), Count(summary.count));
                self.add(
                    &[Text(kind), Text(&id), count, sum, max, Moment(*at)],
                    reader,
                );
            }
            Row::Scaling(decision) => {
                let id = decision.logical_id.to_string();
                let [before, copies] =
                    [decision.before, decision.copies].map(|it| Count(u64::from(it)));
                let (policy, reason) = (Text(&decision.policy), Text(&decision.reason));
                let at = Moment(decision.timestamp);
                self.add(&[at, Text(&id), policy, before, copies, reason], reader);
            }
            Row::Vertex(vertex) => self.vertex(vertex, reader),
        }
        match self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            true => self.group(),
            false => Ok(()),
        }
    }

    fn vertex(&mut self, vertex: &Vertex, reader: &Reader<File>) {
        use Value::{Moment, Text};
        let logical_id = vertex.logical_id.to_string();
        let workflow_id = vertex.workflow_id.to_string();
        let values = [
            Moment(vertex.timestamp),
            Text(&logical_id),
            Text(&workflow_id),
            Text(&vertex.name),
            Text(vertex.kind.name()),
            Text(&vertex.class_id),
            Text(&vertex.version),
        ];
        self.add(&values, reader);
    }

    /// A row for each instance; one without any, where there is none.
    fn placed(
        &mut self,
        at: Timestamp,
        logical_id: LogicalId,
        instances: &[InstanceId],
        reader: &Reader<File>,
    ) {
        use Value::{Moment, Optional, Text};
        let logical_id = logical_id.to_string();
        let known = instances.iter().map(|one| {
            let (node_id, physical_id) = (one.node_id.to_string(), one.physical_id.to_string());
            (Some(node_id), Some(physical_id))
        });
        let none = instances.is_empty().then_some((None, None));
        for (node, copy) in known.chain(none) {
            let (node, copy) = (Optional(node), Optional(copy));
            self.add(&[Moment(at), Text(&logical_id), node, copy], reader);
        }
    }

    fn add(&mut self, values: &[Value<'_>], reader: &Reader<File>) {
        for (column, value) in self.columns.iter_mut().zip(values) {
            self.bytes += column.push(value);
        }
        let additional = self.columns.iter_mut().skip(values.len());
        for (column, value) in additional.zip(reader.additional()) {
            self.bytes += column.push(&Value::Bytes(value));
        }
        self.rows += 1;
    }

    /// Writes what there is as a row group.
    fn group(&mut self) -> Result<(), ExportError> {
        let write = |writer: &mut SerializedFileWriter<File>, columns: &[Column]| {
            let mut group = writer.next_row_group()?;
            columns
                .iter()
                .try_for_each(|column| column.write(&mut group))?;
            group.close()
        };
        let written = write(&mut self.writer, &self.columns);
        written.map_err(|source| ExportError::Write {
            path: self.path.clone(),
            source,
        })?;
        self.columns.iter_mut().for_each(Column::clear);
        self.written += self.rows as u64;
        (self.rows, self.bytes) = (0, 0);
        Ok(())
    }

    fn finish(mut self) -> Result<Written, ExportError> {
        if self.rows > 0 {
            self.group()?;
        }
        let path = self.path;
        match self.writer.close() {
            Ok(_) => Ok(Written {
                path,
                rows: self.written,
            }),
            Err(source) => Err(ExportError::Write { path, source }),
        }
    }
}
