//! Messages of example 1: each service replaces `input` and appends its name to `done`. Pure.

use crate::{
    json::{self, Json},
    message::{Answer, Nonsense},
    tasks::TaskList,
};

/// What a service receives, and END too: `{"input":7,"tasks":["A","B"],"done":["A"]}`.
///
/// `done` has the positions of the tasks that were done, in the order in which they are to be shown. All tasks of a
/// group receive the same.
///
/// # Panics
/// If a position is not in the list.
pub fn request(input: &Json, tasks: &TaskList, done: &[u16]) -> Json {
    let (input, names) = (input.as_bytes(), tasks.names().as_bytes());
    let mut text = Vec::with_capacity(input.len() + 2 * names.len() + 32);
    text.extend_from_slice(b"{\"input\":");
    text.extend_from_slice(input);
    text.extend_from_slice(b",\"tasks\":");
    text.extend_from_slice(names);
    text.extend_from_slice(b",\"done\":");
    write_names(&mut text, tasks, done.iter().copied());
    text.push(b'}');
    Json::written(text)
}

/// Reads what the service of the task at `position` answered to [`request`] with the same `done`; the answer is the new
/// `input`.
///
/// The message must have `input`, the same `tasks`, and `done` with the service appended. Other keys are passed over.
///
/// # Errors
/// What is wrong with it.
///
/// # Panics
/// If a position is not in the list.
pub fn response(
    tasks: &TaskList,
    position: u16,
    done: &[u16],
    body: &Json,
) -> Result<Json, Nonsense> {
    let text = body.as_str();
    let answer = Answer {
        service: &tasks.task(position).service,
    };
    let [input, listed, said] = answer.fields("the message", text, ["input", "tasks", "done"])?;
    let input = input.ok_or_else(|| answer.missing("`input`", text))?;
    let listed = listed.ok_or_else(|| answer.missing("`tasks`", text))?;
    let said = said.ok_or_else(|| answer.missing("`done`", text))?;
    answer.same_tasks(tasks, listed)?;

    let items = json::items(said.get());
    let items = items.ok_or_else(|| answer.kind("`done`", said.get(), "a list of names"))?;
    let expected = || done.iter().copied().chain([position]);
    let same = items.len() == done.len() + 1
        && items.iter().zip(expected()).all(|(raw, position)| {
            json::string(raw.get()).is_some_and(|name| *name == *tasks.task(position).service)
        });
    if !same {
        let mut text = Vec::new();
        write_names(&mut text, tasks, expected());
        let expected = Json::written(text);
        return Err(answer.differs("`done`", said.get(), expected.as_str()));
    }
    answer.result(body, input)
}

fn write_names(into: &mut Vec<u8>, tasks: &TaskList, positions: impl Iterator<Item = u16>) {
    into.push(b'[');
    for (at, position) in positions.enumerate() {
        if at > 0 {
            into.push(b',');
        }
        json::quote(into, &tasks.task(position).service);
    }
    into.push(b']');
}
