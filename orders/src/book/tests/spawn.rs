//! Orders that tasks give rise to: who waits for them, and what becomes of them when nobody does.

use super::*;
use crate::bounds::RESULT_BYTES;

/// A world with services `split` and `halve` that give rise to orders.
fn world() -> World {
    let mut world = World::new();
    let retries = json!({"attempts": 3, "pause": "1s", "longest": "1s"});
    for (name, line) in [("split", 3), ("halve", 4)] {
        let spec = json!({"envelope": true, "retries": retries});
        world.service(name, line, &spec);
    }
    world.service("undo", 5, &json!({}));
    world
}

/// `split` asks for orders to `halve` and `B`, `halve` for one to `A`; nothing else is done.
fn split(world: &mut World) {
    while let Some(at) = world
        .handed
        .iter()
        .position(|(_, it)| matches!(&*it.task, "split" | "halve"))
    {
        let (line, handout) = world.handed.remove(at);
        let outcome = match &*handout.task {
            "split" => reply(
                r#"{"result":1,"orders":[{"input":1,"tasks":["halve"]},{"input":2,"tasks":[{"task":"B","undo":"undo"}]}]}"#,
            ),
            _ => reply(r#"{"result":1,"orders":[{"input":3,"tasks":["A"]}]}"#),
        };
        let ticket = handout.ticket;
        world.event(Event::Outcome {
            line,
            ticket,
            outcome,
        });
    }
}

/// All orders but this one as their records tell, with their parents.
fn below(world: &World, id: OrderId) -> Vec<(OrderId, Body)> {
    let changes = world.records.iter().flat_map(|record| &record.changes);
    let ids: std::collections::BTreeSet<OrderId> = changes.map(|change| change.id()).collect();
    let bodies = ids.into_iter().map(|id| world.replayed(id));
    let below = bodies.filter_map(|body| {
        let parent = body.accepted.parent.as_ref()?;
        Some((OrderId::from_pair((parent.high, parent.low)), body))
    });
    below.filter(|(_, body)| body.id != id).collect()
}

/// All below an order were cancelled because nobody waits for them.
fn check_left(world: &World, id: OrderId, count: usize) {
    let below = below(world, id);
    assert_eq!(below.len(), count);
    for (parent, body) in below {
        let end = body.end.unwrap_or_else(|| panic!("{} goes on", body.id));
        let reason = format!("order {parent}, which gave rise to it, waits for it no more");
        assert_eq!((end.code, end.reason), (EndCode::Cancelled, reason));
    }
    assert_eq!(world.book.figures(world.now).active_orders, 0);
}

#[test]
fn orders_below_are_cancelled_with_the_one_that_waits_for_them_and_those_below_them() {
    let mut world = world();
    let ask = world.submit(&json!({"input": 5, "tasks": ["split"]}));
    let id = world.id(ask);
    split(&mut world);
    assert_eq!(world.book.figures(world.now).active_orders, 4);
    world.event(Event::Cancel {
        id,
        reason: "no more".to_owned(),
        ask: Ask(1_000),
    });
    check_left(&world, id, 3);
    world.work(arithmetic);
    assert_eq!(world.end(id), (EndCode::Cancelled, "no more".to_owned()));
}

#[test]
fn orders_below_are_cancelled_when_the_one_above_fails_or_expires() {
    let mut world = world();
    let ask = world.submit(&json!({"input": 5, "tasks": [["split", "A"]]}));
    let id = world.id(ask);
    split(&mut world);
    // That of the order below comes later, and is left alone.
    let at = world.handed.iter().position(|(_, it)| it.id == id);
    let (line, handout) = world.handed.remove(at.unwrap());
    world.event(Event::Outcome {
        line,
        ticket: handout.ticket,
        outcome: Outcome::Refused("never".to_owned()),
    });
    check_left(&world, id, 3);
    assert_eq!(world.end(id).0, EndCode::Failed);

    let mut world = self::world();
    let ask = world.submit(&json!({"input": 5, "tasks": ["split"], "deadline": "5s"}));
    let id = world.id(ask);
    split(&mut world);
    world.pass(Duration::from_secs(6));
    assert_eq!(world.end(id).0, EndCode::Expired);
    let below = below(&world, id);
    // Theirs is the same deadline.
    assert!(below.iter().all(|(_, body)| body.is_ended()));
}

#[test]
fn the_deadline_of_a_task_holds_for_the_orders_it_waits_for_too_also_after_a_restart() {
    for restarts in [false, true] {
        let mut world = world();
        let tasks = json!([{"task": "split", "deadline": "5s"}]);
        let ask = world.submit(&json!({"input": 5, "tasks": tasks}));
        let id = world.id(ask);
        split(&mut world);
        if restarts {
            let mut bodies = below(&world, id);
            bodies.push((id, world.replayed(id)));
            let mut next = self::world();
            next.records = std::mem::take(&mut world.records);
            next.book.next = next.records.len() as u64 + 1;
            next.book.durable = next.book.next - 1;
            for (_, body) in bodies {
                let begin = next.book.restore(Box::new(body), next.now);
                next.take(begin);
            }
            let resumed = next.book.resume(next.now);
            next.take(resumed);
            world = next;
        }
        world.pass(Duration::from_secs(4));
        assert_eq!(world.book.figures(world.now).active_orders, 4);
        world.pass(Duration::from_secs(2));
        check_left(&world, id, 3);
        let reason = "task `split`: its deadline has passed".to_owned();
        assert_eq!(world.end(id), (EndCode::Failed, reason));
    }
}

#[test]
fn an_order_below_that_was_left_takes_back_what_it_did() {
    let mut world = world();
    let ask = world.submit(&json!({"input": 5, "tasks": ["split"]}));
    let id = world.id(ask);
    world.work(|handout| match &*handout.task {
        "split" => {
            let tasks = r#"[{"task":"B","undo":"undo"},"A"]"#;
            reply(format!(
                r#"{{"result":1,"orders":[{{"input":2,"tasks":{tasks}}}]}}"#
            ))
        }
        "B" => arithmetic(handout),
        _ => Outcome::Undelivered("later".to_owned()),
    });
    world.event(Event::Cancel {
        id,
        reason: "no more".to_owned(),
        ask: Ask(1_000),
    });
    let undone = world.handed.iter().map(|(_, it)| (&*it.task, it.undo));
    assert_eq!(undone.collect::<Vec<_>>(), [("B", true)]);
    world.work(|_| reply("null"));
    check_left(&world, id, 1);
}

#[test]
fn orders_below_that_are_in_the_store_only_are_cancelled_when_they_are_there() {
    let mut world = world();
    world.book.settings.resident_bytes = 0;
    for line in [1, 2] {
        world.event(Event::LineClosed { line: LineId(line) });
    }
    let ask = world.submit(&json!({"input": 5, "tasks": ["split"]}));
    let id = world.id(ask);
    split(&mut world);
    let through = world.book.next() - 1;
    world.event(Event::Applied { through });
    world.event(Event::Cancel {
        id,
        reason: "no more".to_owned(),
        ask: Ask(1_000),
    });
    while let Some(id) = world.loads.pop() {
        let body = Some(Box::new(world.replayed(id)));
        world.event(Event::Loaded { id, body });
    }
    check_left(&world, id, 3);
}

#[test]
fn after_a_crash_between_an_end_and_what_follows_orders_below_are_cancelled() {
    let mut world = world();
    let ask = world.submit(&json!({"input": 5, "tasks": ["split"]}));
    let id = world.id(ask);
    split(&mut world);
    let kept = world.records.len();
    world.event(Event::Cancel {
        id,
        reason: "no more".to_owned(),
        ask: Ask(1_000),
    });
    // Of the last records only the end itself was kept.
    world.records.truncate(kept + 1);
    let mut next = self::world();
    next.records = std::mem::take(&mut world.records);
    next.book.next = next.records.len() as u64 + 1;
    next.book.durable = next.book.next - 1;
    for (_, body) in below(&next, id) {
        assert!(!body.is_ended());
        let begin = next.book.restore(Box::new(body), next.now);
        next.take(begin);
    }
    assert_eq!(next.book.orphans(), []);
    let resumed = next.book.resume(next.now);
    next.take(resumed);
    check_left(&next, id, 3);
}

#[test]
fn orders_below_count_among_those_that_a_client_may_have() {
    let mut world = world();
    let contract = json!({"own_tasks": "any", "limits": {"active_orders": 2}});
    let contract: Contract = serde_json::from_value(contract).unwrap();
    world.event(Event::Client {
        name: "X".into(),
        contract: Some(Arc::new(contract)),
    });
    let ask = world.submit(&json!({"client": "X", "input": 5, "tasks": ["split"]}));
    let id = world.id(ask);
    world.submit(&json!({"client": "X", "input": 5, "tasks": ["A"]}));
    let services = |handout: &Handout| match &*handout.task {
        "split" => reply(r#"{"result":1,"orders":[{"input":1,"tasks":["B"]}]}"#),
        _ => arithmetic(handout),
    };
    let at = world.handed.iter().position(|(_, it)| it.id == id).unwrap();
    let (line, handout) = world.handed.remove(at);
    world.event(Event::Outcome {
        line,
        ticket: handout.ticket,
        outcome: services(&handout),
    });
    let body = world.look(id);
    let (_, missed) = &body.steps[0].misses[0];
    assert_eq!(
        missed.reason,
        "client `X` has 2 active orders and may have 2: there is no room for the 1 that it asks for"
    );
    let figures = world.book.figures(world.now);
    let split = &figures.services["split"];
    assert_eq!((split.done, split.missed), (0, 1));
    // The other order ends, and there is room when it is tried again.
    world.work(services);
    world.pass(Duration::from_secs(1));
    world.work(services);
    assert_eq!(world.end(id).0, EndCode::Completed);
}

/// An order below to `A`, which answers with so many bytes.
fn long(bytes: usize) -> Outcome {
    reply(format!("\"{}\"", "x".repeat(bytes - 2)))
}

#[test]
fn results_of_orders_below_are_bounded_together_and_what_is_too_much_is_not_waited_for() {
    let mut world = world();
    let order = r#"{"input":1,"tasks":["A"]}"#;
    let orders = format!(r#"{{"result":1,"orders":[{order},{order},{order}]}}"#);
    for (bytes, is_right) in [(RESULT_BYTES / 3 - 200, true), (RESULT_BYTES / 2, false)] {
        let ask = world.submit(&json!({"input": 5, "tasks": ["split"]}));
        let id = world.id(ask);
        world.work(|handout| match &*handout.task {
            "split" => reply(orders.clone()),
            _ => long(bytes),
        });
        let (code, text) = world.end(id);
        if is_right {
            assert_eq!(code, EndCode::Completed);
            assert!(text.len() <= RESULT_BYTES && text.len() > RESULT_BYTES - 1_000);
            continue;
        }
        let reason = format!(
            "task `split`: its result and those of the orders it gave rise to have more than {RESULT_BYTES} bytes \
             together; answer with blobs"
        );
        assert_eq!((code, text), (EndCode::Failed, reason));
        let below = below(&world, id).into_iter();
        let ends = below
            .filter_map(|(parent, body)| body.end.filter(|_| parent == id).map(|end| end.code));
        let cancelled = ends.filter(|code| *code == EndCode::Cancelled).count();
        assert_eq!(cancelled, 1, "nobody waits for the third");
        assert_eq!(world.book.figures(world.now).active_orders, 0);
    }
}

#[test]
fn results_of_a_group_are_bounded_together() {
    let mut world = world();
    for (bytes, is_right) in [(RESULT_BYTES / 3 - 200, true), (RESULT_BYTES / 2, false)] {
        let ask = world.submit(&json!({"input": 5, "tasks": [["A", "A", "B"]]}));
        let id = world.id(ask);
        world.work(|_| long(bytes));
        let (code, text) = world.end(id);
        match is_right {
            true => {
                assert_eq!(code, EndCode::Completed);
                assert!(text.len() <= RESULT_BYTES && text.len() > RESULT_BYTES - 1_000);
            }
            false => {
                let reason = format!(
                    "the results of its group have more than {RESULT_BYTES} bytes together; answer with blobs"
                );
                assert_eq!(code, EndCode::Failed);
                assert!(text.ends_with(&reason), "{text}");
            }
        }
    }
}

#[test]
fn a_task_that_takes_another_one_back_gives_rise_to_no_orders() {
    let mut world = world();
    let ask = world.submit(&json!({"input": 5, "tasks": [{"task": "A", "undo": "split"}, "B"]}));
    let id = world.id(ask);
    world.work(|handout| match (&*handout.task, handout.undo) {
        (_, true) => reply(r#"{"result":1,"orders":[{"input":1,"tasks":["A"]}]}"#),
        ("B", _) => Outcome::Refused("never".to_owned()),
        _ => arithmetic(handout),
    });
    let (code, reason) = world.end(id);
    assert_eq!(code, EndCode::Failed);
    assert_eq!(reason, "task `B`: never; not taken back: A");
    assert_eq!(world.book.figures(world.now).accepted, 1);
}
