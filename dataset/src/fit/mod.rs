//! What functions of each class need, learnt from a dataset: the priors of the scaling policies.
//!
//! One pass: `vertices.csv` says of which class functions are, decisions and the mapping give start times, samples give
//! times of handling and of transfer and, put in order of time, the pattern of arrivals. Memory is bounded by the named
//! limits; what is beyond them is counted.

mod arrivals;
mod distribution;
mod starts;

use std::collections::BTreeMap;

use edgeless_orc::scale::priors::{Bursts, HalfHour, Prior, Priors, gap_seconds};
use edgeless_tables::{Table, Vertex, VertexKind};
use edgeless_types::{
    InstanceId, LogicalId, PhysicalId, Sample, SampleKind, SampleSummary, Timestamp,
};
use rustc_hash::FxHashMap;

use self::{
    arrivals::{Arrivals, Event, Ordered, half_hour},
    distribution::{Distribution, rounded},
    starts::Starts,
};
use crate::{Row, summary::MAX_INSTANCES};

/// Classes that are learnt; each takes some ten KiB for each of its three distributions.
pub const MAX_CLASSES: usize = 2_048;
/// Functions whose arrivals are followed.
pub const MAX_FUNCTIONS: usize = 1 << 17;
/// Decisions about the number of copies that are kept, to find out how long starts took.
pub const MAX_DECISIONS: usize = 1 << 20;

/// The order in which the tables are wanted.
pub const ORDER: [Table; 5] = [
    Table::Vertices,
    Table::ScalingDecisions,
    Table::MappingToInstanceId,
    Table::PerformanceSamples,
    Table::SampleSummaries,
];

/// Nothing can be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingToFit {
    /// No class is known.
    #[error(
        "no row says of which class the functions are; `vertices.csv` of an ε-ORC has that, or name classes with \
         --class LOGICAL_ID=CLASS"
    )]
    NoClass,
    /// There are no samples of functions whose class is known.
    #[error("there are no samples of functions whose class is known")]
    NoSample,
}

/// What was left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Functions or resources of which no row says what they are.
    pub functions: u64,
    /// Samples of these, and of instances that no row maps to a function.
    pub samples: u64,
    /// Mentions of functions, instances and classes, and decisions, beyond the limits.
    pub beyond: u64,
}

/// What is learnt of one class.
#[derive(Debug)]
struct Class {
    id: String,
    service: Distribution,
    transfer: Distribution,
    start: Distribution,
    gaps: Vec<u64>,
    /// Events and half hours of functions, by half hour of the day; whole ones only.
    events: [u64; HalfHour::NUMBER],
    half_hours: [u64; HalfHour::NUMBER],
    /// Of each function that had any.
    bursts: Vec<Bursts>,
}

/// Of what kind a vertex is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Of(usize),
    Resource,
    Unknown,
}

#[derive(Debug)]
struct Function {
    kind: Kind,
    starts: Starts,
    arrivals: Option<Box<Arrivals>>,
}

/// Learns from rows.
#[derive(Debug, Default)]
pub struct Fit {
    named: BTreeMap<LogicalId, String>,
    classes: Vec<Class>,
    by_id: BTreeMap<String, usize>,
    functions: Vec<Function>,
    by_logical_id: FxHashMap<LogicalId, usize>,
    homes: FxHashMap<PhysicalId, usize>,
    decisions: usize,
    ordered: Ordered,
    last: Timestamp,
    left_out: LeftOut,
}

impl Fit {
    /// `named` are functions whose classes are given; rows that say otherwise do not count.
    pub fn new(named: BTreeMap<LogicalId, String>) -> Self {
        let mut fit = Self::default();
        for (&logical_id, class_id) in &named {
            fit.enter(logical_id, class_id);
        }
        fit.named = named;
        fit
    }

    /// Takes a row; tables come in the order of [`ORDER`].
    pub fn take(&mut self, row: &Row) {
        match row {
            Row::Vertex(vertex) => self.vertex(vertex),
            Row::Scaling(decision) => {
                if self.decisions >= MAX_DECISIONS {
                    self.left_out.beyond += 1;
                    return;
                }
                let Some(index) = self.function(decision.logical_id) else {
                    return;
                };
                self.decisions += 1;
                let starts = &mut self.functions[index].starts;
                starts.decided(decision.timestamp, decision.before, decision.copies);
            }
            Row::Mapping {
                at,
                logical_id,
                instances,
            } => self.placed(*at, *logical_id, instances),
            Row::Sample(sample) => self.sample(sample),
            Row::Summary { at, summary } => self.summary(*at, summary),
            Row::Health { .. } | Row::Capabilities { .. } | Row::Log(_) => {}
        }
    }

