//! The book with services that answer at once, and a disk that keeps at once or when it is told to.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::SeedableRng;
use serde_json::{Value, json};

use super::*;
use crate::{record::Record, tasks::TaskList};

/// A book, what it has recorded, and services by name.
struct World {
    book: Book,
    now: Timestamp,
    records: Vec<Record>,
    /// Records are kept at once.
    keeps: bool,
    answers: Vec<(Ask, Answer)>,
    handed: Vec<(LineId, Handout)>,
    loads: Vec<OrderId>,
    asks: u64,
    lists: crate::tasks::Lists,
}

fn spec(more: &Value) -> Arc<ServiceSpec> {
    let mut spec = json!({"url": "http://localhost"});
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
    assert_eq!(spec.faults(), []);
    Arc::new(spec)
}

impl World {
    /// Services `A` and `B`, each with a line (1 and 2).
    fn new() -> Self {
        let rng = SmallRng::seed_from_u64(1);
        let mut world = Self {
            book: Book::new(Settings::default(), 1, rng),
            now: Timestamp::from_unix(Duration::from_secs(1_000_000)),
            records: Vec::new(),
            keeps: true,
            answers: Vec::new(),
            handed: Vec::new(),
            loads: Vec::new(),
            asks: 0,
            lists: crate::tasks::Lists::default(),
        };
        world.service("A", 1, &json!({}));
        world.service("B", 2, &json!({}));
        world
    }

    fn service(&mut self, name: &str, line: u32, more: &Value) {
        let (name, spec) = (Arc::<str>::from(name), Some(spec(more)));
        self.event(Event::Service {
            name: Arc::clone(&name),
            spec,
        });
        let source = format!("{name}-{line}").into();
        self.event(Event::LineOpened {
            line: LineId(line),
            service: name,
            source,
        });
    }

    fn event(&mut self, event: Event) {
        let out = self.book.on_event(event, self.now);
        self.take(out);
    }

    fn take(&mut self, out: Output) {
        let any = !out.records.is_empty();
        self.records
            .extend(out.records.into_iter().map(|(record, _)| record));
        for effect in out.effects {
            match effect {
                Effect::Hand { line, handout } => self.handed.push((line, handout)),
                Effect::Answer { ask, answer } => self.answers.push((ask, answer)),
                Effect::Load { id } => self.loads.push(id),
                Effect::Find { client, key } => {
                    let found = None;
                    self.event(Event::Found { client, key, found });
                }
                Effect::Withdraw { .. }
                | Effect::Changed(_)
                | Effect::Deliver(_)
                | Effect::Wanted { .. } => {}
            }
        }
        if any && self.keeps {
            self.keep();
        }
    }

    fn keep(&mut self) {
        let through = self.book.next() - 1;
        self.event(Event::Durable { through });
    }

    fn submit(&mut self, document: &Value) -> Ask {
        self.asks += 1;
        let ask = Ask(self.asks);
        let body = Bytes::from(document.to_string());
        let lists = self.lists.clone();
        let digest = |body: &[u8]| [crc32fast::hash(body) as u8; 32];
        let submission = Submission::parse(&body, self.now, digest, |text| lists.list(text));
        let mut rng = SmallRng::seed_from_u64(1000 + self.asks);
        self.event(Event::Submit {
            id: OrderId::at(self.now, &mut rng),
            submission: Box::new(submission.unwrap()),
            ask,
            wait: false,
        });
        ask
    }

    fn answer(&self, ask: Ask) -> &Answer {
        let answer = self.answers.iter().rev().find(|(other, _)| *other == ask);
        &answer
            .unwrap_or_else(|| panic!("nobody answered {ask:?}"))
            .1
    }

    fn id(&self, ask: Ask) -> OrderId {
        match self.answer(ask) {
            Answer::Accepted { id, .. } => *id,
            other => panic!("{other:?}"),
        }
    }

