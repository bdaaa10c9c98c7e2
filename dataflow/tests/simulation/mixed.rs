//! Operators that batch, refuse, limit their senders, are paused, replaced and have deadlines; callers
//! that go away: whatever happens, every delivery comes to an end, and nothing is left over.

use std::{sync::Arc, task, time::Duration};

use bytes::Bytes;
use edgeless_dataflow::{
    Action, Answer, CallRef, Control, Delivery, Engine, Interests, Operator, Outbox, Outputs,
    Place, Policy, Port, Progress, Propagation, Spawn,
};
use edgeless_types::{
    Generation, InstanceId,
    message::{Budget, Message, MessageId, Refusal},
    routing::Routing,
};
use proptest::prelude::*;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::sync::mpsc;

use crate::{
    graphs::Nowhere,
    world::{Plan, engine, instance, node, plan, simulate},
};

/// An operator that does one or another thing with what comes.
struct Mixed {
    outs: Vec<String>,
    taken: Vec<MessageId>,
    chance: SmallRng,
}

impl Mixed {
    fn flush(&mut self, out: &mut Outbox) {
        let of = std::mem::take(&mut self.taken);
        match self.outs.first() {
            Some(_) if of.is_empty() => {}
            Some(name) => out.push(Action::Batch(Port::channel(name), Bytes::new(), of.into())),
            None => of
                .into_iter()
                .for_each(|it| out.push(Action::Acknowledge(it))),
        }
    }
}

impl Operator for Mixed {
    fn on_message(
        &mut self,
        message: Message,
        task: &mut task::Context<'_>,
        out: &mut Outbox,
    ) -> Progress {
        let id = message.id;
        if let Some(call) = CallRef::of_call(&message) {
            if self.chance.random_bool(0.5) {
                out.answer(call, Answer::NoReply);
            }
            return Progress::Done;
        }
        match self.chance.random_range(0..10) {
            0 => out.push(Action::Refuse(id, Refusal::permanent("no"))),
            1 => out.push(Action::Refuse(id, Refusal::passing("not now"))),
            2 => out.push(Action::Fault("by chance".to_owned())),
            3 | 4 => {
                self.taken.push(id);
                out.push(Action::Timer(Duration::from_millis(10), 0));
                if self.taken.len() >= 3 {
                    self.flush(out);
                }
                return Progress::Taken;
            }
            5 => {
                let some = [
                    Budget::NOTHING,
                    Budget {
                        rate: Some(50),
                        ..Budget::default()
                    },
                ];
                out.push(Action::Budget(some[self.chance.random_range(0..2)]));
                out.push(Action::Timer(Duration::from_millis(20), 1));
                out.push(Action::Acknowledge(id));
            }
            6 if !self.outs.is_empty() => {
                let at = self.chance.random_range(0..self.outs.len());
                out.push(Action::Call(Port::channel(&self.outs[at]), Bytes::new(), 0));
                return Progress::Busy;
            }
            7 => {
                let waker = task.waker().clone();
                let pause = Duration::from_millis(self.chance.random_range(0..30));
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(pause).await;
                    waker.wake();
                });
                self.outs
                    .iter()
                    .for_each(|name| out.cast(name, Bytes::new()));
                return Progress::Busy;
            }
            _ => {}
        }
        for name in &self.outs {
            out.cast(name, message.payload.clone());
        }
        Progress::Done
    }

    fn interests(&self) -> Interests {
        Interests::TIMER
    }

    fn on_signal(&mut self, signal: Control, out: &mut Outbox) -> Propagation {
        match signal {
            Control::Timer(0) => self.flush(out),
            Control::Timer(_) => out.push(Action::Budget(Budget::default())),
            _ => {}
        }
        Propagation::Pass
    }
}

/// Where the channels of a vertex lead.
struct Leads {
    channels: Vec<(String, Vec<InstanceId>)>,
    broadcasts: bool,
    nowhere: bool,
    chance: SmallRng,
}

fn leads(plan: &Plan, vertex: usize, places: &[InstanceId]) -> Leads {
    let mut chance = SmallRng::seed_from_u64(plan.seed ^ (vertex as u64) << 8);
    let targets = plan.targets(vertex).into_iter();
    let inner = vertex < plan.vertices;
    let broadcasts = chance.random_bool(0.3) && inner && targets.len() > 0;
    let mut channels: Vec<_> = match broadcasts {
        true => vec![("all".to_owned(), targets.map(|to| places[to]).collect())],
        false => targets
            .map(|to| (format!("to {to}"), vec![places[to]]))
            .collect(),
    };
    // Now and then one leads nowhere.
    let nowhere = chance.random_bool(0.2) && inner;
    if nowhere {
        channels.push(("nowhere yet".to_owned(), Vec::new()));
    }
    Leads {
        channels,
        broadcasts,
        nowhere,
        chance,
    }
}