    /// What was learnt, and what was left out.
    ///
    /// # Errors
    /// No class is known, or nothing of any.
    pub fn priors(mut self) -> Result<(Priors, LeftOut), NothingToFit> {
        while let Some(event) = self.ordered.earliest() {
            self.event(event);
        }
        let end = half_hour(self.last.as_nanos());
        for function in &mut self.functions {
            if let (Kind::Of(class), Some(arrivals)) = (function.kind, function.arrivals.take()) {
                arrivals.end(end, &mut self.classes[class]);
            }
        }
        let unknown = self.functions.iter().filter(|it| it.kind == Kind::Unknown);
        self.left_out.functions = unknown.count() as u64;
        if self.classes.is_empty() {
            return Err(NothingToFit::NoClass);
        }
        let known = |it: &Prior| it.service.or(it.transfer).or(it.start).is_some();
        let priors: Vec<Prior> = self
            .classes
            .iter()
            .map(Class::prior)
            .filter(known)
            .collect();
        match priors.is_empty() {
            true => Err(NothingToFit::NoSample),
            false => Ok((Priors::new(priors), self.left_out)),
        }
    }

    fn vertex(&mut self, vertex: &Vertex) {
        if self.named.contains_key(&vertex.logical_id) {
            return;
        }
        match vertex.kind {
            VertexKind::Function => self.enter(vertex.logical_id, &vertex.class_id),
            VertexKind::Resource => {
                if let Some(index) = self.function(vertex.logical_id) {
                    self.functions[index].kind = Kind::Resource;
                }
            }
        }
    }

    /// A function is of a class.
    fn enter(&mut self, logical_id: LogicalId, class_id: &str) {
        let class = match self.by_id.get(class_id) {
            Some(&class) => class,
            None if self.classes.len() >= MAX_CLASSES => {
                self.left_out.beyond += 1;
                return;
            }
            None => {
                let id = class_id.to_owned();
                self.by_id.insert(id.clone(), self.classes.len());
                self.classes.push(Class::new(id));
                self.classes.len() - 1
            }
        };
        if let Some(index) = self.function(logical_id) {
            self.functions[index].kind = Kind::Of(class);
        }
    }

    /// The place of a function; none: there is no room for another.
    fn function(&mut self, logical_id: LogicalId) -> Option<usize> {
        if let Some(&index) = self.by_logical_id.get(&logical_id) {
            return Some(index);
        }
        if self.functions.len() >= MAX_FUNCTIONS {
            self.left_out.beyond += 1;
            return None;
        }
        self.functions.push(Function {
            kind: Kind::Unknown,
            starts: Starts::default(),
            arrivals: None,
        });
        self.by_logical_id
            .insert(logical_id, self.functions.len() - 1);
        Some(self.functions.len() - 1)
    }

    fn placed(&mut self, at: Timestamp, logical_id: LogicalId, instances: &[InstanceId]) {
        let Some(index) = self.function(logical_id) else {
            return;
        };
        let mut new = 0;
        for instance in instances {
            if self.homes.contains_key(&instance.physical_id) {
                continue;
            }
            if self.homes.len() >= MAX_INSTANCES {
                self.left_out.beyond += 1;
                continue;
            }
            self.homes.insert(instance.physical_id, index);
            new += 1;
        }
        let function = &mut self.functions[index];
        let Kind::Of(class) = function.kind else {
            return;
        };
        let start = &mut self.classes[class].start;
        let took = |nanos| start.add(nanos);
        function.starts.placed(at, new, instances.is_empty(), took);
    }

    /// The function and class of an instance.
    fn home(&mut self, physical_id: PhysicalId) -> Option<(usize, usize)> {
        let index = self.homes.get(&physical_id).copied();
        match index.map(|index| (index, self.functions[index].kind)) {
            Some((index, Kind::Of(class))) => Some((index, class)),
            Some((_, Kind::Resource)) => None,
            Some((_, Kind::Unknown)) | None => {
                self.left_out.samples += 1;
                None
            }
        }
    }

