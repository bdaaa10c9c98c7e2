//! Samples: columns per instance on the wire, single samples inside.

use std::collections::HashMap;

use edgeless_types::{LogEntry, PhysicalId, Sample, SampleKind, SampleSummary, Samples, Timestamp};

use super::{ConvertError, id_bytes, id_from_wire};
use crate::v1;

impl From<SampleKind> for v1::SampleKind {
    fn from(kind: SampleKind) -> Self {
        match kind {
            SampleKind::FunctionExecutionTime => Self::FunctionExecutionTime,
            SampleKind::FunctionTransferTime => Self::FunctionTransferTime,
        }
    }
}

fn kind_from_wire(kind: i32, field: &str) -> Result<SampleKind, ConvertError> {
    match v1::SampleKind::try_from(kind) {
        Ok(v1::SampleKind::FunctionExecutionTime) => Ok(SampleKind::FunctionExecutionTime),
        Ok(v1::SampleKind::FunctionTransferTime) => Ok(SampleKind::FunctionTransferTime),
        Ok(v1::SampleKind::Unspecified) | Err(_) => Err(ConvertError::new(
            field,
            format!("{kind} is no kind of sample"),
        )),
    }
}

impl From<Samples> for v1::Samples {
    fn from(samples: Samples) -> Self {
        Self {
            series: to_series(&samples.times),
            logs: samples.logs.into_iter().map(v1::LogEntry::from).collect(),
            summaries: samples
                .summaries
                .into_iter()
                .map(v1::SampleSummary::from)
                .collect(),
        }
    }
}

fn to_series(times: &[Sample]) -> Vec<v1::SampleSeries> {
    let mut index: HashMap<(PhysicalId, SampleKind), (usize, Timestamp)> = HashMap::new();
    let mut series: Vec<v1::SampleSeries> = Vec::new();
    for sample in times {
        let (at, last) = index
            .entry((sample.physical_id, sample.kind))
            .or_insert_with(|| {
                series.push(v1::SampleSeries {
                    physical_id: id_bytes(&sample.physical_id),
                    kind: v1::SampleKind::from(sample.kind).into(),
                    timestamp_deltas_ns: Vec::new(),
                    values_ns: Vec::new(),
                });
                (series.len() - 1, Timestamp::EPOCH)
            });
        let delta = sample.timestamp.as_nanos().wrapping_sub(last.as_nanos());
        *last = sample.timestamp;
        series[*at].timestamp_deltas_ns.push(delta.cast_signed());
        series[*at].values_ns.push(sample.nanos);
    }
    series
}

impl TryFrom<v1::Samples> for Samples {
    type Error = ConvertError;

    fn try_from(samples: v1::Samples) -> Result<Self, Self::Error> {
        let number = samples
            .series
            .iter()
            .map(|series| series.values_ns.len())
            .sum();
        let mut times = Vec::with_capacity(number);
        for (index, series) in samples.series.into_iter().enumerate() {
            read_series(series, &mut times)
                .map_err(|error| error.below(&format!("series[{index}]")))?;
        }
        let read_logs = samples.logs.into_iter().map(LogEntry::try_from);
        let read_summaries = samples.summaries.into_iter().map(SampleSummary::try_from);
        Ok(Self {
            times,
            logs: read_logs
                .collect::<Result<_, _>>()
                .map_err(|error| error.below("logs"))?,
            summaries: read_summaries
                .collect::<Result<_, _>>()
                .map_err(|error| error.below("summaries"))?,
        })
    }
}

fn read_series(series: v1::SampleSeries, times: &mut Vec<Sample>) -> Result<(), ConvertError> {
    let physical_id = id_from_wire(&series.physical_id, "physical_id")?;
    let kind = kind_from_wire(series.kind, "kind")?;
    if series.timestamp_deltas_ns.len() != series.values_ns.len() {
        return Err(ConvertError::new(
            "values_ns",
            "has another length than timestamp_deltas_ns",
        ));
    }
    let mut nanos_now = 0_u64;
    for (delta, nanos) in series.timestamp_deltas_ns.into_iter().zip(series.values_ns) {
        nanos_now = nanos_now.wrapping_add(delta.cast_unsigned());
        let timestamp = Timestamp::from_nanos(nanos_now);
        times.push(Sample {
            physical_id,
            kind,
            timestamp,
            nanos,
        });
    }
    Ok(())
}

impl From<LogEntry> for v1::LogEntry {
    fn from(entry: LogEntry) -> Self {
        Self {
            physical_id: id_bytes(&entry.physical_id),
            target: entry.target,
            value: entry.value,
            timestamp_ns: entry.timestamp.as_nanos(),
        }
    }
}

impl TryFrom<v1::LogEntry> for LogEntry {
    type Error = ConvertError;

    fn try_from(entry: v1::LogEntry) -> Result<Self, Self::Error> {
        Ok(Self {
            physical_id: id_from_wire(&entry.physical_id, "physical_id")?,
            target: entry.target,
            value: entry.value,
            timestamp: Timestamp::from_nanos(entry.timestamp_ns),
        })
    }
}

impl From<SampleSummary> for v1::SampleSummary {
    fn from(summary: SampleSummary) -> Self {
        Self {
            physical_id: id_bytes(&summary.physical_id),
            kind: v1::SampleKind::from(summary.kind).into(),
            count: summary.count,
            sum_ns: summary.sum_nanos,
            max_ns: summary.max_nanos,
        }
    }
}

impl TryFrom<v1::SampleSummary> for SampleSummary {
    type Error = ConvertError;

    fn try_from(summary: v1::SampleSummary) -> Result<Self, Self::Error> {
        Ok(Self {
            physical_id: id_from_wire(&summary.physical_id, "physical_id")?,
            kind: kind_from_wire(summary.kind, "kind")?,
            count: summary.count,
            sum_nanos: summary.sum_ns,
            max_nanos: summary.max_ns,
        })
    }
}

#[cfg(test)]
mod tests {
    use edgeless_types::{SampleKind::*, *};
    use uuid::Uuid;

    use super::*;

    #[test]
    fn samples_survive_the_columns_even_when_clocks_step_back() {
        let [a, b] = [1, 2].map(|id| PhysicalId::new(Uuid::from_u128(id)));
        let sample = |physical_id, kind, at, nanos| Sample {
            physical_id,
            kind,
            timestamp: Timestamp::from_nanos(at),
            nanos,
        };
        let times = vec![
            sample(a, FunctionExecutionTime, u64::MAX, 1),
            sample(a, FunctionExecutionTime, 5, u64::MAX),
            sample(b, FunctionTransferTime, 7, 3),
        ];
        let samples = Samples {
            times,
            logs: vec![],
            summaries: vec![],
        };
        let back = Samples::try_from(v1::Samples::from(samples.clone())).unwrap();
        assert_eq!(back, samples);
    }

    #[test]
    fn columns_of_unequal_length_are_refused() {
        let series = v1::SampleSeries {
            physical_id: id_bytes(&PhysicalId::new(Uuid::nil())),
            kind: 1,
            timestamp_deltas_ns: vec![1, 2],
            values_ns: vec![1],
        };
        let wire = v1::Samples {
            series: vec![series],
            logs: vec![],
            summaries: vec![],
        };
        assert_eq!(
            Samples::try_from(wire).unwrap_err().field,
            "series[0].values_ns"
        );
    }
}
