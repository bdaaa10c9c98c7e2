//! What comes of a message, and until when it is of use.

use std::{
    sync::{Arc, Mutex, atomic::Ordering::SeqCst},
    time::Duration,
};

use edgeless_dataflow::{Action, Answer, CallRef, Delivery, Drop, Engine, Port, Progress};
use edgeless_types::{
    Timestamp,
    message::{Message, MessageKind},
};

use crate::{
    common::{Door, does, does_tracked, engine, id, relay, until},
    listener::{pass, sent},
    made::{ANY, Made, make},
};

/// The time-out of a call that is not reached.
const LONG: Duration = Duration::from_mins(1);

/// The kind and the deadline of a message.
type Seen = (MessageKind, Option<Timestamp>);

/// What came to an operator.
#[derive(Clone, Default)]
struct Came(Arc<Mutex<Vec<Seen>>>);

impl Came {
    fn note(&self, message: &Message) {
        let noted = (message.kind, message.envelope.deadline);
        self.0.lock().unwrap().push(noted);
    }

    async fn one(&self) -> Seen {
        until("it comes", || !self.0.lock().unwrap().is_empty()).await;
        self.0.lock().unwrap().remove(0)
    }
}

/// An operator that notes what comes, and answers calls.
async fn notes(engine: &Engine, number: u128) -> Came {
    let came = Came::default();
    let noted = came.clone();
    does(engine, number, &[], move |message, _, out| {
        noted.note(&message);
        if let Some(call) = CallRef::of_call(&message) {
            out.answer(call, Answer::NoReply);
        }
        Progress::Done
    })
    .await;
    came
}

/// With a deadline for all that it sends.
fn of_use_for(deadline: Duration) -> Delivery {
    Delivery {
        deadline: Some(deadline),
        ..Delivery::default()
    }
}

#[tokio::test]
async fn casts_outlive_the_time_out_of_the_call_in_whose_handling_they_were_sent() {
    for (shards, tracked) in [(1, &[][..]), (2, &[]), (1, &["out"]), (2, &["out"])] {
        let engine = engine(shards, 16);
        let door = Door::default();
        let for_slow = door.clone();
        let came = Came::default();
        let noted = came.clone();
        does(&engine, 3, &[], move |message, task, _| {
            noted.note(&message);
            for_slow.pass(task)
        })
        .await;
        let out = [("out", vec![id(3)])];
        does_tracked(&engine, 2, &out, tracked, |message, _, out| {
            let call = CallRef::of(&message);
            out.cast("out", message.payload.clone());
            out.answer(call, Answer::Reply(message.payload));
            Progress::Done
        })
        .await;
        let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
        let timeout = Duration::from_millis(500);
        for _ in 0..5 {
            let answer = port.call("out", sent("1"), timeout).await;
            assert_eq!(answer, Ok(Some(sent("1"))));
        }
        let over = engine.now() + timeout;
        until("the time-out is over", || engine.now() > over).await;
        door.open();
        let late = engine.counters().of(Drop::Deadline);
        let number = || came.0.lock().unwrap().len() as u64 + late.load(SeqCst);
        until("all are handled or dropped", || number() == 5).await;
        assert_eq!(late.load(SeqCst), 0);
    }
}

#[tokio::test]
async fn a_call_in_the_handling_of_a_call_is_waited_for_no_longer_than_that() {
    let engine = engine(2, 16);
    let came = notes(&engine, 3).await;
    let asked = Came::default();
    let noted = asked.clone();
    let mut made = Made::new();
    let calls = Arc::new(Mutex::new(None));
    let answers = Arc::clone(&calls);
    made.message = Box::new(move |message, _, out| {
        noted.note(&message);
        *calls.lock().unwrap() = CallRef::of_call(&message);
        out.push(Action::Call(Port::channel("out"), message.payload, 1));
        Progress::Busy
    });
    made.answer = Box::new(move |answer, out| {
        out.answer(answers.lock().unwrap().take().unwrap(), answer);
        Progress::Done
    });
    made.poll = Box::new(|_| Progress::Busy);
    make(&engine, 2, &[("out", &[3], ANY)], Delivery::default(), made).await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    // The engine's own time-out of five seconds is longer than the first and shorter than the second.
    for (timeout, bound) in [(Duration::from_secs(2), true), (LONG, false)] {
        assert_eq!(port.call("out", sent("1"), timeout).await, Ok(None));
        let (above, below) = (asked.one().await.1, came.one().await.1);
        assert_eq!(above == below, bound, "{above:?} {below:?}");
        assert!(below.unwrap() <= above.unwrap());
    }
}

#[tokio::test]
async fn what_comes_of_what_is_of_use_for_some_time_is_so_no_longer_also_beyond_calls() {
    let engine = engine(2, 16);
    let last = notes(&engine, 4).await;
    let middle = Came::default();
    let noted = middle.clone();
    let out = [("out", vec![id(4)])];
    does(&engine, 3, &out, move |message, _, out| {
        noted.note(&message);
        out.cast("out", sent("2"));
        out.answer(CallRef::of(&message), Answer::NoReply);
        Progress::Done
    })
    .await;
    let first = Came::default();
    let noted = first.clone();
    let mut made = Made::new();
    made.message = Box::new(move |message, _, out| {
        noted.note(&message);
        out.push(Action::Call(Port::channel("out"), message.payload, 1));
        Progress::Busy
    });
    made.poll = Box::new(|_| Progress::Busy);
    make(&engine, 2, &[("out", &[3], ANY)], Delivery::default(), made).await;
    let out = [("out", &[2][..], ANY)];
    let port = make(&engine, 1, &out, of_use_for(LONG), Made::new()).await;
    port.cast("out", sent("1")).await.unwrap();
    let (kind, of_use) = first.one().await;
    assert_eq!(kind, MessageKind::Cast);
    assert!(of_use.is_some());
    let (kind, waited_for) = middle.one().await;
    assert_eq!(kind, MessageKind::Call);
    assert!(waited_for < of_use, "the time-out of calls is shorter");
    assert_eq!(last.one().await, (MessageKind::Cast, of_use));
}

