//! What clients do and what goes wrong, by chance.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use bytes::Bytes;
use edgeless_types::OrderId;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use serde_json::{Value, json};

use super::{
    services::{SERVICES, spec},
    world::{Asked, Coming, World},
};
use crate::{
    book::{Again, Ask, Event, LineId, Output},
    contract::Contract,
    record::What,
    submission::Submission,
};

type Contracts = Vec<(Arc<str>, Arc<Contract>)>;

/// The clients: one with few active orders, one that may send slowly, one with outputs, and anybody.
pub(super) fn contracts() -> &'static Contracts {
    static CONTRACTS: LazyLock<Contracts> = LazyLock::new(|| {
        let of = |name: &str, contract: Value| {
            let contract: Contract = serde_json::from_value(contract).unwrap();
            assert!(contract.check().is_ok());
            (name.into(), Arc::new(contract))
        };
        vec![
            of(
                "X",
                json!({"own_tasks": "any", "limits": {"active_orders": 4}}),
            ),
            of(
                "Y",
                json!({"own_tasks": "any", "weight": 3, "limits": {"orders_per_second": 2.0, "burst": 3}}),
            ),
            of(
                "W",
                json!({"own_tasks": "any", "tasks": ["A", "B"], "mode": "trace", "deadline": "1h",
                    "outputs": [{"to": "file", "name": "ends"}]}),
            ),
        ]
    });
    &CONTRACTS
}

fn one_of<'a>(rng: &mut SmallRng, names: &[&'a str]) -> &'a str {
    names[rng.random_range(0..names.len())]
}

fn service(rng: &mut SmallRng) -> &'static str {
    one_of(rng, &["A", "A", "A", "B", "B", "E", "M", "M", "S", "Z"])
}

fn task(rng: &mut SmallRng) -> Value {
    let service = service(rng);
    if rng.random_bool(0.6) {
        return json!(service);
    }
    let mut task = json!({"task": service});
    if rng.random_bool(0.3) {
        task["when"] = json!({"path": "", "lt": rng.random_range(0..100)});
    }
    if rng.random_bool(0.3) {
        task["deadline"] = json!(one_of(rng, &["50ms", "1s", "20s"]));
    }
    if rng.random_bool(0.4) {
        task["undo"] = json!(one_of(rng, &["U", "U", "S", "E"]));
    }
    task
}

fn tasks(rng: &mut SmallRng) -> Value {
    let stages = (0..rng.random_range(0..5)).map(|_| match rng.random_bool(0.25) {
        true => (0..rng.random_range(1..4)).map(|_| task(rng)).collect(),
        false => task(rng),
    });
    stages.collect()
}

/// An order as a client sends it.
fn document(rng: &mut SmallRng, client: Option<&str>) -> Value {
    let mut document = json!({"input": rng.random_range(0..60), "tasks": tasks(rng)});
    if let Some(client) = client {
        document["client"] = json!(client);
    }
    if client == Some("W") && rng.random_bool(0.5) {
        document.as_object_mut().unwrap().remove("tasks");
    }
    if rng.random_bool(0.3) {
        document["mode"] = json!(one_of(rng, &["slip", "trace"]));
    }
    if rng.random_bool(0.2) {
        document["deadline"] = json!(one_of(rng, &["30ms", "2s", "30s"]));
    }
    if rng.random_bool(0.15) {
        document["delay"] = json!(one_of(rng, &["20ms", "3s", "20s"]));
    }
    if rng.random_bool(0.3) {
        document["priority"] = json!(rng.random_range(0..10));
    }
    if rng.random_bool(0.1) {
        document["callback"] = json!("http://localhost/end");
    }
    document
}

impl World {
    /// Somebody does something, and somebody will do something else soon.
    pub(super) fn act(&mut self) {
        if self.acts == 0 {
            return self.heal();
        }
        self.acts -= 1;
        match self.rng.random_range(0..100) {
            0..35 => self.submit(None),
            35..42 => (0..self.rng.random_range(2..7)).for_each(|_| self.submit(None)),
            42..70 => self.ask(),
            70..96 => self.go_wrong(),
            _ => {
                let jump = Duration::from_secs(self.rng.random_range(0..60));
                self.say(|| format!("the clock jumps {jump:?}"));
                self.now = self.now + jump;
            }
        }
        let longest = [0, 5, 50, 1_000, 4_000][self.rng.random_range(0..5)];
        let after = self.millis(longest);
        self.come(after, Coming::Act);
    }