    fn sample(&mut self, sample: &Sample) {
        let Some((function, class)) = self.home(sample.physical_id) else {
            return;
        };
        self.last = self.last.max(sample.timestamp);
        let class = &mut self.classes[class];
        let (stamp, nanos) = (sample.timestamp.as_nanos(), sample.nanos);
        let (times, is_arrival) = match sample.kind {
            SampleKind::FunctionExecutionTime => (&mut class.service, false),
            SampleKind::FunctionTransferTime => (&mut class.transfer, true),
        };
        times.add(nanos);
        self.ordered.add(Event {
            at: stamp.saturating_sub(nanos),
            until: stamp,
            function,
            is_arrival,
        });
        while let Some(event) = self.ordered.due() {
            self.event(event);
        }
    }

    fn event(&mut self, event: Event) {
        let function = &mut self.functions[event.function];
        if let Kind::Of(class) = function.kind {
            let arrivals = function
                .arrivals
                .get_or_insert_with(|| Box::new(Arrivals::from(event.at)));
            arrivals.take(&event, &mut self.classes[class]);
        }
    }

    fn summary(&mut self, at: Timestamp, summary: &SampleSummary) {
        let Some((function, class)) = self.home(summary.physical_id) else {
            return;
        };
        let class = &mut self.classes[class];
        match summary.kind {
            SampleKind::FunctionTransferTime => class.transfer.summarised(summary),
            SampleKind::FunctionExecutionTime => {
                class.service.summarised(summary);
                let began = self.functions[function]
                    .arrivals
                    .as_ref()
                    .map(|it| it.began());
                let (number, end) = (half_hour(at.as_nanos()), half_hour(self.last.as_nanos()));
                if began.is_some_and(|began| began < number) && number < end {
                    class.events[HalfHour::of(number).index()] += summary.count;
                }
            }
        }
    }
}

impl Class {
    fn new(id: String) -> Self {
        Self {
            id,
            service: Distribution::default(),
            transfer: Distribution::default(),
            start: Distribution::default(),
            gaps: Vec::new(),
            events: [0; HalfHour::NUMBER],
            half_hours: [0; HalfHour::NUMBER],
            bursts: Vec::new(),
        }
    }

    fn prior(&self) -> Prior {
        let gaps = self
            .gaps
            .iter()
            .enumerate()
            .filter(|(_, count)| **count > 0);
        let day = self.half_hours.iter().zip(&self.events).enumerate();
        let day = day.filter(|(_, (half_hours, _))| **half_hours > 0);
        Prior {
            id: self.id.clone(),
            gaps: gaps
                .map(|(bin, &count)| (rounded(gap_seconds(bin)), count))
                .collect(),
            service: self.service.times(),
            transfer: self.transfer.times(),
            start: self.start.times(),
            bursts: common(&self.bursts),
            day: day
                .map(|(number, (&half_hours, &events))| {
                    let rate = events as f64 / (half_hours as f64 * arrivals::HALF_HOUR_SECS);
                    (HalfHour::of(number as u64), rounded(rate))
                })
                .collect(),
        }
    }
}

/// By which share the periods of functions may differ and still be that of the class.
const SAME_PERIOD: f64 = 0.1;

/// What the bursts of several functions have in common; none without any.
fn common(all: &[Bursts]) -> Option<Bursts> {
    let number = all.len() as f64;
    let mean = |of: fn(&Bursts) -> f64| all.iter().map(of).sum::<f64>() / number;
    let period = mean(|it| it.period.unwrap_or(f64::INFINITY));
    let agree = |it: &Bursts| {
        let off = it.period.map(|its| (its - period).abs());
        off.is_some_and(|off| off <= SAME_PERIOD * period)
    };
    let is_regular = period.is_finite() && all.iter().all(agree);
    let jitter = all.iter().map(|it| it.jitter).fold(0.0, f64::max);
    (!all.is_empty()).then(|| Bursts {
        batch: rounded(mean(|it| it.batch)),
        rate: rounded(mean(|it| it.rate)),
        period: is_regular.then(|| rounded(period)),
        jitter: if is_regular { rounded(jitter) } else { 0.0 },
    })
}

#[cfg(test)]
mod tests;
