//! Whole histories of a graph whose network loses, repeats and reorders, and whose operators fail and
//! restart.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use edgeless_types::{
    NodeId,
    message::{Envelope, MessageKind},
};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::names::derived;

/// Operators: 0 is the source; 1 sends to 2 and 3, both to 4, the sink.
const LEADS_TO: [&[usize]; 5] = [&[1], &[2, 3], &[4], &[4], &[]];
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Debug)]
enum Happening {
    /// The source sends one more.
    Send,
    /// Something that is under way arrives.
    Arrive(usize),
    /// It arrives, and its handling fails.
    Fail(usize),
    /// It is lost.
    Lose(usize),
    /// It is there twice.
    Repeat(usize),
    /// An operator is gone at once, and another takes its place.
    Restart(usize),
    /// Time passes.
    Pass(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    let any = 0..1_000_usize;
    prop_oneof![
        4 => Just(Happening::Send),
        12 => any.clone().prop_map(Happening::Arrive),
        1 => any.clone().prop_map(Happening::Fail),
        1 => any.clone().prop_map(Happening::Lose),
        1 => any.prop_map(Happening::Repeat),
        1 => (1..5_usize).prop_map(Happening::Restart),
        1 => (0..20_000_u64).prop_map(Happening::Pass),
    ]
}

impl Waits for () {
    fn is_gone(&self) -> bool {
        false
    }

    fn went(&mut self, _: Option<InstanceId>) {}

