//! What keeps orders breaks: a disk is full, files are damaged, clocks are set.

use std::path::{Path, PathBuf};

use edgeless_tests::{
    cluster::{Cluster, Mirror, Plan},
    process::ENDING,
    wait::{until, until_within},
};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::{
    clock,
    disk::Small,
    order_endpoint::{Endpoint, Reply},
    order_ends::{becomes, endpoint, look, plus_one, post, submit, without_nodes},
    orders::order,
};

/// Segments of so little that a small file system holds some.
const SMALL: &str = "segment_mib = 8\nlog_mib = 24";

/// Moves the orders of ε-CON to a small file system; none: it cannot be mounted here.
async fn on_small_disk(cluster: &mut Cluster) -> Option<Small> {
    cluster.con.kill();
    let folder = cluster.folder().join("con/orders");
    std::fs::remove_dir_all(&folder).unwrap();
    let small = Small::mount(&folder, "160m")?;
    super::order_outputs::with_settings(cluster, SMALL).await;
    Some(small)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_orders_and_loses_none_and_all_goes_on_when_there_is_room() {
    let mut cluster = without_nodes().await;
    let Some(small) = on_small_disk(&mut cluster).await else {
        println!("skipped: a small file system cannot be mounted here, which takes root");
        return;
    };
    let outside = Endpoint::start(|_| Reply::ok(&json!(6))).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    let mut accepted = Vec::new();
    for dies_meanwhile in [false, true] {
        post(&cluster.rest, "services/A/pause").await;
        let path = "/api/v1/orders";
        let document = json!({"input": "x".repeat(200 << 10), "tasks": ["A"]});
        for _ in 0..20 {
            accepted.push(submit(&cluster.rest, &document).await);
        }
        let document = document.to_string();
        small.fill();
        let send = async || {
            cluster
                .rest
                .send(Method::POST, path, document.clone())
                .await
        };
        let problem = until("orders are refused", async || {
            let (status, body) = send().await?;
            if status == StatusCode::ACCEPTED {
                accepted.push(body["id"].as_str().unwrap().to_owned());
                return Ok(None);
            }
            Ok(Some(body))
        })
        .await
        .unwrap();
        assert_eq!(problem["status"], 507, "{problem}");
        let ready = cluster.rest.get("/readyz").await.unwrap();
        assert_eq!(ready["status"], "degraded", "{ready}");
        // Orders are looked at, and none is lost, whatever happens now.
        let some = accepted.last().unwrap();
        assert_eq!(look(&cluster.rest, some).await["state"], "waiting");
        if dies_meanwhile {
            cluster.con.kill();
        }
        small.free();
        if dies_meanwhile {
            cluster.con.restart().unwrap();
            cluster.all_registered(0).await.unwrap();
        }
        let more = until("orders are taken again", async || {
            let (status, body) = cluster
                .rest
                .send(Method::POST, path, document.clone())
                .await?;
            anyhow::ensure!(status == StatusCode::ACCEPTED, "{body}");
            Ok(Some(body["id"].as_str().unwrap().to_owned()))
        })
        .await
        .unwrap();
        accepted.push(more);
        post(&cluster.rest, "services/A/resume").await;
        for id in &accepted {
            assert_eq!(becomes(&cluster.rest, id, "completed").await["result"], 6);
        }
        is_well(&cluster).await;
    }
    let kept = cluster.rest.get("/api/v1/orders?limit=1000").await.unwrap();
    assert_eq!(kept["orders"].as_array().unwrap().len(), accepted.len());
}

/// Waits until nothing is amiss any more.
async fn is_well(cluster: &Cluster) {
    until("ε-CON is ready", async || {
        let ready = cluster.rest.get("/readyz").await?;
        anyhow::ensure!(ready["status"] == "ready", "{ready}");
        Ok(Some(()))
    })
    .await
    .unwrap();
}

/// A cluster whose ε-CON has ended with orders, and where they are kept.
async fn with_orders() -> (Cluster, PathBuf, Vec<String>, Endpoint) {
    let mut cluster = without_nodes().await;
    let outside = Endpoint::start(plus_one).await;
    endpoint(&cluster, "A", &outside.url, &json!({})).await;
    let mut ids = Vec::new();
    for _ in 0..20 {
        let (_, end) = order(&cluster, &json!({"input": 5, "tasks": ["A"]})).await;
        ids.push(end["id"].as_str().unwrap().to_owned());
    }
    // What it keeps is kept for good when it ends by itself.
    cluster.con.signal("TERM").unwrap();
    has_ended(&mut cluster).await;
    let folder = cluster.folder().join("con/orders");
    (cluster, folder, ids, outside)
}

/// Waits until ε-CON has ended; whether it went well.
async fn has_ended(cluster: &mut Cluster) -> bool {
    let ended = async || Ok(cluster.con.ended().map(|status| status.success()));
    until_within(ENDING, "ε-CON ends", ended).await.unwrap()
}

/// ε-CON does not start, and says this.
async fn check_refused(cluster: &mut Cluster, says: &[&str]) {
    cluster.con.restart().unwrap();
    assert!(!has_ended(cluster).await);
    let log = cluster.con.log();
    for words in says {
        assert!(log.contains(words), "{words}: {log}");
    }
}

/// The first segment of the log.
fn segment(folder: &Path) -> PathBuf {
    let files = std::fs::read_dir(folder.join("log")).unwrap();
    let is_first = |file: &PathBuf| {
        let bytes = std::fs::read(file).unwrap();
        bytes.starts_with(b"EDGEORDL") && bytes[12..20] == 1_u64.to_le_bytes()
    };
    let mut files = files.map(|file| file.unwrap().path());
    files.find(is_first).unwrap()
}

fn change(file: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(file).unwrap();
    how(&mut bytes);
    std::fs::write(file, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_not_taken_for_a_shorter_one() {
    let (mut cluster, folder, _, _outside) = with_orders().await;
    // In the first batch; the others behind it say that it was safe.
    change(&segment(&folder), |bytes| bytes[4_096 + 40] ^= 1);
    check_refused(&mut cluster, &["the log of orders is damaged", "restore"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_another_version_or_another_folder_is_left_alone() {
    let (mut cluster, folder, ids, _outside) = with_orders().await;
    let file = segment(&folder);
    let version = |version: u32| {
        change(&file, |bytes| {
            bytes[8..12].copy_from_slice(&version.to_le_bytes());
            let crc = crc32(&bytes[..36]).to_le_bytes();
            bytes[36..40].copy_from_slice(&crc);
        });
    };
    version(2);
    check_refused(&mut cluster, &["has version 2 of the log of orders"]).await;
    version(1);
    let (log, away) = (folder.join("log"), folder.join("away"));
    std::fs::rename(&log, &away).unwrap();
    std::fs::create_dir(&log).unwrap();
    std::fs::write(log.join("notes.txt"), "mine").unwrap();
    check_refused(&mut cluster, &["is no log of orders", "notes.txt"]).await;
    std::fs::remove_dir_all(&log).unwrap();
    std::fs::rename(&away, &log).unwrap();
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    for id in ids {
        assert_eq!(look(&cluster.rest, &id).await["result"], 6);
    }
}

/// As in the headers of segments.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 * (crc & 1));
        }
    }
    !crc
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_store_is_named_and_one_that_is_gone_is_built_anew_from_the_log() {
    let (mut cluster, folder, ids, outside) = with_orders().await;
    let store = folder.join("orders.redb");
    let sound = std::fs::read(&store).unwrap();
    std::fs::write(&store, "notes").unwrap();
    check_refused(&mut cluster, &["orders.redb", "restore it from a copy"]).await;
    std::fs::write(&store, &sound).unwrap();
    change(&store, |bytes| bytes[4_096..].fill(0xaa));
    check_refused(&mut cluster, &["restore it from a copy"]).await;
    std::fs::remove_file(&store).unwrap();
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    for id in ids {
        assert_eq!(look(&cluster.rest, &id).await["result"], 6);
    }
    assert_eq!(outside.came().len(), 20, "nothing is done again");
    // The log was replaced by an older one, or by none.
    cluster.con.kill();
    std::fs::remove_dir_all(folder.join("log")).unwrap();
    check_refused(&mut cluster, &["restore it, or move the rows away"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_the_clock_neither_end_orders_nor_hold_them_up() {
    let Some(library) = clock::library() else {
        println!("skipped: libfaketime is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    clock::set(&file, 0);
    let environment = clock::environment(&library, &file);
    let plan = Plan {
        nodes: Vec::new(),
        mirror: Mirror::Without,
    };
    let mut cluster = Cluster::start_in(plan, folder, &environment).await.unwrap();
    let first = Endpoint::start(|came| match came.number % 2 {
        0 => Reply::With(503, String::new()),
        _ => plus_one(came),
    })
    .await;
    let pause = json!({"retries": {"attempts": 3, "pause": "500ms", "longest": "1s"}});
    endpoint(&cluster, "A", &first.url, &pause).await;
    let send = async |rest: &edgeless_tests::client::Rest| {
        let document = json!({"input": 5, "tasks": ["A"], "deadline": "10m"});
        submit(rest, &document).await
    };
    for (number, seconds) in [(1, 3_600), (2, -3_600), (3, 0)] {
        let id = send(&cluster.rest).await;
        first.has(number * 2 - 1).await;
        clock::set(&file, seconds);
        let view = becomes(&cluster.rest, &id, "completed").await;
        assert_eq!(view["result"], 6);
    }
    // It is set back while ε-CON is away: what waits to be tried again does not wait for an hour.
    let id = send(&cluster.rest).await;
    first.has(7).await;
    until("it waits to be tried again", async || {
        let view = look(&cluster.rest, &id).await;
        Ok(view["trace"][0]["attempts"][0]["again"]
            .is_string()
            .then_some(()))
    })
    .await
    .unwrap();
    cluster.con.kill();
    clock::set(&file, -3_600);
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    let view = becomes(&cluster.rest, &id, "completed").await;
    assert_eq!(view["result"], 6);
    // It is set forth meanwhile: what is due by then is over.
    let hanging = Endpoint::start(|_| Reply::Never).await;
    endpoint(&cluster, "B", &hanging.url, &json!({})).await;
    let document: Value = json!({"input": 5, "tasks": ["B"], "deadline": "10m"});
    let id = submit(&cluster.rest, &document).await;
    hanging.has(1).await;
    cluster.con.kill();
    clock::set(&file, 3_600);
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    becomes(&cluster.rest, &id, "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_with_more_results_than_one_record_holds_is_not_taken_up_again_and_harms_nothing()
{
    let mut cluster = without_nodes().await;
    let long = Endpoint::start(|_| Reply::ok(&json!("x".repeat(1_000_000)))).await;
    let refusing = Endpoint::start(|_| Reply::With(400, String::new())).await;
    endpoint(&cluster, "long", &long.url, &json!({})).await;
    endpoint(&cluster, "refusing", &refusing.url, &json!({})).await;
    let mut tasks = vec!["long"; 20];
    tasks.push("refusing");
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": tasks})).await;
    assert_eq!(end["state"], "failed");
    let path = format!("/api/v1/orders/{}/retry", end["id"].as_str().unwrap());
    let (status, problem) = cluster.rest.send(Method::POST, &path, "").await.unwrap();
    assert_eq!(status, 422, "{problem}");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("send it anew"), "{problem}");
    cluster.con.kill();
    cluster.con.restart().unwrap();
    cluster.all_registered(0).await.unwrap();
    let (_, end) = order(&cluster, &json!({"input": 5, "tasks": ["long"]})).await;
    assert_eq!(end["state"], "completed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_whose_segments_hold_no_order_is_refused() {
    let mut cluster = without_nodes().await;
    cluster.con.kill();
    let file = cluster.folder().join("controller.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{text}\n[orders]\nsegment_mib = 1\n")).unwrap();
    check_refused(&mut cluster, &["`orders.segment_mib` is 1; take 8 to 1024"]).await;
}
