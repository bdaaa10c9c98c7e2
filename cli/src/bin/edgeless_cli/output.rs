//! Shows what came back: aligned tables on a terminal, tabs in a pipe, JSON on request.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    process::ExitCode,
    time::Duration,
};

use comfy_table::{Table, presets};
use edgeless_types::Timestamp;
use serde::Serialize;

use crate::{
    failure::Failure,
    json::{in_lines, in_one_line},
};

/// How results are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people: aligned tables with headers.
    Terminal,
    /// For other programs: values separated by tabs, one row a line, no headers.
    Pipe,
    /// For other programs: all that ε-CON answers.
    Json,
}

/// Where and how results are shown.
#[derive(Debug)]
pub(crate) struct Output {
    style: Style,
}

impl Output {
    /// JSON where it is asked for, else what suits standard output.
    pub(crate) fn new(json: bool) -> Self {
        let style = match (json, std::io::stdout().is_terminal()) {
            (true, _) => Style::Json,
            (false, true) => Style::Terminal,
            (false, false) => Style::Pipe,
        };
        Self { style }
    }

    /// Whether people look at it.
    pub(crate) fn is_for_people(&self) -> bool {
        self.style == Style::Terminal
    }

    /// Shows an answer: as it is in JSON, else as `tell` puts it.
    ///
    /// # Errors
    /// Standard output is full.
    pub(crate) fn answer(
        &self,
        answer: &impl Serialize,
        tell: impl FnOnce(Style) -> String,
    ) -> Result<(), Failure> {
        match self.style {
            Style::Json => self.text(&(in_lines(&text_of(answer)) + "\n")),
            Style::Terminal | Style::Pipe => self.text(&tell(self.style)),
        }
    }

    /// Shows one of many: a line of JSON where that is asked for, else as `tell` puts it. False: nobody
    /// reads any more.
    ///
    /// # Errors
    /// Standard output is full.
    pub(crate) fn line(
        &self,
        answer: &impl Serialize,
        tell: impl FnOnce(Style) -> String,
    ) -> Result<bool, Failure> {
        let text = match self.style {
            Style::Json => in_one_line(&text_of(answer)) + "\n",
            Style::Terminal | Style::Pipe => tell(self.style),
        };
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(Failure::Output(error)),
        }
    }

    /// Says on standard error what somebody should know who reads only the answer from a pipe; on a terminal
    /// the answer has it.
    pub(crate) fn notes(&self, notes: &[String]) {
        if self.style == Style::Pipe {
            for note in notes {
                eprintln!("note: {note}");
            }
        }
    }

    /// Writes text to standard output. A reader that has gone away wants no more: that is no error.
    ///
    /// # Errors
    /// Standard output is full.
    pub(crate) fn text(&self, text: &str) -> Result<(), Failure> {
        let mut out = std::io::stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::Output(error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Shows why a command failed, and answers with its exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        let json = self.style == Style::Json;
        let shown = match (json, failure) {
            (true, Failure::Refused(problem)) => {
                serde_json::to_string_pretty(problem).expect("a problem has string keys")
            }
            (true, _) => format!("{:#}", serde_json::json!({ "title": chain(failure) })),
            (false, Failure::Refused(problem)) => tell_problem(problem),
            (false, _) => format!("edgeless_cli: {}", chain(failure)),
        };
        eprintln!("{shown}");
        if let (false, Some(hint)) = (json, failure.hint()) {
            eprintln!("hint: {hint}");
        }
        ExitCode::from(failure.code())
    }
}

fn text_of(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("an answer has string keys")
}

fn tell_problem(problem: &crate::view::Problem) -> String {
    let mut text = format!("edgeless_cli: {} ({})", problem.title, problem.status);
    if problem.errors.is_empty() {
        text.push_str(&format!("\n  {}", problem.detail));
    }
    for fault in &problem.errors {
        match fault.pointer.as_str() {
            "" => text.push_str(&format!("\n  {}", fault.detail)),
            pointer => text.push_str(&format!("\n  {pointer}: {}", fault.detail)),
        }
    }
    text
}

/// An error and its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text.push_str(&format!(": {inner}"));
        source = inner.source();
    }
    text
}

/// A table; `empty` tells people that it has no rows.
pub(crate) fn table<const N: usize>(
    style: Style,
    header: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
    empty: &str,
) -> String {
    let rows = rows.into_iter();
    if style != Style::Terminal {
        return rows.map(|row| row.join("\t") + "\n").collect();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table.add_rows(rows);
    if table.row_count() == 0 {
        return format!("{empty}\n");
    }
    let lines = table.lines().map(|line| line.trim().to_owned() + "\n");
    lines.collect()
}

/// A list of names, `-` for none.
pub(crate) fn names(names: &[String]) -> String {
    or_dash(Some(&names.join(", ")))
}

/// The text, `-` for none or an empty one.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty())
        .unwrap_or("-")
        .to_owned()
}

