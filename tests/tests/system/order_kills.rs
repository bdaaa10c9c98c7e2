//! Orders while everything dies: each that was accepted ends once, with the right result.
//!
//! `ORDERS` in the environment says how many there are.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use edgeless_tests::{
    client::Rest,
    cluster::{Cluster, Mirror},
    wait::{until, until_within},
};
use futures_util::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    order_watch::Watch,
    orders::{put, service},
    plan,
};

/// Orders, unless the environment says otherwise.
const ORDERS: u64 = 5_000;
/// Orders of a batch.
const BATCH: u64 = 50;
/// No more are sent while so many are active.
const ACTIVE: u64 = 500;
/// Each batch of so many is sent twice, though it was answered.
const TWICE: u64 = 7;
/// Each order of so many has no idempotency key.
const WITHOUT_KEY: u64 = 11;
/// Orders that end between two deaths.
const BETWEEN: u64 = 250;
/// How long all of it may take, for each thousand orders.
const LIMIT: Duration = Duration::from_secs(60);

fn number_of_orders() -> u64 {
    let said = std::env::var("ORDERS").ok();
    said.map_or(ORDERS, |said| said.parse().unwrap())
}

fn has_key(number: u64) -> bool {
    !number.is_multiple_of(WITHOUT_KEY)
}

/// One line of a batch.
fn line(number: u64) -> String {
    let mode = if number.is_multiple_of(2) {
        "slip"
    } else {
        "trace"
    };
    let mut order = json!({"input": number, "tasks": ["A", "B"], "mode": mode});
    if has_key(number) {
        order["idempotency_key"] = format!("order {number}").into();
    }
    order.to_string() + "\n"
}

/// Sends orders until each has been answered, whoever dies meanwhile.
struct Client {
    rest: Rest,
    /// Id of each order that was accepted, by number.
    accepted: BTreeMap<u64, String>,
    answered: Arc<AtomicU64>,
    /// Batches that were sent again because they were not answered.
    retried: u64,
}

impl Client {
    async fn run(mut self, orders: u64) -> Self {
        for batch in 0..orders.div_ceil(BATCH) {
            let mut numbers: Vec<u64> = (batch * BATCH..orders.min((batch + 1) * BATCH)).collect();
            if batch.is_multiple_of(TWICE) {
                self.send(&numbers).await;
                numbers.retain(|number| has_key(*number));
            }
            while !self.send(&numbers).await {
                self.retried += 1;
                // Nobody knows whether those without a key were taken: they are not sent again.
                numbers.retain(|number| has_key(*number) && !self.accepted.contains_key(number));
                self.active_below(u64::MAX).await;
            }
            self.answered.store((batch + 1) * BATCH, SeqCst);
            self.active_below(ACTIVE).await;
        }
        self
    }

    /// Waits until ε-CON answers and few orders are active.
    async fn active_below(&self, most: u64) {
        until("few orders are active", async || {
            Ok((active(&self.rest).await? < most).then_some(()))
        })
        .await
        .unwrap();
    }

    /// Whether all of these were answered.
    async fn send(&mut self, numbers: &[u64]) -> bool {
        let body: String = numbers.iter().copied().map(line).collect();
        let path = "/api/v1/orders/batch";
        let Ok((StatusCode::OK, answer)) = self.rest.send(Method::POST, path, body).await else {
            return false;
        };
        let text = match answer {
            Value::String(text) => text,
            one => one.to_string(),
        };
        let lines: Vec<Value> = text
            .lines()
            .map_while(|line| serde_json::from_str(line).ok())
            .collect();
        let mut all = lines.len() == numbers.len();
        for (number, answer) in numbers.iter().zip(lines) {
            let Some(id) = answer["id"].as_str() else {
                // Whoever ends takes nothing more; nothing else may be answered.
                assert_eq!(answer["error"]["status"], 503, "{number}: {answer}");
                all = false;
                continue;
            };
            let before = self.accepted.insert(*number, id.to_owned());
            assert!(
                before.is_none_or(|before| before == id),
                "{number} was accepted twice"
            );
        }
        all
    }
}

async fn active(rest: &Rest) -> anyhow::Result<u64> {
    let figures = rest.get("/api/v1/orders/figures").await?;
    Ok(figures["active_orders"].as_u64().unwrap())
}

