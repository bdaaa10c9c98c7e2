//! What simulated nodes count, and the steps that they note when asked to.

use std::{
    fmt,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use edgeless_proto::v1;
use hdrhistogram::Histogram;

/// Counters of all nodes of a fleet.
#[derive(Debug)]
pub struct Tally {
    pub(super) refreshes: AtomicU64,
    pub(super) failed: AtomicU64,
    pub(super) registered: AtomicU64,
    pub(super) samples: AtomicU64,
    pub(super) starts: AtomicU64,
    pub(super) stops: AtomicU64,
    pub(super) patches: AtomicU64,
    pub(super) running: AtomicI64,
    pub(super) holding: AtomicI64,
    round_trips: Mutex<Histogram<u64>>,
    noting: AtomicBool,
    seen: Mutex<Vec<Seen>>,
}

/// A step that a node took.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// When.
    pub at: Instant,
    /// What it was.
    pub step: SeenStep,
}

/// The three kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenStep {
    /// An instance was started.
    Start,
    /// An instance was stopped.
    Stop,
    /// The outputs of an instance lead elsewhere.
    Patch,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Refreshes that were answered.
    pub refreshes: u64,
    /// Refreshes that were not.
    pub failed: u64,
    /// Registrations, with profile and all that runs.
    pub registered: u64,
    /// Samples in refreshes that were answered.
    pub samples: u64,
    /// Starts taken.
    pub starts: u64,
    /// Stops taken.
    pub stops: u64,
    /// Patches taken.
    pub patches: u64,
    /// Instances that run.
    pub running: i64,
    /// Their outputs that lead to no instance.
    pub holding: i64,
    /// Half of the round trips of refreshes took no longer.
    pub p50: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            refreshes: AtomicU64::default(),
            failed: AtomicU64::default(),
            registered: AtomicU64::default(),
            samples: AtomicU64::default(),
            starts: AtomicU64::default(),
            stops: AtomicU64::default(),
            patches: AtomicU64::default(),
            running: AtomicI64::default(),
            holding: AtomicI64::default(),
            round_trips: Mutex::new(times()),
            noting: AtomicBool::default(),
            seen: Mutex::default(),
        }
    }
}

/// Microseconds up to a minute, three digits.
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("the bounds are in order")
}

impl Tally {
    /// The counters now.
    pub fn summary(&self) -> Summary {
        let times = self.times();
        let at = |share| Duration::from_micros(times.value_at_quantile(share));
        Summary {
            refreshes: self.refreshes.load(Relaxed),
            failed: self.failed.load(Relaxed),
            registered: self.registered.load(Relaxed),
            samples: self.samples.load(Relaxed),
            starts: self.starts.load(Relaxed),
            stops: self.stops.load(Relaxed),
            patches: self.patches.load(Relaxed),
            running: self.running.load(Relaxed),
            holding: self.holding.load(Relaxed),
            p50: at(0.5),
            p99: at(0.99),
            longest: Duration::from_micros(times.max()),
        }
    }

    /// Round trips are counted from now on.
    pub fn begin_times(&self) {
        self.times().reset();
    }

    /// Steps are noted from now on; what was noted before is forgotten.
    pub fn begin_noting(&self) {
        self.seen().clear();
        self.noting.store(true, Relaxed);
    }

    /// Ends noting, and gives back the steps in the order in which they were taken.
    pub fn end_noting(&self) -> Vec<Seen> {
        self.noting.store(false, Relaxed);
        let mut seen = std::mem::take(&mut *self.seen());
        seen.sort_by_key(|it| it.at);
        seen
    }

    pub(super) fn answered(&self, round_trip: Duration, samples: usize) {
        self.refreshes.fetch_add(1, Relaxed);
        self.samples.fetch_add(samples as u64, Relaxed);
        let micros = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.times().saturating_record(micros.max(1));
    }

    /// Notes a step before it is carried out.
    pub(super) fn note(&self, step: &v1::Step) {
        let (counter, step) = match &step.kind {
            Some(v1::step::Kind::Start(_)) => (&self.starts, SeenStep::Start),
            Some(v1::step::Kind::Stop(_)) => (&self.stops, SeenStep::Stop),
            Some(v1::step::Kind::Patch(_)) => (&self.patches, SeenStep::Patch),
            None => return,
        };
        counter.fetch_add(1, Relaxed);
        if self.noting.load(Relaxed) {
            let at = Instant::now();
            self.seen().push(Seen { at, step });
        }
    }

    pub(super) fn changed(&self, change: &Change) {
        self.running.fetch_add(change.running, Relaxed);
        self.holding.fetch_add(change.holding, Relaxed);
    }

    fn times(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.round_trips
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What steps change of the counters of what runs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    running: i64,
    holding: i64,
}

impl Change {
    pub(super) fn started(&mut self, number: i64, holding: u32) {
        self.running += number;
        self.holding += i64::from(holding);
    }

    pub(super) fn stopped(&mut self, number: i64, holding: u32) {
        self.running -= number;
        self.holding -= i64::from(holding);
    }

    pub(super) fn patched(&mut self, before: u32, after: u32) {
        self.holding += i64::from(after) - i64::from(before);
    }

    pub(super) fn add(&mut self, other: Self) {
        self.running += other.running;
        self.holding += other.holding;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        writeln!(
            f,
            "refreshes {} ({} failed), registrations {}, samples {}",
            self.refreshes, self.failed, self.registered, self.samples
        )?;
        writeln!(
            f,
            "round trips of refreshes: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms",
            millis(self.p50),
            millis(self.p99),
            millis(self.longest)
        )?;
        write!(
            f,
            "steps: {} starts, {} stops, {} patches; {} instances run, {} outputs lead nowhere",
            self.starts, self.stops, self.patches, self.running, self.holding
        )
    }
}
