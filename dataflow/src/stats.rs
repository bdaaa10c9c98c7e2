//! What an operator did, for whoever looks: counts, and distributions of its times.

use edgeless_types::{InstanceId, PhysicalId, Timestamp};
use hdrhistogram::Histogram;

/// Senders that are told apart; the others are one.
const EDGES: usize = 16;
/// The shortest time that is told from zero, in nanoseconds.
const SHORTEST: u64 = 128;
/// Times are at most this long, in nanoseconds: an hour.
const LONGEST: u64 = 3_600_000_000_000;

/// What is measured of one operator that handled something.
#[derive(Debug)]
pub(crate) struct Stats {
    execution: Histogram<u32>,
    /// By sender; the last one, once there are [`EDGES`], is all others.
    edges: Vec<Edge>,
    /// The sender of the message before.
    last: usize,
}

#[derive(Debug)]
struct Edge {
    source: PhysicalId,
    transfer: Histogram<u32>,
}

/// A distribution of times in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many.
    pub count: u64,
    /// Half of them took at most this long.
    pub p50_nanos: u64,
    /// Nine of ten.
    pub p90_nanos: u64,
    /// 99 of a hundred.
    pub p99_nanos: u64,
    /// The longest.
    pub max_nanos: u64,
}

/// What came in from one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EdgeView {
    /// The sender; none: all those beyond the first few.
    pub source: Option<PhysicalId>,
    /// From the creation of a message to the start of its handling.
    pub transfer: Times,
}

/// Where one output channel leads, and what went there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelView {
    /// The name of the channel.
    pub name: String,
    /// The instances, and how many messages went to each since the last patch.
    pub targets: Vec<(InstanceId, u64)>,
    /// Messages that wait as the channel leads to no instance now.
    pub held: usize,
}

/// What an instance does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It gets ready.
    Starting,
    /// It takes messages.
    Running,
    /// It takes none until it is resumed.
    Paused,
    /// It handles what is queued, then it stops.
    Draining,
}

impl Phase {
    /// The name people see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Draining => "draining",
        }
    }
}

/// One instance, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorView {
    /// Which one.
    pub physical_id: PhysicalId,
    /// The shard it runs on.
    pub shard: usize,
    /// What it does at the moment.
    pub phase: Phase,
    /// Messages that wait to be handled.
    pub queued: usize,
    /// Messages that it could not send yet.
    pub parked: usize,
    /// Messages it sent at least once that are not acknowledged.
    pub outstanding: usize,
    /// Events that ended with an error.
    pub faults: u64,
    /// How long the handling of its events took.
    pub execution: Times,
    /// What came in, by sender.
    pub edges: Vec<EdgeView>,
    /// Where its channels lead.
    pub channels: Vec<ChannelView>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            execution: histogram(),
            edges: Vec::new(),
            last: 0,
        }
    }

    /// One handled event: created, begun, ended.
    pub(crate) fn event(&mut self, source: PhysicalId, [created, begin, end]: [Timestamp; 3]) {
        record(&mut self.execution, begin, end);
        let known = self.edges.get(self.last).map(|edge| edge.source);
        if known != Some(source) {
            self.last = self.edge(source);
        }
        record(&mut self.edges[self.last].transfer, created, begin);
    }

    fn edge(&mut self, source: PhysicalId) -> usize {
        let mut edges = self.edges.iter();
        if let Some(at) = edges.position(|edge| edge.source == source) {
            return at;
        }
        if self.edges.len() < EDGES {
            let transfer = histogram();
            self.edges.push(Edge { source, transfer });
        }
        self.edges.len() - 1
    }

    pub(crate) fn execution(&self) -> Times {
        times(&self.execution)
    }

    pub(crate) fn edges(&self) -> Vec<EdgeView> {
        let view = |(at, edge): (usize, &Edge)| EdgeView {
            source: (at + 1 < EDGES).then_some(edge.source),
            transfer: times(&edge.transfer),
        };
        self.edges.iter().enumerate().map(view).collect()
    }
}

fn histogram() -> Histogram<u32> {
    // Two digits; it grows with the longest time.
    let mut histogram = Histogram::new_with_bounds(SHORTEST, SHORTEST << 12, 2)
        .expect("the bounds are a power of two apart");
    histogram.auto(true);
    histogram
}

fn record(histogram: &mut Histogram<u32>, from: Timestamp, to: Timestamp) {
    let nanos = to.as_nanos().saturating_sub(from.as_nanos());
    histogram
        .record(nanos.min(LONGEST))
        .expect("it grows up to the longest time");
}

fn times(histogram: &Histogram<u32>) -> Times {
    let max_nanos = histogram.max();
    // A quantile is the upper end of its bucket, also of that which begins at zero.
    let quantile = |part| histogram.value_at_quantile(part).min(max_nanos);
    Times {
        count: histogram.len(),
        p50_nanos: quantile(0.5),
        p90_nanos: quantile(0.9),
        p99_nanos: quantile(0.99),
        max_nanos,
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn times_are_kept_by_sender_and_senders_beyond_the_first_few_are_one() {
        let mut stats = Stats::new();
        let at = Timestamp::from_nanos;
        let pid = |number: u64| PhysicalId::new(Uuid::from_u128(number.into()));
        for number in 0..20 {
            for _ in 0..10 {
                stats.event(pid(number), [at(0), at(1_000), at(3_000_000_000)]);
            }
        }
        let edges = stats.edges();
        assert_eq!(edges.len(), EDGES);
        assert_eq!(edges[0].source, Some(pid(0)));
        assert_eq!(edges[0].transfer.count, 10);
        assert_eq!(edges[15].source, None);
        assert_eq!(edges[15].transfer.count, 50);
        let times = stats.execution();
        assert_eq!(times.count, 200);
        assert!(times.p99_nanos.abs_diff(3_000_000_000) < 30_000_000);
    }

    #[test]
    fn no_quantile_lies_above_the_longest() {
        for nanos in [0, 1, 127, 128, 1_000, 3_000_000_000] {
            let mut histogram = histogram();
            record(
                &mut histogram,
                Timestamp::from_nanos(0),
                Timestamp::from_nanos(nanos),
            );
            let times = times(&histogram);
            assert!(times.p50_nanos <= times.p90_nanos, "{times:?}");
            assert!(times.p90_nanos <= times.p99_nanos, "{times:?}");
            assert!(times.p99_nanos <= times.max_nanos, "{times:?}");
        }
    }
}
