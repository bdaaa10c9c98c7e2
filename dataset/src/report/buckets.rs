//! What plots show, in a bounded number of buckets of time.

use edgeless_types::{LogicalId, NodeHealth, NodeId, SampleKind, Timestamp};
use hdrhistogram::Histogram;

use super::Shown;
use crate::{
    row::Row,
    summary::{Span, Summary},
};

/// Points of a line, at most.
const MOST: usize = 240;
/// Points of a line, at least.
const LEAST: usize = 24;
/// Events that a point stands for, at least: a rate of fewer is noise.
const EVENTS: u64 = 20;
/// Digits of times: a line in a plot is not read more precisely than to a twentieth.
const DIGITS: u8 = 1;

/// All lines.
#[derive(Debug)]
pub(super) struct Buckets {
    pub(super) span: Span,
    pub(super) functions: Vec<FunctionLines>,
    /// Executions of all other functions.
    pub(super) others: Vec<u64>,
    pub(super) nodes: Vec<NodeLines>,
}

/// The lines of a function.
#[derive(Debug)]
pub(super) struct FunctionLines {
    pub(super) logical_id: LogicalId,
    /// Executions, with those that were only summarised.
    pub(super) executions: Vec<u64>,
    pub(super) execution_times: Vec<Option<Histogram<u32>>>,
    pub(super) transfer_times: Vec<Option<Histogram<u32>>>,
    pub(super) instances: Steps,
    /// Copies that were decided.
    pub(super) decided: Steps,
}

/// A number that holds until another one is told: the most in each bucket.
#[derive(Debug)]
pub(super) struct Steps {
    most: Vec<usize>,
    /// The bucket up to which it is known, and the number from then on.
    known: Option<(usize, usize)>,
}

/// The lines of a node.
#[derive(Debug)]
pub(super) struct NodeLines {
    pub(super) node_id: NodeId,
    pub(super) cpu: Vec<Mean>,
    pub(super) mem_used: Vec<Mean>,
}

/// A mean.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mean {
    sum: f64,
    number: u32,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.number += 1;
    }

    /// None without values.
    pub(super) fn value(self) -> Option<f64> {
        (self.number > 0).then(|| self.sum / f64::from(self.number))
    }
}

/// Points of lines over `secs` seconds with so many events: each is a second or longer, where there are
/// enough of them.
fn points(secs: f64, events: u64) -> usize {
    let by_events = usize::try_from(events / EVENTS).unwrap_or(MOST);
    by_events.min(secs as usize).clamp(LEAST, MOST)
}

impl Buckets {
    pub(super) fn new(span: Span, events: u64, shown: &Shown) -> Self {
        let number = points(span.secs, events);
        let no_times = || vec![None; number];
        let function = |&logical_id: &LogicalId| FunctionLines {
            logical_id,
            executions: vec![0; number],
            execution_times: no_times(),
            transfer_times: no_times(),
            instances: Steps::new(number),
            decided: Steps::new(number),
        };
        let node = |&node_id: &NodeId| NodeLines {
            node_id,
            cpu: vec![Mean::default(); number],
            mem_used: vec![Mean::default(); number],
        };
        Self {
            span,
            functions: shown.functions.iter().map(function).collect(),
            others: vec![0; number],
            nodes: shown.nodes.iter().map(node).collect(),
        }
    }

    /// The length of a bucket in seconds; not zero.
    pub(super) fn secs(&self) -> f64 {
        (self.span.secs / self.number() as f64).max(1e-9)
    }

    /// How many buckets there are.
    pub(super) fn number(&self) -> usize {
        self.others.len()
    }

    fn bucket(&self, at: Timestamp) -> usize {
        let since = at.since(self.span.first).as_secs_f64();
        ((since / self.secs()) as usize).min(self.number() - 1)
    }