    fn next_ask(&mut self, asked: Asked) -> Ask {
        self.asks += 1;
        let ask = Ask(self.asks);
        self.open.insert(ask, asked);
        ask
    }

    fn new_id(&mut self) -> OrderId {
        OrderId::at(self.now, &mut self.rng)
    }

    pub(super) fn submit(&mut self, client: Option<&str>) {
        let names = ["", "X", "X", "Y", "W"];
        let name = client.unwrap_or(names[self.rng.random_range(0..names.len())]);
        match self.held.get(name) {
            Some(false) => return,
            // It may send one now.
            Some(true) if client.is_none() => return,
            Some(true) | None => {}
        }
        let client = Some(name).filter(|name| !name.is_empty());
        let key = self.chance(25).then(|| {
            let number = self.rng.random_range(0..4);
            (number, u64::from(self.chance(25)))
        });
        let document = match key {
            None => document(&mut self.rng, client),
            Some((number, other)) => {
                let seed = self.seed * 100 + number * 10 + other;
                let mut document = document(&mut SmallRng::seed_from_u64(seed), client);
                document["idempotency_key"] = json!(format!("key-{number}"));
                document
            }
        };
        self.send(&document);
        self.held.retain(|held, may| !(*may && **held == *name));
    }

    /// A document is sent as an order.
    pub(super) fn send(&mut self, document: &Value) {
        let body = Bytes::from(document.to_string());
        let lists = self.disk.lists().clone();
        let digest = |body: &[u8]| {
            let mut digest = [0; 32];
            digest[..4].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
            digest
        };
        let submission = Submission::parse(&body, None, self.now, digest, |text| lists.list(text));
        let submission = Box::new(submission.unwrap());
        let id = self.new_id();
        let asked = Asked::Submit {
            id,
            client: submission.client.as_deref().unwrap_or("anybody").into(),
            key: submission
                .key
                .as_ref()
                .map(|key| (key.text.clone(), key.digest)),
        };
        let (ask, wait) = (self.next_ask(asked), self.chance(30));
        self.event(Event::Submit {
            id,
            submission,
            ask,
            wait,
        });
    }

    /// A client sends nothing until it may.
    pub(super) fn hold(&mut self, client: Arc<str>, after: Duration) {
        if !self.faults || self.held.contains_key(&client) {
            return;
        }
        self.held.insert(Arc::clone(&client), false);
        self.come(after, Coming::Admitted(client));
    }

    /// An order that is known, now and then one that nobody knows.
    fn some_order(&mut self) -> OrderId {
        let all = self.disk.kept.len();
        if all == 0 || self.chance(5) {
            return self.new_id();
        }
        // The last ones more often.
        let from = match self.chance(60) {
            true => all.saturating_sub(6),
            false => 0,
        };
        let at = self.rng.random_range(from..all);
        let id = self.disk.kept.keys().nth(at);
        *id.expect("it is one of them")
    }

    fn ask(&mut self) {
        let id = self.some_order();
        match self.rng.random_range(0..100) {
            0..20 => {
                let ask = self.next_ask(Asked::Look(id));
                self.event(Event::Look { id, ask });
            }
            20..35 => {
                let ask = self.next_ask(Asked::Wait(id));
                self.event(Event::Wait { id, ask });
            }
            35..50 => {
                let ask = self.next_ask(Asked::Cancel(id));
                let reason = "no more".to_owned();
                self.event(Event::Cancel { id, reason, ask });
            }
            50..65 => self.retry(id),
            65..75 => self.pause(id, true),
            75..85 => {
                self.pause(id, true);
                self.pause(id, false);
            }
            _ => self.pause(id, false),
        }
    }

    fn retry(&mut self, id: OrderId) {
        let failed = self.disk.kept.values().filter(|row| row.is_ended());
        let failed: Vec<OrderId> = failed.map(|row| row.id).collect();
        let id = match failed.len() {
            0 => id,
            some => failed[self.rng.random_range(0..some)],
        };
        let new = self.new_id();
        let ask = self.next_ask(Asked::Retry { id, new });
        let after = self.disk.kept.get(&id).and_then(|body| body.retried_as);
        self.event(Event::Retry(Again {
            id,
            new,
            after,
            ask,
        }));
    }

