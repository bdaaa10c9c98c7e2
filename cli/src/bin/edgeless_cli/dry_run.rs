//! What `edgeless_cli workflow start --dry-run` shows.

use crate::{
    failure::Failure,
    output::{Style, names, or_dash, table},
    view::{DryRun, WouldGo},
};

/// Where a workflow would go: for people a sentence, a table of its vertices, and why not elsewhere. That it would
/// not run is for [`judge`] to say.
pub(crate) fn tell(dry_run: &DryRun, style: Style) -> String {
    let row = |vertex: &WouldGo| {
        [
            vertex.name.clone(),
            names(&vertex.nodes),
            or_dash(Some(&vertex.excluded.join("; "))),
        ]
    };
    let header = ["NAME", "WOULD RUN ON", "EXCLUDED"];
    let rows = dry_run.vertices.iter().map(row);
    let shown = table(
        style,
        header,
        rows,
        "no domain said where its vertices would go",
    );
    if style != Style::Terminal {
        return shown;
    }
    let verdict = would_run(dry_run).map(|verdict| format!("{verdict}\n"));
    let verdict = verdict.unwrap_or_default();
    let notes = dry_run.notes.iter();
    let notes: String = notes.map(|note| format!("note: {note}\n")).collect();
    let others = dry_run.domains.iter();
    let others: String = others
        .map(|(domain, reason)| format!("not in {domain}: {reason}\n"))
        .collect();
    format!("{verdict}{notes}{shown}{others}")
}

/// What somebody should know who reads only the table from a pipe.
pub(crate) fn notes(dry_run: &DryRun) -> Vec<String> {
    let others = dry_run.domains.iter().filter(|_| !dry_run.fits);
    let others = others.map(|(domain, reason)| format!("not in {domain}: {reason}"));
    let verdict = would_run(dry_run).into_iter();
    verdict.chain(others).chain(dry_run.notes.clone()).collect()
}

/// Whether the check has failed.
///
/// # Errors
/// The workflow would not run.
pub(crate) fn judge(dry_run: &DryRun) -> Result<(), Failure> {
    if would_run(dry_run).is_some() {
        return Ok(());
    }
    Err(Failure::WouldNotRun(match &dry_run.domain {
        Some(domain) => format!("it would not run; the nodes of {domain} are counted"),
        None if dry_run.domains.is_empty() => {
            "it would not run: no domain is registered at ε-CON".to_owned()
        }
        None => "it would not run: no domain answers".to_owned(),
    }))
}

fn would_run(dry_run: &DryRun) -> Option<String> {
    let domain = dry_run.domain.as_ref().filter(|_| dry_run.fits)?;
    Some(format!("it would run in {domain}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_goes_nowhere_says_what_excludes_how_many_nodes() {
        let dry_run: DryRun = serde_json::from_value(json!({
            "fits": false, "domain": "domain-1",
            "vertices": [
                {"name": "f", "nodes": ["n"]},
                {"name": "g", "nodes": [], "excluded": ["tpm: 1 of 2 nodes", "cordoned: 1 of 2 nodes"]},
            ],
            "domains": {"domain-1": "`g`: ...", "domain-2": "no node provides `redis`"},
        }))
        .unwrap();
        assert_eq!(
            tell(&dry_run, Style::Terminal),
            "NAME  WOULD RUN ON  EXCLUDED\n\
             f     n             -\n\
             g     -             tpm: 1 of 2 nodes; cordoned: 1 of 2 nodes\n\
             not in domain-1: `g`: ...\n\
             not in domain-2: no node provides `redis`\n"
        );
        assert_eq!(
            tell(&dry_run, Style::Pipe),
            "f\tn\t-\ng\t-\ttpm: 1 of 2 nodes; cordoned: 1 of 2 nodes\n"
        );
        assert_eq!(
            notes(&dry_run),
            [
                "not in domain-1: `g`: ...",
                "not in domain-2: no node provides `redis`",
            ]
        );
        let failure = judge(&dry_run).unwrap_err();
        assert_eq!(failure.code(), 1, "a check that fails");
        let expected = "it would not run; the nodes of domain-1 are counted";
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn what_would_run_says_where() {
        let dry_run = json!({"fits": true, "domain": "domain-1", "vertices": [], "domains": {}});
        let dry_run: DryRun = serde_json::from_value(dry_run).unwrap();
        assert_eq!(notes(&dry_run), ["it would run in domain-1"]);
        assert!(judge(&dry_run).is_ok());
    }

    #[test]
    fn whoever_reads_from_a_pipe_learns_that_there_is_no_domain() {
        let dry_run: DryRun =
            serde_json::from_value(json!({"fits": false, "vertices": [], "domains": {}})).unwrap();
        let expected = "it would not run: no domain is registered at ε-CON";
        assert_eq!(judge(&dry_run).unwrap_err().to_string(), expected);
    }
}
