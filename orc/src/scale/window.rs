//! All signals of one function in bounded memory: what policies decide by.
//!
//! What is learnt stays inline, below 256 bytes; what only a function with traffic needs is boxed and
//! given back when it comes to rest. Nothing keeps samples, every signal costs constant time.

use std::time::Duration;

use edgeless_types::Timestamp;

use super::{
    View,
    expected::{Expected, PLACES},
    gaps::{Bursts, Gaps},
    priors::{Prior, WEIGHT},
    rate::Rate,
    times::{Day, Quantiles, Seconds, Spread},
};

/// What the order book says of the tasks of a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Demand {
    /// Tasks of accepted orders that are still to do, here or on their way here.
    pub to_do: u32,
    /// Those that wait here.
    pub waiting: u32,
    /// Those that are being done.
    pub in_flight: u32,
}

impl Demand {
    /// Tasks that have not arrived here yet.
    fn on_their_way(&self) -> u32 {
        let here = self.waiting.saturating_add(self.in_flight);
        self.to_do.saturating_sub(here)
    }
}

/// The signals of one function.
#[derive(Clone, Debug, Default)]
pub struct Window {
    /// When the last event arrived.
    last: Option<Timestamp>,
    /// Since when there is no work.
    idle: Option<Timestamp>,
    service: Spread,
    transfer: Spread,
    start: Spread,
    demand: Demand,
    /// The order book counts more tasks on their way here than before, until the next look.
    announced: bool,
    pub(super) gaps: Gaps,
    pub(super) bursts: Bursts,
    day: Day,
    pub(super) active: Option<Box<Active>>,
}

/// What only a function with traffic needs.
#[derive(Clone, Debug, Default)]
pub(super) struct Active {
    seconds: Seconds,
    service: Quantiles,
    transfer: Quantiles,
    /// Age in seconds of the oldest event that waits, as last reported.
    oldest: f32,
    pub(super) expected: [Expected; PLACES],
    /// Mean of the events that are told of at once.
    pub(super) at_once: f32,
    /// Seconds between two reports of nodes on which events are handled, rather too many than too few.
    pub(super) told_every: f32,
    /// What the copies did is known until then; none: until now.
    heard: Option<Timestamp>,
    /// The most events that were handled at once since a policy asked last.
    in_flight: u32,
    pub(super) policy: super::staffing::State,
}

/// The weight of the last one in the mean of the events that are told of at once.
pub(super) const LUMPS: f32 = 0.1;
impl Window {
    /// A window of a function that has seen nothing itself yet: what a prior says counts as [`WEIGHT`] observations.
    pub fn seeded(prior: &Prior) -> Self {
        let spread = |it: Option<_>| it.map_or(Spread::default(), |it| Spread::seeded(&it, WEIGHT));
        Self {
            service: spread(prior.service),
            transfer: spread(prior.transfer),
            start: spread(prior.start),
            gaps: Gaps::seeded(&prior.gaps, WEIGHT),
            bursts: prior
                .bursts
                .as_ref()
                .map(Bursts::seeded)
                .unwrap_or_default(),
            day: Day::seeded(&prior.day),
            ..Self::default()
        }
    }

    /// Events arrived.
    pub fn arrived(&mut self, count: u32, now: Timestamp) {
        self.arrived_within(count, Duration::ZERO, now);
    }

    /// Events arrived some time in the last `every`.
    pub fn arrived_within(&mut self, count: u32, every: Duration, now: Timestamp) {
        let at = now.as_secs_f64();
        if let Some(since) = self.idle.take() {
            self.gaps.add(now.since(since).as_secs_f64());
        }
        self.bursts
            .arrived(count, self.last.map(Timestamp::as_secs_f64), at);
        self.day.arrived(count, at);
        let before = self.last.replace(now);
        let active = self.active.get_or_insert_default();
        active.seconds.begin(before.map(Timestamp::as_secs_f64), at);
        active
            .seconds
            .arrived_since(count, at - every.as_secs_f64(), at);
        active.at_once +=
            LUMPS * (f32::from(u16::try_from(count).unwrap_or(u16::MAX)) - active.at_once);
        active.took(count);
    }

    /// An event was handled, which took so long without waiting.
    pub fn executed(&mut self, took: Duration) {
        let seconds = took.as_secs_f32();
        self.service.add(seconds);
        if let Some(active) = &mut self.active {
            self.service.p95 = active.service.add(seconds);
        }
    }

    /// An event took so long from its creation to the start of its handling.
    pub fn transferred(&mut self, took: Duration) {
        let seconds = took.as_secs_f32();
        self.transfer.add(seconds);
        if let Some(active) = &mut self.active {
            self.transfer.p95 = active.transfer.add(seconds);
        }
    }

