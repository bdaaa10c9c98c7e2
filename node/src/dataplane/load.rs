//! What waits for instances of other nodes, as their senders know it. Pure.
//!
//! Who may send to one of several copies asks what waits for each. For copies on other nodes the sender
//! watches them: their node reports what it took for them on this stream and what waits there in all,
//! so that the sender's figure is that, and what is under way beside it. The windows of
//! [`super::credit`] do not tell that much: they open late on purpose, so that receipts are few.

use std::time::{Duration, Instant};

use edgeless_types::{PhysicalId, message::Message};
use rustc_hash::FxHashMap;

/// Targets that one sender watches on one stream.
const WATCHED: usize = 4_096;
/// How long after something came it is reported.
const SOON: Duration = Duration::from_millis(2);
/// The least time between two reports.
const BETWEEN: Duration = Duration::from_millis(1);
/// How long between two looks when nothing changes.
const LATE: Duration = Duration::from_millis(16);

/// The sender's side: the targets that it watches.
#[derive(Debug, Default)]
pub(super) struct Loads {
    watched: FxHashMap<PhysicalId, Load>,
    /// Those of them that their node has not been asked for.
    unasked: Vec<PhysicalId>,
}

/// What is known of one target, by weight since it is watched.
#[derive(Debug, Default)]
struct Load {
    /// What was queued for it.
    pushed: u64,
    /// What its node has taken of that, and what waited there then.
    taken: u64,
    waiting: u64,
}

/// What the node of a target reports of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) target: PhysicalId,
    /// The weight that it took for the target on this stream since it was asked.
    pub(super) taken: u64,
    /// The weight that waits for it or is in its hands, whoever sent it.
    pub(super) waiting: u64,
}

impl Loads {
    /// What waits for a target and is under way to it; none: it is not watched.
    pub(super) fn of(&self, target: PhysicalId) -> Option<usize> {
        let load = self.watched.get(&target)?;
        let sum = load.pushed.saturating_sub(load.taken) + load.waiting;
        Some(usize::try_from(sum).unwrap_or(usize::MAX))
    }

    /// Watches a target for which so much is queued.
    pub(super) fn watch(&mut self, target: PhysicalId, queued: u64) {
        if self.watched.len() >= WATCHED {
            // Whoever is asked for again is watched again.
            self.watched.clear();
            self.unasked.clear();
        }
        let load = Load {
            pushed: queued,
            ..Load::default()
        };
        self.watched.insert(target, load);
        self.unasked.push(target);
    }

    /// A message was queued.
    pub(super) fn pushed(&mut self, message: &Message) {
        if let Some(load) = self.watched.get_mut(&message.target) {
            load.pushed += message.weight() as u64;
        }
    }

    /// Those to be asked for, once; before messages that were queued since.
    pub(super) fn take_unasked(&mut self) -> Vec<PhysicalId> {
        std::mem::take(&mut self.unasked)
    }

    /// Whether somebody is to be asked for.
    pub(super) fn has_unasked(&self) -> bool {
        !self.unasked.is_empty()
    }

    /// A report came.
    pub(super) fn told(&mut self, report: Report) {
        if let Some(load) = self.watched.get_mut(&report.target) {
            (load.taken, load.waiting) = (report.taken, report.waiting);
        }
    }

    /// A new connection, with this queued: all is asked for anew.
    pub(super) fn restart<'a>(&mut self, queued: impl Iterator<Item = &'a Message>) {
        for load in self.watched.values_mut() {
            *load = Load::default();
        }
        for message in queued {
            self.pushed(message);
        }
        self.unasked = self.watched.keys().copied().collect();
    }
}

/// The receiver's side: the targets that the sender asked for.
#[derive(Debug, Default)]
pub(super) struct Watch {
    watched: FxHashMap<PhysicalId, Watched>,
    /// Those of them of which there may be something to report.
    stirred: Vec<PhysicalId>,
    /// When it is looked at again, and how long between two looks.
    due: Option<(Instant, Duration)>,
    /// When something was reported last.
    reported: Option<Instant>,
}

#[derive(Debug, Default)]
struct Watched {
    taken: u64,
    stirred: bool,
    /// What was reported last.
    told: (u64, u64),
}

