//! Tasks go from service to service.

use super::*;

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
fn an_idempotent_service_works_while_the_disk_does_and_nobody_is_told_before_it_has_done() {
    let mut world = World::new();
    let repeats = Some(spec(&json!({"idempotent": true})));
    world.event(Event::Service {
        name: "A".into(),
        spec: repeats,
    });
    world.keeps = false;
    let ask = world.submit(&json!({"input": 5, "tasks": ["A", "B", "A"]}));
    assert!(world.answers.is_empty(), "its acceptance is not kept");
    assert_eq!(world.handed.len(), 1, "A may do it again");
    world.work(arithmetic);
    assert!(world.handed.is_empty(), "B may not");
    world.keep();
    world.work(arithmetic);
    assert_eq!(world.records.len(), 4, "B and the second A are done");
    let id = world.id(ask);
    let seen = world.look_at_once(id);
    assert!(seen.is_none(), "how far it is, is not kept");
    world.keep();
    assert_eq!(world.end(id), (EndCode::Completed, "16".to_owned()));
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
    let again = Again {
        id,
        new,
        after: None,
        ask: retry,
    };
    world.event(Event::Retry(again));
    assert_eq!(world.id(retry), new);
    assert_eq!(world.look(id).view().retried_as, Some(new));
    assert_eq!(world.replayed(id).retried_as, Some(new));
    // A second time only when the first one came to nothing.
    for (after, seed) in [(None, 100), (Some(id), 101), (Some(new), 102)] {
        world.asks += 1;
        let ask = Ask(world.asks);
        let another = OrderId::at(world.now, &mut SmallRng::seed_from_u64(seed));
        world.event(Event::Retry(Again {
            id,
            new: another,
            after,
            ask,
        }));
        match after == Some(new) {
            true => assert_eq!(world.id(ask), another),
            false => assert!(world.refusal(ask).contains(&format!("as order {new}"))),
        }
    }
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
fn a_clock_that_was_set_back_between_two_lives_holds_up_nothing_that_waits_to_be_tried_again() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    let id = world.id(ask);
    world.work(|_| Outcome::Failed("not now".to_owned()));
    let body = world.replayed(id);
    assert!(body.current()[0].again().is_some());
    for (back, count) in [(Duration::ZERO, 0), (Duration::from_secs(3_600), 1)] {
        let mut next = World::new();
        next.now = world.now - back;
        let begin = next.book.restore(Box::new(body.clone()), next.now);
        next.take(begin);
        let resumed = next.book.resume(next.now);
        next.take(resumed);
        while let Some(id) = next.loads.pop() {
            let body = Some(Box::new(body.clone()));
            next.event(Event::Loaded { id, body });
        }
        assert_eq!(next.handed.len(), count, "{back:?}");
    }
}

#[test]
fn what_is_too_long_for_one_record_is_not_taken_up_again() {
    let mut world = World::new();
    let mut tasks = vec!["A"; 5];
    tasks.push("B");
    let ask = world.submit(&json!({"input": 5, "tasks": tasks}));
    let id = world.id(ask);
    let long = format!("\"{}\"", "x".repeat(1 << 20));
    world.work(|handout| match &handout.task[..1] {
        "A" => reply(long.clone()),
        _ => Outcome::Refused("never".to_owned()),
    });
    let records = world.records.len();
    world.asks += 1;
    let ask = Ask(world.asks);
    let new = OrderId::at(world.now, &mut SmallRng::seed_from_u64(5));
    let after = None;
    world.event(Event::Retry(Again {
        id,
        new,
        after,
        ask,
    }));
    while let Some(id) = world.loads.pop() {
        let body = Some(Box::new(world.replayed(id)));
        world.event(Event::Loaded { id, body });
    }
    assert!(world.refusal(ask).contains("send it anew"));
    assert_eq!(world.records.len(), records);
}

