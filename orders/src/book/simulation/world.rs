//! The world of the simulation: a book, its disk, lines that lead to services, and what is to come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use edgeless_types::{OrderId, Timestamp};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::{
    disk::{Disk, Found},
    services::{SERVICES, spec},
};
use crate::{
    book::{Ask, Book, Effect, Event, LineId, Output, Settings, Ticket},
    record::{EndCode, What},
    service::ServiceSpec,
};

/// Something that is to come.
pub(super) enum Coming {
    /// To the book.
    Event(Event),
    /// The disk has kept records.
    Synced,
    /// The store takes records.
    Apply,
    /// The store reads an order.
    Read(OrderId),
    /// The store looks up a key.
    Find(Arc<str>, String),
    /// Somebody is behind a service.
    Open(Arc<str>),
    /// A client was told to wait so long: it may send now.
    Admitted(Arc<str>),
    /// Everything ends, and begins again.
    Crash,
    /// Somebody does something.
    Act,
}

/// What somebody has asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Submit {
        id: OrderId,
        client: Arc<str>,
        key: Option<(String, [u8; 32])>,
    },
    Look(OrderId),
    Wait(OrderId),
    Cancel(OrderId),
    Retry {
        id: OrderId,
        new: OrderId,
    },
    Pause(OrderId),
}

/// Everything.
pub(super) struct World {
    pub(super) book: Book,
    pub(super) disk: Disk,
    pub(super) rng: SmallRng,
    pub(super) seed: u64,
    pub(super) now: Timestamp,
    /// Things go wrong.
    pub(super) faults: bool,
    /// How much is still done by chance.
    pub(super) acts: u32,
    /// How often it has begun.
    pub(super) life: u32,
    coming: BTreeMap<(Timestamp, u64), Coming>,
    count: u64,
    pub(super) asks: u64,
    pub(super) open: BTreeMap<Ask, Asked>,
    /// Orders whose acceptance was answered.
    pub(super) accepted: BTreeSet<OrderId>,
    /// Ends that were told.
    pub(super) ends: BTreeMap<OrderId, (EndCode, String)>,
    pub(super) lines: BTreeMap<LineId, Arc<str>>,
    /// Lines without copies behind them.
    pub(super) asleep: BTreeSet<LineId>,
    pub(super) opened: u32,
    pub(super) specs: BTreeMap<Arc<str>, Option<Arc<ServiceSpec>>>,
    pub(super) paused: BTreeSet<Arc<str>>,
    /// Attempts that reached a service: life, order, position, number.
    pub(super) attempts: BTreeSet<(u32, OrderId, u32, u32)>,
    /// Clients that wait until they may send, and those that may now.
    pub(super) held: BTreeMap<Arc<str>, bool>,
    /// Orders that were ended when they were accepted; their record of the end follows.
    untold: BTreeSet<OrderId>,
    /// Orders that were ended or held up, or a task of theirs, by what happens now: it may have been handed out before.
    pub(super) stopped: BTreeSet<OrderId>,
    /// In which order tasks were handed out.
    pub(super) handed: Vec<(OrderId, Ticket)>,
    /// Tasks that are wanted no more.
    withdrawn: BTreeSet<Ticket>,
    /// Orders with which it began.
    pub(super) restored: u64,
    /// The book does not have all of it yet.
    beginning: bool,
    /// Everything is told.
    loud: bool,
    resident_bytes: usize,
}

