//! The book with services that answer at once, and a disk that keeps at once or when it is told to.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::SeedableRng;
use serde_json::{Value, json};

mod ahead;
mod asks;
mod hold;
mod longest;
mod spawn;
mod tasks;

use super::*;
use crate::json::Json;
use crate::submission::Submission;
use crate::{record::Record, service::Payload, tasks::TaskList};

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
    wanted: Vec<String>,
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
            wanted: Vec::new(),
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
            copies: None,
        });
    }

    fn event(&mut self, event: Event) {
        let out = self.book.on_event(event, self.now);
        self.take(out);
        while self.book.next_due() == Some(Timestamp::default()) {
            let out = self.book.on_event(Event::Tick, self.now);
            self.take(out);
        }
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
                Effect::Wanted { service } => self.wanted.push(service.to_string()),
                Effect::Withdraw { .. } | Effect::Changed(_) | Effect::Deliver(_) => {}
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
        let submission = Submission::parse(&body, None, self.now, digest, |text| lists.list(text));
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

    /// How an order is, if that can be told now.
    fn look_at_once(&mut self, id: OrderId) -> Option<&Answer> {
        self.asks += 1;
        let ask = Ask(self.asks);
        self.event(Event::Look { id, ask });
        let answer = self.answers.last().filter(|(other, _)| *other == ask);
        answer.map(|(_, answer)| answer)
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