/// Kills ε-CON, ε-ORC and each node in turn, until all orders have ended.
async fn kill_all(cluster: &mut Cluster, answered: &AtomicU64, orders: u64) -> u64 {
    let mut kills = 0;
    let rest = cluster.rest.clone();
    let mut ended = 0;
    while answered.load(SeqCst) < orders || active(&rest).await.unwrap() > 0 {
        match kills % (2 + cluster.nodes.len()) {
            0 => {
                cluster.con.kill();
                cluster.con.restart().unwrap();
            }
            1 => {
                cluster.orc.kill();
                cluster.orc.restart().unwrap();
            }
            number => {
                let node = &mut cluster.nodes[number - 2].daemon;
                node.kill();
                node.restart().unwrap();
            }
        }
        kills += 1;
        cluster.all_registered(cluster.nodes.len()).await.unwrap();
        // Something must go on between two deaths.
        until("some more orders end", async || {
            let all = answered.load(SeqCst);
            let now = all.saturating_sub(active(&rest).await?);
            let is_done = all >= orders && now >= orders;
            let goal = ended + BETWEEN;
            Ok((now >= goal || is_done).then(|| ended = now))
        })
        .await
        .unwrap();
    }
    kills as u64
}

/// All orders that are kept: id and state, page by page.
async fn walk(rest: &Rest) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/orders?limit=1000{cursor}");
        let page = rest.get(&path).await.unwrap();
        for order in page["orders"].as_array().unwrap() {
            let text = |key: &str| order[key].as_str().unwrap().to_owned();
            let before = found.insert(text("id"), text("state"));
            assert_eq!(before, None, "an order is on two pages: {order}");
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// Each order is asked for, and must be as it should be; the numbers of those that were found.
async fn check_each(rest: &Rest, ids: impl IntoIterator<Item = String>) -> Vec<u64> {
    let asked = ids.into_iter().map(|id| async move {
        let order = rest.get(&format!("/api/v1/orders/{id}")).await.unwrap();
        let number = order["input"].as_u64().unwrap();
        assert_eq!(order["state"], "completed", "{order}");
        assert_eq!(order["result"], (number + 2) * 2, "{order}");
        let trace = order["trace"].as_array().unwrap();
        let tasks: Vec<&Value> = trace.iter().map(|step| &step["task"]).collect();
        assert_eq!(tasks, ["A", "B"], "{order}");
        number
    });
    futures_util::stream::iter(asked)
        .buffer_unordered(16)
        .collect()
        .await
}

async fn started(orders: u64) -> Cluster {
    let cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    for (name, class) in [("A", "add"), ("B", "times")] {
        cluster.rest.push(class).await.unwrap();
        put(
            &cluster,
            &format!("services/{name}"),
            &service(class, &json!({"call": "message"})),
        )
        .await;
    }
    println!("{orders} orders");
    cluster
}

#[tokio::test(flavor = "multi_thread")]
async fn every_accepted_order_ends_once_while_all_daemons_are_killed_in_turn() {
    let orders = number_of_orders();
    let mut cluster = started(orders).await;
    let watch = Watch::start(cluster.rest.url.clone());
    let begin = Instant::now();
    let answered = Arc::new(AtomicU64::new(0));
    let client = Client {
        rest: cluster.rest.clone(),
        accepted: BTreeMap::new(),
        answered: Arc::clone(&answered),
        retried: 0,
    };
    let limit = LIMIT * u32::try_from(1 + orders / 1_000).unwrap();
    let both = async {
        let killing = kill_all(&mut cluster, &answered, orders);
        tokio::join!(client.run(orders), killing)
    };
    let (client, kills) = tokio::time::timeout(limit, both).await.unwrap();
    println!(
        "{} orders accepted within {:?}, {kills} kills, {} batches sent again",
        client.accepted.len(),
        begin.elapsed(),
        client.retried
    );

    until_within(limit, "nothing is active any more", async || {
        let figures = cluster.rest.get("/api/v1/orders/figures").await?;
        Ok((figures["active_orders"] == 0 && figures["tasks_to_do"] == 0).then_some(()))
    })
    .await
    .unwrap();
    let ids: BTreeSet<&String> = client.accepted.values().collect();
    assert_eq!(
        ids.len(),
        client.accepted.len(),
        "two orders have the same id"
    );
    let kept = walk(&cluster.rest).await;
    assert!(kept.values().all(|state| state == "completed"));
    let lost = ids.iter().filter(|id| !kept.contains_key(**id)).count();
    assert_eq!(lost, 0, "accepted orders are gone");
    let mut numbers = check_each(&cluster.rest, kept.into_keys()).await;
    numbers.retain(|number| has_key(*number));
    numbers.sort_unstable();
    let expected: Vec<u64> = (0..orders).filter(|number| has_key(*number)).collect();
    assert_eq!(numbers, expected, "each key stands for one order");

    let ends = watch.end().await;
    let often = ends.iter().filter(|(_, count)| **count > 1).count();
    assert_eq!(often, 0, "orders ended twice before the eyes of a watcher");
    println!("{} ends were seen as they happened", ends.len());
    assert!(ends.len() as u64 > orders / 4, "{}", ends.len());
}
