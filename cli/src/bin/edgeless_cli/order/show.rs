//! How orders are shown.

use crate::{
    json::Json,
    output::{Style, fitting, moment, or_dash, short, shortened, span, table},
    view::{Attempt, Order, OrderSummary, Step},
};

/// Characters of a list of tasks in a table.
const TASKS: usize = 30;
/// Characters of a result in a table.
const RESULT: usize = 60;
/// Characters of an input or result that stands alone.
const VALUE: usize = 500;

/// An order with its tasks.
pub(super) fn tell(order: &Order, style: Style) -> String {
    let rows = order.trace.iter().map(row);
    let header = ["TASK", "STATE", "ATTEMPTS", "INSTANCE", "TOOK", "RESULT"];
    let table = table(style, header, rows, "none of its tasks has begun");
    if style != Style::Terminal {
        let facts = facts(order, style).into_iter();
        let facts = facts.map(|(name, fact)| format!("{name}\t{fact}\n"));
        return format!("{}\n{table}", facts.collect::<String>());
    }
    let why = order.reason.as_ref();
    let why = why.map_or_else(String::new, |reason| format!(": {reason}"));
    let Order {
        id, client, state, ..
    } = order;
    let facts: String = facts(order, style)
        .into_iter()
        .map(|(name, fact)| format!("{name}: {fact}\n"))
        .collect();
    let notes: String = notes(order, style)
        .iter()
        .map(|note| format!("note: {note}\n"))
        .collect();
    format!(
        "order {id} of {client} is {state}{why}\n{facts}{notes}\n{}",
        fitting(&table)
    )
}

fn facts(order: &Order, style: Style) -> Vec<(&'static str, String)> {
    let value = |value: &Json| shortened(&value.plain(), VALUE);
    let accepted = moment(order.accepted, style);
    let took = match (order.accepted, order.ended) {
        (Some(begin), Some(end)) => Some(span(end.since(begin).as_secs_f64())),
        _ => None,
    };
    let some = |at| Option::map(at, |at| moment(Some(at), style));
    let mut facts = Vec::new();
    if style == Style::Terminal {
        facts.push(match took {
            Some(took) => ("accepted", format!("{accepted}, ended after {took}")),
            None => ("accepted", accepted),
        });
    } else {
        let text = |text: &str| shortened(text, VALUE);
        let alone = [
            ("order", Some(order.id.clone())),
            ("client", Some(order.client.clone())),
            ("state", Some(order.state.clone())),
            ("reason", order.reason.as_deref().map(text)),
            ("accepted", Some(accepted)),
            ("ended", some(order.ended)),
        ];
        let alone = alone.into_iter();
        facts.extend(alone.filter_map(|(name, fact)| Some((name, fact?))));
    }
    facts.extend([
        ("tasks", format!("{} ({})", value(&order.tasks), order.mode)),
        ("input", value(&order.input)),
    ]);
    let more = [
        ("done", done(order)),
        ("result", order.result.as_ref().map(value)),
        ("begins", some(order.not_before)),
        ("deadline", some(order.deadline)),
        ("metadata", order.metadata.as_ref().map(value)),
        ("comes of order", order.parent.clone()),
        ("takes up order", order.retry_of.clone()),
        ("taken up by order", order.retried_as.clone()),
    ];
    facts.extend(
        more.into_iter()
            .filter_map(|(name, fact)| Some((name, fact?))),
    );
    facts
}

/// How many of its tasks are done; a controller of an earlier version does not say.
fn done(order: &Order) -> Option<String> {
    let tasks = order.stages.len().checked_sub(2)?;
    let tasks = order.stages.get(1..=tasks)?;
    let count = |state: &str| tasks.iter().filter(|task| task.state == state).count();
    Some(part(count("done"), count("skipped"), tasks.len()))
}

/// So many of so many tasks, and those that were left out.
fn part(done: usize, skipped: usize, all: usize) -> String {
    let all = all.saturating_sub(skipped);
    match skipped {
        0 => format!("{done}/{all}"),
        skipped => format!("{done}/{all} + {skipped} skipped"),
    }
}

