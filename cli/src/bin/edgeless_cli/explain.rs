//! `edgeless_cli workflow explain`: which function limits a workflow, why, and what is done about it.

use serde::Deserialize;

use crate::output::{Style, or_dash, span, table};

/// What a workflow does, and what limits it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Explanation {
    pub(crate) workflow_id: String,
    pub(crate) name: String,
    pub(crate) bottleneck: Option<Bottleneck>,
    pub(crate) vertices: Vec<VertexWork>,
}

/// The function that limits a workflow, or where its time goes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Bottleneck {
    pub(crate) name: String,
    pub(crate) cause: String,
    pub(crate) limits: bool,
    pub(crate) why: String,
    pub(crate) action: String,
}

/// What a function or resource does.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct VertexWork {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) copies: u32,
    pub(crate) starting: u32,
    pub(crate) max_instances: Option<u32>,
    pub(crate) handled_per_second: f64,
    pub(crate) busy: f64,
    pub(crate) execution_ms: Option<f64>,
    pub(crate) transfer_ms: Option<f64>,
    pub(crate) queued: u32,
    pub(crate) oldest_s: f64,
    pub(crate) waiting: Option<String>,
    pub(crate) decision: Option<Decision>,
}

/// A decision for another number of copies.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Decision {
    pub(crate) before: u32,
    pub(crate) copies: u32,
    pub(crate) reason: String,
}

/// The finding, and a row for each function and resource; in a pipe the lines of the finding begin with `# `.
pub(crate) fn tell(explanation: &Explanation, style: Style) -> String {
    let header = [
        "NAME",
        "KIND",
        "COPIES",
        "MAX",
        "EVENTS/S",
        "BUSY",
        "TOOK",
        "TRANSFER",
        "WAITING",
        "OLDEST",
        "LAST DECISION",
    ];
    let rows = explanation.vertices.iter().map(row);
    let table = table(style, header, rows, "it has no vertices");
    let verdict = verdict(explanation);
    match style {
        Style::Terminal => format!("{verdict}\n\n{table}"),
        Style::Pipe | Style::Json => {
            let lines = verdict.lines().map(|line| format!("# {line}\n"));
            lines.collect::<String>() + &table
        }
    }
}

/// What limits the workflow, why, what is done about it, and which copies do not run.
fn verdict(explanation: &Explanation) -> String {
    let name = match explanation.name.as_str() {
        "" => String::new(),
        name => format!(" ({name})"),
    };
    let id = &explanation.workflow_id;
    let verdict = match &explanation.bottleneck {
        None => "does nothing now".to_owned(),
        Some(found) => {
            let what = match found.limits {
                true => "is limited by",
                false => "keeps up; slowest is",
            };
            format!(
                "{what} `{}` ({})\n  why: {}\n  action: {}",
                found.name, found.cause, found.why, found.action
            )
        }
    };
    let waiting = explanation.vertices.iter().filter_map(|it| {
        let reason = it.waiting.as_ref()?;
        Some(format!(
            "\n  a copy of `{}` does not run: {reason}",
            it.name
        ))
    });
    let waiting = String::from_iter(waiting);
    format!("workflow {id}{name} {verdict}{waiting}")
}

fn row(vertex: &VertexWork) -> [String; 11] {
    let copies = match vertex.starting {
        0 => vertex.copies.to_string(),
        starting => format!("{} (+{starting})", vertex.copies),
    };
    let time =
        |milliseconds: Option<f64>| or_dash(milliseconds.map(|it| span(it / 1e3)).as_deref());
    let is_function = vertex.kind == "function";
    let busy = is_function.then(|| format!("{:.0} %", 100.0 * vertex.busy));
    let decision = vertex.decision.as_ref();
    let decision = decision.map(|it| format!("{} to {}: {}", it.before, it.copies, it.reason));
    [
        vertex.name.clone(),
        vertex.kind.clone(),
        copies,
        or_dash(vertex.max_instances.map(|it| it.to_string()).as_deref()),
        format!("{:.1}", vertex.handled_per_second),
        or_dash(busy.as_deref()),
        time(vertex.execution_ms),
        time(vertex.transfer_ms),
        vertex.queued.to_string(),
        or_dash(
            (vertex.queued > 0)
                .then(|| span(vertex.oldest_s))
                .as_deref(),
        ),
        or_dash(decision.as_deref()),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_function_that_limits_is_told_with_why_and_what_is_done_everywhere() {
        let explanation: Explanation = serde_json::from_value(json!({
            "workflow_id": "w", "name": "demo",
            "bottleneck": {"name": "b", "cause": "execution", "limits": true,
                "why": "it takes 80.0 ms", "action": "it gets more copies; 4 would do"},
            "vertices": [
                {"name": "b", "kind": "function", "copies": 1, "starting": 3, "max_instances": 4,
                 "handled_per_second": 12.5, "busy": 1.0, "execution_ms": 80.0, "transfer_ms": 900.0,
                 "queued": 40, "oldest_s": 1.5, "waiting": "start failed: a trap\nat 7",
                 "decision": {"before": 1, "copies": 4, "reason": "40 wait"}},
                {"name": "entry", "kind": "resource", "copies": 1},
            ],
        }))
        .unwrap();
        let shown = tell(&explanation, Style::Terminal);
        assert!(
            shown.starts_with(
                "workflow w (demo) is limited by `b` (execution)\n  why: it takes 80.0 ms\n  \
                 action: it gets more copies; 4 would do\n  \
                 a copy of `b` does not run: start failed: a trap\nat 7\n\nNAME"
            ),
            "{shown}"
        );
        assert_eq!(
            tell(&explanation, Style::Pipe),
            "# workflow w (demo) is limited by `b` (execution)\n#   why: it takes 80.0 ms\n\
             #   action: it gets more copies; 4 would do\n\
             #   a copy of `b` does not run: start failed: a trap\n# at 7\n\
             b\tfunction\t1 (+3)\t4\t12.5\t100 %\t80.0 ms\t900.0 ms\t40\t1.5 s\t1 to 4: 40 wait\n\
             entry\tresource\t1\t-\t0.0\t-\t-\t-\t0\t-\t-\n"
        );
        let idle: Explanation = serde_json::from_value(json!({"workflow_id": "w"})).unwrap();
        let shown = tell(&idle, Style::Terminal);
        assert!(shown.starts_with("workflow w does nothing now"), "{shown}");
        assert_eq!(tell(&idle, Style::Pipe), "# workflow w does nothing now\n");
    }
}