    fn refusal(&self, ask: Ask) -> String {
        match self.answer(ask) {
            Answer::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Everything that is handed out is done by `services`, until nothing is.
    fn work(&mut self, services: impl Fn(&Handout) -> Outcome) {
        while let Some((line, handout)) = self.handed.pop() {
            let outcome = services(&handout);
            self.event(Event::Outcome {
                line,
                ticket: handout.ticket,
                outcome,
            });
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.event(Event::Tick);
    }

    fn look(&mut self, id: OrderId) -> Arc<Body> {
        self.asks += 1;
        let ask = Ask(self.asks);
        self.event(Event::Look { id, ask });
        match self.answer(ask) {
            Answer::Order(body) => Arc::clone(body),
            other => panic!("{other:?}"),
        }
    }

    /// The order as its records alone tell it.
    fn replayed(&self, id: OrderId) -> Body {
        let changes = self
            .records
            .iter()
            .flat_map(|record| record.changes.clone());
        let changes = changes.filter(|change| change.id() == id).collect();
        Body::of(changes, |text| self.lists.list(text)).unwrap()
    }

    fn end(&mut self, id: OrderId) -> (EndCode, String) {
        let body = self.look(id);
        let replayed = self.replayed(id);
        assert_eq!((&body.end, &body.value), (&replayed.end, &replayed.value));
        let end = body
            .end
            .clone()
            .unwrap_or_else(|| panic!("{id} has not ended"));
        match end.code {
            EndCode::Completed => (end.code, body.value.as_str().to_owned()),
            code => (code, end.reason),
        }
    }
}

use crate::record::EndCode;

fn reply(text: impl Into<String>) -> Outcome {
    Outcome::Reply {
        payload: Bytes::from(text.into()),
        instance: None,
    }
}

/// `A` adds two and `B` doubles.
fn arithmetic(handout: &Handout) -> Outcome {
    let input: i64 = handout.payload.as_str().parse().unwrap();
    let result = match &handout.task[..1] {
        "A" => input + 2,
        _ => input * 2,
    };
    reply(result.to_string())
}

#[test]
fn tasks_are_done_in_the_order_of_the_list() {
    let mut world = World::new();
    let first = world.submit(&json!({"input": 5, "tasks": ["A", "B"]}));
    let second = world.submit(&json!({"input": 5, "todo": ["B", "A"]}));
    let third = world.submit(&json!({"input": 5, "tasks": ["A", "B", "A"]}));
    world.work(arithmetic);
    for (ask, result) in [(first, "14"), (second, "12"), (third, "16")] {
        let id = world.id(ask);
        assert_eq!(world.end(id), (EndCode::Completed, result.to_owned()));
    }
}

#[test]
fn the_messages_of_both_examples_go_from_task_to_task() {
    let mut world = World::new();
    for name in ["A", "B"] {
        let spec = Some(spec(&json!({"call": "message"})));
        world.event(Event::Service {
            name: name.into(),
            spec,
        });
    }
    let seen = std::cell::RefCell::new(Vec::new());
    let services = |handout: &Handout| {
        seen.borrow_mut().push(handout.payload.as_str().to_owned());
        let steps: BTreeMap<&str, &str> = BTreeMap::from([
            (
                r#"{"input":5,"tasks":["A","B"],"done":[]}"#,
                r#"{"input":7,"tasks":["A","B"],"done":["A"]}"#,
            ),
            (
                r#"{"input":7,"tasks":["A","B"],"done":["A"]}"#,
                r#"{"input":14,"tasks":["A","B"],"done":["A","B"]}"#,
            ),
            (
                r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5}}}"#,
                r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10}},"from":"B"}"#,
            ),
            (
                r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10}}}"#,
                r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10,"result":12}},"from":"A"}"#,
            ),
        ]);
        reply(steps[handout.payload.as_str()])
    };
    let first = world.submit(&json!({"input": 5, "tasks": ["A", "B"], "mode": "slip"}));
    world.work(services);
    let second = world.submit(&json!({"input": 5, "tasks": ["B", "A"], "mode": "trace"}));
    world.work(services);
    assert_eq!(seen.borrow().len(), 4);
    let (first, second) = (world.id(first), world.id(second));
    assert_eq!(world.end(first), (EndCode::Completed, "14".to_owned()));
    assert_eq!(world.end(second), (EndCode::Completed, "12".to_owned()));
}

#[test]
fn an_empty_list_ends_at_once_with_the_input() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": [1, 2], "tasks": []}));
    let id = world.id(ask);
    assert_eq!(world.end(id), (EndCode::Completed, "[1,2]".to_owned()));
    assert_eq!(world.book.figures(world.now).active_orders, 0);
}

