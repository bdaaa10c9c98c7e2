//! `edgeless_cli order list`: orders by filters, over as many pages as it takes.

use std::time::Duration;

use clap::Args;
use edgeless_types::Timestamp;
use humantime_serde::re::humantime;
use reqwest::Method;
use serde::Serialize;

use super::show::tell_list;
use crate::{
    client::Client,
    failure::Failure,
    json::Json,
    output::Output,
    view::{OrderPage, OrderSummary},
};

/// Orders of one page, at most.
const PAGE: usize = 1_000;

#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only those that are so: `active` and `ended` stand for several states
    #[arg(long, value_parser = [
        "active", "ended", "waiting", "running", "paused", "undoing", "completed", "failed", "cancelled", "expired",
    ])]
    state: Option<String>,
    /// Only those of this client
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only those that have a task of this service
    #[arg(long, value_name = "SERVICE")]
    task: Option<String>,
    /// Only those accepted since then: `10m` ago, `2026-01-31T12:00:00Z`, or seconds since 1970
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<Timestamp>,
    /// Only those accepted before then
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<Timestamp>,
    /// Only those that have this noted; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    metadata: Vec<(String, String)>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

/// A key and its value.
pub(crate) fn pair(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(key, _)| !key.is_empty());
    let pair = pair.map(|(key, value)| (key.to_owned(), value.to_owned()));
    pair.ok_or_else(|| "expected KEY=VALUE".to_owned())
}

fn moment(text: &str) -> Result<Timestamp, String> {
    moment_at(text, edgeless_daemon::wall_clock())
}

/// A moment: one that was so long ago, one of RFC 3339, or `secs.nsecs`.
fn moment_at(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at);
    }
    if let Ok(ago) = humantime::parse_duration(text) {
        return Ok(now - ago);
    }
    let since = text.parse::<jiff::Timestamp>().ok();
    let since = since
        .and_then(|at| Duration::try_from(at.duration_since(jiff::Timestamp::UNIX_EPOCH)).ok());
    since.map(Timestamp::from_unix).ok_or_else(|| {
        "expected how long ago, such as 10m, a moment such as 2026-01-31T12:00:00Z, or seconds since 1970"
            .to_owned()
    })
}

impl List {
    /// What the orders are asked for with.
    fn filters(&self) -> Vec<(String, String)> {
        let given = [
            ("state", self.state.clone()),
            ("client", self.client.clone()),
            ("task", self.task.clone()),
            ("since", self.since.map(|at| at.to_string())),
            ("until", self.until.map(|at| at.to_string())),
        ];
        let given = given
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let metadata = self.metadata.iter();
        let metadata = metadata.map(|(key, value)| (format!("metadata.{key}"), value.clone()));
        given.chain(metadata).collect()
    }
}

pub(super) async fn run(list: &List, client: &Client, output: &Output) -> Result<(), Failure> {
    let most = match list.all {
        true => usize::MAX,
        false => usize::try_from(list.limit).unwrap_or(usize::MAX),
    };
    let filters = list.filters();
    let mut orders: Vec<Json> = Vec::new();
    let mut next: Option<String> = None;
    loop {
        let limit = (most - orders.len()).min(PAGE).to_string();
        let mut request = client
            .request(Method::GET, &["orders"])
            .query(&filters)
            .query(&[("limit", limit)]);
        if let Some(cursor) = &next {
            request = request.query(&[("cursor", cursor)]);
        }
        let page: OrderPage = client.view(&client.send(request).await?)?;
        orders.extend(page.orders);
        next = page.next;
        // A page may be empty though there are more.
        if next.is_none() || orders.len() >= most {
            break;
        }
    }
    let summaries: Vec<OrderSummary> = client.view(&orders)?;
    let is_more = next.is_some();
    output.answer(&Found { orders, next }, |style| {
        tell_list(&summaries, is_more, style)
    })
}

/// What was found on all pages.
#[derive(Serialize)]
struct Found {
    orders: Vec<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read_however_they_are_written() {
        let now = Timestamp::from_nanos(1_700_000_000_000_000_000);
        for (text, seconds) in [
            ("10m", 1_699_999_400),
            ("1600000000", 1_600_000_000),
            ("1600000000.0", 1_600_000_000),
            ("2023-11-14T22:13:10Z", 1_699_999_990),
            ("2023-11-14T23:13:10+01:00", 1_699_999_990),
        ] {
            let at = moment_at(text, now).unwrap();
            assert_eq!(at.as_nanos(), seconds * 1_000_000_000, "{text}");
        }
        for wrong in ["", "yesterday", "1969-01-01T00:00:00Z"] {
            assert!(moment_at(wrong, now).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs_may_hold_anything_but_an_empty_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        for wrong in ["", "a", "=b"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
