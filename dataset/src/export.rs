//! Writes tables as Parquet: the columns of the CSV files with their types, row group after row group.
//!
//! Moments are nanoseconds since the epoch (UTC), times are seconds. The mapping has one row per
//! instance, and one without node and instance where a function runs nowhere. Where a file has another
//! header in the middle, a further Parquet file begins.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use edgeless_tables::{Table, header};
use edgeless_types::Timestamp;
use parquet::{
    basic::{Compression, LogicalType, Repetition, TimeUnit, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
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

/// Values of one column of a row group.
enum Column {
    /// Moments and counts.
    Int(Vec<i64>),
    /// Seconds.
    Float(Vec<f64>),
    Text(Vec<ByteArray>),
    /// Texts that may be absent: those that are there, and which are.
    Optional(Vec<ByteArray>, Vec<i16>),
}

/// One value.
enum Value<'a> {
    Moment(Timestamp),
    Count(u64),
    Secs(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Optional(Option<String>),
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
        | Table::ScalingDecisions => header(table).iter().map(kind).collect(),
    }
}

/// What a column has.
#[derive(Clone, Copy)]
enum Kind {
    Moment,
    Count,
    Secs,
    Text,
    Optional,
}

impl Kind {
    fn field(self, name: &str) -> Result<TypePtr, ParquetError> {
        let (physical, logical) = match self {
            Self::Moment => {
                let unit = TimeUnit::NANOS;
                let moment = LogicalType::timestamp(true, unit);
                (Physical::INT64, Some(moment))
            }
            Self::Count => (Physical::INT64, None),
            Self::Secs => (Physical::DOUBLE, None),
            Self::Text | Self::Optional => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        let repetition = match self {
            Self::Optional => Repetition::OPTIONAL,
            Self::Moment | Self::Count | Self::Secs | Self::Text => Repetition::REQUIRED,
        };
        let builder = Type::primitive_type_builder(name, physical);
        let builder = builder
            .with_repetition(repetition)
            .with_logical_type(logical);
        Ok(Arc::new(builder.build()?))
    }

    fn empty(self) -> Column {
        match self {
            Self::Moment | Self::Count => Column::Int(Vec::new()),
            Self::Secs => Column::Float(Vec::new()),
            Self::Text => Column::Text(Vec::new()),
            Self::Optional => Column::Optional(Vec::new(), Vec::new()),
        }
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
        use Value::{Count, Moment, Optional, Secs, Text};
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
            } => {
                let logical_id = logical_id.to_string();
                let mut add = |node, copy| {
                    let pair = [Optional(node), Optional(copy)];
                    let [node, copy] = pair;
                    self.add(&[Moment(*at), Text(&logical_id), node, copy], reader);
                };
                if instances.is_empty() {
                    add(None, None);
                }
                for one in instances {
                    let (node, copy) = (one.node_id.to_string(), one.physical_id.to_string());
                    add(Some(node), Some(copy));
                }
            }
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
        }
        match self.rows >= GROUP_ROWS || self.bytes >= GROUP_BYTES {
            true => self.group(),
            false => Ok(()),
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

impl Column {
    /// Adds a value; how many bytes it takes.
    fn push(&mut self, value: &Value<'_>) -> usize {
        let text = |bytes: &[u8]| ByteArray::from(String::from_utf8_lossy(bytes).as_ref());
        match (self, value) {
            (Self::Int(values), Value::Moment(at)) => {
                values.push(i64::try_from(at.as_nanos()).unwrap_or(i64::MAX));
            }
            (Self::Int(values), Value::Count(count)) => {
                values.push(i64::try_from(*count).unwrap_or(i64::MAX));
            }
            (Self::Float(values), Value::Secs(secs)) => values.push(*secs),
            (Self::Text(values), Value::Text(value)) => {
                values.push(ByteArray::from(*value));
                return value.len();
            }
            (Self::Text(values), Value::Bytes(value)) => {
                values.push(text(value));
                return value.len();
            }
            (Self::Optional(values, defined), Value::Optional(value)) => {
                defined.push(i16::from(value.is_some()));
                values.extend(value.as_deref().map(ByteArray::from));
            }
            (Self::Int(_) | Self::Float(_) | Self::Text(_) | Self::Optional(..), _) => {
                debug_assert!(false, "the kind of each column is that of its values");
            }
        }
        size_of::<ByteArray>()
    }

    fn write(&self, group: &mut SerializedRowGroupWriter<'_, File>) -> Result<(), ParquetError> {
        let Some(mut column) = group.next_column()? else {
            return Err(ParquetError::General("a column too many".to_owned()));
        };
        match self {
            Self::Int(values) => column
                .typed::<Int64Type>()
                .write_batch(values, None, None)?,
            Self::Float(values) => column
                .typed::<DoubleType>()
                .write_batch(values, None, None)?,
            Self::Text(values) => column
                .typed::<ByteArrayType>()
                .write_batch(values, None, None)?,
            Self::Optional(values, defined) => {
                column
                    .typed::<ByteArrayType>()
                    .write_batch(values, Some(defined), None)?
            }
        };
        column.close()
    }

    fn clear(&mut self) {
        match self {
            Self::Int(values) => values.clear(),
            Self::Float(values) => values.clear(),
            Self::Text(values) => values.clear(),
            Self::Optional(values, defined) => {
                values.clear();
                defined.clear();
            }
        }
    }
}