#[test]
fn nothing_is_answered_or_handed_out_before_it_is_kept() {
    let mut world = World::new();
    world.keeps = false;
    let ask = world.submit(&json!({"input": 5, "tasks": ["A", "B"]}));
    assert!(world.answers.is_empty() && world.handed.is_empty());
    world.keep();
    world.id(ask);
    world.work(arithmetic);
    assert_eq!(world.records.len(), 2);
    assert!(world.handed.is_empty(), "B builds on what is not kept");
    world.keep();
    world.work(arithmetic);
    world.asks += 1;
    let (id, look) = (world.id(ask), Ask(world.asks));
    world.event(Event::Look { id, ask: look });
    assert!(!world.answers.iter().any(|(ask, _)| *ask == look));
    world.keep();
    assert_eq!(world.end(id), (EndCode::Completed, "14".to_owned()));
}

#[test]
fn groups_are_joined_and_conditions_look_at_the_result_so_far() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": 5, "tasks": [
        "A",
        ["A", "B", {"task": "B", "when": {"path": "", "gt": 100}}],
        {"task": "A", "when": {"path": "/A#2", "eq": 1}},
    ]}));
    world.work(arithmetic);
    let id = world.id(ask);
    assert_eq!(
        world.end(id),
        (EndCode::Completed, r#"{"A#2":9,"B":14}"#.to_owned())
    );
    let figures = world.book.figures(world.now);
    assert_eq!(figures.tasks_to_do, 0);
}

#[test]
fn a_task_is_tried_again_with_longer_pauses_and_then_its_order_fails() {
    let mut world = World::new();
    world.service(
        "C",
        3,
        &json!({"retries": {"attempts": 3, "pause": "1s", "longest": "10s"}}),
    );
    let ask = world.submit(&json!({"input": 5, "tasks": ["A", "C", "B"]}));
    let services = |handout: &Handout| match &*handout.task {
        "C" => Outcome::Failed("out of paper".to_owned()),
        _ => arithmetic(handout),
    };
    let id = world.id(ask);
    let mut attempts = Vec::new();
    for _ in 0..10 {
        attempts.extend(world.handed.iter().map(|(_, handout)| handout.attempt));
        world.work(services);
        if let Some(due) = world.book.next_due() {
            world.now = due;
            world.event(Event::Tick);
        }
    }
    let (code, reason) = world.end(id);
    assert_eq!(code, EndCode::Failed);
    assert_eq!(reason, "task `C`, 3 attempts: out of paper");
    let body = world.look(id);
    let misses = &body.steps[1].misses;
    let pauses: Vec<f64> = misses[..2]
        .iter()
        .map(|(at, missed)| Timestamp::from_nanos(missed.again).since(*at).as_secs_f64())
        .collect();
    assert!(
        (0.5..=1.0).contains(&pauses[0]) && (1.0..=2.0).contains(&pauses[1]),
        "{pauses:?}"
    );
    // Retried, the new order goes on where this one failed.
    world.asks += 1;
    let (retry, new) = (
        Ask(world.asks),
        OrderId::at(world.now, &mut SmallRng::seed_from_u64(99)),
    );
    world.event(Event::Retry {
        id,
        new,
        ask: retry,
    });
    assert_eq!(world.id(retry), new);
    world.work(|handout| reply(format!("{}0", handout.payload.as_str())));
    assert_eq!(world.end(new), (EndCode::Completed, "700".to_owned()));
    assert_eq!(world.end(id).0, EndCode::Failed);
}