    pub(super) fn pause(&mut self, id: OrderId, paused: bool) {
        let ask = self.next_ask(Asked::Pause(id));
        self.event(Event::Pause { id, paused, ask });
    }

    fn go_wrong(&mut self) {
        let name: Arc<str> = SERVICES[self.rng.random_range(0..SERVICES.len())].into();
        match self.rng.random_range(0..100) {
            0..25 => self.crash(),
            25..45 => self.lose_line(),
            45..60 => self.open_line(name),
            60..68 => {
                let paused = self.paused.insert(Arc::clone(&name));
                if !paused {
                    self.paused.remove(&name);
                }
                self.event(Event::PauseService { name, paused });
            }
            68..80 => self.redefine(),
            80..85 => {
                let why = self.chance(40).then(|| "the disk hangs".into());
                self.event(Event::Hold { why });
            }
            85..90 => {
                let full = self.chance(40).then(|| "the disk is full".into());
                self.event(Event::Room { full });
            }
            90..95 => {
                if let Some(line) = self.some_line() {
                    let open = self.chance(50);
                    self.event(Event::Open { line, open });
                }
            }
            _ => {
                if let Some(line) = self.some_line() {
                    let copies = self.rng.random_range(0..5);
                    self.set_copies(line, copies);
                }
            }
        }
    }

    /// Now and then everything ends in the midst of what belongs together, of ends that follow from others above all.
    pub(super) fn crash_between(&mut self, out: &Output) {
        let mut changes = out.records.iter().flat_map(|(record, _)| &record.changes);
        let is_left = changes.any(|change| match &change.what {
            Some(What::Ended(ended)) => ended.reason.ends_with("waits for it no more"),
            _ => false,
        });
        let percent = if is_left { 40 } else { 8 };
        if out.records.len() > 1 && self.faults && self.chance(percent) {
            self.come(Duration::ZERO, Coming::Crash);
        }
    }

    fn some_line(&mut self) -> Option<LineId> {
        let lines: Vec<LineId> = self.lines.keys().copied().collect();
        (!lines.is_empty()).then(|| lines[self.rng.random_range(0..lines.len())])
    }

    fn lose_line(&mut self) {
        if let Some(line) = self.some_line() {
            self.lines.remove(&line);
            self.event(Event::LineClosed { line });
        }
    }

    /// The service `Z` comes, goes and changes.
    fn redefine(&mut self) {
        let name: Arc<str> = "Z".into();
        let spec = self.chance(70).then(|| {
            let mut spec = (*spec("Z")).clone();
            spec.concurrency = Some(self.rng.random_range(1..4));
            Arc::new(spec)
        });
        self.specs.insert(Arc::clone(&name), spec.clone());
        if spec.is_none() {
            // One that comes later under this name is another one.
            self.paused.remove(&name);
        }
        self.event(Event::Service { name, spec });
    }

    /// Nothing goes wrong any more, and everything is there.
    pub(super) fn heal(&mut self) {
        self.say(|| "from here on all is well".to_owned());
        self.faults = false;
        self.event(Event::Room { full: None });
        self.event(Event::Hold { why: None });
        for name in SERVICES {
            let name: Arc<str> = name.into();
            let spec = self.specs[&name].clone().or_else(|| Some(spec(&name)));
            self.specs.insert(Arc::clone(&name), spec.clone());
            self.paused.remove(&name);
            self.event(Event::Service {
                name: Arc::clone(&name),
                spec,
            });
            let paused = false;
            self.event(Event::PauseService {
                name: Arc::clone(&name),
                paused,
            });
            self.open_line(name);
        }
        let paused = self.disk.all.values().filter(|row| row.paused);
        let mut paused: Vec<OrderId> = paused.map(|row| row.id).collect();
        paused.extend(self.open.values().filter_map(|asked| match asked {
            Asked::Pause(id) => Some(*id),
            _ => None,
        }));
        for id in paused {
            self.pause(id, false);
        }
    }
}