    /// Takes a row; `summary` knows whose instance it is of.
    pub(super) fn take(&mut self, row: &Row, summary: &Summary) {
        let bucket = self.bucket(row.at());
        match row {
            Row::Sample(sample) => {
                let home = summary.home_of(sample.physical_id);
                let is_execution = sample.kind == SampleKind::FunctionExecutionTime;
                let Some(lines) = self.function(home.map(|(logical_id, _)| logical_id)) else {
                    self.others[bucket] += u64::from(is_execution);
                    return;
                };
                lines.executions[bucket] += u64::from(is_execution);
                let times = match sample.kind {
                    SampleKind::FunctionExecutionTime => &mut lines.execution_times,
                    SampleKind::FunctionTransferTime => &mut lines.transfer_times,
                };
                let times = times[bucket].get_or_insert_with(|| {
                    Histogram::new(DIGITS).expect("one digit is in the range that is allowed")
                });
                if times.record(sample.nanos).is_err() {
                    times.saturating_record(sample.nanos);
                }
            }
            Row::Summary { summary: one, .. } => {
                if one.kind == SampleKind::FunctionTransferTime {
                    return;
                }
                let home = summary.home_of(one.physical_id);
                match self.function(home.map(|(logical_id, _)| logical_id)) {
                    Some(lines) => lines.executions[bucket] += one.count,
                    None => self.others[bucket] += one.count,
                }
            }
            Row::Mapping {
                logical_id,
                instances,
                ..
            } => {
                if let Some(lines) = self.function(Some(*logical_id)) {
                    lines.instances.set(bucket, (None, instances.len()));
                }
            }
            Row::Health {
                node_id, health, ..
            } => self.health(bucket, *node_id, health),
            Row::Scaling(decision) => {
                if let Some(lines) = self.function(Some(decision.logical_id)) {
                    let [before, copies] = [decision.before, decision.copies].map(|it| it as usize);
                    lines.decided.set(bucket, (Some(before), copies));
                }
            }
            Row::Capabilities { .. } | Row::Log(_) | Row::Vertex(_) => {}
        }
    }

    fn function(&mut self, logical_id: Option<LogicalId>) -> Option<&mut FunctionLines> {
        let logical_id = logical_id?;
        let mut functions = self.functions.iter_mut();
        functions.find(|lines| lines.logical_id == logical_id)
    }

    fn health(&mut self, bucket: usize, node_id: NodeId, health: &NodeHealth) {
        let mut nodes = self.nodes.iter_mut();
        if let Some(lines) = nodes.find(|lines| lines.node_id == node_id) {
            lines.cpu[bucket].add(f64::from(health.proc_cpu_usage));
            lines.mem_used[bucket].add(health.mem_used as f64);
        }
    }

    /// Up to the end what is known last holds.
    pub(super) fn end(&mut self) {
        for lines in &mut self.functions {
            lines.instances.end();
            lines.decided.end();
        }
    }
}

impl Steps {
    fn new(number: usize) -> Self {
        Self {
            most: vec![0; number],
            known: None,
        }
    }

    /// From this bucket on it is another number; `before` says what it was until then, if the first one knows.
    fn set(&mut self, bucket: usize, (before, number): (Option<usize>, usize)) {
        if let (None, Some(before)) = (self.known, before) {
            self.known = Some((0, before));
            self.most[0] = before;
        }
        self.carry(bucket);
        let before = self.known.map_or(0, |(_, number)| number);
        self.most[bucket] = self.most[bucket].max(before).max(number);
        self.known = Some((bucket, number));
    }

    /// Fills the buckets before `bucket`.
    fn carry(&mut self, bucket: usize) {
        if let Some((known, number)) = self.known
            && let Some(unknown) = self.most.get_mut(known + 1..bucket)
        {
            unknown.fill(number);
        }
    }

    /// Up to the end what is known last holds.
    fn end(&mut self) {
        self.carry(self.most.len());
    }

    /// Whether there is any.
    pub(super) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    /// The most in each bucket.
    pub(super) fn values(&self) -> Vec<Option<f64>> {
        self.most.iter().map(|&most| Some(most as f64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_seconds_or_longer_and_stand_for_enough_events() {
        for (secs, events, wanted) in [
            (86_400.0, 1_000_000, 240),
            (60.0, 1_000_000, 60),
            (86_400.0, 1_000, 50),
            (3.0, 1_000, 24),
            (86_400.0, 0, 24),
        ] {
            assert_eq!(points(secs, events), wanted, "{secs} s, {events} events");
        }
    }
}
