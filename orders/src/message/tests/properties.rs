//! What holds for any order: answers of services that behave are taken, and others never end in a panic.

use proptest::prelude::*;

use super::*;

/// Values of all kinds that `serde_json` reads and writes without a loss.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i32>().prop_map(|quarters| Value::from(f64::from(quarters) / 4.0)),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let list = proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
        let map = proptest::collection::btree_map(any::<String>(), inner, 0..4);
        prop_oneof![list, map.prop_map(|map| map.into_iter().collect::<Value>())]
    })
}

fn any_tasks() -> impl Strategy<Value = TaskList> {
    let single = "[A-D]".prop_map(Value::from);
    let group = proptest::collection::vec("[A-D]", 1..4).prop_map(Value::from);
    proptest::collection::vec(prop_oneof![single, group], 1..6)
        .prop_map(|list| TaskList::parse(&Json::from_value(&list.into())).unwrap())
}

/// A list, a value for each task and one more, and the position of a task.
fn any_order() -> impl Strategy<Value = (TaskList, Vec<Json>, u16)> {
    any_tasks().prop_flat_map(|tasks| {
        let count = tasks.len();
        let value = any_value().prop_map(|value| Json::from_value(&value));
        let values = proptest::collection::vec(value, count + 1);
        (Just(tasks), values, 0..count as u16)
    })
}

/// Changes a text: each change replaces, adds or takes a byte away.
fn mutated(text: &str, changes: &[(u16, u8, u8)]) -> Vec<u8> {
    let mut text = text.as_bytes().to_vec();
    for (at, kind, byte) in changes {
        let at = usize::from(*at) % (text.len() + 1);
        match kind % 3 {
            0 => text.insert(at, *byte),
            1 if at < text.len() => text[at] = *byte,
            _ if at < text.len() => drop(text.remove(at)),
            _ => {}
        }
    }
    text
}

/// Whether a result stands in the answer as it is, or the error is short.
fn is_cut_or_said(answer: &Json, result: Result<Json, Nonsense>) -> bool {
    match result {
        Ok(result) => answer.as_str().contains(result.as_str()),
        Err(error) => error.to_string().chars().count() < 1_000,
    }
}

fn changes() -> impl Strategy<Value = Vec<(u16, u8, u8)>> {
    let byte = proptest::sample::select(&b"{}[]\",:\\ABCDu0d81.e-# tfn\xc3"[..]);
    proptest::collection::vec((any::<u16>(), any::<u8>(), byte), 0..4)
}

proptest! {
    #[test]
    fn the_answer_of_a_service_that_behaves_is_taken_in_a_slip(
        (tasks, values, position) in any_order(),
        changes in changes(),
    ) {
        let done: Vec<u16> = (0..position).collect();
        let request = slip::request(&values[0], &tasks, &done);
        prop_assert_eq!(Json::parse(request.bytes()), Ok(request.clone()));
        let result = values[1].to_value();
        let answer = slip_service(&tasks.task(position).service, |_, _| result.clone(), &request);
        prop_assert_eq!(slip::response(&tasks, position, &done, &answer), Ok(values[1].clone()));
        if let Ok(answer) = Json::parse(mutated(answer.as_str(), &changes)) {
            let result = slip::response(&tasks, position, &done, &answer);
            prop_assert!(is_cut_or_said(&answer, result));
        }
    }

    #[test]
    fn the_answer_of_a_service_that_behaves_is_taken_in_a_trace(
        (tasks, values, position) in any_order(),
        changes in changes(),
    ) {
        let results = &values[1..][..usize::from(position)];
        let jobs = jobs(&values[0], results, position + 1);
        let request = trace::request(&values[0], &tasks, &jobs);
        prop_assert_eq!(Json::parse(request.bytes()), Ok(request.clone()));
        let result = values.last().unwrap();
        let made = result.to_value();
        let answer = trace_service(&tasks.task(position).service, |_, _| made.clone(), &request);
        prop_assert_eq!(trace::response(&tasks, position, &jobs, &answer), Ok(result.clone()));
        if let Ok(answer) = Json::parse(mutated(answer.as_str(), &changes)) {
            let result = trace::response(&tasks, position, &jobs, &answer);
            prop_assert!(is_cut_or_said(&answer, result));
        }
    }

    #[test]
    fn starts_are_read_back(value in any_value(), tasks in any_tasks(), changes in changes()) {
        let input = Json::from_value(&value);
        for mode in [Mode::Slip, Mode::Trace] {
            let output = start::output(mode, &input, &tasks);
            let start = start::parse(&output).unwrap();
            prop_assert_eq!(&start.input, &input);
            prop_assert_eq!(start.tasks.as_ref(), Some(tasks.names()));
            if let Ok(body) = Json::parse(mutated(output.as_str(), &changes))
                && let Ok(start) = start::parse(&body)
                && let Some(tasks) = start.tasks
                && let Err(faults) = TaskList::parse(&tasks) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}