    fn share(&self) -> Option<Self> {
        Some(())
    }
}

enum UnderWay {
    Message(Message),
    Signal(Signal),
}

/// One operator with a tracker of its own, as if each had a shard.
struct Place {
    tracker: Tracker<()>,
    me: InstanceId,
}

struct World {
    places: Vec<Place>,
    under_way: Vec<UnderWay>,
    now: Timestamp,
    instances: u128,
    sequence: u64,
    /// Messages of the source, by id, and what they carry.
    roots: BTreeMap<MessageId, u64>,
    acknowledged: BTreeSet<u64>,
    given_up: usize,
    reached: BTreeMap<u64, BTreeSet<MessageId>>,
}

pub(super) fn instance(number: u128) -> InstanceId {
    InstanceId {
        node_id: NodeId::new(Uuid::nil()),
        physical_id: PhysicalId::new(Uuid::from_u128(number)),
    }
}

impl World {
    fn new() -> Self {
        let place = |number| Place {
            tracker: Tracker::default(),
            me: instance(number),
        };
        Self {
            places: (1..=5).map(place).collect(),
            under_way: Vec::new(),
            now: Timestamp::from_nanos(1),
            instances: 5,
            sequence: 0,
            roots: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            given_up: 0,
            reached: BTreeMap::new(),
        }
    }

    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Send => {
                self.sequence += 1;
                let id = MessageId {
                    origin: 0,
                    sequence: self.sequence,
                };
                self.roots.insert(id, self.sequence);
                let payload = Bytes::copy_from_slice(&self.sequence.to_be_bytes());
                self.send(0, id, None, 1, payload);
            }
            Happening::Arrive(which) => self.arrive(which, false),
            Happening::Fail(which) => self.arrive(which, true),
            Happening::Lose(which) => drop(self.take(which)),
            Happening::Repeat(which) => {
                if let Some(UnderWay::Message(message)) = self.take(which) {
                    self.under_way.push(UnderWay::Message(message.clone()));
                    self.under_way.push(UnderWay::Message(message));
                }
            }
            Happening::Restart(index) => self.restart(index),
            Happening::Pass(millis) => self.pass(Duration::from_millis(millis)),
        }
    }

    fn take(&mut self, which: usize) -> Option<UnderWay> {
        let number = self.under_way.len();
        (number > 0).then(|| self.under_way.swap_remove(which % number))
    }

    fn send(
        &mut self,
        from: usize,
        id: MessageId,
        parent: Option<OpenKey>,
        to: usize,
        payload: Bytes,
    ) {
        let (source, target) = (self.places[from].me, self.places[to].me.physical_id);
        let message = Message {
            id,
            source,
            target,
            kind: MessageKind::Cast,
            ticket: self.places[from].tracker.expect(Expect {
                id,
                from: source.physical_id,
                need: Need::Ack(to),
                parents: parent.into(),
                deadline: None,
                waiter: None,
                told: false,
            }),
            envelope: Envelope::default(),
            payload,
        };
        let due = self.now + TIMEOUT;
        let receiver = self.places[to].me;
        self.places[from]
            .tracker
            .sent(message.clone(), receiver, due);
        self.under_way.push(UnderWay::Message(message));
    }

    fn find(&self, me: PhysicalId) -> Option<usize> {
        self.places.iter().position(|it| it.me.physical_id == me)
    }

    fn arrive(&mut self, which: usize, fail: bool) {
        match self.take(which) {
            None => {}
            Some(UnderWay::Signal(signal)) => self.arrive_signal(signal),
            Some(UnderWay::Message(message)) => self.arrive_message(&message, fail),
        }
    }

    fn arrive_signal(&mut self, signal: Signal) {
        let Some(index) = self.find(signal.to.physical_id) else {
            return;
        };
        let mut effects = Vec::new();
        if index == 0
            && signal.kind == SignalKind::Ack
            && let Some(root) = self.roots.get(&signal.id)
            && self.places[0]
                .tracker
                .outgoing_mut(Some(signal.ticket), signal.id)
                .is_some()
        {
            assert!(self.acknowledged.insert(*root), "acknowledged twice");
        }
        let tracker = &mut self.places[index].tracker;
        tracker.on_signal(signal, self.now, &mut effects);
        self.carry_out(effects);
    }

    fn arrive_message(&mut self, message: &Message, fail: bool) {
        // Whoever is gone says nothing.
        let Some(index) = self.find(message.target) else {
            return;
        };
        let mut effects = Vec::new();
        let ticket = message.ticket.unwrap();
        match self.places[index]
            .tracker
            .begin(message, ticket, Policy::All)
        {
            Begin::Busy => {}
            Begin::Done => effects.push(Effect::Signal(Signal {
                id: message.id,
                ticket,
                to: message.source,
                kind: SignalKind::Ack,
            })),
            Begin::New(key) if fail => {
                let tracker = &mut self.places[index].tracker;
                tracker.failed(key, Refusal::passing("it was to fail"), &mut effects);
            }
            Begin::New(key) => {
                for &to in LEADS_TO[index] {
                    let id = self.places[index]
                        .tracker
                        .derive(&Parents::One(key))
                        .unwrap();
                    self.send(index, id, Some(key), to, message.payload.clone());
                }
                if LEADS_TO[index].is_empty() {
                    let root = u64::from_be_bytes(message.payload[..].try_into().unwrap());
                    self.reached.entry(root).or_default().insert(message.id);
                }
                let tracker = &mut self.places[index].tracker;
                tracker.handled(key, &mut effects);
            }
        }
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect<()>>) {
        for effect in effects {
            match effect {
                Effect::Signal(signal) => self.under_way.push(UnderWay::Signal(signal)),
                Effect::Again(from, to, mut message) => {
                    let Some(index) = self.find(from) else {
                        continue;
                    };
                    let receiver = self.places[to].me;
                    message.target = receiver.physical_id;
                    let due = self.now + TIMEOUT;
                    let copy = message.as_ref().clone();
                    self.places[index].tracker.sent(copy, receiver, due);
                    self.under_way.push(UnderWay::Message(*message));
                }
                Effect::GivenUp(_) => self.given_up += 1,
                Effect::Settled(..)
                | Effect::Ended(..)
                | Effect::Acknowledged(..)
                | Effect::Withdraw(..)
                | Effect::Refused(..) => {}
            }
        }
    }

    fn restart(&mut self, index: usize) {
        self.instances += 1;
        self.places[index] = Place {
            tracker: Tracker::default(),
            me: instance(self.instances),
        };
        let now = self.now;
        let there: Vec<_> = self.places.iter().map(|it| it.me.physical_id).collect();
        for place in &mut self.places {
            let me = place.me.physical_id;
            let leads_to = |to: usize, target| there[to] == target;
            place.tracker.rerouted(me, leads_to, now);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        let mut effects = Vec::new();
        for place in &mut self.places {
            place.tracker.take_due(self.now, &mut effects);
        }
        self.carry_out(effects);
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            while !self.under_way.is_empty() {
                self.arrive(0, false);
            }
            self.pass(TIMEOUT * 2);
        }
    }
}

proptest! {
    #[test]
    fn whatever_is_acknowledged_reached_the_end_and_nothing_stays_outstanding(
        happenings in prop::collection::vec(happening(), 0..300)
    ) {
        let mut world = World::new();
        for happening in &happenings {
            world.happen(happening);
        }
        world.settle();
        for (index, place) in world.places.iter().enumerate() {
            prop_assert!(place.tracker.outgoing.is_empty(), "outstanding at {index}");
            prop_assert!(place.tracker.open.is_empty(), "open at {index}");
        }
        prop_assert_eq!(world.acknowledged.len() + world.given_up, world.roots.len());
        for root in &world.acknowledged {
            // Over both ways, however often each was handled.
            let ids = world.reached.get(root).map_or(0, BTreeSet::len);
            prop_assert_eq!(ids, 2, "message {}", root);
        }
    }
}

#[test]
fn derived_ids_are_the_same_each_time_and_differ() {
    let parent = MessageId {
        origin: 1,
        sequence: 2,
    };
    let ids: BTreeSet<_> = (0..10_000).map(|number| derived(parent, number)).collect();
    assert_eq!(ids.len(), 10_000);
    assert!(ids.contains(&derived(parent, 5)));
}
