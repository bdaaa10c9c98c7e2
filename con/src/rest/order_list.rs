//! `GET /api/v1/orders`: lists with filters, in pages.

use std::{collections::BTreeMap, ops::ControlFlow, time::Duration};

use axum::{
    Json,
    extract::{RawQuery, State},
};
use edgeless_orders::{
    body::Body,
    json::Json as Value,
    store::{Store, Which},
    tasks::Lists,
    view::OrderState,
};
use edgeless_types::{OrderId, Timestamp};
use serde::Serialize;

use super::{error::Problem, orders::OrderSummary};
use crate::{orders::Orders, problem::Refusal};

/// Orders of a page, unless it is asked for less or more.
const LIMIT: usize = 100;
const MAX_LIMIT: usize = 1_000;
/// Orders that are looked at for one page.
const MAX_VISITED: usize = 20_000;

/// An order has its id before it is accepted; it may wait for so long in between.
const QUEUED: Duration = Duration::from_secs(60);

/// A page of orders, newest first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct OrderPage {
    /// Those that were found; fewer than asked for, even none, says nothing about whether there are more.
    orders: Vec<OrderSummary>,
    /// `cursor` of the next page; none: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// What orders are looked for.
#[derive(Debug, Default)]
struct Filter {
    which: Option<Which>,
    state: Option<OrderState>,
    client: Option<String>,
    task: Option<String>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    metadata: BTreeMap<String, String>,
    limit: usize,
    cursor: Option<OrderId>,
}

/// Orders, newest first, in pages.
#[utoipa::path(get, path = "/api/v1/orders",
    params(
        ("state" = Option<String>, Query, description = "`active`, `ended`, or one of `waiting`, `running`, `paused`, `undoing`, `completed`, `failed`, `cancelled`, `expired`"),
        ("client" = Option<String>, Query, description = "Who sent them"),
        ("task" = Option<String>, Query, description = "A service in their lists of tasks"),
        ("since" = Option<String>, Query, description = "Accepted not before, seconds since the epoch"),
        ("until" = Option<String>, Query, description = "Accepted before, seconds since the epoch"),
        ("metadata.KEY" = Option<String>, Query, description = "Their metadata has this text, number or truth value under KEY"),
        ("limit" = Option<usize>, Query, description = "At most so many, 1 to 1000; 100 unless said otherwise"),
        ("cursor" = Option<String>, Query, description = "`next` of the page before"),
    ),
    responses((status = 200, body = Object), (status = 422, description = "A filter is wrong", body = Problem),
        (status = 503, description = "The store cannot be read now", body = Problem),
        (status = 507, description = "The disk is full", body = Problem)))]
pub(super) async fn list(
    State(orders): State<Orders>,
    RawQuery(query): RawQuery,
) -> Result<Json<OrderPage>, Problem> {
    let filter = Filter::read(query.as_deref().unwrap_or_default())?;
    let store = orders.store().await?;
    let lists = orders.lists().clone();
    let page = tokio::task::spawn_blocking(move || filter.page(&*store, &lists)).await;
    match page {
        Ok(Ok(page)) => Ok(Json(page)),
        Ok(Err(error)) => Err(Refusal::Store(error.to_string()).into()),
        Err(_) => Err(Refusal::Ending.into()),
    }
}

