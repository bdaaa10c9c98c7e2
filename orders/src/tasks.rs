//! Lists of tasks: which services an order passes through, in which order, and under which conditions. Pure.
//!
//! Whether a service exists and whether a contract allows it is for others to say.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustc_hash::FxHashMap;
use serde_json::value::RawValue;

use crate::{
    bounds::LIST_BYTES,
    condition::Condition,
    fault::Fault,
    json::{self, Json},
    pointer::{Pointer, escaped},
};

/// How many tasks a list may hold.
pub const MAX_TASKS: usize = 1_000;
/// How many characters the name of a service may have.
pub const MAX_NAME: usize = 64;
/// The shortest deadline of a task.
pub const MIN_DEADLINE: Duration = Duration::from_millis(1);
/// The longest deadline of a task: 30 days.
pub const MAX_DEADLINE: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// How many faults are told at once.
const MAX_FAULTS: usize = 100;

/// One task.
#[derive(Clone, Debug, PartialEq)]
pub struct Task {
    /// Which service runs it.
    pub service: Arc<str>,
    /// Its name within the list: that of the service, or `A#2` for the second task of the service `A`.
    pub key: Arc<str>,
    /// Which part of the result so far it works on; none: all of it.
    pub from: Option<Pointer>,
    /// It is left out unless this holds for the result so far.
    pub when: Option<Condition>,
    /// How long it may take, within [`MIN_DEADLINE`] and [`MAX_DEADLINE`].
    pub deadline: Option<Duration>,
    /// Which service takes its effect back if the order fails later.
    pub undo: Option<Arc<str>>,
}

/// What is run at the same time: one task, or a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Position of its first task.
    pub first: u16,
    /// How many tasks it has; at least 1.
    pub len: u16,
    /// Whether it was written as a group, whose results are joined as a map; a group may be of one.
    pub group: bool,
}

/// A list of tasks, read and checked. Meant to be shared.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskList {
    text: Json,
    names: Json,
    tasks: Vec<Task>,
    stages: Vec<Stage>,
    services: Vec<Arc<str>>,
}

impl TaskList {
    /// Reads a list, which may be empty and has [`MAX_TASKS`] tasks and [`LIST_BYTES`] at most. Its elements are
    ///  - `"A"`: the service that runs;
    ///  - `{"task":"A","from":"/x","when":C,"deadline":"5s","undo":"B"}`, all but `task` optional: `from` as
    ///    [`Pointer::parse`] reads, `C` as [`Condition::parse`];
    ///  - `["A",{"task":"B"}]`: a group of one or more of the above that run at the same time.
    ///
    /// # Errors
    /// All that is wrong, up to a hundred faults.
    pub fn parse(text: &Json) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader::default();
        reader.list(text.as_str());
        if reader.faults.is_empty() {
            Ok(Self {
                text: text.clone(),
                names: names(&reader.tasks, &reader.stages),
                tasks: reader.tasks,
                stages: reader.stages,
                services: reader.services,
            })
        } else {
            Err(reader.faults)
        }
    }

    /// As it was given.
    pub fn text(&self) -> &Json {
        &self.text
    }

    /// All tasks, by position.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The task at a position.
    ///
    /// # Panics
    /// If the position is not below [`TaskList::len`].
    pub fn task(&self, position: u16) -> &Task {
        &self.tasks[usize::from(position)]
    }

    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether there is no task.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The stages in the order in which they run. Together they hold every task once.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The services only, as messages show them: `["A",["B","C"],"D"]`.
    pub fn names(&self) -> &Json {
        &self.names
    }

    /// Each service once, those of `undo` too, in the order in which they are first named.
    pub fn services(&self) -> impl Iterator<Item = &Arc<str>> {
        self.services.iter()
    }
}

/// Lists of tasks by their text, so that orders with the same tasks share one list. A copy is cheap.
#[derive(Clone, Debug, Default)]
pub struct Lists(Arc<Mutex<FxHashMap<Json, Arc<TaskList>>>>);

