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
const TIMEOUT: Duration = Duration::from_secs(15);

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

fn instance(number: u128) -> InstanceId {
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
                Effect::GivenUp => self.given_up += 1,
                Effect::Settled(..)
                | Effect::Ended(..)
                | Effect::Acknowledged(..)
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

/// One message of an operator that leads to others, with its tracker.
struct Alone {
    tracker: Tracker<()>,
    effects: Vec<Effect<()>>,
    now: Timestamp,
}

impl Alone {
    fn new() -> Self {
        Self {
            tracker: Tracker::default(),
            effects: Vec::new(),
            now: Timestamp::from_nanos(1),
        }
    }

    fn begin(&mut self, sequence: u64, policy: Policy) -> OpenKey {
        let message = message(sequence, 1, 2);
        let ticket = Ticket::new(u32::try_from(sequence).unwrap()).unwrap();
        match self.tracker.begin(&message, ticket, policy) {
            Begin::New(key) => key,
            other => panic!("{other:?}"),
        }
    }

    /// Sends what comes of messages on a tracked channel, to the instance of the number after it.
    fn send(&mut self, channel: usize, parents: Parents) -> (Option<Ticket>, MessageId) {
        let id = self.tracker.derive(&parents).unwrap();
        self.send_as(id, channel, parents, None)
    }

    fn send_as(
        &mut self,
        id: MessageId,
        channel: usize,
        parents: Parents,
        deadline: Option<Timestamp>,
    ) -> (Option<Ticket>, MessageId) {
        let to = instance(channel as u128 + 3);
        let ticket = self.tracker.expect(Expect {
            id,
            from: instance(2).physical_id,
            need: Need::Ack(channel),
            parents,
            deadline,
            waiter: None,
            told: false,
        });
        let mut message = message(id.sequence, 2, channel as u128 + 3);
        (message.id, message.ticket) = (id, ticket);
        self.tracker.sent(message, to, self.now + TIMEOUT);
        (ticket, id)
    }

    fn hear(&mut self, of: (Option<Ticket>, MessageId), kind: SignalKind) {
        let signal = Signal {
            id: of.1,
            ticket: of.0.unwrap(),
            to: instance(2),
            kind,
        };
        self.tracker.on_signal(signal, self.now, &mut self.effects);
    }

    /// What was said since the last time, as `ack 1`, `nack 1` or `cancel 2`, with the sequence of the
    /// message or the number of the instance that is told.
    fn said(&mut self) -> Vec<String> {
        let effects = self.effects.drain(..);
        let said = effects.filter_map(|effect| match effect {
            Effect::Signal(signal) => Some(match signal.kind {
                SignalKind::Ack => format!("ack {}", signal.id.sequence),
                SignalKind::Nack(_) => format!("nack {}", signal.id.sequence),
                SignalKind::Cancel => {
                    format!("cancel {}", signal.to.physical_id.uuid().as_u128())
                }
            }),
            _ => None,
        });
        said.collect()
    }
}

fn message(sequence: u64, from: u128, to: u128) -> Message {
    Message {
        id: MessageId {
            origin: 0,
            sequence,
        },
        source: instance(from),
        target: instance(to).physical_id,
        kind: MessageKind::Cast,
        ticket: None,
        envelope: Envelope::default(),
        payload: Bytes::new(),
    }
}

fn refusal() -> SignalKind {
    SignalKind::Nack(Box::new(Refusal::permanent("no")))
}

#[test]
fn any_is_content_with_one_and_cancels_the_others() {
    let mut it = Alone::new();
    let parent = it.begin(1, Policy::Any);
    let children = [0, 1, 2].map(|channel| it.send(channel, Parents::One(parent)));
    it.tracker.handled(parent, &mut it.effects);
    it.hear(children[0], refusal());
    assert_eq!(it.said(), [""; 0], "others may come to their end");
    it.hear(children[2], SignalKind::Ack);
    assert_eq!(it.said(), ["cancel 4", "ack 1"]);
    assert!(it.tracker.outgoing.is_empty());

    let parent = it.begin(2, Policy::Any);
    let children = [0, 1].map(|channel| it.send(channel, Parents::One(parent)));
    it.hear(children[0], refusal());
    it.hear(children[1], refusal());
    assert_eq!(it.said(), [""; 0], "more may come of it");
    it.tracker.handled(parent, &mut it.effects);
    assert_eq!(it.said(), ["nack 2"]);
}

#[test]
fn primary_waits_for_the_first_channel_only() {
    let mut it = Alone::new();
    let parent = it.begin(1, Policy::Primary);
    let children = [0, 1].map(|channel| it.send(channel, Parents::One(parent)));
    it.tracker.handled(parent, &mut it.effects);
    it.hear(children[0], SignalKind::Ack);
    assert_eq!(it.said(), ["ack 1"]);
    assert_eq!(it.tracker.outgoing.len(), 1, "the other goes on");
    it.hear(children[1], refusal());
    assert_eq!(it.said(), [""; 0]);
    assert!(it.tracker.outgoing.is_empty());

    let parent = it.begin(2, Policy::Primary);
    let child = it.send(0, Parents::One(parent));
    it.hear(child, refusal());
    assert_eq!(it.said(), ["nack 2"]);
}

#[test]
fn a_batch_speaks_for_all_it_came_of_and_a_split_needs_all_its_parts() {
    let mut it = Alone::new();
    let parents: Vec<_> = (1..=3).map(|it_is| it.begin(it_is, Policy::All)).collect();
    let batches = [
        it.send(0, parents.iter().copied().collect()),
        it.send(0, parents[..2].iter().copied().collect()),
    ];
    assert_ne!(batches[0].1, batches[1].1);
    for &parent in &parents {
        it.tracker.handled(parent, &mut it.effects);
    }
    it.hear(batches[0], SignalKind::Ack);
    assert_eq!(
        it.said(),
        ["ack 3"],
        "the others are in the second batch too"
    );
    it.hear(batches[1], refusal());
    assert_eq!(it.said(), ["nack 1", "nack 2"]);
    assert!(it.tracker.outgoing.is_empty() && it.tracker.open.is_empty());
    // The same again has the same name.
    let parents: Parents = (1..=2).map(|it_is| it.begin(it_is, Policy::All)).collect();
    let (first, second) = (it.send(0, parents.clone()), it.send(0, parents));
    assert_eq!(
        (first.1 == batches[0].1, second.1 == batches[1].1),
        (false, true)
    );
}

#[test]
fn who_fails_or_is_cancelled_cancels_what_came_of_it() {
    let mut it = Alone::new();
    let parent = it.begin(1, Policy::All);
    let both: Parents = [parent, it.begin(2, Policy::All)].into_iter().collect();
    it.send(0, Parents::One(parent));
    it.send(1, both);
    it.tracker
        .failed(parent, Refusal::permanent("no"), &mut it.effects);
    assert_eq!(
        it.said(),
        ["cancel 3", "nack 1"],
        "the other has one who waits"
    );
    let id = message(2, 1, 2).id;
    it.tracker
        .cancelled(instance(2).physical_id, id, &mut it.effects);
    assert_eq!(it.said(), [""; 0], "who cancels needs no answer");
    assert!(it.tracker.open.is_empty());
    assert!(
        matches!(it.begin(2, Policy::All), OpenKey { .. }),
        "it may come again"
    );
}

#[test]
fn a_refusal_may_say_when_to_come_again_and_a_deadline_ends_all() {
    let mut it = Alone::new();
    let parent = it.begin(1, Policy::All);
    let deadline = it.now + Duration::from_secs(20);
    let id = it.tracker.derive(&Parents::One(parent)).unwrap();
    let child = it.send_as(id, 0, Parents::One(parent), Some(deadline));
    it.tracker.handled(parent, &mut it.effects);
    let later = Refusal {
        retry_after: Some(Duration::from_secs(3)),
        ..Refusal::passing("busy")
    };
    it.hear(child, SignalKind::Nack(Box::new(later)));
    it.tracker
        .take_due(it.now + Duration::from_secs(2), &mut it.effects);
    assert_eq!(it.effects, []);
    it.now = it.now + Duration::from_secs(3);
    it.tracker.take_due(it.now, &mut it.effects);
    let Some(Effect::Again(_, 0, again)) = it.effects.pop() else {
        panic!("{:?}", it.effects);
    };
    it.tracker.sent(*again, instance(3), it.now + TIMEOUT * 9);
    it.tracker.take_due(deadline, &mut it.effects);
    assert_eq!(it.said(), ["cancel 3", "nack 1"]);
}

#[test]
fn what_went_to_a_lost_node_is_due_at_once() {
    let mut it = Alone::new();
    let parent = it.begin(1, Policy::All);
    it.send(0, Parents::One(parent));
    it.tracker.lost(NodeId::new(Uuid::from_u128(9)), it.now);
    it.tracker.take_due(it.now, &mut it.effects);
    assert_eq!(it.effects, [], "it went elsewhere");
    it.tracker.lost(instance(3).node_id, it.now);
    assert_eq!(it.tracker.next_due(), Some(it.now));
    it.tracker.take_due(it.now, &mut it.effects);
    assert!(matches!(it.effects[..], [Effect::Again(..)]));
}
