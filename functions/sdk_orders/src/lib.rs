//! A task of orders that changes a number, whatever shape the number comes in: as a plain number, or in one of
//! the two messages of orders, of which all else stays as it was.
//!
//! - With `done`: `input` is replaced, and the name of the service is added to `done`.
//! - With `jobs`: the job of the service, the one without a `result`, gets one, and `from` says whose it is.

pub mod json;
mod number;

use json::{Object, array};
use number::Number;

/// What is done with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A number is added.
    Add,
    /// It is multiplied by a number.
    Times,
}

/// A task, as its service does it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    operation: Operation,
    by: Number,
    /// The name of the service as a JSON string, where it was told.
    name: Option<String>,
}

impl Step {
    /// Reads `init-payload`: a number, `{"by": 2, "name": "A"}`, or nothing for the number 2.
    ///
    /// # Errors
    /// It is anything else; in words.
    pub fn read(operation: Operation, payload: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(payload).unwrap_or("what is not UTF-8");
        let read = || {
            if text.is_empty() {
                return Some((Number::read("2")?, None));
            }
            if !text.trim_ascii_start().starts_with('{') {
                return Some((Number::read(text)?, None));
            }
            let object = Object::read(text)?;
            let known = |key| [r#""by""#, r#""name""#].contains(&key);
            object.fields().all(|(key, _)| known(key)).then_some(())?;
            let name = object.get(r#""name""#).map(str::to_owned);
            let is_name = |name: &String| name.starts_with('"');
            name.iter().all(is_name).then_some(())?;
            Some((Number::read(object.get(r#""by""#)?)?, name))
        };
        let step = read().map(|(by, name)| Self {
            operation,
            by,
            name,
        });
        step.ok_or_else(|| {
            format!(r#"`{text}` is no init-payload: write a number, or {{"by": 2, "name": "A"}}"#)
        })
    }

    /// What comes of a payload; nothing where it holds no number at its place.
    pub fn answer(&self, payload: &[u8]) -> Option<String> {
        let text = std::str::from_utf8(payload).ok()?;
        if !text.trim_ascii_start().starts_with('{') {
            return self.result(text);
        }
        let mut message = Object::read(text)?;
        let tasks = array(message.get(r#""tasks""#)?)?;
        let input = message.get(r#""input""#)?;
        match (message.get(r#""done""#), message.get(r#""jobs""#)) {
            (Some(done), _) => {
                let (result, done) = (self.result(input)?, self.done(&tasks, &array(done)?)?);
                message.set(r#""input""#, result);
                message.set(r#""done""#, done);
            }
            (None, Some(jobs)) => {
                let (name, jobs) = self.jobs(jobs)?;
                message.set(r#""jobs""#, jobs);
                message.set(r#""from""#, name);
            }
            (None, None) => return None,
        }
        Some(message.write())
    }

    fn result(&self, input: &str) -> Option<String> {
        let input = Number::read(input)?;
        let result = match self.operation {
            Operation::Add => input.plus(self.by),
            Operation::Times => input.times(self.by),
        };
        Some(result?.write())
    }

    /// The list of what is done with the own name: that it was told, or the next of the tasks.
    fn done(&self, tasks: &[&str], done: &[&str]) -> Option<String> {
        let next = || {
            let rest = tasks.strip_prefix(done)?;
            rest.first().filter(|name| name.starts_with('"')).copied()
        };
        let name = match &self.name {
            Some(name) => name,
            None => next()?,
        };
        let done = [done, &[name]].concat();
        Some(["[", &done.join(","), "]"].concat())
    }

    /// The name of the own job, and all jobs with its result.
    fn jobs(&self, jobs: &str) -> Option<(String, String)> {
        let mut jobs = Object::read(jobs)?;
        let mut own = None;
        for (key, job) in jobs.fields() {
            let job = Object::read(job)?;
            let open = job.get(r#""result""#).is_none();
            if open && self.is_own(key) {
                // Without a name, it must be clear which one it is.
                if own.is_some() && self.name.is_none() {
                    return None;
                }
                own = own.or(Some(key));
            }
        }
        let own = own?;
        let mut job = Object::read(jobs.get(own)?)?;
        let result = self.result(job.get(r#""input""#)?)?;
        job.set(r#""result""#, result);
        let job = job.write();
        jobs.set(own, job);
        Some((own.to_owned(), jobs.write()))
    }

    /// Whether a job of that key may be its own: `"A"`, or `"A#2"` where it is there more than once.
    fn is_own(&self, key: &str) -> bool {
        let Some(name) = &self.name else { return true };
        let rest = key.strip_prefix(name.trim_end_matches('"'));
        rest.is_some_and(|rest| rest == "\"" || rest.starts_with('#'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(operation: Operation, payload: &str) -> Step {
        Step::read(operation, payload.as_bytes()).unwrap()
    }

    fn add(init: &str, payload: &str) -> Option<String> {
        step(Operation::Add, init).answer(payload.as_bytes())
    }

    fn times(init: &str, payload: &str) -> Option<String> {
        step(Operation::Times, init).answer(payload.as_bytes())
    }

    #[track_caller]
    fn check(answer: Option<String>, expected: &str) {
        assert_eq!(answer.as_deref(), Some(expected));
    }

    #[test]
    fn plain_numbers_are_answered_with_numbers() {
        check(add("2", "5"), "7");
        check(add("", " 5\n"), "7");
        check(times("2", "7"), "14");
        check(add("-0.5", "5"), "4.5");
        check(times(r#"{"by": 3, "name": "B"}"#, "-1.5"), "-4.5");
    }

    #[test]
    fn the_first_example_passes_through_both_services() {
        let start = r#"{"input":5,"tasks":["A","B"],"done":[]}"#;
        let first = r#"{"input":7,"tasks":["A","B"],"done":["A"]}"#;
        check(add("2", start), first);
        let second = r#"{"input":14,"tasks":["A","B"],"done":["A","B"]}"#;
        check(times("2", first), second);
        assert_eq!(add("2", second), None, "nothing is left to do");
    }

    #[test]
    fn the_second_example_passes_through_both_services() {
        let start = r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5}}}"#;
        let first =
            r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10}},"from":"B"}"#;
        check(times("2", start), first);
        let tidied = r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10}}}"#;
        let second = r#"{"input":5,"tasks":["B","A"],"jobs":{"B":{"input":5,"result":10},"A":{"input":10,"result":12}},"from":"A"}"#;
        check(add("2", tidied), second);
        assert_eq!(add("2", second), None, "nothing is left to do");
    }

    #[test]
    fn a_task_that_is_there_twice_is_counted_by_its_place() {
        let slip = r#"{"input":1,"tasks":["A","A"],"done":["A"]}"#;
        check(
            add("2", slip),
            r#"{"input":3,"tasks":["A","A"],"done":["A","A"]}"#,
        );
        let trace = r#"{"input":1,"tasks":["A","A"],"jobs":{"A":{"input":1,"result":3},"A#2":{"input":3}}}"#;
        let traced = r#"{"input":1,"tasks":["A","A"],"jobs":{"A":{"input":1,"result":3},"A#2":{"input":3,"result":5}},"from":"A#2"}"#;
        for init in ["2", r#"{"by":2,"name":"A"}"#] {
            check(add(init, trace), traced);
        }
    }

    #[test]
    fn in_a_group_the_name_must_be_told() {
        let slip = r#"{"input":1,"tasks":[["B","C"]],"done":[]}"#;
        assert_eq!(add("2", slip), None);
        let named = r#"{"by":2,"name":"C"}"#;
        check(
            add(named, slip),
            r#"{"input":3,"tasks":[["B","C"]],"done":["C"]}"#,
        );
        let trace = r#"{"input":1,"tasks":[["B","C"]],"jobs":{"B":{"input":1},"C":{"input":1}}}"#;
        assert_eq!(add("2", trace), None);
        check(
            add(named, trace),
            r#"{"input":1,"tasks":[["B","C"]],"jobs":{"B":{"input":1},"C":{"input":1,"result":3}},"from":"C"}"#,
        );
        let other = r#"{"by":2,"name":"CC"}"#;
        assert_eq!(add(other, trace), None);
    }

    #[test]
    fn all_else_stays_as_it_was() {
        let message =
            r#"{"z":[1, 2],"input": 1,"tasks":["A"],"x":{"n":1.00},"done":[ ],"a":"\u00e9"}"#;
        let answer =
            r#"{"z":[1, 2],"input":2,"tasks":["A"],"x":{"n":1.00},"done":["A"],"a":"\u00e9"}"#;
        check(add("1", message), answer);
        let again = r#"{"input":1,"from":["start"],"tasks":["A"],"jobs":{"A":{"input":1,"at":2}}}"#;
        let answer =
            r#"{"input":1,"from":"A","tasks":["A"],"jobs":{"A":{"input":1,"at":2,"result":2}}}"#;
        check(add("1", again), answer);
    }

    #[test]
    fn anything_else_has_no_answer() {
        for payload in [
            "",
            "five",
            "[5]",
            "\"5\"",
            "null",
            "{}",
            "{",
            r#"{"input":5}"#,
            r#"{"input":5,"tasks":["A"]}"#,
            r#"{"input":"5","tasks":["A"],"done":[]}"#,
            r#"{"input":5,"tasks":"A","done":[]}"#,
            r#"{"input":5,"tasks":["A"],"done":["B"]}"#,
            r#"{"input":5,"tasks":["A"],"done":{}}"#,
            r#"{"input":5,"tasks":["A"],"jobs":{"A":{}}}"#,
            r#"{"input":5,"tasks":["A"],"jobs":{"A":5}}"#,
        ] {
            assert_eq!(add("2", payload), None, "{payload}");
        }
        assert_eq!(step(Operation::Add, "2").answer(b"\xff"), None);
    }

    #[test]
    fn init_payloads_that_are_none_are_refused() {
        for wrong in [
            "two",
            "{}",
            r#"{"by":"2"}"#,
            r#"{"by":2,"name":1}"#,
            r#"{"by":2,"Name":"A"}"#,
            r#"{"name":"A"}"#,
        ] {
            let why = Step::read(Operation::Add, wrong.as_bytes()).unwrap_err();
            assert!(why.contains(wrong), "{why}");
        }
    }
}
