//! A recorded dataset as load: when events arrived, how long each was handled, and how the system did itself.
//!
//! Events arrive when they were created, which is their transfer time before their handling began. A dataset does not
//! say which function comes next: a function is a contract of its own, unless it is in a chain that is named. What an
//! order waited in ε-CON before its first task was handed out is in no dataset.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use edgeless_tables::VertexKind;
use edgeless_types::{LogicalId, NodeId, PhysicalId, Sample, SampleKind, Timestamp};
use rustc_hash::FxHashMap;

use super::{
    Outcome,
    builder::{Builder, Times},
    daemons::bill,
};
use crate::{row::Row, synth::Trace};

/// Events that are kept; the others are counted.
const MOST_EVENTS: usize = 20_000_000;
/// Events of one instance of which the end is not read yet.
const MOST_BEGUN: usize = 65_536;
/// A copy that comes so long after the decision to start it, in nanoseconds, is not its outcome.
const LONGEST_START: u64 = 120_000_000_000;

/// Reads rows into arrivals.
#[derive(Debug, Default)]
pub struct Recorded {
    chains: Vec<Vec<LogicalId>>,
    functions: BTreeMap<PhysicalId, LogicalId>,
    /// They do not scale.
    resources: BTreeSet<LogicalId>,
    /// Events of each instance that have begun, by when they did, and when they were created: rows of one kind come
    /// together.
    begun: FxHashMap<PhysicalId, Begun>,
    events: BTreeMap<LogicalId, Vec<Event>>,
    times: BTreeMap<LogicalId, Times>,
    count: usize,
    numbered: u64,
    /// From when on each vertex had how many copies.
    copies: BTreeMap<LogicalId, Vec<(Timestamp, u32)>>,
    starts: Vec<u64>,
    refreshes: BTreeMap<NodeId, Timestamp>,
    intervals: Vec<u64>,
    /// Samples of instances of which no row says what they are copies of.
    pub unknown: u64,
    /// Samples of resources.
    pub of_resources: u64,
    /// Events beyond the most that are kept.
    pub left_out: u64,
}

/// Events without an end yet: when each began, a number of its own, and when it was created.
type Begun = BTreeMap<(Timestamp, u64), Timestamp>;

/// One handled event.
#[derive(Clone, Copy, Debug)]
struct Event {
    created: Timestamp,
    ended: Timestamp,
    /// Seconds; none: the other half of its samples is not there.
    handled: Option<f32>,
}

/// A dataset from which nothing can be replayed.
#[derive(Debug, thiserror::Error)]
pub enum NothingRecorded {
    /// There are no samples.
    #[error(
        "there are no samples of `function_transfer_time` and `function_execution_time` of known functions; record \
         them with a dataset that has `mapping_to_instance_id.csv` and `performance_samples.csv`"
    )]
    Samples,
    /// A chain names something else.
    #[error("`{0}` of the chain is no function with samples in this dataset")]
    Chain(LogicalId),
}

/// What was recorded, to be replayed and to be compared with.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The load.
    pub trace: Trace,
    /// What the system made of it. Decisions are not counted, nor is what found no copy.
    pub outcome: Outcome,
    /// From when on, in seconds since the begin of the trace, each function of it had how many copies.
    pub copies: Vec<Vec<(f64, u32)>>,
    /// The median time from a decision to start copies until one more ran; none: no copy was started.
    pub start_time: Option<Duration>,
    /// The median time between two refreshes of a node; none: it is not recorded.
    pub refresh: Option<Duration>,
}

impl Recorded {
    /// With functions that orders pass one after the other; if there are such, others are left out.
    pub fn with_chains(chains: Vec<Vec<LogicalId>>) -> Self {
        Self {
            chains,
            ..Self::default()
        }
    }