/// Lists that are kept; when there are more, those that nobody uses are forgotten.
const MAX_LISTS: usize = 4096;

impl Lists {
    /// The list of a text.
    ///
    /// # Errors
    /// As [`TaskList::parse`].
    pub fn list(&self, text: &Json) -> Result<Arc<TaskList>, Vec<Fault>> {
        let lists = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(list) = lists().get(text) {
            return Ok(Arc::clone(list));
        }
        let list = Arc::new(TaskList::parse(text)?);
        let mut lists = lists();
        if lists.len() >= MAX_LISTS {
            lists.retain(|_, list| Arc::strong_count(list) > 1);
        }
        if lists.len() < MAX_LISTS {
            lists.insert(text.clone(), Arc::clone(&list));
        }
        Ok(list)
    }
}

/// Whether a text can name a service: 1 to [`MAX_NAME`] of `A-Z a-z 0-9 . _ -`, beginning with a letter or digit.
pub fn is_service_name(text: &str) -> bool {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    text.len() <= MAX_NAME
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(known)
}

#[derive(Default)]
struct Reader {
    tasks: Vec<Task>,
    stages: Vec<Stage>,
    services: Vec<Arc<str>>,
    /// How many tasks each service has so far.
    uses: BTreeMap<Arc<str>, usize>,
    faults: Vec<Fault>,
}

/// What an object of a task says.
#[derive(Default)]
struct Fields {
    service: Option<Arc<str>>,
    from: Option<Pointer>,
    when: Option<Condition>,
    deadline: Option<Duration>,
    undo: Option<Arc<str>>,
}

