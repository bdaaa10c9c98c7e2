//! Messages of example 2: the first `input` stays, and every task has a job with its input and its result. Pure.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    json::{self, Json},
    message::{Answer, Nonsense},
    tasks::TaskList,
};

/// What is known of a task.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// Its position in the list.
    pub position: u16,
    /// What it works on.
    pub input: &'a Json,
    /// What came out, if it is done.
    pub result: Option<&'a Json>,
}

/// What a service receives, and END too:
/// `{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10}}}`.
///
/// `input` is that of the order. Jobs are shown under the keys of their tasks, in the order given; the one without a
/// result is that of the service, so it should be the last.
///
/// # Panics
/// If a position is not in the list.
pub fn request(input: &Json, tasks: &TaskList, jobs: &[Job<'_>]) -> Json {
    let names = tasks.names().as_bytes();
    let values = |job: &Job<'_>| {
        job.input.as_bytes().len() + job.result.map_or(0, |result| result.as_bytes().len())
    };
    let size: usize = jobs.iter().map(|job| values(job) + 64).sum();
    let mut text = Vec::with_capacity(input.as_bytes().len() + names.len() + size + 32);
    text.extend_from_slice(b"{\"input\":");
    text.extend_from_slice(input.as_bytes());
    text.extend_from_slice(b",\"tasks\":");
    text.extend_from_slice(names);
    text.extend_from_slice(b",\"jobs\":{");
    for (at, job) in jobs.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        json::quote(&mut text, &tasks.task(job.position).key);
        text.extend_from_slice(b":{\"input\":");
        text.extend_from_slice(job.input.as_bytes());
        if let Some(result) = job.result {
            text.extend_from_slice(b",\"result\":");
            text.extend_from_slice(result.as_bytes());
        }
        text.push(b'}');
    }
    text.extend_from_slice(b"}}");
    Json::written(text)
}

/// Reads what the service of the task at `position` answered to [`request`] with the jobs `sent`; the answer is its
/// result.
///
/// The message must have `from`, which is the name of the service or the key of the task, alone or as the only one of a
/// list; and `jobs` with a `result` under the key of the task. Whatever else was sent may be missing, but must mean the
/// same if it is there ([`Json::means`]). Other keys and jobs are passed over.
///
/// # Errors
/// What is wrong with it.
///
/// # Panics
/// If a position is not in the list.
pub fn response(
    tasks: &TaskList,
    position: u16,
    sent: &[Job<'_>],
    body: &Json,
) -> Result<Json, Nonsense> {
    let text = body.as_str();
    let task = tasks.task(position);
    let answer = Answer {
        service: &task.service,
    };
    let [listed, jobs, from] = answer.fields("the message", text, ["tasks", "jobs", "from"])?;
    let jobs = jobs.ok_or_else(|| answer.missing("`jobs`", text))?;
    let from = from.ok_or_else(|| answer.missing("`from`", text))?;
    if let Some(listed) = listed {
        answer.same_tasks(tasks, listed)?;
    }
    let is_from = |raw: &RawValue| {
        json::string(raw.get()).is_some_and(|name| *name == *task.service || *name == *task.key)
    };
    let alone = json::items(from.get()).and_then(|items| <[&RawValue; 1]>::try_from(items).ok());
    if !is_from(alone.map_or(from, |[from]| from)) {
        let expected = format!("\"{}\"", task.service);
        return Err(answer.differs("`from`", from.get(), &expected));
    }

    let (found, own) = find_jobs(answer, tasks, position, sent, jobs.get())?;
    for (job, raw) in sent.iter().zip(found) {
        if let Some(raw) = raw {
            check_job(answer, tasks, position, job, body, raw)?;
        }
    }
    let what = format_args!("`{}` in `jobs`", task.key);
    let own = own.ok_or_else(|| answer.missing(what, jobs.get()))?;
    let [result] = answer.fields(what, own.get(), ["result"])?;
    let missing = || answer.missing(format_args!("`result` of {what}"), own.get());
    answer.result(body, result.ok_or_else(missing)?)
}

/// Where the jobs that were sent stand in the answer, and where that of the task.
fn find_jobs<'a>(
    answer: Answer<'_>,
    tasks: &TaskList,
    position: u16,
    sent: &[Job<'_>],
    text: &'a str,
) -> Result<(Vec<Option<&'a RawValue>>, Option<&'a RawValue>), Nonsense> {
    let mut found = vec![None; sent.len()];
    let mut own = None;
    let mut twice = None;
    let mut next = 0;
    let mut places: Option<BTreeMap<&str, usize>> = None;
    let is_object = json::each_entry(text, |key, raw| {
        let is = |position| *tasks.task(position).key == *key;
        if is(position) && own.replace(raw).is_some() {
            twice = Some(key.to_string());
        }
        // Most answers keep the order, so that nothing is to be searched for.
        let at = match sent.get(next) {
            Some(job) if is(job.position) => Some(next),
            Some(_) | None => {
                let places = places.get_or_insert_with(|| {
                    let keys = sent.iter().map(|job| &*tasks.task(job.position).key);
                    keys.zip(0..).collect()
                });
                places.get(&*key).copied()
            }
        };
        if let Some(at) = at {
            next = at + 1;
            if found[at].replace(raw).is_some() {
                twice = Some(key.into_owned());
            }
        }
    });
    match twice {
        _ if !is_object => Err(answer.kind("`jobs`", text, "an object")),
        Some(key) => Err(Nonsense::Twice {
            service: answer.service.to_owned(),
            what: format!("`{key}` in `jobs`"),
            got: super::shown(text),
        }),
        None => Ok((found, own)),
    }
}

/// A job must still say what was sent, where it says something.
fn check_job(
    answer: Answer<'_>,
    tasks: &TaskList,
    position: u16,
    job: &Job<'_>,
    body: &Json,
    raw: &RawValue,
) -> Result<(), Nonsense> {
    let what = format_args!("`{}` in `jobs`", tasks.task(job.position).key);
    let [input, result] = answer.fields(what, raw.get(), ["input", "result"])?;
    let same = |key: &str, got: Option<&RawValue>, sent: &Json| match got {
        Some(got) if !got.get().eq(sent.as_str()) && !body.cut(got.get()).means(sent) => {
            let what = format_args!("`{key}` of {what}");
            Err(answer.differs(what, got.get(), sent.as_str()))
        }
        Some(_) | None => Ok(()),
    };
    if job.position == position {
        same("input", input, job.input)
    } else {
        job.result
            .map_or(Ok(()), |sent| same("result", result, sent))
    }
}