    /// Takes a row; those that say what runs where come first.
    pub fn take(&mut self, row: &Row) {
        match row {
            Row::Vertex(vertex) => {
                if vertex.kind == VertexKind::Resource {
                    self.resources.insert(vertex.logical_id);
                }
            }
            Row::Mapping {
                at,
                logical_id,
                instances,
            } => {
                let number = u32::try_from(instances.len()).unwrap_or(u32::MAX);
                self.copies
                    .entry(*logical_id)
                    .or_default()
                    .push((*at, number));
                let instances = instances.iter().map(|it| (it.physical_id, *logical_id));
                self.functions.extend(instances);
            }
            Row::Sample(sample) => self.sample(sample),
            Row::Scaling(decision) if decision.copies > decision.before => {
                let copies = self.copies.get(&decision.logical_id);
                self.starts
                    .extend(copies.and_then(|copies| started(copies, decision.timestamp)));
            }
            Row::Health { at, node_id, .. } => {
                if let Some(before) = self.refreshes.insert(*node_id, *at) {
                    self.intervals.push(nanos(*at, before));
                }
            }
            Row::Capabilities { .. } | Row::Log(_) | Row::Summary { .. } | Row::Scaling(_) => {}
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let Some(&logical_id) = self.functions.get(&sample.physical_id) else {
            self.unknown += 1;
            return;
        };
        if self.resources.contains(&logical_id) {
            self.of_resources += 1;
            return;
        }
        let took = Duration::from_nanos(sample.nanos);
        let begun = self.begun.entry(sample.physical_id).or_default();
        match sample.kind {
            SampleKind::FunctionTransferTime => {
                self.numbered += 1;
                let created = sample.timestamp - took;
                begun.insert((sample.timestamp, self.numbered), created);
                if begun.len() > MOST_BEGUN
                    && let Some(((began, _), created)) = begun.pop_first()
                {
                    self.keep(logical_id, Event::alone(began, created));
                }
            }
            SampleKind::FunctionExecutionTime => {
                let times = self.times.entry(logical_id).or_default();
                times.add(took.as_secs_f64());
                let began = sample.timestamp - took;
                let first = begun.range((began, 0)..=(began, u64::MAX)).next();
                let key = first.map(|(key, _)| *key);
                if let Some(created) = key.and_then(|key| begun.remove(&key)) {
                    let event = Event {
                        created,
                        ended: sample.timestamp,
                        handled: Some(took.as_secs_f32()),
                    };
                    self.keep(logical_id, event);
                }
            }
        }
    }

    fn keep(&mut self, logical_id: LogicalId, event: Event) {
        if self.count == MOST_EVENTS {
            self.left_out += 1;
            return;
        }
        self.count += 1;
        self.events.entry(logical_id).or_default().push(event);
    }

    /// What was recorded, since the first event.
    ///
    /// # Errors
    /// There are no events, or none of a function of a chain.
    pub fn recording(mut self) -> Result<Recording, NothingRecorded> {
        for (physical_id, begun) in std::mem::take(&mut self.begun) {
            if let Some(&logical_id) = self.functions.get(&physical_id) {
                begun.into_iter().for_each(|((began, _), created)| {
                    self.keep(logical_id, Event::alone(began, created));
                });
            }
        }
        let orders = self.orders()?;
        let (Some(first), Some(last)) = (
            orders.iter().map(|it| it.created).min(),
            orders.iter().map(|it| it.ended).max(),
        ) else {
            return Err(NothingRecorded::Samples);
        };
        let seconds = |at: Timestamp| match at >= first {
            true => at.since(first).as_secs_f64(),
            false => -first.since(at).as_secs_f64(),
        };
        let lasts = seconds(last);
        let mut builder = Builder::default();
        let mut outcome = Outcome::default();
        for order in orders {
            let handled = order.handled.iter().flatten();
            let handled: f64 = handled.map(|it| f64::from(*it)).sum();
            outcome.work += handled;
            let took = order.ended.since(order.created).as_secs_f64();
            outcome.waits.push((took - handled).max(0.0));
            builder.add(&order, seconds(order.created));
        }
        let mut copies = Vec::new();
        for logical_id in &builder.functions {
            let counts = self.copies.remove(logical_id).unwrap_or_default();
            let counts: Vec<_> = counts.iter().map(|&(at, it)| (seconds(at), it)).collect();
            outcome.instance_seconds += bill(&counts, lasts);
            for pair in counts.windows(2).filter(|pair| pair[1].0 >= 0.0) {
                outcome.starts += u64::from(pair[1].1.saturating_sub(pair[0].1));
                outcome.stops += u64::from(pair[0].1.saturating_sub(pair[1].1));
            }
            copies.push(counts);
        }
        outcome.finish();
        let trace = builder.trace(&self.times, lasts);
        Ok(Recording {
            trace,
            outcome,
            copies,
            start_time: median(&mut self.starts),
            refresh: median(&mut self.intervals),
        })
    }

    /// All orders by time. The n-th end of a function in a chain gave rise to the n-th arrival at the next.
    fn orders(&mut self) -> Result<Vec<Order>, NothingRecorded> {
        let mut orders = Vec::with_capacity(self.count);
        if !self.chains.is_empty() {
            let chains = &self.chains;
            let is_passed = |it: &LogicalId| chains.iter().any(|chain| chain.contains(it));
            self.events.retain(|logical_id, _| is_passed(logical_id));
        }
        for chain in std::mem::take(&mut self.chains) {
            let mut ended: Vec<Order> = Vec::new();
            for (step, logical_id) in chain.into_iter().enumerate() {
                let events = self.events.remove(&logical_id);
                let mut events = events.ok_or(NothingRecorded::Chain(logical_id))?;
                events.sort_unstable_by_key(|it| it.created);
                if step == 0 {
                    ended = events.iter().map(|it| Order::of(logical_id, it)).collect();
                    continue;
                }
                ended.sort_by_key(|it| it.ended);
                // Who comes without a predecessor, and who has no successor yet, was cut off.
                orders.extend(ended.drain(events.len().min(ended.len())..));
                orders.extend(
                    events
                        .drain(ended.len()..)
                        .map(|it| Order::of(logical_id, &it)),
                );
                for (order, event) in ended.iter_mut().zip(&events) {
                    order.follow(logical_id, event);
                }
            }
            orders.append(&mut ended);
        }
        for (logical_id, events) in std::mem::take(&mut self.events) {
            orders.extend(events.iter().map(|it| Order::of(logical_id, it)));
        }
        orders.sort_by_key(|it| it.created);
        Ok(orders)
    }
}

/// An order, or an event that is one of its own.
#[derive(Debug)]
pub(super) struct Order {
    created: Timestamp,
    ended: Timestamp,
    pub(super) chain: Vec<LogicalId>,
    pub(super) handled: Vec<Option<f32>>,
}

impl Event {
    /// Of which only the begin is known, and when it was created: how long it took is drawn.
    fn alone(began: Timestamp, created: Timestamp) -> Self {
        Self {
            created,
            ended: began,
            handled: None,
        }
    }
}

impl Order {
    fn of(logical_id: LogicalId, event: &Event) -> Self {
        Self {
            created: event.created,
            ended: event.ended,
            chain: vec![logical_id],
            handled: vec![event.handled],
        }
    }