impl Reader {
    fn fault(&mut self, pointer: impl Into<String>, detail: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault {
                pointer: pointer.into(),
                detail: detail.into(),
            });
        }
    }

    fn list(&mut self, text: &str) {
        if text.len() > LIST_BYTES {
            let detail = format!("the list is longer than {LIST_BYTES} bytes; make it shorter");
            return self.fault("", detail);
        }
        let Some(items) = json::items(text) else {
            return self.fault("", r#"not an array; expected one such as ["A","B"]"#);
        };
        let groups: Vec<Option<Vec<&RawValue>>> =
            items.iter().map(|raw| json::items(raw.get())).collect();
        let sizes = groups
            .iter()
            .map(|group| group.as_ref().map_or(1, |group| group.len().max(1)));
        let count: usize = sizes.sum();
        if count > MAX_TASKS {
            let detail = format!("has {count} tasks; at most {MAX_TASKS} are allowed");
            return self.fault("", detail);
        }
        for (at, (raw, group)) in items.iter().zip(groups).enumerate() {
            let first = self.tasks.len();
            let pointer = format!("/{at}");
            match &group {
                Some(members) if members.is_empty() => {
                    self.fault(
                        pointer,
                        "the group is empty; name a service or leave it out",
                    );
                }
                Some(members) => {
                    for (at, raw) in members.iter().enumerate() {
                        self.task(&format!("{pointer}/{at}"), raw.get());
                    }
                }
                None => self.task(&pointer, raw.get()),
            }
            self.stages.push(Stage {
                first: small(first),
                len: small(self.tasks.len() - first),
                group: group.is_some(),
            });
        }
    }

    fn task(&mut self, pointer: &str, text: &str) {
        let fields = if text.starts_with('"') {
            Fields {
                service: self.service(pointer, text),
                ..Fields::default()
            }
        } else if let Some(entries) = json::entries(text) {
            let mut fields = Fields::default();
            for (at, (key, raw)) in entries.iter().enumerate() {
                let pointer = format!("{pointer}/{}", escaped(&shortened(key)));
                if entries[..at].iter().any(|entry| entry.0 == *key) {
                    self.fault(pointer, "stands twice");
                } else {
                    self.field(&mut fields, &pointer, key, raw.get());
                }
                if self.faults.len() == MAX_FAULTS {
                    break;
                }
            }
            if !entries.iter().any(|entry| entry.0 == "task") {
                self.fault(pointer, "has no `task`, the name of a service");
            }
            fields
        } else if text.starts_with('[') {
            let detail = "a group stands within a group; a group holds single tasks only";
            return self.fault(pointer, detail);
        } else {
            let detail = r#"not a task; expected "A", {"task":"A"} or a group ["A","B"]"#;
            return self.fault(pointer, detail);
        };
        // Without a name there is a fault already.
        if let Some(service) = fields.service {
            let uses = self.uses.entry(service.clone()).or_default();
            *uses += 1;
            let key = match *uses {
                1 => service.clone(),
                uses => format!("{service}#{uses}").into(),
            };
            self.tasks.push(Task {
                service,
                key,
                from: fields.from,
                when: fields.when,
                deadline: fields.deadline,
                undo: fields.undo,
            });
        }
    }

    fn field(&mut self, fields: &mut Fields, pointer: &str, key: &str, text: &str) {
        match key {
            "task" => fields.service = self.service(pointer, text),
            "undo" => fields.undo = self.service(pointer, text),
            "from" => match from(text) {
                Ok(from) => fields.from = Some(from),
                Err(detail) => self.fault(pointer, detail),
            },
            "when" => match condition(text) {
                Ok(condition) => fields.when = Some(condition),
                Err((inner, detail)) => self.fault(format!("{pointer}{inner}"), detail),
            },
            "deadline" => match deadline(text) {
                Some(deadline) => fields.deadline = Some(deadline),
                None => self.fault(
                    pointer,
                    r#"expected a duration such as "5s", 1ms to 30days"#,
                ),
            },
            _ => self.fault(
                pointer,
                "unknown; expected `task`, `from`, `when`, `deadline` or `undo`",
            ),
        }
    }

    /// The name that a text holds, one copy for all tasks.
    fn service(&mut self, pointer: &str, text: &str) -> Option<Arc<str>> {
        let Some(name) = json::string(text).filter(|name| is_service_name(name)) else {
            let detail = format!(
                "`{}` is not the name of a service: 1 to {MAX_NAME} of `A-Z a-z 0-9 . _ -`, beginning with a letter \
                 or digit",
                shortened(text)
            );
            self.fault(pointer, detail);
            return None;
        };
        if let Some((known, _)) = self.uses.get_key_value(name.as_ref()) {
            return Some(known.clone());
        }
        let name: Arc<str> = name.into();
        self.uses.insert(name.clone(), 0);
        self.services.push(name.clone());
        Some(name)
    }
}

fn from(text: &str) -> Result<Pointer, String> {
    let text = json::string(text).ok_or("expected a JSON pointer such as \"/small\"")?;
    Pointer::parse(&text).map_err(|error| error.to_string())
}

/// Reads a condition; an error is a pointer into it and what is wrong.
fn condition(text: &str) -> Result<Condition, (String, String)> {
    let value = serde_json::from_str(text).map_err(|error| (String::new(), error.to_string()))?;
    Condition::parse(&value).map_err(|fault| (fault.pointer, fault.detail))
}

fn deadline(text: &str) -> Option<Duration> {
    let text = json::string(text)?;
    let deadline = humantime_serde::re::humantime::parse_duration(&text).ok()?;
    (MIN_DEADLINE..=MAX_DEADLINE)
        .contains(&deadline)
        .then_some(deadline)
}

fn names(tasks: &[Task], stages: &[Stage]) -> Json {
    let mut text = vec![b'['];
    for (at, stage) in stages.iter().enumerate() {
        if at > 0 {
            text.push(b',');
        }
        if stage.group {
            text.push(b'[');
        }
        let first = usize::from(stage.first);
        let members = &tasks[first..first + usize::from(stage.len)];
        for (at, task) in members.iter().enumerate() {
            if at > 0 {
                text.push(b',');
            }
            json::quote(&mut text, &task.service);
        }
        if stage.group {
            text.push(b']');
        }
    }
    text.push(b']');
    Json::written(text)
}

/// A text that is too long for an error loses its end.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_NAME + 2) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