/// What went wrong on the way.
fn notes(order: &Order, style: Style) -> Vec<String> {
    let mut notes = Vec::new();
    for step in &order.trace {
        for attempt in &step.attempts {
            if let Some(problem) = &attempt.problem {
                let again = attempt.again;
                let again = again.map_or_else(
                    || ", not tried again".to_owned(),
                    |at| format!(", tried again at {}", moment(Some(at), style)),
                );
                let (name, number) = (name(step), attempt.attempt);
                let on = or_dash(Some(&attempt.instance));
                notes.push(format!(
                    "{name}, attempt {number} on {on}: {problem}{again}"
                ));
            }
        }
        if !step.orders.is_empty() {
            notes.push(format!(
                "{} gave rise to the orders {}",
                name(step),
                step.orders.join(", ")
            ));
        }
    }
    for output in &order.outputs {
        let to = &output.to;
        if let Some(problem) = &output.problem {
            notes.push(format!("its end cannot be told ({to}): {problem}"));
        } else if order.ended.is_some() && !output.delivered {
            notes.push(format!("its end is still to be told ({to})"));
        }
    }
    notes
}

fn name(step: &Step) -> String {
    match step.undo {
        true => format!("{} (taken back)", step.task),
        false => step.task.clone(),
    }
}

fn row(step: &Step) -> [String; 6] {
    let last = step.attempts.last();
    let took = last.and_then(|attempt: &Attempt| {
        let (begin, end) = (attempt.handed?, attempt.ended?);
        Some(span(end.since(begin).as_secs_f64()))
    });
    let result = step.result.as_ref().map(Json::plain);
    let result = result.map(|result| shortened(&result, RESULT));
    [
        name(step),
        step.state.clone(),
        step.attempts.len().to_string(),
        or_dash(last.map(|attempt| short(&attempt.instance))),
        or_dash(took.as_deref()),
        or_dash(result.as_deref()),
    ]
}

/// Many orders; `more`: there are more of them.
pub(super) fn tell_list(orders: &[OrderSummary], more: bool, style: Style) -> String {
    let rows = orders.iter().map(|order| {
        let took = match (order.accepted, order.ended) {
            (Some(begin), Some(end)) => Some(span(end.since(begin).as_secs_f64())),
            _ => None,
        };
        let tasks = order.list.as_ref().map(|list| names(&list.plain()));
        [
            order.id.clone(),
            order.client.clone(),
            order.state.clone(),
            or_dash(tasks.as_deref()),
            progress(order),
            moment(order.accepted, style),
            or_dash(took.as_deref()),
            or_dash(
                order
                    .reason
                    .as_deref()
                    .map(|reason| shortened(reason, RESULT))
                    .as_deref(),
            ),
        ]
    });
    let header = [
        "ORDER", "CLIENT", "STATE", "TASKS", "DONE", "ACCEPTED", "TOOK", "REASON",
    ];
    let mut table = table(style, header, rows, "no order");
    if style == Style::Terminal {
        table = fitting(&table);
    }
    match (more, style) {
        (true, Style::Terminal) => {
            format!("{table}note: there are more; `--all` or a greater `--limit` shows them\n")
        }
        (true, Style::Pipe | Style::Json) | (false, _) => table,
    }
}

/// A change of an order, in one line.
pub(super) fn tell_change(order: &OrderSummary, style: Style) -> String {
    let why = order.reason.as_deref();
    let why = why.map(|reason| shortened(reason, VALUE));
    match style {
        Style::Terminal => {
            let why = why.map_or_else(String::new, |reason| format!(": {reason}"));
            let done = order.done.join(", ");
            let done = match done.is_empty() {
                true => String::new(),
                false => format!(" ({done})"),
            };
            let OrderSummary {
                id, client, state, ..
            } = order;
            let progress = progress(order);
            format!("{id}  {client}  {state}{why}  {progress} done{done}\n")
        }
        Style::Pipe | Style::Json => {
            let cells = [
                order.id.clone(),
                order.client.clone(),
                order.state.clone(),
                progress(order),
                or_dash(why.as_deref()),
            ];
            cells.join("\t") + "\n"
        }
    }
}

/// How many of its tasks are done.
fn progress(order: &OrderSummary) -> String {
    let all = usize::try_from(order.tasks).unwrap_or(usize::MAX);
    part(order.done.len(), order.skipped.len(), all)
}

