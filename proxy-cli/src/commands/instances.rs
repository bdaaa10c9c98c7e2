//! `proxy_cli top instances`: queues, rates and times of what runs on one node, from its status port.

use std::{collections::BTreeMap, time::Duration};

use edgeless_daemon::show::Rows;
use serde::Deserialize;
use serde_json::{Value, json};

use super::CommandError;
use crate::source::{SourceError, chain};

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(5);

/// What the node says of one instance.
#[derive(Clone, Debug, Deserialize)]
struct Instance {
    physical_id: String,
    workflow_id: Option<String>,
    state: String,
    shard: u64,
    queued: u64,
    parked: u64,
    outstanding: u64,
    events: u64,
    faults: u64,
    execution: Times,
    transfer: Vec<Times>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Times {
    p50: f64,
    p99: f64,
}

/// Looks at one node again and again; rates are those since the look before.
#[derive(Debug)]
pub(crate) struct Instances {
    http: reqwest::Client,
    url: String,
    /// When it was looked at, and the events of each instance then.
    before: Option<(tokio::time::Instant, BTreeMap<String, u64>)>,
}

impl Instances {
    /// Nothing is asked yet.
    pub(crate) fn new(node_url: &str) -> Self {
        Self {
            http: reqwest::Client::new(),
            url: node_url.trim_end_matches('/').to_owned(),
            before: None,
        }
    }

    /// All instances, those with the most events in a second first.
    pub(crate) async fn look(&mut self) -> Result<Rows, CommandError> {
        let failed = |reason: String| SourceError::Node {
            url: self.url.clone(),
            reason,
        };
        let parsed = url::Url::parse(&self.url);
        if !parsed.is_ok_and(|url| matches!(url.scheme(), "http" | "https")) {
            return Err(failed("the address has to begin with http://".to_owned()).into());
        }
        let request = self.http.get(format!("{}/api/v1/instances", self.url));
        let response = request.timeout(ANSWER).send().await;
        let response = response.map_err(|error| failed(chain(&error)))?;
        let status = response.status();
        if !status.is_success() {
            return Err(failed(format!("it answers {status}")).into());
        }
        let instances: Vec<Instance> = response.json().await.map_err(|error| {
            failed(format!(
                "its answer cannot be read ({})",
                error.without_url()
            ))
        })?;
        let now = tokio::time::Instant::now();
        let rows = rows(&instances, |instance| {
            let (at, events) = self.before.as_ref()?;
            let before = events.get(&instance.physical_id)?;
            let new = instance.events.saturating_sub(*before);
            Some(new as f64 / now.duration_since(*at).as_secs_f64().max(1e-3))
        });
        let events = instances.into_iter().map(|it| (it.physical_id, it.events));
        self.before = Some((now, events.collect()));
        Ok(rows)
    }
}

fn rows(instances: &[Instance], rate: impl Fn(&Instance) -> Option<f64>) -> Rows {
    let mut rows = Rows::new(&[
        "physical_id",
        "workflow_id",
        "state",
        "shard",
        "queued",
        "parked",
        "outstanding",
        "events",
        "events_per_s",
        "faults",
        "execution_p50_ms",
        "execution_p99_ms",
        "transfer_p50_ms",
        "transfer_p99_ms",
    ]);
    let mut order: Vec<(&Instance, Option<f64>)> =
        instances.iter().map(|it| (it, rate(it))).collect();
    order.sort_by(|(a, first), (b, second)| {
        let by_rate = second.unwrap_or(0.0).total_cmp(&first.unwrap_or(0.0));
        by_rate.then(b.events.cmp(&a.events))
    });
    for (instance, rate) in order {
        let handled = instance.events > 0;
        let millis = |value: f64| match handled {
            true => json!((value * 1e3).round() / 1e3),
            false => Value::Null,
        };
        // Of several senders, the slowest way counts.
        let slowest = |of: fn(&Times) -> f64| {
            let times = instance.transfer.iter().map(of);
            millis(times.fold(0.0, f64::max))
        };
        rows.push(vec![
            json!(instance.physical_id),
            json!(instance.workflow_id),
            json!(instance.state),
            json!(instance.shard),
            json!(instance.queued),
            json!(instance.parked),
            json!(instance.outstanding),
            json!(instance.events),
            json!(rate.map(f64::round)),
            json!(instance.faults),
            millis(instance.execution.p50),
            millis(instance.execution.p99),
            slowest(|times| times.p50),
            slowest(|times| times.p99),
        ]);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use edgeless_daemon::show::Form;

    #[test]
    fn the_busiest_stands_first_and_who_did_nothing_has_no_times() {
        let text = r#"[
            {"physical_id": "a", "workflow_id": null, "logical_id": null, "state": "running",
             "shard": 0, "queued": 0, "parked": 0, "outstanding": 0, "events": 0, "faults": 0,
             "execution": {"p50": 0, "p90": 0, "p99": 0, "max": 0}, "transfer": [], "outputs": []},
            {"physical_id": "b", "workflow_id": "w", "logical_id": "l", "state": "paused",
             "shard": 1, "queued": 7, "parked": 0, "outstanding": 2, "events": 50, "faults": 1,
             "execution": {"p50": 0.5, "p90": 1, "p99": 2, "max": 3},
             "transfer": [{"source": "a", "events": 50, "p50": 4, "p90": 5, "p99": 6, "max": 7}],
             "outputs": []}
        ]"#;
        let instances: Vec<Instance> = serde_json::from_str(text).unwrap();
        let rows = rows(&instances, |it| (it.events > 0).then_some(25.0));
        assert_eq!(rows.rows[0][0], json!("b"));
        assert_eq!(rows.rows[0][8], json!(25.0));
        assert_eq!(rows.rows[0][13], json!(6.0));
        assert_eq!(rows.rows[1][10], Value::Null);
        assert!(rows.render(Form::Tabs).contains("paused"));
    }

    #[tokio::test]
    async fn what_does_not_answer_is_called_a_node_and_why_is_said() {
        let said = async |url: &str| {
            let error = Instances::new(url).look().await.unwrap_err();
            error.to_string()
        };
        let nobody = said("http://127.0.0.1:1").await;
        assert!(nobody.starts_with("the node at http://127.0.0.1:1: "));
        assert!(nobody.contains("refused"), "{nobody}");
        assert!(nobody.contains("`status_url`"), "{nobody}");
        for url in ["127.0.0.1:7023", "localhost:7023", "", "redis://x"] {
            let wrong = said(url).await;
            assert!(wrong.contains("begin with http://"), "{wrong}");
        }
    }
}
