//! The longest of each kind of record fits into the log.

use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::*;
use crate::bounds::{
    CARRIED_BYTES, INPUT_BYTES, LIST_BYTES, OUTPUT_BYTES, OUTPUTS, RECORD_BYTES, RESULT_BYTES,
    SPAWN_BYTES, TOGETHER_BYTES,
};
use crate::submission::{KEY_BYTES, METADATA_BYTES};

/// A JSON text of so many bytes.
fn text(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// The longest record so far; none is too long.
fn longest(world: &World) -> usize {
    let lengths = world.records.iter().map(Record::encoded_len);
    let longest = lengths.max().unwrap_or_default();
    assert!(longest <= RECORD_BYTES, "{longest}");
    longest
}

/// A list of these tasks that has so many bytes.
fn list(tasks: &[&str], bytes: usize) -> Value {
    let condition = json!({"path": "/x", "ne": ""});
    let mut list: Vec<Value> = tasks.iter().map(|task| json!({"task": task})).collect();
    list[0]["when"] = condition;
    let missing = bytes - Value::from(list.clone()).to_string().len();
    list[0]["when"]["ne"] = json!("x".repeat(missing));
    Value::from(list)
}

/// A client `X` with the longest contract there may be.
fn client(world: &mut World, tasks: &Value) {
    let output = json!({"to": "redis", "url": "redis://h", "key": ""});
    let missing = OUTPUT_BYTES - output.to_string().len();
    let mut output = output;
    output["key"] = json!("k".repeat(missing));
    let contract = json!({"tasks": tasks, "own_tasks": "any", "outputs": vec![output; OUTPUTS]});
    let contract: Contract = serde_json::from_value(contract).unwrap();
    assert!(contract.check().is_ok());
    world.event(Event::Client {
        name: "X".into(),
        contract: Some(Arc::new(contract)),
    });
}

/// An order of `X` with everything as long as it may be.
fn document() -> Value {
    let metadata = METADATA_BYTES - r#"{"m":""}"#.len();
    let callback = OUTPUT_BYTES - r#"{"to":"callback","url":"http://"}"#.len();
    json!({
        "client": "X", "input": "x".repeat(INPUT_BYTES - 2), "mode": "slip", "deadline": "1h", "priority": 9,
        "idempotency_key": "k".repeat(KEY_BYTES), "metadata": {"m": "m".repeat(metadata)},
        "callback": format!("http://{}", "h".repeat(callback)),
    })
}

#[test]
fn orders_as_they_are_accepted_fit_and_so_does_one_that_takes_over_all_it_can() {
    let mut world = World::new();
    let count = CARRIED_BYTES / RESULT_BYTES;
    let mut tasks = vec!["A"; count + 1];
    tasks.push("B");
    client(&mut world, &list(&tasks, LIST_BYTES));
    let ask = world.submit(&document());
    let accepted = longest(&world);
    assert!(accepted > INPUT_BYTES + LIST_BYTES + METADATA_BYTES + OUTPUTS * OUTPUT_BYTES);
    let last = CARRIED_BYTES - count * RESULT_BYTES;
    world.work(|handout| match &*handout.task {
        "B" => Outcome::Refused("x".repeat(1 << 20)),
        "A" => Outcome::Reply {
            payload: text(last).into(),
            instance: Some("i".repeat(1 << 20).into()),
        },
        _ => reply(text(RESULT_BYTES)),
    });
    let id = world.id(ask);
    assert_eq!(world.end(id).0, EndCode::Failed);
    let new = OrderId::at(world.now, &mut SmallRng::seed_from_u64(99));
    let ask = Ask(1_000);
    let after = None;
    world.event(Event::Retry(Again {
        id,
        new,
        after,
        ask,
    }));
    assert_eq!(world.id(ask), new);
    assert!(longest(&world) > CARRIED_BYTES + accepted - OUTPUT_BYTES);
}

#[test]
fn what_is_longer_than_it_may_be_is_refused_where_it_is_taken() {
    let mut world = World::new();
    client(&mut world, &json!(["A"]));
    let lists = world.lists.clone();
    for (pointer, field, value) in [
        ("/input", "input", json!("x".repeat(INPUT_BYTES - 1))),
        ("/tasks", "tasks", list(&["A"], LIST_BYTES + 1)),
        (
            "/callback",
            "callback",
            json!(format!("http://{}", "h".repeat(OUTPUT_BYTES))),
        ),
    ] {
        let mut document = document();
        document[field] = value;
        let body = Bytes::from(document.to_string());
        let read = Submission::parse(&body, None, world.now, |_| [0; 32], |text| lists.list(text));
        assert_eq!(read.unwrap_err()[0].pointer, pointer);
    }
    let outputs = vec![json!({"to": "file", "name": "a"}); OUTPUTS + 1];
    let contract: Contract = serde_json::from_value(json!({"outputs": outputs})).unwrap();
    assert_eq!(contract.check().unwrap_err()[0].pointer, "/outputs");
}

#[test]
fn a_task_that_gives_rise_to_more_than_fits_together_is_refused() {
    let mut world = World::new();
    world.service("split", 3, &json!({"envelope": true}));
    let count = SPAWN_BYTES / LIST_BYTES;
    client(&mut world, &list(&["A"], LIST_BYTES - 1_000));
    let input = text((RESULT_BYTES / 2) / count);
    for (count, is_right) in [(count - 1, true), (count + 1, false)] {
        let orders = vec![format!(r#"{{"client":"X","input":{input}}}"#); count].join(",");
        let own = text(RESULT_BYTES / 3);
        let ask = world.submit(&json!({"input": 1, "tasks": ["split"]}));
        world.work(|handout| match &*handout.task {
            "split" => reply(format!(r#"{{"result":{own},"orders":[{orders}]}}"#)),
            _ => reply("1"),
        });
        let id = world.id(ask);
        let (code, reason) = world.end(id);
        match is_right {
            true => assert!(longest(&world) > (count - 1) * LIST_BYTES, "{reason}"),
            false => assert!(reason.contains("ask for fewer"), "{reason}"),
        }
        assert_eq!(code == EndCode::Completed, is_right);
    }
}

/// Services `s1`, `s2`, ... each of which has one order done by the next one.
fn chain(world: &mut World, depth: usize) {
    for number in 1..=depth {
        let name = format!("s{number}");
        world.service(&name, 10 + number as u32, &json!({"envelope": true}));
    }
}

#[test]
fn an_end_that_is_the_end_of_many_orders_above_is_more_than_one_record() {
    let mut world = World::new();
    chain(&mut world, 8);
    let ask = world.submit(&json!({"input": 1, "tasks": ["s1"]}));
    let result = text(RESULT_BYTES - 2_000);
    world.work(|handout| {
        let next = match &*handout.task {
            "A" => return reply(result.clone()),
            "s8" => "A".to_owned(),
            name => format!("s{}", name[1..].parse::<u32>().unwrap() + 1),
        };
        reply(format!(r#"{{"orders":[{{"tasks":["{next}"]}}]}}"#))
    });
    let longest = longest(&world);
    assert!(longest > TOGETHER_BYTES && longest <= TOGETHER_BYTES + 2 * RESULT_BYTES);
    let id = world.id(ask);
    let (code, result) = world.end(id);
    assert_eq!(code, EndCode::Completed);
    assert!(result.len() > RESULT_BYTES - 2_000);
    assert_eq!(world.book.figures(world.now).active_orders, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever services answer, with whatever sizes: no record is longer than the log takes.
    #[test]
    fn no_record_is_longer_than_the_log_takes(
        sizes in vec(2..RESULT_BYTES + 2, 1..6),
        depth in 1..5_usize,
        spread in 1..4_usize,
        list_bytes in 1_000..LIST_BYTES,
    ) {
        let mut world = World::new();
        chain(&mut world, depth);
        client(&mut world, &list(&["A", "B", "A"], list_bytes));
        let ask = world.submit(&json!({"input": 1, "tasks": [["s1", "A"], "B"]}));
        let turn = std::cell::Cell::new(0);
        world.work(|handout| {
            turn.set(turn.get() + 1);
            let result = text(sizes[turn.get() % sizes.len()]);
            let service = handout.task.split('#').next().unwrap();
            if !service.starts_with('s') {
                return reply(result);
            }
            let number: usize = service[1..].parse().unwrap();
            let order = match number == depth {
                true => r#"{"client":"X"}"#.to_owned(),
                false => format!(r#"{{"tasks":[["s{}","A"]]}}"#, number + 1),
            };
            let orders = vec![order; spread].join(",");
            reply(format!(r#"{{"result":{},"orders":[{orders}]}}"#, sizes[0]))
        });
        longest(&world);
        let id = world.id(ask);
        world.end(id);
        prop_assert_eq!(world.book.figures(world.now).active_orders, 0);
    }
}