#[tokio::test]
async fn what_an_operator_with_a_deadline_calls_for_is_of_use_no_longer() {
    let engine = engine(1, 16);
    let last = notes(&engine, 3).await;
    let middle = Came::default();
    let noted = middle.clone();
    let out = [("out", vec![id(3)])];
    does(&engine, 2, &out, move |message, _, out| {
        noted.note(&message);
        out.cast("out", sent("2"));
        out.answer(CallRef::of(&message), Answer::NoReply);
        Progress::Done
    })
    .await;
    let out = [("out", &[2][..], ANY)];
    let port = make(&engine, 1, &out, of_use_for(LONG), Made::new()).await;
    // The shorter of both holds for the call, and the deadline for what comes of it.
    for timeout in [LONG / 2, LONG * 2] {
        let before = engine.now();
        assert_eq!(port.call("out", sent("1"), timeout).await, Ok(None));
        let within =
            |from: Duration, to: Timestamp| before + from <= to && to <= engine.now() + from;
        let (called, cast) = (middle.one().await.1.unwrap(), last.one().await.1.unwrap());
        assert!(within(timeout.min(LONG), called));
        assert!(within(LONG, cast));
    }
}

#[tokio::test]
async fn after_its_answer_a_call_bounds_nothing_any_more() {
    let engine = engine(1, 16);
    let came = notes(&engine, 3).await;
    let out = [("out", vec![id(3)])];
    does(&engine, 2, &out, |message, _, out| {
        out.answer(CallRef::of(&message), Answer::NoReply);
        out.push(Action::Call(Port::channel("out"), message.payload, 1));
        Progress::Done
    })
    .await;
    let (_, port) = relay(&engine, 1, Some(vec![id(2)])).await;
    let timeout = Duration::from_secs(1);
    assert_eq!(port.call("out", sent("1"), timeout).await, Ok(None));
    let answered = engine.now();
    assert!(came.one().await.1.unwrap() > answered + timeout);
}

#[tokio::test]
async fn a_call_that_is_passed_on_is_a_cast_that_nobody_waits_for() {
    let engine = engine(1, 16);
    let came = Came::default();
    let noted = came.clone();
    let (told, mut answers) = tokio::sync::mpsc::channel(1);
    let mut made = Made::new();
    made.message = Box::new(move |message, _, out| {
        noted.note(&message);
        // Whoever called may be called back, as it waits no more.
        out.push(Action::Call(Port::channel("back"), message.payload, 1));
        Progress::Busy
    });
    made.answer = Box::new(move |answer, _| {
        told.try_send(answer).unwrap();
        Progress::Done
    });
    made.poll = Box::new(|_| Progress::Busy);
    make(
        &engine,
        3,
        &[("back", &[1], ANY)],
        Delivery::default(),
        made,
    )
    .await;
    let out = [("out", vec![id(3)])];
    does(&engine, 2, &out, |message, _, out| {
        out.answer(CallRef::of(&message), Answer::NoReply);
        pass(message, out)
    })
    .await;
    let mut made = Made::new();
    made.message = Box::new(|message, _, out| {
        match CallRef::of_call(&message) {
            Some(call) => out.answer(call, Answer::NoReply),
            None => out.push(Action::Call(Port::channel("out"), message.payload, 1)),
        }
        Progress::Done
    });
    make(&engine, 1, &[("out", &[2], ANY)], Delivery::default(), made).await;
    let (_, port) = relay(&engine, 9, Some(vec![id(1)])).await;
    port.cast("out", sent("1")).await.unwrap();
    assert_eq!(came.one().await, (MessageKind::Cast, None));
    let answer = tokio::time::timeout(Duration::from_secs(20), answers.recv()).await;
    assert_eq!(answer, Ok(Some(Answer::NoReply)));
}

#[tokio::test]
async fn what_was_delayed_does_not_come_of_what_its_operator_is_at_meanwhile() {
    let engine = engine(1, 16);
    let came = notes(&engine, 3).await;
    let mut made = Made::new();
    made.message = Box::new(|message, _, out| {
        if message.envelope.deadline.is_some() {
            return Progress::Busy;
        }
        let (soon, to) = (Duration::from_millis(5), Port::channel("out"));
        out.push(Action::Delayed(soon, to, message.payload));
        Progress::Done
    });
    made.poll = Box::new(|_| Progress::Busy);
    make(&engine, 2, &[("out", &[3], ANY)], Delivery::default(), made).await;
    let (_, plain) = relay(&engine, 8, Some(vec![id(2)])).await;
    let out = [("out", &[2][..], ANY)];
    let bound = make(&engine, 9, &out, of_use_for(LONG), Made::new()).await;
    plain.cast("out", sent("1")).await.unwrap();
    bound.cast("out", sent("2")).await.unwrap();
    assert_eq!(came.one().await, (MessageKind::Cast, None));
}