/// A list of tasks without its outer brackets and quotes: `A,[B,C],D`.
fn names(list: &str) -> String {
    let inner = list
        .strip_prefix('[')
        .and_then(|list| list.strip_suffix(']'));
    shortened(&inner.unwrap_or(list).replace('"', ""), TASKS)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn order(document: Value) -> Order {
        serde_json::from_value(document).unwrap()
    }

    #[test]
    fn an_order_is_told_with_its_trace() {
        let order = order(json!({
            "id": "o", "client": "c", "state": "completed", "mode": "slip", "input": 5,
            "tasks": ["A", "B"], "result": "14\nfine", "accepted": "1700000000.000000000",
            "ended": "1700000000.250000000", "trace": [
                {"task": "A", "service": "A", "state": "done", "input": 5, "result": 7, "attempts": [
                    {"attempt": 1, "instance": "n1", "handed": "1.0", "ended": "2.0",
                     "problem": "no answer in time", "again": "1700000000.100000000"},
                    {"attempt": 2, "instance": "n2", "handed": "1.0", "ended": "1.002000000"},
                ]},
                {"task": "B", "state": "skipped", "attempts": []},
            ],
            "stages": [
                {"stage": "START", "state": "done"}, {"stage": "A", "state": "done"},
                {"stage": "B", "state": "skipped"}, {"stage": "END", "state": "waiting"},
            ],
            "outputs": [{"to": "callback", "url": "http://x", "delivered": false}],
            "a field of a later version": true,
        }));
        let shown = tell(&order, Style::Terminal);
        for line in [
            "order o of c is completed",
            "accepted: 2023-11-14T22:13:20.000Z, ended after 250.0 ms",
            r#"tasks: ["A","B"] (slip)"#,
            "input: 5",
            "done: 1/1 + 1 skipped",
            "result: 14 fine",
            "note: A, attempt 1 on n1: no answer in time, tried again at 2023-11-14T22:13:20.100Z",
            "note: its end is still to be told (callback)",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
        }
        let shown = tell(&order, Style::Pipe);
        let (facts, rows) = shown.split_once("\n\n").unwrap();
        assert_eq!(rows, "A\tdone\t2\tn2\t2.0 ms\t7\nB\tskipped\t0\t-\t-\t-\n");
        for line in [
            "state\tcompleted",
            "accepted\t2023-11-14T22:13:20.000000000Z",
            "ended\t2023-11-14T22:13:20.250000000Z",
            "result\t14 fine",
        ] {
            assert!(facts.lines().any(|shown| shown == line), "{line}: {facts}");
        }
    }

    #[test]
    fn what_is_taken_back_and_given_up_is_told() {
        let order = order(json!({
            "id": "o", "client": "c", "state": "failed", "reason": "B: it is odd", "mode": "slip",
            "input": 5, "tasks": [{"task": "A", "undo": "X"}], "accepted": "1.0", "trace": [
                {"task": "A", "undo": true, "state": "failed", "orders": ["p", "q"], "attempts": [
                    {"attempt": 1, "instance": "", "problem": "it is off"}]},
            ],
        }));
        let shown = tell(&order, Style::Terminal);
        assert!(
            shown.starts_with("order o of c is failed: B: it is odd\n"),
            "{shown}"
        );
        let note = "note: A (taken back), attempt 1 on -: it is off, not tried again\n";
        assert!(shown.contains(note), "{shown}");
        assert!(shown.contains("gave rise to the orders p, q\n"), "{shown}");
    }

    #[test]
    fn lists_and_changes_count_what_is_done() {
        let summary: OrderSummary = serde_json::from_value(json!({
            "id": "o", "client": "c", "state": "running", "done": ["A"], "skipped": ["B"],
            "list": ["A", ["B", "C"]], "tasks": 3, "accepted": "1.000000000",
        }))
        .unwrap();
        let orders = [summary];
        let row = "o\tc\trunning\tA,[B,C]\t1/2 + 1 skipped\t1970-01-01T00:00:01.000000000Z\t-\t-\n";
        assert_eq!(tell_list(&orders, true, Style::Pipe), row);
        let shown = tell_list(&orders, true, Style::Terminal);
        assert!(shown.ends_with("shows them\n"), "{shown}");
        assert_eq!(tell_list(&[], false, Style::Terminal), "no order\n");
        assert_eq!(
            tell_change(&orders[0], Style::Terminal),
            "o  c  running  1/2 + 1 skipped done (A)\n"
        );
        assert_eq!(
            tell_change(&orders[0], Style::Pipe),
            "o\tc\trunning\t1/2 + 1 skipped\t-\n"
        );
    }
}
