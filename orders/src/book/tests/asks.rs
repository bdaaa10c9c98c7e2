//! What clients ask for, and what is in memory.

use super::*;

#[test]
fn a_lost_line_costs_no_attempt_and_another_one_gets_the_task_at_once() {
    let mut world = World::new();
    world.event(Event::LineOpened {
        line: LineId(7),
        service: "A".into(),
        source: "A-7".into(),
        copies: None,
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
    let waiting = asks.len() as u64;
    assert_eq!(world.book.queues(), [("A".into(), waiting)]);
    world.event(Event::LineOpened {
        line: LineId(1),
        service: "A".into(),
        source: "A-1".into(),
        copies: None,
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
    assert_eq!(world.book.queues(), []);
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

#[test]
fn a_service_that_is_defined_anew_is_not_held_up_as_the_one_before_was() {
    let mut world = World::new();
    let name: Arc<str> = "A".into();
    world.event(Event::PauseService {
        name: Arc::clone(&name),
        paused: true,
    });
    for spec in [None, Some(spec(&json!({})))] {
        let name = Arc::clone(&name);
        world.event(Event::Service { name, spec });
    }
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    world.work(arithmetic);
    let id = world.id(ask);
    assert_eq!(world.end(id), (EndCode::Completed, "7".to_owned()));
}

#[test]
fn a_service_stays_as_long_as_an_active_order_may_need_it_also_to_take_something_back() {
    let mut world = World::new();
    world.service("U", 3, &json!({}));
    let tasks = json!([{"task": "A", "undo": "U"}, "B"]);
    let ask = world.submit(&json!({"input": 5, "tasks": tasks}));
    let id = world.id(ask);
    let remove = |world: &mut World, name: &str| {
        world.asks += 1;
        let (name, ask) = (name.into(), Ask(world.asks));
        world.event(Event::RemoveService { name, ask });
        match world.answer(ask) {
            Answer::Done => String::new(),
            Answer::Refused(refusal) => refusal.to_string(),
            other => panic!("{other:?}"),
        }
    };
    assert!(remove(&mut world, "B").contains("active orders have 1 tasks for the service `B`"));
    assert!(remove(&mut world, "U").contains("may need the service `U`"));
    let (line, handout) = world.handed.pop().unwrap();
    let (ticket, outcome) = (handout.ticket, arithmetic(&handout));
    world.event(Event::Outcome {
        line,
        ticket,
        outcome,
    });
    assert_eq!(remove(&mut world, "A"), "", "what it had to do is done");
    world.asks += 1;
    let (reason, ask) = (String::new(), Ask(world.asks));
    world.event(Event::Cancel { id, reason, ask });
    assert!(remove(&mut world, "U").contains("the service `U`"));
    world.work(|_| reply("1"));
    assert_eq!(world.end(id).0, EndCode::Cancelled);
    assert_eq!(remove(&mut world, "U"), "");
    let late = world.submit(&json!({"input": 5, "tasks": ["U"]}));
    assert_eq!(world.refusal(late), "there is no service `U`");
}