async fn start(engine: &Engine, plan: &Plan, vertex: usize, places: &[InstanceId]) -> Port {
    let Leads {
        channels: leads,
        broadcasts,
        nowhere,
        mut chance,
    } = leads(plan, vertex, places);
    let names: Vec<String> = leads.iter().map(|(name, _)| name.clone()).collect();
    let mut outputs = Outputs::new(leads);
    if broadcasts {
        outputs.set_routing("all", Routing::Broadcast);
    }
    let policies = [Policy::All, Policy::Any, Policy::Primary];
    let within = Duration::from_millis(chance.random_range(20..2_000));
    let delivery = Delivery {
        policy: policies[chance.random_range(0..3)],
        // What leads nowhere has to end some time.
        deadline: (nowhere || chance.random_bool(0.5)).then_some(within),
        ..Delivery::at_least_once(names.clone())
    };
    let (give, mut take) = mpsc::channel(1);
    let spawn = Spawn {
        physical_id: places[vertex].physical_id,
        generation: Generation(1),
        place: Place::Anywhere,
        outputs,
        delivery,
        factory: Box::new(move |context| {
            give.try_send(context.port).unwrap();
            Ok(Box::new(Mixed {
                outs: names,
                taken: Vec::new(),
                chance,
            }))
        }),
    };
    engine.spawn(spawn).await.unwrap();
    take.recv().await.unwrap()
}

/// Another instance takes the place of one, which has some time to end.
async fn replace(
    engine: &Engine,
    plan: &Plan,
    vertex: usize,
    places: &mut [InstanceId],
    time: Duration,
) {
    let old = places[vertex].physical_id;
    let generation = old.uuid().as_u128() as usize + 1_000;
    places[vertex] = instance(node(1), generation);
    start(engine, plan, vertex, places).await;
    for (sender, me) in places.iter().enumerate() {
        let outputs = Outputs::new(leads(plan, sender, places).channels);
        let generation = Generation(1);
        engine.patch(me.physical_id, generation, outputs).await;
    }
    engine.stop(old, time).await;
}

/// What does not end, or is left over.
async fn run(plan: &Plan) -> Result<(), String> {
    let (engine, _) = engine(plan, node(1), Arc::new(Nowhere));
    let number = plan.vertices + 1;
    let places = (0..number).map(|vertex| instance(node(1), vertex + 1));
    let mut places: Vec<_> = places.collect();
    let mut entry = None;
    for vertex in 0..number {
        entry = Some(start(&engine, plan, vertex, &places).await);
    }
    let entry = entry.ok_or("no entry")?;
    let mut chance = SmallRng::seed_from_u64(plan.seed);
    let mut sending = Vec::new();
    for number in 0..plan.messages {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        let (entry, patience) = (entry.clone(), chance.random_range(1..3_000));
        let calls = chance.random_bool(0.2);
        let goes = chance.random_bool(0.2);
        sending.push(tokio::task::spawn_local(async move {
            let some_time = Duration::from_millis(patience);
            let sends = async {
                match calls {
                    true => drop(entry.call("to 0", payload, some_time).await),
                    false => drop(entry.deliver("to 0", payload).await),
                }
            };
            match goes {
                true => drop(tokio::time::timeout(some_time / 10, sends).await),
                false => sends.await,
            }
        }));
        if chance.random_bool(0.1) {
            let which = places[chance.random_range(0..plan.vertices)];
            engine.pause(which.physical_id, true).await;
            tokio::time::sleep(Duration::from_millis(chance.random_range(1..100))).await;
            engine.pause(which.physical_id, false).await;
        }
        if chance.random_bool(0.1) {
            let vertex = chance.random_range(0..plan.vertices);
            let time = Duration::from_millis(chance.random_range(0..50));
            replace(&engine, plan, vertex, &mut places, time).await;
        }
    }
    for send in sending {
        if tokio::time::timeout(Duration::from_hours(1), send)
            .await
            .is_err()
        {
            return Err("a delivery or a call does not end".to_owned());
        }
    }
    left_over(&engine).await
}

/// What is left over in the end, if anything.
async fn left_over(engine: &Engine) -> Result<(), String> {
    let mut left = String::new();
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let views = engine.inspect().await;
        let busy = views
            .iter()
            .filter(|it| it.queued + it.parked + it.outstanding > 0);
        let busy: Vec<_> = busy
            .map(|it| (it.physical_id, it.queued, it.parked, it.outstanding))
            .collect();
        left = format!(
            "{busy:?}, waiting {}, demand {:?}",
            engine.waiting(),
            engine.demand().await
        );
        if left == "[], waiting 0, demand []" {
            return Ok(());
        }
    }
    Err(left)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_delivery_comes_to_an_end_and_nothing_is_left_over(plan in plan(Just(true))) {
        prop_assert_eq!(simulate(run(&plan)), Ok(()));
    }
}
