//! Both examples message by message, and walks through lists of tasks.

mod nonsense;
mod properties;

use serde_json::{Value, json};

use super::{trace::Job, *};

fn json(text: &str) -> Json {
    Json::parse(text.to_owned()).unwrap()
}

fn list(text: &str) -> TaskList {
    TaskList::parse(&json(text)).unwrap()
}

/// What the services of the examples do: A adds 2, all others double.
fn work(service: &str, input: &Value) -> Value {
    let input = input.as_i64().unwrap();
    json!(if service == "A" { input + 2 } else { input * 2 })
}

/// A service that is asked in the shape of example 1.
fn slip_service(service: &str, work: impl Fn(&str, &Value) -> Value, request: &Json) -> Json {
    let mut message = request.to_value();
    message["input"] = work(service, &message["input"]);
    message["done"].as_array_mut().unwrap().push(json!(service));
    Json::from_value(&message)
}

/// A service that is asked in the shape of example 2; its job is the one of its name without a result.
fn trace_service(service: &str, work: impl Fn(&str, &Value) -> Value, request: &Json) -> Json {
    let mut message = request.to_value();
    let jobs = message["jobs"].as_object_mut().unwrap();
    let own = |key: &str| key.split('#').next() == Some(service);
    let job = jobs
        .iter_mut()
        .find(|(key, job)| own(key) && job.get("result").is_none());
    let job = job.unwrap().1;
    job["result"] = work(service, &job["input"]);
    message["from"] = json!(service);
    Json::from_value(&message)
}

/// Runs an order through a list of single tasks; the answer is what leaves at END.
fn walk(mode: Mode, input: &str, tasks: &str) -> String {
    let (input, tasks) = (json(input), list(tasks));
    let mut results: Vec<Json> = Vec::new();
    for position in 0..tasks.len() as u16 {
        let service = &tasks.task(position).service;
        let last = results.last().unwrap_or(&input).clone();
        let result = match mode {
            Mode::Slip => {
                let done: Vec<u16> = (0..position).collect();
                let request = slip::request(&last, &tasks, &done);
                slip::response(
                    &tasks,
                    position,
                    &done,
                    &slip_service(service, work, &request),
                )
            }
            Mode::Trace => {
                let jobs = jobs(&input, &results, position + 1);
                let request = trace::request(&input, &tasks, &jobs);
                trace::response(
                    &tasks,
                    position,
                    &jobs,
                    &trace_service(service, work, &request),
                )
            }
        };
        results.push(result.unwrap());
    }
    end(results.last().unwrap_or(&input)).as_str().to_owned()
}

/// The jobs of the first tasks, when each works on the result of the one before.
fn jobs<'a>(input: &'a Json, results: &'a [Json], count: u16) -> Vec<Job<'a>> {
    let job = |position: u16| {
        let at = usize::from(position);
        let input = if at == 0 { input } else { &results[at - 1] };
        let result = results.get(at);
        Job {
            position,
            input,
            result,
        }
    };
    (0..count).map(job).collect()
}

#[test]
fn example_1_message_by_message() {
    let start = start::parse(&json(r#"{"input":5,"todo":["A","B"]}"#)).unwrap();
    let tasks = TaskList::parse(&start.tasks.unwrap()).unwrap();
    let output = start::output(Mode::Slip, &start.input, &tasks);
    assert_eq!(output.as_str(), r#"{"input":5,"todo":["A","B"],"done":[]}"#);
    assert!(start::parse(&output).is_ok());

    let request = slip::request(&start.input, &tasks, &[]);
    assert_eq!(
        request.as_str(),
        r#"{"input":5,"tasks":["A","B"],"done":[]}"#
    );
    let answer = json(r#"{"input":7,"tasks":["A","B"],"done":["A"]}"#);
    let input = slip::response(&tasks, 0, &[], &answer).unwrap();
    assert_eq!(slip::request(&input, &tasks, &[0]), answer);
    let answer = json(r#"{"input":14,"tasks":["A","B"],"done":["A","B"]}"#);
    let input = slip::response(&tasks, 1, &[0], &answer).unwrap();
    assert_eq!(slip::request(&input, &tasks, &[0, 1]), answer);
    assert_eq!(end(&input).as_str(), r#"{"result":14}"#);
}

#[test]
fn example_2_message_by_message() {
    let start = start::parse(&json(r#"{"input":5,"todo":["B","A"]}"#)).unwrap();
    let tasks = TaskList::parse(&start.tasks.unwrap()).unwrap();
    let output = start::output(Mode::Trace, &start.input, &tasks);
    assert_eq!(
        output.as_str(),
        r#"{"input":5,"todo":["B","A"],"from":["start"]}"#
    );
    assert!(start::parse(&output).is_ok());

    let five = start.input;
    let b = |result| Job {
        position: 0,
        input: &five,
        result,
    };
    let request = trace::request(&five, &tasks, &[b(None)]);
    assert_eq!(
        request.as_str(),
        r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5}}}"#
    );
    let answer =
        json(r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10}},"from":"B"}"#);
    let ten = trace::response(&tasks, 0, &[b(None)], &answer).unwrap();

    let a = |result| Job {
        position: 1,
        input: &ten,
        result,
    };
    let request = trace::request(&five, &tasks, &[b(Some(&ten)), a(None)]);
    let expected =
        r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10}}}"#;
    assert_eq!(request.as_str(), expected);
    let answer = json(
        r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10,"result":12}},"from":"A"}"#,
    );
    let twelve = trace::response(&tasks, 1, &[b(Some(&ten)), a(None)], &answer).unwrap();

    let last = trace::request(&five, &tasks, &[b(Some(&ten)), a(Some(&twelve))]);
    let expected = r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10,"result":12}}}"#;
    assert_eq!(last.as_str(), expected);
    assert_eq!(end(&twelve).as_str(), r#"{"result":12}"#);
}