    fn follow(&mut self, logical_id: LogicalId, event: &Event) {
        self.ended = event.ended;
        self.chain.push(logical_id);
        self.handled.push(event.handled);
    }
}

fn nanos(later: Timestamp, earlier: Timestamp) -> u64 {
    later.as_nanos().saturating_sub(earlier.as_nanos())
}

/// The nanoseconds from a decision to start copies until there is one more.
fn started(copies: &[(Timestamp, u32)], decided: Timestamp) -> Option<u64> {
    let next = copies.partition_point(|(at, _)| *at <= decided);
    let before = next.checked_sub(1).map_or(0, |it| copies[it].1);
    let more = copies[next..].iter().find(|(_, number)| *number > before);
    let took = more.map(|(at, _)| nanos(*at, decided));
    took.filter(|took| *took < LONGEST_START)
}

fn median(values: &mut [u64]) -> Option<Duration> {
    let middle = values.len() / 2;
    let in_order = !values.is_empty();
    in_order.then(|| Duration::from_nanos(*values.select_nth_unstable(middle).1))
}

#[cfg(test)]
mod tests {
    use edgeless_types::{InstanceId, mirror::ScalingDecision};
    use uuid::Uuid;

    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs_f64(1_000_000.0 + seconds))
    }

    fn function(number: u128) -> LogicalId {
        LogicalId::new(Uuid::from_u128(number))
    }

    /// Copies of a function from then on; those of function 1 are 11, 12 and so on.
    fn mapping(seconds: f64, number: u128, copies: u128) -> Row {
        let instance = |copy| InstanceId {
            node_id: NodeId::new(Uuid::from_u128(1)),
            physical_id: PhysicalId::new(Uuid::from_u128(10 * number + copy)),
        };
        Row::Mapping {
            at: at(seconds),
            logical_id: function(number),
            instances: (1..=copies).map(instance).collect(),
        }
    }

    /// Created, begun, ended.
    fn event(copy: u128, [created, begun, ended]: [f64; 3]) -> [Row; 2] {
        let sample = |kind, timestamp, before| {
            Row::Sample(Sample {
                physical_id: PhysicalId::new(Uuid::from_u128(copy)),
                kind,
                timestamp: at(timestamp),
                nanos: nanos(at(timestamp), at(before)),
            })
        };
        [
            sample(SampleKind::FunctionTransferTime, begun, created),
            sample(SampleKind::FunctionExecutionTime, ended, begun),
        ]
    }

    fn rows() -> Vec<Row> {
        let mut rows = vec![
            mapping(-5.0, 1, 1),
            mapping(-5.0, 2, 1),
            mapping(4.0, 2, 2),
            mapping(6.0, 2, 1),
            Row::Scaling(ScalingDecision {
                timestamp: at(1.5),
                logical_id: function(2),
                policy: "predictive".to_owned(),
                before: 1,
                copies: 2,
                reason: String::new(),
            }),
        ];
        let events = [
            event(11, [0.0, 0.0, 3.0]),
            event(21, [4.0, 5.0, 8.0]),
            event(11, [1.0, 3.0, 4.0]),
            event(22, [3.0, 4.0, 5.0]),
        ];
        // As nodes report them: first all of one kind.
        let (begins, ends): (Vec<_>, Vec<_>) = events.into_iter().map(<(Row, Row)>::from).unzip();
        rows.extend(begins);
        rows.extend(ends);
        rows
    }

    fn recording(chains: Vec<Vec<LogicalId>>) -> Result<Recording, NothingRecorded> {
        let mut recorded = Recorded::with_chains(chains);
        rows().iter().for_each(|row| recorded.take(row));
        assert_eq!((recorded.unknown, recorded.left_out), (0, 0));
        recorded.recording()
    }

    #[test]
    fn each_function_is_a_contract_of_its_own_unless_a_chain_is_named() {
        let alone = recording(Vec::new()).unwrap();
        assert_eq!(alone.trace.contracts.len(), 2);
        assert_eq!(alone.outcome.waits, [0.0, 1.0, 1.0, 2.0]);
        let both = recording(vec![vec![function(1), function(2)]]).unwrap();
        let chains: Vec<_> = both.trace.contracts.iter().map(|it| &it.chain).collect();
        assert_eq!(chains, [&[0, 1]]);
        let times: Vec<_> = both.trace.arrivals.iter().map(|it| it.at).collect();
        assert_eq!(times, [0.0, 1.0]);
        let handled = |order, step| both.trace.handled.get(order, step).unwrap();
        assert_eq!([handled(0, 0), handled(0, 1)], [3.0, 1.0]);
        assert_eq!([handled(1, 0), handled(1, 1)], [1.0, 3.0]);
        assert_eq!(both.trace.handled.get(1, 2), None);
        // Five seconds for four of handling; seven for four.
        assert_eq!(both.outcome.waits, [1.0, 3.0]);
    }

    #[test]
    fn copies_and_their_starts_are_as_recorded() {
        let recording = recording(Vec::new()).unwrap();
        assert_eq!(recording.outcome.instance_seconds, 8.0 + 8.0 + 2.0);
        assert_eq!((recording.outcome.starts, recording.outcome.stops), (1, 1));
        assert_eq!(recording.start_time, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn a_chain_of_what_is_not_there_is_an_error() {
        let wrong = recording(vec![vec![function(1), function(3)]]).unwrap_err();
        assert!(wrong.to_string().contains(&function(3).to_string()));
        let nothing = Recorded::default().recording();
        assert!(matches!(nothing, Err(NothingRecorded::Samples)));
    }
}