impl Filter {
    fn read(query: &str) -> Result<Self, Refusal> {
        let mut filter = Self {
            limit: LIMIT,
            ..Self::default()
        };
        for (key, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let wrong = |expected: &str| {
                Refusal::fault(format!("?{key}"), format!("`{value}` must be {expected}"))
            };
            match &*key {
                "state" => filter.set_state(&value).ok_or_else(|| {
                    wrong(
                        "one of active, ended, waiting, running, paused, undoing, completed, failed, cancelled, \
                         expired",
                    )
                })?,
                "client" => filter.client = Some(value.into_owned()),
                "task" => filter.task = Some(value.into_owned()),
                "since" => filter.since = Some(moment(&value).ok_or_else(|| wrong("seconds since the epoch"))?),
                "until" => filter.until = Some(moment(&value).ok_or_else(|| wrong("seconds since the epoch"))?),
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
                    filter.limit = limit.ok_or_else(|| wrong("1 to 1000"))?;
                }
                "cursor" => {
                    let cursor = value.parse().map_err(|_| wrong("`next` of the page before"))?;
                    filter.cursor = Some(cursor);
                }
                key => match key.strip_prefix("metadata.") {
                    Some(name) => {
                        filter.metadata.insert(name.to_owned(), value.into_owned());
                    }
                    None => {
                        return Err(Refusal::fault(
                            format!("?{key}"),
                            format!(
                                "there is no filter `{key}`; there are state, client, task, since, until, \
                                 metadata.KEY, limit and cursor"
                            ),
                        ));
                    }
                },
            }
        }
        Ok(filter)
    }

    fn set_state(&mut self, text: &str) -> Option<()> {
        self.which = Some(match text {
            "active" => Which::Active,
            "ended" => Which::Ended,
            text => {
                let quoted = serde_json::Value::String(text.to_owned());
                let state = serde_json::from_value(quoted).ok()?;
                self.state = Some(state);
                match state {
                    OrderState::Waiting
                    | OrderState::Running
                    | OrderState::Paused
                    | OrderState::Undoing => Which::Active,
                    OrderState::Failed => Which::Failed,
                    OrderState::Completed | OrderState::Cancelled | OrderState::Expired => {
                        Which::Ended
                    }
                }
            }
        });
        Some(())
    }

    fn page(
        &self,
        store: &dyn Store,
        lists: &Lists,
    ) -> Result<OrderPage, edgeless_orders::store::StoreError> {
        let mut orders = Vec::new();
        let (mut visited, mut last) = (0, None);
        let mut stopped = false;
        let begin = self
            .until
            .map(|until| first_at(until + Duration::from_millis(1)));
        let below = match (self.cursor, begin) {
            (Some(cursor), Some(begin)) => Some(cursor.min(begin)),
            (cursor, begin) => cursor.or(begin),
        };
        let which = self.which.unwrap_or(Which::All);
        store.visit(which, below, &mut |id, record| {
            visited += 1;
            let body = Body::of(record.changes, |text| lists.list(text));
            let is_older = |body: &Body| self.since.is_some_and(|since| body.at + QUEUED < since);
            match body {
                Ok(body) if is_older(&body) => return ControlFlow::Break(()),
                Ok(body) if self.wants(&body) => orders.push(OrderSummary::from(&body)),
                Ok(_) => {}
                Err(error) => tracing::error!(order = %id, %error, "an order cannot be read"),
            }
            last = Some(id);
            if orders.len() >= self.limit || visited >= MAX_VISITED {
                stopped = true;
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        let next = last.filter(|_| stopped).map(|id| id.to_string());
        Ok(OrderPage { orders, next })
    }

    fn wants(&self, body: &Body) -> bool {
        let state = self.state.is_none_or(|state| body.state() == state);
        let client = self
            .client
            .as_ref()
            .is_none_or(|client| *client == body.accepted.client);
        let has_task = |task: &String| body.list.services().any(|service| **service == **task);
        let task = self.task.as_ref().is_none_or(has_task);
        let since = self.since.is_none_or(|since| body.at >= since);
        let until = self.until.is_none_or(|until| body.at < until);
        state && client && task && since && until && self.has_metadata(body)
    }

    fn has_metadata(&self, body: &Body) -> bool {
        if self.metadata.is_empty() {
            return true;
        }
        if body.accepted.metadata.is_empty() {
            return false;
        }
        // It was checked when the order was accepted.
        let metadata: BTreeMap<String, Value> =
            serde_json::from_slice(&body.accepted.metadata).unwrap_or_default();
        self.metadata.iter().all(|(key, wanted)| {
            let value = metadata.get(key);
            value.is_some_and(|value| is_wanted(value, wanted))
        })
    }
}

/// Whether a value is meant by the text of a filter: a text by its characters, others by what they mean.
fn is_wanted(value: &Value, wanted: &str) -> bool {
    match serde_json::from_str::<String>(value.as_str()) {
        Ok(text) => text == wanted,
        Err(_) => Value::parse(wanted.to_owned()).is_ok_and(|wanted| wanted.means(value)),
    }
}

/// The first id that an order could have that is accepted at a moment.
fn first_at(moment: Timestamp) -> OrderId {
    let millis = moment.as_nanos() / 1_000_000;
    OrderId::from_pair((millis << 16, 0))
}

/// Seconds since the epoch, with or without a fraction.
fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().or_else(|| {
        let seconds: f64 = text.parse().ok()?;
        let since = std::time::Duration::try_from_secs_f64(seconds).ok()?;
        Some(Timestamp::from_unix(since))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_json_finds_texts_only() {
        let found =
            |value: &str, wanted: &str| is_wanted(&Value::parse(value.to_owned()).unwrap(), wanted);
        for (value, wanted) in [
            ("null", "null"),
            ("5", "5.0"),
            ("true", "true"),
            (r#""garbage{""#, "garbage{"),
            (r#""5""#, "5"),
            (r#"{"a":[1]}"#, r#"{ "a": [1] }"#),
        ] {
            assert!(found(value, wanted), "{value} {wanted}");
        }
        for (value, wanted) in [
            ("null", "garbage{"),
            ("null", ""),
            ("5", "5x"),
            ("18446744073709551616", "1"),
            (r#""a""#, r#""a""#),
        ] {
            assert!(!found(value, wanted), "{value} {wanted}");
        }
    }

    #[test]
    fn filters_are_read_and_wrong_ones_named() {
        let filter =
            Filter::read("state=failed&client=a&metadata.site=x%20y&limit=5&since=1.5").unwrap();
        assert_eq!(filter.which, Some(Which::Failed));
        assert_eq!(filter.metadata["site"], "x y");
        assert_eq!(filter.since.unwrap().as_nanos(), 1_500_000_000);
        for (query, place) in [
            ("state=odd", "?state"),
            ("limit=0", "?limit"),
            ("since=yesterday", "?since"),
            ("cursor=1", "?cursor"),
            ("odd=1", "?odd"),
        ] {
            let refusal = Filter::read(query).unwrap_err();
            let Refusal::Invalid { faults } = refusal else {
                panic!("{refusal}");
            };
            assert_eq!(faults[0].pointer, place);
        }
    }
}