fn small(count: usize) -> u16 {
    u16::try_from(count).expect("at most MAX_TASKS")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn list(value: &Value) -> TaskList {
        TaskList::parse(&Json::from_value(value)).unwrap()
    }

    fn faults(value: &Value) -> Vec<(String, String)> {
        let faults = TaskList::parse(&Json::from_value(value)).unwrap_err();
        faults
            .into_iter()
            .map(|fault| (fault.pointer, fault.detail))
            .collect()
    }

    fn pointers(value: &Value) -> Vec<String> {
        faults(value).into_iter().map(|fault| fault.0).collect()
    }

    fn keys(list: &TaskList) -> Vec<&str> {
        list.tasks().iter().map(|task| &*task.key).collect()
    }

    #[test]
    fn a_list_holds_names_objects_and_groups() {
        let condition = json!({"path": "/size", "gt": 100});
        let value = json!([
            "A",
            ["B", {"task": "C", "deadline": "5s", "when": condition}],
            ["D"],
            {"task": "E", "undo": "E-undo"},
        ]);
        let list = list(&value);
        assert_eq!(list.text(), &Json::from_value(&value));
        assert_eq!(list.names().as_str(), r#"["A",["B","C"],["D"],"E"]"#);
        assert_eq!(keys(&list), ["A", "B", "C", "D", "E"]);
        let stage = |first, len, group| Stage { first, len, group };
        let stages = [
            stage(0, 1, false),
            stage(1, 2, true),
            stage(3, 1, true),
            stage(4, 1, false),
        ];
        assert_eq!(list.stages(), stages);
        let task = list.task(2);
        assert_eq!(task.deadline, Some(Duration::from_secs(5)));
        assert_eq!(task.when, Some(Condition::parse(&condition).unwrap()));
        assert_eq!(list.task(4).undo.as_deref(), Some("E-undo"));
        let services: Vec<&str> = list.services().map(|service| &**service).collect();
        assert_eq!(services, ["A", "B", "C", "D", "E", "E-undo"]);
    }

    #[test]
    fn an_empty_list_is_a_list() {
        let list = list(&json!([]));
        assert!(list.is_empty() && list.stages().is_empty());
        assert_eq!(list.names().as_str(), "[]");
    }

    #[test]
    fn a_service_that_stands_twice_has_two_keys() {
        let list = list(&json!([{"task": "A", "undo": "B"}, ["B", "A"], "A", "B"]));
        assert_eq!(keys(&list), ["A", "B", "A#2", "A#3", "B#2"]);
        assert_eq!(list.services().count(), 2);
    }

    #[test]
    fn all_faults_are_told_at_once_with_their_places() {
        let value = json!([
            "A b",
            {"task": "A", "when": {"any": [{"path": "x", "eq": 1}]}, "deadline": "31days", "speed": 1},
            [],
            ["B", ["C"], 5],
            {"undo": "-x"},
            null,
            {"task": "A", "from": "small"},
            {"task": "A", "from": 1},
            {"task": ["A"], "deadline": 5},
        ]);
        let expected = [
            "/0",
            "/1/deadline",
            "/1/speed",
            "/1/when/any/0/path",
            "/2",
            "/3/1",
            "/3/2",
            "/4/undo",
            "/4",
            "/5",
            "/6/from",
            "/7/from",
            "/8/deadline",
            "/8/task",
        ];
        // Whether the keys of a value keep their order is a matter of features of others.
        let sorted = |mut pointers: Vec<String>| {
            pointers.sort();
            pointers
        };
        assert_eq!(
            sorted(pointers(&value)),
            sorted(expected.map(str::to_owned).into())
        );
        let nested = "a group stands within a group; a group holds single tasks only";
        assert!(faults(&value).iter().any(|(_, detail)| detail == nested));
        assert_eq!(pointers(&json!({"A": 1})), [""]);
    }

    #[test]
    fn a_key_that_stands_twice_and_a_number_without_a_float_are_faults() {
        for (text, pointer) in [
            (r#"[{"task":"A","task":"B"}]"#, "/0/task"),
            (r#"[{"task":"A","when":{"path":"","gt":1e400}}]"#, "/0/when"),
        ] {
            let faults = TaskList::parse(&Json::parse(text).unwrap()).unwrap_err();
            assert_eq!(faults.len(), 1);
            assert_eq!(faults[0].pointer, pointer);
        }
    }

    #[test]
    fn names_and_deadlines_have_bounds() {
        let longest = "a".repeat(MAX_NAME);
        for name in ["A", "9", "a.b_c-d", &longest] {
            assert!(is_service_name(name), "{name}");
        }
        for name in [
            "",
            "-a",
            ".a",
            "_a",
            "a#2",
            "a/b",
            "ä",
            "a b",
            &format!("{longest}a"),
        ] {
            assert!(!is_service_name(name), "{name}");
        }
        let read = |text: &str| deadline(&format!("\"{text}\""));
        assert_eq!(read("1ms"), Some(MIN_DEADLINE));
        assert_eq!(read("30d"), Some(MAX_DEADLINE));
        for text in ["0s", "999us", "30d 1s", "5", "", "-1s"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn the_number_of_tasks_and_of_faults_has_a_bound() {
        assert_eq!(list(&json!(vec!["A"; MAX_TASKS])).len(), MAX_TASKS);
        let expected = [(
            String::new(),
            "has 1001 tasks; at most 1000 are allowed".to_owned(),
        )];
        assert_eq!(faults(&json!(vec!["A"; MAX_TASKS + 1])), expected);
        assert_eq!(faults(&json!([vec!["A"; MAX_TASKS], ["A"]])), expected);
        assert_eq!(
            pointers(&json!(vec![json!([]); MAX_TASKS])).len(),
            MAX_FAULTS
        );
    }

    /// Lists that are right.
    fn any_list() -> impl Strategy<Value = Value> {
        let name = "[A-C]|[a-z0-9][A-Za-z0-9._-]{0,20}";
        let object = (
            name,
            any::<bool>(),
            proptest::option::of(1..1_000_u64),
            proptest::option::of(name),
        );
        let object = object.prop_map(|(task, when, deadline, undo)| {
            let mut value = json!({"task": task});
            if when {
                value["when"] = json!({"not": {"path": "/a", "lt": 3}});
            }
            if let Some(millis) = deadline {
                value["deadline"] = json!(format!("{millis}ms"));
            }
            if let Some(undo) = undo {
                value["undo"] = json!(undo);
            }
            value
        });
        let single = prop_oneof![name.prop_map(Value::from), object].boxed();
        let group = proptest::collection::vec(single.clone(), 1..5).prop_map(Value::from);
        proptest::collection::vec(prop_oneof![single, group], 0..12).prop_map(Value::from)
    }

    proptest! {
        #[test]
        fn a_list_is_read_back_from_its_text_and_its_names(value in any_list()) {
            let list = list(&value);
            prop_assert_eq!(&TaskList::parse(list.text()).unwrap(), &list);
            let bare = TaskList::parse(list.names()).unwrap();
            prop_assert_eq!(bare.names(), list.names());
            prop_assert_eq!(bare.stages(), list.stages());
            prop_assert_eq!(keys(&bare), keys(&list));
            let positions: Vec<u16> = list.stages().iter()
                .flat_map(|stage| stage.first..stage.first + stage.len)
                .collect();
            prop_assert_eq!(positions, (0..list.len() as u16).collect::<Vec<_>>());
            let mut keys = keys(&list);
            keys.sort_unstable();
            keys.dedup();
            prop_assert_eq!(keys.len(), list.len());
        }

        #[test]
        fn any_json_is_a_list_or_has_faults(text in "\\[[\\[\\]{}:,\"A taskwhen1]{0,24}\\]") {
            if let Ok(text) = Json::parse(text)
                && let Err(faults) = TaskList::parse(&text) {
                prop_assert!(!faults.is_empty());
            }
        }
    }
}