impl Watch {
    /// The sender asks for these from now on.
    pub(super) fn begin(
        &mut self,
        targets: Vec<PhysicalId>,
        is_gone: impl Fn(PhysicalId) -> bool,
        now: Instant,
    ) {
        if self.watched.len() + targets.len() > WATCHED {
            self.watched.retain(|&target, _| !is_gone(target));
            let watched = &self.watched;
            self.stirred.retain(|target| watched.contains_key(target));
        }
        for target in targets {
            // What waits there already is worth a report.
            let watched = self.watched.entry(target).or_default();
            (watched.taken, watched.told) = (0, (0, 0));
            self.stir(target);
            self.due = Some((now + SOON, SOON));
        }
    }

    fn stir(&mut self, target: PhysicalId) {
        if let Some(watched) = self.watched.get_mut(&target)
            && !std::mem::replace(&mut watched.stirred, true)
        {
            self.stirred.push(target);
        }
    }

    /// Messages were taken.
    pub(super) fn taken(&mut self, messages: &[Message], now: Instant) {
        if self.watched.is_empty() {
            return;
        }
        for message in messages.iter().filter(|it| !it.kind.is_answer()) {
            if let Some(watched) = self.watched.get_mut(&message.target) {
                watched.taken += message.weight() as u64;
                if !std::mem::replace(&mut watched.stirred, true) {
                    self.stirred.push(message.target);
                }
                if self.due.is_none_or(|(_, pause)| pause > SOON) {
                    self.due = Some((now + SOON, SOON));
                }
            }
        }
    }