    /// A copy became ready so long after the decision to start it.
    pub fn started(&mut self, took: Duration) {
        self.start.add(took.as_secs_f32());
    }

    /// The age of the oldest event that waits.
    pub fn waits(&mut self, oldest: Duration) {
        if let Some(active) = &mut self.active {
            active.oldest = oldest.as_secs_f32();
        }
    }

    /// What the order book says now. Tasks on their way that are new count as expected from now on; who
    /// knows when they come calls [`Self::expect`] instead.
    pub fn demanded(&mut self, demand: Demand) {
        self.announced |= demand.on_their_way() > self.demand.on_their_way();
        self.demand = demand;
    }

    /// What the order book said last.
    pub fn demand(&self) -> Demand {
        self.demand
    }

    /// Levels as they are now; [`super::decide`] calls this itself.
    pub fn observe(&mut self, view: &View, now: Timestamp) {
        let level = view.in_flight.saturating_add(view.queued);
        if level > 0 {
            self.idle = None;
        } else if self.idle.is_none() && (view.copies() > 0 || self.last.is_some()) {
            self.idle = Some(now);
        }
        if level > 0 || view.copies() > 0 {
            self.active.get_or_insert_default();
        }
        let announced = std::mem::take(&mut self.announced);
        // How fast they come is for those before to decide: whoever has copies sees them come.
        if announced && view.copies() == 0 {
            self.expect(1, now);
        }
        if let Some(active) = &mut self.active {
            let at = now.as_secs_f64();
            active
                .seconds
                .begin(self.last.map(Timestamp::as_secs_f64), at);
            active.seconds.level(f64::from(level), at);
            active.in_flight = active.in_flight.max(view.in_flight);
            active.forget(at);
        }
    }

    /// Gives back what only a function with traffic needs.
    pub fn rest(&mut self, _now: Timestamp) {
        if self.expected_within(f64::INFINITY) == 0 {
            self.active = None;
        }
    }

    /// Whether there is, or was a short while ago, something to do.
    pub fn is_active(&self) -> bool {
        self.active.is_some()
    }

    /// Arrivals per second over the last `window` seconds, up to 60.
    pub fn rate(&self, window: u32, now: Timestamp) -> f64 {
        self.of_active(|it| it.seconds.rate(window, now.as_secs_f64()))
    }

    /// Arrivals in the last `window` seconds, up to 60, with the second that runs.
    pub fn arrivals(&self, window: u32) -> u32 {
        self.active
            .as_ref()
            .map_or(0, |it| it.seconds.arrivals(window))
    }

    /// The rate of arrivals since it last changed.
    pub(super) fn regime(&mut self, now: Timestamp) -> Rate {
        let at = now.as_secs_f64();
        let active = self.active.get_or_insert_default();
        active.policy.regime.look(&active.seconds, at)
    }

    /// What arrived until now tells nothing of what comes.
    pub(super) fn end_regime(&mut self) {
        if let Some(active) = &mut self.active {
            active.policy.regime.end(&active.seconds);
        }
    }

    /// The most events that were handled at once since this was asked last.
    pub(super) fn most_in_flight(&mut self, view: &View) -> u32 {
        let active = self.active.get_or_insert_default();
        std::mem::replace(&mut active.in_flight, view.in_flight).max(view.in_flight)
    }

    /// Mean of events handled and waiting over the last `window` seconds, up to 60.
    pub fn concurrency(&self, window: u32) -> f64 {
        self.of_active(|it| it.seconds.concurrency(window))
    }

    /// Mean time in seconds that one event is handled; none before the first.
    pub fn service(&self) -> Option<f64> {
        self.service.mean()
    }

    /// Standard deviation over mean of the execution time; 1 as long as it is not known.
    pub fn service_variation(&self) -> f64 {
        self.service.variation().unwrap_or(1.0)
    }

    /// The 95th percentile of execution time in seconds, to a fifth.
    pub fn service_p95(&self) -> Option<f64> {
        self.service.mean().map(|_| f64::from(self.service.p95))
    }

    /// Mean transfer time in seconds; none before the first.
    pub fn transfer(&self) -> Option<f64> {
        self.transfer.mean()
    }

    /// The 95th percentile of transfer time in seconds, to a fifth.
    pub fn transfer_p95(&self) -> Option<f64> {
        self.transfer.mean().map(|_| f64::from(self.transfer.p95))
    }

    /// Mean time in seconds until a copy is ready; none before the first.
    pub fn start_time(&self) -> Option<f64> {
        self.start.mean()
    }