impl World {
    pub(super) fn new(seed: u64, loud: bool) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        let resident_bytes = [0, 4_000, 64 << 20][rng.random_range(0..3)];
        let specs = SERVICES.map(|name| (name.into(), Some(spec(name))));
        let mut world = Self {
            book: Book::new(Settings::default(), 1, SmallRng::seed_from_u64(0)),
            disk: Disk::default(),
            acts: rng.random_range(20..80),
            rng,
            seed,
            now: Timestamp::from_unix(Duration::from_secs(1_000_000)),
            faults: true,
            life: 0,
            coming: BTreeMap::new(),
            count: 0,
            asks: 0,
            open: BTreeMap::new(),
            accepted: BTreeSet::new(),
            ends: BTreeMap::new(),
            lines: BTreeMap::new(),
            asleep: BTreeSet::new(),
            opened: 0,
            specs: specs.into(),
            paused: BTreeSet::new(),
            attempts: BTreeSet::new(),
            held: BTreeMap::new(),
            untold: BTreeSet::new(),
            stopped: BTreeSet::new(),
            handed: Vec::new(),
            withdrawn: BTreeSet::new(),
            restored: 0,
            beginning: true,
            loud,
            resident_bytes,
        };
        world.begin();
        world.come(Duration::ZERO, Coming::Act);
        world
    }

    pub(super) fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            eprintln!("{:.6} {}", self.now.as_secs_f64() - 1_000_000.0, what());
        }
    }

    pub(super) fn come(&mut self, after: Duration, what: Coming) {
        self.count += 1;
        self.coming.insert((self.now + after, self.count), what);
    }

    pub(super) fn millis(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.rng.random_range(0..=most * 1000))
    }

    pub(super) fn chance(&mut self, percent: u32) -> bool {
        self.rng.random_range(0..100) < percent
    }

    /// A book that begins with what was kept.
    fn begin(&mut self) {
        self.life += 1;
        self.beginning = true;
        let settings = Settings {
            resident_bytes: self.resident_bytes,
            ..Settings::default()
        };
        let rng = SmallRng::seed_from_u64(self.rng.random());
        self.book = Book::new(settings, self.disk.log.len() as u64 + 1, rng);
        self.book.watched = self.chance(70);
        // What follows from an end for the order above may be a record of its own.
        self.book.together *= usize::from(self.chance(50));
        for (name, contract) in super::acts::contracts() {
            let (name, contract) = (Arc::clone(name), Some(Arc::clone(contract)));
            self.event(Event::Client { name, contract });
        }
        for (name, spec) in self.specs.clone() {
            self.event(Event::Service { name, spec });
        }
        self.restored = 0;
        self.withdrawn.clear();
        let active: Vec<_> = self.disk.active().collect();
        for body in active {
            self.restored += 1;
            let out = self.book.restore(body, self.now);
            self.take(out);
        }
        for (parent, position, child) in self.book.orphans() {
            let body = self.disk.read(child).expect("the store has every order");
            let out = self.book.adopt(parent, position, &body, self.now);
            self.take(out);
        }
        let out = self.book.resume(self.now);
        self.beginning = false;
        self.take(out);
        for name in SERVICES {
            let after = self.millis(200);
            self.come(after, Coming::Open(name.into()));
        }
    }

    pub(super) fn crash(&mut self) {
        self.say(|| "crash".to_owned());
        self.disk.crash(&mut self.rng);
        self.coming.retain(|_, what| matches!(what, Coming::Act));
        self.open.clear();
        self.lines.clear();
        self.paused.clear();
        self.held.clear();
        self.untold.clear();
        let longest = [10, 30_000][self.rng.random_range(0..2)];
        self.now = self.now + self.millis(longest);
        self.begin();
    }

    /// The next thing happens; false: nothing is to come.
    pub(super) fn step(&mut self) -> bool {
        let next = self.coming.first_key_value().map(|((at, _), _)| *at);
        let due = self.book.next_due();
        let is_due = match (next, due) {
            (None, None) => return false,
            (Some(next), Some(due)) => due <= next.max(self.now),
            (next, _) => next.is_none(),
        };
        // The shell may be late.
        let late = next.is_some() && self.faults && self.rng.random_range(0..100) < 30;
        if let (Some(due), true, false) = (due, is_due, late) {
            self.now = self.now.max(due);
            self.event(Event::Tick);
        } else if let Some(((at, _), what)) = self.coming.pop_first() {
            self.now = self.now.max(at);
            self.follow(what);
        }
        true
    }

    fn follow(&mut self, what: Coming) {
        match what {
            Coming::Event(event) => self.event(event),
            Coming::Synced => {
                let through = self.disk.syncing.take().expect("a sync was begun");
                self.disk.keep(through);
                self.event(Event::Durable { through });
                let after = self.millis(50);
                self.come(after, Coming::Apply);
                self.sync();
            }
            Coming::Apply => {
                let through = match self.faults {
                    true => self.rng.random_range(self.disk.applied..=self.disk.durable),
                    false => self.disk.durable,
                };
                self.disk.apply(through);
                let after = self.millis(2);
                self.come(after, Coming::Event(Event::Applied { through }));
                if through < self.disk.durable {
                    self.come(Duration::from_millis(50), Coming::Apply);
                }
            }
            Coming::Read(id) => {
                let body = self.disk.read(id);
                self.event(Event::Loaded { id, body });
            }
            Coming::Find(client, key) => {
                let found = self.disk.find(&client, &key);
                self.event(Event::Found { client, key, found });
            }
            Coming::Open(service) => self.wake(service),
            Coming::Admitted(client) => {
                self.held.insert(Arc::clone(&client), true);
                self.submit(Some(&client));
            }
            Coming::Crash => self.crash(),
            Coming::Act => self.act(),
        }
    }

    /// What waits to be kept is being kept.
    fn sync(&mut self) {
        let last = self.disk.log.len() as u64;
        if self.disk.syncing.is_none() && last > self.disk.durable {
            self.disk.syncing = Some(last);
            let after = self.millis(10);
            self.come(after, Coming::Synced);
        }
    }

    pub(super) fn event(&mut self, event: Event) {
        self.say(|| format!("> {event:?}"));
        let out = self.book.on_event(event, self.now);
        self.take(out);
    }

    pub(super) fn take(&mut self, out: Output) {
        self.stopped.clear();
        self.crash_between(&out);
        for (record, told) in out.records {
            for change in &record.changes {
                let stops = match &change.what {
                    Some(What::Ended(_) | What::Paused(_)) => true,
                    Some(What::Missed(missed)) => missed.again == 0,
                    _ => false,
                };
                if stops {
                    self.stopped.insert(change.id());
                }
            }
            self.say(|| format!("  # {} {record:?}", self.disk.log.len() + 1));
            self.check_limits(&record);
            let is_new = record
                .changes
                .iter()
                .any(|change| matches!(change.what, Some(What::Accepted(_))));
            let mut ended = self.disk.write(record);
            let told_ids: BTreeSet<OrderId> = told.ended.iter().map(|it| it.id).collect();
            if is_new {
                ended.retain(|id| told_ids.contains(id) || !self.untold.insert(*id));
            }
            for told in told.ended {
                let id = told.id;
                let known = ended.remove(&id) || self.untold.remove(&id);
                assert!(known, "a record is said to end {id}, and does not");
                assert_eq!(self.disk.all[&id].ended(), Some(told));
            }
            assert!(ended.is_empty(), "ended, and nobody is told: {ended:?}");
        }
        assert!(self.untold.is_empty(), "ended, and nobody is told");
        for effect in out.effects {
            self.say(|| format!("  - {effect:?}"));
            self.effect(effect);
        }
        self.sync();
        if !self.beginning && self.count.is_multiple_of(8) {
            self.book.check(&self.disk.all);
            for (_, flight) in &self.book.flights {
                let is_withdrawn = self.withdrawn.contains(&flight.ticket);
                assert_eq!(flight.entry.is_none(), is_withdrawn, "{flight:?}");
            }
            let figures = self.book.figures(self.now);
            let came = self.restored + figures.accepted;
            assert_eq!(came, figures.ended + figures.active_orders, "came and went");
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Hand { line, handout } => self.hand(line, &handout),
            Effect::Withdraw { line, ticket } => {
                assert!(
                    self.withdrawn.insert(ticket),
                    "{ticket:?} is withdrawn twice"
                );
                assert!(self.book.lines.contains_key(&line), "{line:?} is lost");
            }
            Effect::Answer { ask, answer } => {
                let asked = self.open.remove(&ask);
                let asked =
                    asked.unwrap_or_else(|| panic!("{ask:?} is answered twice: {answer:?}"));
                self.check_answer(asked, answer);
            }
            Effect::Load { id } => {
                let after = self.millis(30);
                let what = match self.chance(50) {
                    true => Coming::Read(id),
                    false => {
                        let body = self.disk.read(id);
                        Coming::Event(Event::Loaded { id, body })
                    }
                };
                self.come(after, what);
            }
            Effect::Find { client, key } => {
                let after = self.millis(30);
                let what = match self.chance(50) {
                    true => Coming::Find(client, key),
                    false => {
                        let found: Found = self.disk.find(&client, &key);
                        Coming::Event(Event::Found { client, key, found })
                    }
                };
                self.come(after, what);
            }
            Effect::Changed(body) => self.check_told(&body),
            Effect::Deliver(body) => self.deliver(&body),
            Effect::Wanted { service } => self.want(service),
        }
    }
}
