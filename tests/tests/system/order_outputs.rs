//! The ends of orders are told where their contracts say, also by the next life of ε-CON.

use std::{
    path::PathBuf,
    slice::from_ref,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use edgeless_tests::{
    cluster::Cluster,
    process::{free_port, redis},
    wait::until,
};
use serde_json::{Value, json};

use super::{
    order_endpoint::{Came, Endpoint, Reply},
    order_ends::{becomes, endpoint, look, plus_one, submit, without_nodes},
    orders::put,
};

/// Restarts ε-CON with settings of orders besides.
pub(super) async fn with_settings(cluster: &mut Cluster, settings: &str) {
    cluster.con.kill();
    let file = cluster.folder().join("controller.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = format!("{text}\n[orders]\n{settings}\n");
    std::fs::write(&file, text).unwrap();
    cluster.con.restart().unwrap();
    cluster.all_registered(cluster.nodes.len()).await.unwrap();
}

/// Lines of a file that may not be there yet.
fn lines(file: &PathBuf) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = |line: &str| serde_json::from_str(line).unwrap();
    text.lines().map(line).collect()
}

async fn in_redis(url: &str, id: &str) -> anyhow::Result<Option<Value>> {
    let mut connection = redis::Client::open(url)?
        .get_multiplexed_async_connection()
        .await?;
    let text: Option<String> = redis::cmd("GET")
        .arg(format!("result:{id}"))
        .query_async(&mut connection)
        .await?;
    Ok(text.map(|text| serde_json::from_str(&text)).transpose()?)
}

/// Whether the order says of each output that it was told.
async fn delivered(cluster: &Cluster, id: &str) -> Vec<bool> {
    let view = look(&cluster.rest, id).await;
    let outputs = view["outputs"].as_array().unwrap();
    let told = outputs.iter().map(|output| output["delivered"] == true);
    told.collect()
}

async fn all_delivered(cluster: &Cluster, id: &str, expected: &[bool]) {
    until("the end is told", async || {
        let told = delivered(cluster, id).await;
        anyhow::ensure!(told == expected, "{told:?}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_an_order_is_told_to_callback_file_and_redis_also_after_a_restart() {
    let mut cluster = without_nodes().await;
    let results = cluster.folder().join("results");
    let setting = format!("results_dir = {}", Value::from(results.to_str().unwrap()));
    with_settings(&mut cluster, &setting).await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    let hears = Arc::new(AtomicBool::new(true));
    let is_there = Arc::clone(&hears);
    let listener = Endpoint::start(move |_| match is_there.load(SeqCst) {
        true => Reply::With(204, String::new()),
        false => Reply::With(503, String::new()),
    })
    .await;
    let port = free_port().unwrap();
    let redis_url = format!("redis://127.0.0.1:{port}");
    let outputs = json!([
        {"to": "file", "name": "ends.ndjson"},
        {"to": "redis", "url": redis_url, "key": "result:{id}"},
    ]);
    let contract = json!({"tasks": ["A"], "outputs": outputs});
    put(&cluster, "clients/X", &contract).await;
    let document = json!({
        "client": "X", "input": 5, "callback": listener.url, "metadata": {"site": "x"},
    });
    let mut server = redis(port, cluster.folder()).unwrap();

    let id = submit(&cluster.rest, &document).await;
    all_delivered(&cluster, &id, &[true, true, true]).await;
    let end = json!({
        "id": id, "client": "X", "state": "completed", "result": 6, "metadata": {"site": "x"},
    });
    let heard = |came: Vec<Came>| came.into_iter().map(|came| came.body).collect::<Vec<_>>();
    assert_eq!(heard(listener.came()), from_ref(&end));
    assert_eq!(lines(&results.join("ends.ndjson")), from_ref(&end));
    assert_eq!(in_redis(&redis_url, &id).await.unwrap(), Some(end));

    // Two of three are not there when it ends, and come back after ε-CON has died.
    hears.store(false, SeqCst);
    server.kill();
    let id = submit(&cluster.rest, &document).await;
    becomes(&cluster.rest, &id, "completed").await;
    all_delivered(&cluster, &id, &[true, false, false]).await;
    listener.has(2).await;
    cluster.con.kill();
    hears.store(true, SeqCst);
    server.restart().unwrap();
    let refused = listener.came().len();
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    all_delivered(&cluster, &id, &[true, true, true]).await;
    let end = json!({
        "id": id, "client": "X", "state": "completed", "result": 6, "metadata": {"site": "x"},
    });
    assert_eq!(heard(listener.came())[refused..], *from_ref(&end));
    assert_eq!(in_redis(&redis_url, &id).await.unwrap(), Some(end.clone()));
    let written = lines(&results.join("ends.ndjson"));
    assert_eq!(written.len(), 2, "what was told is not told again");
    assert_eq!(written[1], end);

    // Told is told: the next life says nothing more.
    cluster.con.kill();
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    let id = submit(&cluster.rest, &document).await;
    all_delivered(&cluster, &id, &[true, true, true]).await;
    assert_eq!(listener.came().len(), refused + 2);
    assert_eq!(lines(&results.join("ends.ndjson")).len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_of_all_kinds_are_told() {
    let cluster = without_nodes().await;
    let listener = Endpoint::start(|_| Reply::With(200, String::new())).await;
    let refusing = Endpoint::start(|_| Reply::With(400, "no".to_owned())).await;
    let hanging = Endpoint::start(|_| Reply::Never).await;
    endpoint(&cluster, "refusing", &refusing.url, &json!({})).await;
    endpoint(&cluster, "hanging", &hanging.url, &json!({})).await;
    let send = async |tasks: Value, deadline: &str| {
        let document = json!({
            "input": 5, "tasks": tasks, "callback": listener.url, "deadline": deadline,
        });
        submit(&cluster.rest, &document).await
    };
    let mut expected = vec![
        (send(json!(["refusing"]), "1h").await, "failed"),
        (send(json!(["hanging"]), "50ms").await, "expired"),
        (send(json!([]), "1h").await, "completed"),
        (send(json!(["hanging"]), "1h").await, "cancelled"),
    ];
    let path = format!("orders/{}/cancel", expected[3].0);
    super::order_ends::post(&cluster.rest, &path).await;
    let came = listener.has(4).await;
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let mut told: Vec<(String, String)> = came
        .iter()
        .map(|came| (text(&came.body["id"]), text(&came.body["state"])))
        .collect();
    told.sort();
    expected.sort();
    let expected: Vec<(String, String)> = expected
        .into_iter()
        .map(|(id, state)| (id, state.to_owned()))
        .collect();
    assert_eq!(told, expected);
}