#[test]
fn what_was_done_is_taken_back_in_reverse_when_an_order_fails_for_good() {
    let mut world = World::new();
    for (name, line) in [("undo", 3), ("bad", 4)] {
        world.service(name, line, &json!({}));
    }
    let ask = world.submit(&json!({"input": 5, "tasks": [
        {"task": "A", "undo": "undo"}, {"task": "B", "undo": "undo"}, "bad",
    ]}));
    let undone = std::cell::RefCell::new(Vec::new());
    world.work(|handout| match (&*handout.task, handout.undo) {
        ("bad", _) => Outcome::Refused("never".to_owned()),
        (_, true) => {
            undone
                .borrow_mut()
                .push(handout.payload.as_str().to_owned());
            reply("null")
        }
        (_, false) => arithmetic(handout),
    });
    let id = world.id(ask);
    assert_eq!(
        world.end(id),
        (EndCode::Failed, "task `bad`: never".to_owned())
    );
    assert_eq!(
        *undone.borrow(),
        [r#"{"input":7,"result":14}"#, r#"{"input":5,"result":7}"#]
    );
}

#[test]
fn a_lost_line_costs_no_attempt_and_another_one_gets_the_task_at_once() {
    let mut world = World::new();
    world.event(Event::LineOpened {
        line: LineId(7),
        service: "A".into(),
        source: "A-7".into(),
    });
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    let (line, lost) = world.handed.pop().unwrap();
    world.event(Event::LineClosed { line });
    let (other, handout) = world.handed[0].clone();
    assert_ne!(line, other);
    assert_eq!((lost.attempt, handout.attempt), (1, 2));
    // What comes late over the lost line changes nothing.
    world.event(Event::Outcome {
        line,
        ticket: lost.ticket,
        outcome: reply("1000"),
    });
    world.work(arithmetic);
    let id = world.id(ask);
    assert_eq!(world.end(id), (EndCode::Completed, "7".to_owned()));
}

#[test]
fn deadlines_end_orders_and_tasks_that_are_late_are_not_begun() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"], "deadline": "10s"}));
    let late = world.submit(&json!({"input": 5, "tasks": [{"task": "B", "deadline": "5s"}]}));
    assert_eq!(world.handed[0].1.timeout, Duration::from_secs(10));
    assert_eq!(world.handed[1].1.timeout, Duration::from_secs(5));
    world.pass(Duration::from_secs(6));
    let id = world.id(late);
    assert_eq!(
        world.end(id),
        (
            EndCode::Failed,
            "task `B`: its deadline has passed".to_owned()
        )
    );
    world.pass(Duration::from_secs(5));
    world.work(arithmetic);
    let id = world.id(ask);
    assert_eq!(
        world.end(id),
        (EndCode::Expired, "its deadline has passed".to_owned())
    );
}

#[test]
fn limits_and_contracts_are_kept_and_say_what_to_do() {
    let mut world = World::new();
    let contract =
        json!({"tasks": ["A"], "limits": {"active_orders": 2, "orders_per_second": 100}});
    let contract: Contract = serde_json::from_value(contract).unwrap();
    world.event(Event::Client {
        name: "X".into(),
        contract: Some(Arc::new(contract)),
    });
    for (document, refusal) in [
        (
            json!({"client": "Y", "input": 1}),
            "there is no client `Y`; define it with PUT /api/v1/clients/Y",
        ),
        (
            json!({"client": "X", "input": 1, "tasks": ["B"]}),
            "the contract of `X` does not allow the task `B`",
        ),
        (
            json!({"input": 1}),
            "the contract of `anybody` names no tasks; the order has to",
        ),
        (
            json!({"input": 1, "tasks": ["A", "Z"]}),
            "there is no service `Z`",
        ),
    ] {
        let ask = world.submit(&document);
        assert_eq!(world.refusal(ask), refusal);
    }
    for _ in 0..2 {
        let ask = world.submit(&json!({"client": "X", "input": 1}));
        world.id(ask);
    }
    let ask = world.submit(&json!({"client": "X", "input": 1}));
    assert!(world.refusal(ask).contains("2 active orders"));
    world.work(arithmetic);
    let ask = world.submit(&json!({"client": "X", "input": 1}));
    world.id(ask);
}

#[test]
fn the_same_key_means_the_same_order() {
    let mut world = World::new();
    let document = json!({"input": 5, "tasks": ["A"], "idempotency_key": "k"});
    let first = world.submit(&document);
    let again = world.submit(&document);
    assert_eq!(world.id(first), world.id(again));
    let other = world.submit(&json!({"input": 6, "tasks": ["A"], "idempotency_key": "k"}));
    assert!(world.refusal(other).contains("another order"));
    assert_eq!(world.book.figures(world.now).accepted, 1);
}

