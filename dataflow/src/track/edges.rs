//! Policies, batches, cancellations and deadlines of single messages.

use bytes::Bytes;
use edgeless_types::{
    NodeId,
    message::{Envelope, MessageKind},
};
use uuid::Uuid;

use super::{
    tests::{TIMEOUT, instance},
    *,
};

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
    assert!(
        it.effects.contains(&Effect::GivenUp(Drop::Refused)),
        "that is counted"
    );
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
    assert_eq!(it.said(), ["cancel 4"], "who cancels needs no answer");
    assert!(it.tracker.open.is_empty() && it.tracker.outgoing.is_empty());
    assert!(
        matches!(it.begin(2, Policy::All), OpenKey { .. }),
        "it may come again"
    );
}

#[test]
fn a_batch_of_an_earlier_handling_says_nothing_about_the_next_one() {
    let mut it = Alone::new();
    let first = it.begin(1, Policy::All);
    let second = it.begin(2, Policy::All);
    let batch = it.send(0, [first, second].into_iter().collect());
    it.tracker.handled(second, &mut it.effects);
    it.tracker
        .failed(first, Refusal::passing("not now"), &mut it.effects);
    assert_eq!(it.said(), ["nack 1"]);
    let first = it.begin(1, Policy::All);
    let again = it.send(0, Parents::One(first));
    it.tracker.handled(first, &mut it.effects);
    it.hear(batch, SignalKind::Ack);
    assert_eq!(it.said(), ["ack 2"], "the first one is still at work");
    it.hear(again, SignalKind::Ack);
    assert_eq!(it.said(), ["ack 1"]);
    assert!(it.tracker.open.is_empty() && it.tracker.outgoing.is_empty());
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
    let elsewhere = NodeId::new(Uuid::from_u128(9));
    it.tracker.lost(elsewhere, it.now, &mut it.effects);
    it.tracker.take_due(it.now, &mut it.effects);
    assert_eq!(it.effects, [], "it went elsewhere");
    let there = instance(3).node_id;
    it.tracker.lost(there, it.now, &mut it.effects);
    assert_eq!(it.tracker.next_due(), Some(it.now));
    it.tracker.take_due(it.now, &mut it.effects);
    assert!(matches!(it.effects[..], [Effect::Again(..)]));
}

#[test]
fn who_calls_a_lost_node_is_told_at_once() {
    let mut it = Alone::new();
    let call = message(1, 2, 3);
    let ticket = it.tracker.expect(Expect {
        id: call.id,
        from: instance(2).physical_id,
        need: Need::Answer,
        parents: Parents::None,
        deadline: Some(it.now + TIMEOUT),
        waiter: Some(Box::new(())),
        told: false,
    });
    it.tracker.called(ticket, call.id, instance(3));
    let there = instance(3).node_id;
    it.tracker.lost(there, it.now, &mut it.effects);
    let broke = Outcome::Refused("the connection to its node broke".to_owned());
    assert_eq!(it.effects, [Effect::Ended(Box::new(()), broke)]);
    assert!(it.tracker.answered(ticket, call.id).is_none());
}