#[test]
fn a_task_may_work_on_a_part_of_the_result_so_far() {
    let mut world = World::new();
    for (name, line) in [("small", 3), ("large", 4), ("mark", 5)] {
        world.service(name, line, &json!({}));
    }
    let ask = world.submit(&json!({
        "input": 3,
        "tasks": [
            ["small", "large"],
            [
                {"task": "mark", "from": "/small"},
                {"task": "mark", "from": "/large/0"},
                {"task": "mark", "from": "/medium"},
            ],
        ],
    }));
    world.work(|handout| {
        let input = handout.payload.as_str();
        match &*handout.task {
            "small" => reply(input),
            "large" => reply(format!("[\"{input} large\"]")),
            _ => reply(format!("[{input}]")),
        }
    });
    let result = r#"{"mark":[3],"mark#2":["3 large"],"mark#3":[null]}"#;
    let id = world.id(ask);
    assert_eq!(world.end(id), (EndCode::Completed, result.to_owned()));
}

#[test]
fn a_service_with_bytes_is_handed_its_input_in_that_form() {
    let mut world = World::new();
    world.service("C", 3, &json!({"payload": "bytes"}));
    let input = json!({"blob": "sha256:00"});
    world.submit(&json!({"input": input, "tasks": ["C"]}));
    world.submit(&json!({"input": 1, "tasks": ["A"]}));
    let handed = world.handed.iter().map(|(_, handout)| handout.form);
    let forms: Vec<Payload> = handed.collect();
    assert_eq!(forms, [Payload::Bytes, Payload::Json]);
    assert_eq!(world.handed[0].1.payload, Json::from_value(&input));
    for more in [json!({"call": "message"}), json!({"envelope": true})] {
        let mut spec = json!({"url": "http://localhost", "payload": "bytes"});
        spec.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        let spec: ServiceSpec = serde_json::from_value(spec).unwrap();
        assert_eq!(spec.faults()[0].pointer, "/payload");
    }
}

#[test]
fn an_answer_that_no_record_would_hold_is_an_attempt_in_vain_and_says_what_to_do() {
    let mut world = World::new();
    let ask = world.submit(&json!({"input": 5, "tasks": ["A"]}));
    for _ in 0..5 {
        assert_eq!(world.handed.len(), 1);
        world.work(|_| reply(format!("\"{}\"", "x".repeat(2 << 20))));
        world.pass(Duration::from_secs(60));
    }
    let id = world.id(ask);
    let (code, reason) = world.end(id);
    assert_eq!(code, EndCode::Failed);
    assert!(reason.starts_with("task `A`, 5 attempts: "), "{reason}");
    assert!(reason.ends_with("bytes; answer with a blob"), "{reason}");
}

#[test]
fn tasks_that_take_something_back_are_to_do_and_those_that_will_not_come_are_not() {
    let mut world = World::new();
    for (name, line) in [("undo", 3), ("bad", 4), ("later", 5)] {
        world.service(name, line, &json!({}));
    }
    let ask = world.submit(&json!({"input": 5, "tasks": [
        {"task": "A", "undo": "undo"}, {"task": "B", "undo": "undo"}, "bad", "later", "A",
    ]}));
    let to_do = |world: &World| {
        let figures = world.book.figures(world.now);
        let of = |name: &str| figures.services.get(name).map_or(0, |it| it.tasks_to_do);
        let all = ["A", "B", "bad", "later", "undo"].map(of);
        assert_eq!(figures.tasks_to_do, all.iter().sum::<u64>());
        all
    };
    assert_eq!(to_do(&world), [2, 1, 1, 1, 0]);
    let next = |world: &mut World, outcome| {
        let (line, handout) = world.handed.pop().unwrap();
        let ticket = handout.ticket;
        world.event(Event::Outcome {
            line,
            ticket,
            outcome,
        });
    };
    next(&mut world, reply("1"));
    next(&mut world, reply("1"));
    assert_eq!(to_do(&world), [1, 0, 1, 1, 0]);
    next(&mut world, Outcome::Refused("never".to_owned()));
    assert_eq!(to_do(&world), [0, 0, 0, 0, 2]);
    next(&mut world, reply("null"));
    assert_eq!(to_do(&world), [0, 0, 0, 0, 1]);
    let undo = world.book.figures(world.now).services["undo"].clone();
    assert_eq!((undo.in_flight, undo.copies), (1, 1));
    next(&mut world, Outcome::Refused("it stays".to_owned()));
    assert_eq!(to_do(&world), [0; 5]);
    let id = world.id(ask);
    let reason = "task `bad`: never; not taken back: A".to_owned();
    assert_eq!(world.end(id), (EndCode::Failed, reason));
}