#[test]
fn a_task_waits_for_the_orders_it_gives_rise_to_and_may_not_call_on_itself() {
    let mut world = World::new();
    world.service("split", 3, &json!({"envelope": true}));
    let ask = world.submit(&json!({"input": [1, 2], "tasks": ["split"]}));
    world.work(|handout| match &*handout.task {
        "split" => reply(
            r#"{"result":"halves","orders":[{"input":1,"tasks":["A"]},{"input":2,"tasks":["B"]}]}"#,
        ),
        _ => arithmetic(handout),
    });
    let id = world.id(ask);
    let (code, result) = world.end(id);
    let result: Value = serde_json::from_str(&result).unwrap();
    assert_eq!(code, EndCode::Completed);
    assert_eq!(result["result"], "halves", "{result}");
    let results: Vec<_> = [0, 1]
        .map(|number| result["orders"][number]["result"].clone())
        .into();
    assert_eq!(results, [json!(3), json!(4)]);
    let ask = world.submit(&json!({"input": 1, "tasks": ["split"]}));
    world.work(|_| reply(r#"{"result":1,"orders":[{"input":1,"tasks":["A","split"]}]}"#));
    let id = world.id(ask);
    let (code, reason) = world.end(id);
    assert_eq!(code, EndCode::Failed);
    assert!(
        reason.contains("a cycle: `split` is at work on it already"),
        "{reason}"
    );
}

#[test]
fn orders_that_wait_are_forgotten_when_the_store_has_them_and_come_back_for_their_turn() {
    let mut world = World::new();
    world.book.settings.resident_bytes = 0;
    world.event(Event::LineClosed { line: LineId(1) });
    let asks: Vec<Ask> = (0..100)
        .map(|n| world.submit(&json!({"input": n, "tasks": ["A", "B"]})))
        .collect();
    let through = world.book.next() - 1;
    world.event(Event::Applied { through });
    assert_eq!(world.book.resident, 0);
    world.event(Event::LineOpened {
        line: LineId(1),
        service: "A".into(),
        source: "A-1".into(),
    });
    for _ in 0..1000 {
        for id in std::mem::take(&mut world.loads) {
            let body = Some(Box::new(world.replayed(id)));
            world.event(Event::Loaded { id, body });
        }
        world.work(arithmetic);
    }
    for (n, ask) in asks.into_iter().enumerate() {
        let id = world.id(ask);
        assert_eq!(
            world.end(id),
            (EndCode::Completed, ((n + 2) * 2).to_string())
        );
    }
    let figures = world.book.figures(world.now);
    assert_eq!(
        (
            figures.active_orders,
            figures.tasks_to_do,
            figures.active_tasks
        ),
        (0, 0, 0)
    );
    assert!(
        TaskList::parse(&Json::kept("[]".into()))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn orders_that_wait_stay_in_the_store_when_they_are_looked_at_or_tried_again() {
    let mut world = World::new();
    world.book.settings.resident_bytes = 0;
    let asks: Vec<Ask> = (0..100)
        .map(|n| world.submit(&json!({"input": n, "tasks": ["A"]})))
        .collect();
    world.work(|_| Outcome::Failed("out of paper".to_owned()));
    world.event(Event::LineClosed { line: LineId(1) });
    let through = world.book.next() - 1;
    world.event(Event::Applied { through });
    assert_eq!(world.book.resident, 0);
    for ask in asks {
        let (id, ask) = (world.id(ask), Ask(1_000));
        world.event(Event::Look { id, ask });
    }
    world.pass(Duration::from_secs(60));
    while !world.loads.is_empty() {
        for id in std::mem::take(&mut world.loads) {
            let body = Some(Box::new(world.replayed(id)));
            world.event(Event::Loaded { id, body });
        }
    }
    assert_eq!(world.book.resident, 0);
}

#[test]
fn orders_that_a_task_gives_rise_to_are_counted_and_stay_in_the_store_as_others_do() {
    let mut world = World::new();
    world.book.settings.resident_bytes = 0;
    world.event(Event::LineClosed { line: LineId(1) });
    world.service("split", 3, &json!({"envelope": true}));
    world.submit(&json!({"input": 1, "tasks": ["split"]}));
    let order = r#"{"input":1,"tasks":["A"]}"#;
    world.work(|_| reply(format!(r#"{{"result":1,"orders":[{order},{order}]}}"#)));
    let through = world.book.next() - 1;
    world.event(Event::Applied { through });
    let orders = world.book.orders.iter();
    let resident = orders.filter(|(_, order)| order.body.is_some());
    assert_eq!(resident.count(), 1, "the one that waits for the others");
    assert_eq!(world.book.figures(world.now).accepted, 3);
}