#[test]
fn orders_come_out_as_the_examples_say_in_both_shapes() {
    for mode in [Mode::Slip, Mode::Trace] {
        for (tasks, expected) in [
            (r#"["A","B"]"#, r#"{"result":14}"#),
            (r#"["B","A"]"#, r#"{"result":12}"#),
            (r#"["A","B","A"]"#, r#"{"result":16}"#),
            ("[]", r#"{"result":5}"#),
        ] {
            assert_eq!(walk(mode, "5", tasks), expected, "{mode:?} {tasks}");
        }
    }
}

#[test]
fn each_of_a_group_receives_the_same_and_appends_itself() {
    let tasks = list(r#"["A",["B","C"],"D"]"#);
    let request = slip::request(&json("7"), &tasks, &[0]);
    let expected = r#"{"input":7,"tasks":["A",["B","C"],"D"],"done":["A"]}"#;
    assert_eq!(request.as_str(), expected);
    let answers = [1, 2].map(|position| {
        let answer = slip_service(&tasks.task(position).service, work, &request);
        slip::response(&tasks, position, &[0], &answer).unwrap()
    });
    let joined = join(tasks.tasks()[1..3].iter().zip(&answers));
    assert_eq!(joined.as_str(), r#"{"B":14,"C":14}"#);
    let next = slip::request(&joined, &tasks, &[0, 1, 2]);
    let expected = r#"{"input":{"B":14,"C":14},"tasks":["A",["B","C"],"D"],"done":["A","B","C"]}"#;
    assert_eq!(next.as_str(), expected);
}

#[test]
fn a_task_that_stands_twice_has_a_job_of_its_own() {
    let tasks = list(r#"["A","B","A"]"#);
    let values = ["5", "7", "14"].map(json);
    let jobs = jobs(&values[0], &values[1..], 3);
    let request = trace::request(&values[0], &tasks, &jobs);
    let expected = r##"{"input":5,"tasks":["A","B","A"],"jobs":{"A":{"input":5,"result":7},"B":{"input":7,"result":14},"A#2":{"input":14}}}"##;
    assert_eq!(request.as_str(), expected);
    for from in [r#""A""#, r##""A#2""##, r#"["A"]"#, r##"["A#2"]"##] {
        let answer = json(&format!(
            r##"{{"jobs":{{"A#2":{{"result":16}}}},"from":{from}}}"##
        ));
        assert_eq!(
            trace::response(&tasks, 2, &jobs, &answer),
            Ok(json("16")),
            "{from}"
        );
    }
}

#[test]
fn inputs_and_results_are_passed_as_they_are_written() {
    let tasks = list(r#"["A"]"#);
    for text in [
        "1.0",
        "1e400",
        "123456789012345678901234567890",
        r#"{ "b":"\u00e4", "a":-0 }"#,
    ] {
        let value = json(text);
        let request = slip::request(&value, &tasks, &[]);
        assert_eq!(
            request.as_str(),
            format!(r#"{{"input":{text},"tasks":["A"],"done":[]}}"#)
        );
        let answer = json(&format!(
            r#"{{ "done": [ "A" ], "input": {text}, "tasks":[ "A" ] }}"#
        ));
        assert_eq!(slip::response(&tasks, 0, &[], &answer), Ok(value.clone()));
        let jobs = [Job {
            position: 0,
            input: &value,
            result: None,
        }];
        let request = trace::request(&value, &tasks, &jobs);
        let expected =
            format!(r#"{{"input":{text},"tasks":["A"],"jobs":{{"A":{{"input":{text}}}}}}}"#);
        assert_eq!(request.as_str(), expected);
        let answer = json(&format!(
            r#"{{"from":"A","jobs":{{"A":{{"result":{text}}}}}}}"#
        ));
        assert_eq!(
            trace::response(&tasks, 0, &jobs, &answer),
            Ok(value.clone())
        );
        assert_eq!(end(&value).as_str(), format!(r#"{{"result":{text}}}"#));
    }
}

#[test]
fn the_end_and_joined_groups_hold_results_as_they_are_written() {
    let tasks = list(r#"[["B","C","B"]]"#);
    let results = ["1e400", "null", "1.0"].map(json);
    let joined = join(tasks.tasks().iter().zip(&results));
    assert_eq!(joined.as_str(), r##"{"B":1e400,"C":null,"B#2":1.0}"##);
    assert_eq!(join([]).as_str(), "{}");
}

#[test]
fn the_deepest_value_fits_into_all_messages() {
    let deepest = "[".repeat(MAX_VALUE_DEPTH) + &"]".repeat(MAX_VALUE_DEPTH);
    let start = start::parse(&json(&format!("{{\"input\":{deepest}}}"))).unwrap();
    let tasks = list(r#"["A"]"#);
    let same = |_: &str, input: &Value| input.clone();
    let request = slip::request(&start.input, &tasks, &[]);
    let answer = slip_service("A", same, &request);
    assert_eq!(
        slip::response(&tasks, 0, &[], &answer),
        Ok(start.input.clone())
    );
    let jobs = jobs(&start.input, &[], 1);
    let request = trace::request(&start.input, &tasks, &jobs);
    let answer = trace_service("A", same, &request);
    let result = trace::response(&tasks, 0, &jobs, &json(answer.as_str()));
    assert_eq!(result, Ok(start.input.clone()));
}

#[test]
fn modes_are_lower_case() {
    let modes = [Mode::Slip, Mode::Trace];
    assert_eq!(
        serde_json::to_string(&modes).unwrap(),
        r#"["slip","trace"]"#
    );
    assert!(serde_json::from_str::<Mode>("\"Slip\"").is_err());
}
