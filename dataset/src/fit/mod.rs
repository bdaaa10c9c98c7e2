//! What functions of each class need, learnt from a dataset: the priors of the scaling policies.
//!
//! One pass: `vertices.csv` says of which class functions are, decisions and the mapping give start times, samples give
//! times of handling and of transfer and, put in order of time, the pattern of arrivals. Memory is bounded by the named
//! limits; what is beyond them is counted.

mod arrivals;
mod class;
mod distribution;
mod starts;

use std::collections::BTreeMap;

use edgeless_orc::scale::priors::{HalfHour, Prior, Priors};
use edgeless_tables::{Table, Vertex, VertexKind};
use edgeless_types::{
    InstanceId, LogicalId, PhysicalId, Sample, SampleKind, SampleSummary, Timestamp,
};
use rustc_hash::FxHashMap;

use self::{
    arrivals::{Arrivals, Event, Ordered, half_hour},
    class::Class,
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
    /// The half hours of its first event in the last file of samples, and of the end of that file.
    lived: Option<(u64, u64)>,
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

    /// Takes a row; tables come in the order of [`ORDER`], and before each file [`Self::next_file`] is called.
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

    /// The rows that come are of another file, which may be of another time: where samples are in several files, each is a
    /// recording of its own.
    pub fn next_file(&mut self) {
        while let Some(event) = self.ordered.earliest() {
            self.event(event);
        }
        let end = half_hour(self.last.as_nanos());
        for function in &mut self.functions {
            if let (Kind::Of(class), Some(arrivals)) = (function.kind, function.arrivals.take()) {
                arrivals.end(end, &mut self.classes[class]);
                function.lived = Some((arrivals.began(), end));
            }
        }
        self.ordered = Ordered::default();
        self.last = Timestamp::EPOCH;
    }

    /// What was learnt, and what was left out.
    ///
    /// # Errors
    /// No class is known, or nothing of any.
    pub fn priors(mut self) -> Result<(Priors, LeftOut), NothingToFit> {
        self.next_file();
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
            lived: None,
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
                let (number, lived) = (half_hour(at.as_nanos()), self.functions[function].lived);
                if lived.is_some_and(|(began, end)| began < number && number < end) {
                    class.events[HalfHour::of(number).index()] += summary.count;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