    /// Some instance has nothing more to do: if it is one of these, that is to be reported soon.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soonest = self.reported.map_or(now, |at| now.max(at + BETWEEN));
        if let Some((at, _)) = &mut self.due {
            *at = soonest.min(*at);
        }
    }

    /// When [`Self::reports`] is to be called.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.map(|(at, _)| at)
    }

    /// What there is to report, if it is time; `waiting` says what waits for a target, and nothing of
    /// one that does not run here.
    pub(super) fn reports(
        &mut self,
        now: Instant,
        waiting: impl Fn(PhysicalId) -> Option<usize>,
    ) -> Vec<Report> {
        let Some((_, pause)) = self.due.filter(|&(at, _)| at <= now) else {
            return Vec::new();
        };
        let mut reports = Vec::new();
        let watched = &mut self.watched;
        self.stirred.retain(|&target| {
            let Some(it) = watched.get_mut(&target) else {
                return false;
            };
            let waits = waiting(target);
            let waiting = waits.unwrap_or_default() as u64;
            if it.told != (it.taken, waiting) {
                it.told = (it.taken, waiting);
                reports.push(Report {
                    target,
                    taken: it.taken,
                    waiting,
                });
            }
            // It is looked at again until nothing waits.
            it.stirred = waiting > 0;
            it.stirred
        });
        let pause = match reports.is_empty() {
            true => (pause * 2).min(LATE),
            false => {
                self.reported = Some(now);
                SOON
            }
        };
        self.due = (!self.stirred.is_empty()).then(|| (now + pause, pause));
        reports
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use edgeless_types::{
        InstanceId, NodeId,
        message::{Envelope, MessageId, MessageKind},
    };
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(target: u8) -> PhysicalId {
        PhysicalId::new(Uuid::from_u128(target.into()))
    }

    fn message(target: u8) -> Message {
        let node_id = NodeId::new(Uuid::from_u128(1));
        let physical_id = id(target);
        Message {
            id: MessageId::default(),
            source: InstanceId {
                node_id,
                physical_id,
            },
            target: physical_id,
            kind: MessageKind::Cast,
            ticket: None,
            envelope: Envelope::default(),
            payload: Bytes::new(),
        }
    }

    #[test]
    fn what_is_handled_far_away_is_known_without_a_receipt() {
        let (mut loads, mut watch) = (Loads::default(), Watch::default());
        let mut now = Instant::now();
        loads.watch(id(1), 0);
        watch.begin(loads.take_unasked(), |_| false, now);
        for _ in 0..100 {
            loads.pushed(&message(1));
            watch.taken(&[message(1)], now);
        }
        assert_eq!(loads.of(id(1)), Some(100));
        assert_eq!(watch.reports(now, |_| Some(0)), [], "not yet");
        now = watch.due().unwrap();
        let reports = watch.reports(now, |_| Some(3));
        assert_eq!(reports.len(), 1);
        loads.told(reports[0]);
        assert_eq!(loads.of(id(1)), Some(3));
        now = watch.due().unwrap();
        for report in watch.reports(now, |_| Some(0)) {
            loads.told(report);
        }
        assert_eq!(loads.of(id(1)), Some(0));
        assert_eq!(watch.due(), None, "nothing is looked at when nothing waits");
    }

    #[test]
    fn whoever_has_nothing_more_to_do_is_reported_at_once_but_not_too_often() {
        let mut watch = Watch::default();
        let mut now = Instant::now();
        watch.begin(vec![id(1)], |_| false, now);
        watch.taken(&[message(1)], now);
        now += LATE;
        assert_eq!(watch.reports(now, |_| Some(1)).len(), 1);
        let soon = now + BETWEEN / 2;
        watch.hurry(soon);
        assert_eq!(watch.due(), Some(now + BETWEEN));
        now += LATE / 4;
        watch.hurry(now);
        assert_eq!(watch.due(), Some(now - LATE / 4 + BETWEEN));
        assert_eq!(watch.reports(now, |_| Some(0))[0].waiting, 0);
        watch.hurry(now);
        assert_eq!(watch.due(), None);
    }

    #[test]
    fn a_long_event_is_looked_at_seldom() {
        let mut watch = Watch::default();
        let start = Instant::now();
        watch.begin(vec![id(1)], |_| false, start);
        watch.taken(&[message(1)], start);
        let (mut looks, mut said) = (0, 0);
        while let Some(due) = watch.due()
            && due < start + Duration::from_secs(1)
        {
            looks += 1;
            said += watch.reports(due, |_| Some(1)).len();
        }
        assert_eq!(said, 1);
        assert!(looks < 75, "{looks}");
    }

    #[test]
    fn those_that_are_gone_make_room_and_are_not_looked_at() {
        let mut watch = Watch::default();
        let now = Instant::now();
        let many = (0..WATCHED as u128).map(|it| PhysicalId::new(Uuid::from_u128(it)));
        watch.begin(many.collect(), |_| false, now);
        watch.begin(vec![PhysicalId::new(Uuid::max())], |_| true, now);
        assert_eq!((watch.watched.len(), watch.stirred.len()), (1, 1));
        assert_eq!(watch.reports(now + SOON, |_| None), []);
        assert_eq!(watch.due(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Watch(u8),
        Push(u8),
        Frame,
        Handle(u8),
        Report,
        Break,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            1 => (0_u8..3).prop_map(Step::Watch),
            6 => (0_u8..3).prop_map(Step::Push),
            4 => Just(Step::Frame),
            4 => (0_u8..3).prop_map(Step::Handle),
            4 => Just(Step::Report),
            1 => Just(Step::Break),
        ]
    }

    proptest! {
        /// Once all is sent and reported, the sender knows what waits; before, it never thinks less is
        /// under way than what it sent since.
        #[test]
        fn the_sender_knows_what_waits(steps in prop::collection::vec(step(), 0..200)) {
            let (mut loads, mut watch) = (Loads::default(), Watch::default());
            let (mut queue, mut inbox) = (Vec::new(), [0_usize; 3]);
            let mut now = Instant::now();
            let finish = [Step::Frame, Step::Report, Step::Report];
            for step in steps.into_iter().chain(finish) {
                match step {
                    Step::Watch(target) if loads.of(id(target)).is_none() => {
                        let queued = queue.iter().filter(|it: &&Message| it.target == id(target));
                        loads.watch(id(target), queued.count() as u64);
                    }
                    Step::Watch(_) => {}
                    Step::Push(target) => {
                        loads.pushed(&message(target));
                        queue.push(message(target));
                    }
                    Step::Frame => {
                        watch.begin(loads.take_unasked(), |_| false, now);
                        watch.taken(&queue, now);
                        for message in queue.drain(..) {
                            inbox[message.target.uuid().as_u128() as usize] += 1;
                        }
                    }
                    Step::Handle(target) => {
                        let at = &mut inbox[usize::from(target)];
                        *at = at.saturating_sub(1);
                    }
                    Step::Report => {
                        now += LATE;
                        let waiting = |it: PhysicalId| Some(inbox[it.uuid().as_u128() as usize]);
                        for report in watch.reports(now, waiting) {
                            loads.told(report);
                        }
                    }
                    Step::Break => {
                        watch = Watch::default();
                        loads.restart(queue.iter());
                    }
                }
                for target in 0..3 {
                    let queued = queue.iter().filter(|it| it.target == id(target)).count();
                    prop_assert!(loads.of(id(target)).is_none_or(|it| it >= queued));
                }
            }
            for target in 0..3 {
                let known = loads.of(id(target));
                prop_assert!(known.is_none_or(|it| it == inbox[usize::from(target)]));
            }
        }
    }
}
