//! Columns of a Parquet file: their types, and the values of a row group.

use std::{fs::File, sync::Arc};

use edgeless_types::Timestamp;
use parquet::{
    basic::{LogicalType, Repetition, TimeUnit, Type as Physical},
    data_type::{ByteArray, ByteArrayType, DoubleType, Int64Type},
    errors::ParquetError,
    file::writer::SerializedRowGroupWriter,
    schema::types::{Type, TypePtr},
};

/// Values of one column of a row group.
pub(super) enum Column {
    /// Moments and counts.
    Int(Vec<i64>),
    /// Seconds.
    Float(Vec<f64>),
    Text(Vec<ByteArray>),
    /// Texts that may be absent: those that are there, and which are.
    Optional(Vec<ByteArray>, Vec<i16>),
}

/// One value.
pub(super) enum Value<'a> {
    Moment(Timestamp),
    Count(u64),
    Secs(f64),
    Text(&'a str),
    Bytes(&'a [u8]),
    Optional(Option<String>),
}

/// What a column has.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Moment,
    Count,
    Secs,
    Text,
    Optional,
}

impl Kind {
    pub(super) fn field(self, name: &str) -> Result<TypePtr, ParquetError> {
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

    pub(super) fn empty(self) -> Column {
        match self {
            Self::Moment | Self::Count => Column::Int(Vec::new()),
            Self::Secs => Column::Float(Vec::new()),
            Self::Text => Column::Text(Vec::new()),
            Self::Optional => Column::Optional(Vec::new(), Vec::new()),
        }
    }
}

impl Column {
    /// Adds a value; how many bytes it takes.
    pub(super) fn push(&mut self, value: &Value<'_>) -> usize {
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

    pub(super) fn write(
        &self,
        group: &mut SerializedRowGroupWriter<'_, File>,
    ) -> Result<(), ParquetError> {
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

    pub(super) fn clear(&mut self) {
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