/// A moment as UTC, with milliseconds for people and nanoseconds for others; `-` for none.
pub(crate) fn moment(at: Option<Timestamp>, style: Style) -> String {
    let Some(at) = at else {
        return "-".to_owned();
    };
    match (
        style,
        jiff::Timestamp::from_nanosecond(i128::from(at.as_nanos())),
    ) {
        (Style::Terminal, Ok(moment)) => format!("{moment:.3}"),
        (Style::Pipe | Style::Json, Ok(moment)) => format!("{moment:.9}"),
        (_, Err(_)) => at.to_string(),
    }
}

/// How long something took, to about three digits: `0.4 ms`, `12.3 ms`, `1.2 s`, `3m 20s`.
pub(crate) fn span(seconds: f64) -> String {
    let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
    if duration < Duration::from_secs(1) {
        format!("{:.1} ms", seconds * 1e3)
    } else if duration < Duration::from_secs(120) {
        format!("{seconds:.1} s")
    } else {
        let whole = Duration::from_secs(duration.as_secs());
        humantime_serde::re::humantime::format_duration(whole).to_string()
    }
}

/// Which copy that was: the beginning of its own id, and all of what is no id.
pub(crate) fn short(instance: &str) -> &str {
    let own = instance.split_once('@').map_or(instance, |(own, _)| own);
    match own.parse::<uuid::Uuid>() {
        Ok(_) => own.get(..8).unwrap_or(own),
        Err(_) => instance,
    }
}

/// Lines of a text that are no longer than the terminal is wide; only what ends a line is lost.
pub(crate) fn fitting(text: &str) -> String {
    fitting_to(text, Table::new().width().map(usize::from))
}

fn fitting_to(text: &str, width: Option<usize>) -> String {
    let most = width.unwrap_or(usize::MAX).saturating_sub(1);
    let fit = |line: &str| match line.chars().count() > most {
        true => line.chars().take(most).chain(['…', '\n']).collect(),
        false => format!("{line}\n"),
    };
    text.lines().map(fit).collect::<Vec<String>>().concat()
}

/// At most so many characters of a text, in one line.
pub(crate) fn shortened(text: &str, most: usize) -> String {
    let mut shown: String = text.chars().take(most).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.replace(['\t', '\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_for_their_readers() {
        let at = Some(Timestamp::from_nanos(1_700_000_000_123_456_789));
        assert_eq!(moment(at, Style::Terminal), "2023-11-14T22:13:20.123Z");
        let exact = "2023-11-14T22:13:20.123456789Z";
        assert_eq!(moment(at, Style::Pipe), exact);
        assert_eq!(moment(None, Style::Terminal), "-");
        for (seconds, text) in [
            (0.000_36, "0.4 ms"),
            (0.012_34, "12.3 ms"),
            (1.234, "1.2 s"),
            (200.5, "3m 20s"),
        ] {
            assert_eq!(span(seconds), text);
        }
        assert_eq!(shortened("a\nbé", 3), "a b…");
        assert_eq!(shortened("abc", 3), "abc");
    }

    #[test]
    fn copies_and_lines_are_told_short() {
        let id = "01a1ff71-32ce-769f-ab86-e0ff9af97472";
        assert_eq!(short(id), "01a1ff71");
        assert_eq!(short(&format!("{id}@{id}")), "01a1ff71");
        assert_eq!(short("http://here/a"), "http://here/a");
        assert_eq!(
            fitting_to("short\nlonger é line\n", Some(9)),
            "short\nlonger é…\n"
        );
        assert_eq!(fitting_to("a line\n", None), "a line\n");
    }

    #[test]
    fn tables_are_aligned_for_people_and_plain_in_pipes() {
        let rows = || [["long one", "1"], ["b", "2"]].map(|row| row.map(str::to_owned));
        let shown = |style| table(style, ["name", "n"], rows(), "none");
        let aligned = "name      n\nlong one  1\nb         2\n";
        assert_eq!(shown(Style::Terminal), aligned);
        assert_eq!(shown(Style::Pipe), "long one\t1\nb\t2\n");
        assert_eq!(table(Style::Terminal, ["name"], [], "none"), "none\n");
        assert_eq!(table(Style::Pipe, ["name"], [], "none"), "");
    }

    #[test]
    fn problems_are_shown_short_with_every_pointer() {
        let problem = serde_json::json!({
            "type": "urn:edgeless:problem:invalid", "title": "The document is wrong",
            "status": 422, "detail": "first", "pointer": "/functions/0/name",
            "errors": [
                {"pointer": "/functions/0/name", "detail": "the name is empty"},
                {"pointer": "", "detail": "too many"},
            ],
        });
        let problem = serde_json::from_value(problem).unwrap();
        assert_eq!(
            tell_problem(&problem),
            "edgeless_cli: The document is wrong (422)\n  \
             /functions/0/name: the name is empty\n  too many"
        );
    }
}