    /// Age in seconds of the oldest event that waits, as last reported.
    pub fn oldest(&self) -> f64 {
        self.of_active(|it| f64::from(it.oldest))
    }

    /// When the last event arrived; none did: none.
    pub fn last(&self) -> Option<Timestamp> {
        self.last
    }

    /// Seconds since the last event arrived.
    pub(super) fn silent(&self, now: Timestamp) -> f64 {
        self.last.map_or(0.0, |last| now.since(last).as_secs_f64())
    }

    /// Seconds without work, as far as is known; none while there is some, or before the first.
    pub fn idle(&self, now: Timestamp) -> Option<f64> {
        let until = self.heard_until(now);
        self.idle.map(|since| until.since(since).as_secs_f64())
    }

    /// What the copies did is known until then; none: until now.
    pub fn heard(&mut self, until: Option<Timestamp>) {
        if let Some(active) = &mut self.active {
            active.heard = until;
        }
    }

    /// Until when is known what the copies did.
    pub(super) fn heard_until(&self, now: Timestamp) -> Timestamp {
        let active = self.active.as_ref();
        let heard = active.and_then(|active| active.heard);
        heard.map_or(now, |heard| heard.min(now))
    }

    /// Since when there is no work.
    pub fn idle_since(&self) -> Option<Timestamp> {
        self.idle
    }

    /// A copy was started before its work: its time without work begins now.
    pub(super) fn restart_idle(&mut self, now: Timestamp) {
        if self.idle.is_some() {
            self.idle = Some(now);
        }
    }

    /// Arrivals per second at this time of day on past days; none before the second day.
    pub fn usual_rate(&self, at: Timestamp) -> Option<f64> {
        self.day.rate(at.as_secs_f64())
    }

    /// What the policies remember; at rest a fresh one.
    pub(super) fn state(&mut self) -> &mut super::staffing::State {
        &mut self.active.get_or_insert_default().policy
    }

    /// Bytes that this window takes, those of its box included.
    pub fn bytes(&self) -> usize {
        let boxed = self.active.as_ref().map_or(0, |_| size_of::<Active>());
        size_of::<Self>() + boxed
    }

    pub(super) fn of_active(&self, read: impl FnOnce(&Active) -> f64) -> f64 {
        self.active.as_deref().map_or(0.0, read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_unix(Duration::from_secs_f64(1_000_000.0 + seconds))
    }

    #[test]
    fn a_window_is_small_and_smaller_at_rest() {
        let mut window = Window::default();
        assert!(window.bytes() <= 256, "{} bytes at rest", window.bytes());
        window.arrived(1, at(0.0));
        assert!(window.bytes() <= 2048, "{} bytes", window.bytes());
        window.rest(at(100.0));
        assert!(!window.is_active());
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut window = Window::default();
        for step in 0..600 {
            window.arrived(1, at(f64::from(step) * 0.1));
        }
        let now = at(60.0);
        assert!((window.rate(60, now) - 10.0).abs() < 0.5);
        assert!((window.rate(5, now) - 10.0).abs() < 1.0);
        assert!(window.rate(5, at(70.0)) < 0.1, "nothing came since");
    }

    #[test]
    fn tasks_on_their_way_count_until_they_arrive_or_are_long_overdue() {
        let mut window = Window::default();
        for task in 0..20 {
            window.expect(1, at(f64::from(task)));
        }
        let all = at(100.0).as_secs_f64();
        assert_eq!(window.expected_within(all), 20);
        window.arrived(5, at(0.0));
        assert_eq!(window.expected_within(all), 15);
        let view = View {
            ready: 1,
            starting: 0,
            busy: 0,
            queued: 0,
            in_flight: 0,
            room: 1,
            slots: 1,
            successor: super::super::Successor::Free,
        };
        window.observe(&view, at(100.0));
        assert_eq!(window.expected_within(all), 0);
    }

    #[test]
    fn concurrency_is_a_mean_over_time() {
        let mut window = Window::default();
        let mut view = View {
            ready: 4,
            starting: 0,
            busy: 4,
            queued: 2,
            in_flight: 4,
            room: 1,
            slots: 1,
            successor: super::super::Successor::Free,
        };
        window.observe(&view, at(0.0));
        window.observe(&view, at(3.0));
        (view.in_flight, view.queued) = (0, 0);
        window.observe(&view, at(3.0));
        window.observe(&view, at(6.0));
        assert!(
            (window.concurrency(6) - 3.0).abs() < 0.6,
            "{}",
            window.concurrency(6)
        );
        assert_eq!(window.idle(at(7.0)), Some(4.0));
    }
}
