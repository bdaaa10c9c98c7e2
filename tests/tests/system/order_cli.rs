//! Orders, services and clients from the command line.

use std::process::Stdio;

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    process::binary,
};
use serde_json::Value;
use tokio::io::AsyncWriteExt;

use super::{operations::cli, plan};

/// What a command prints that must succeed.
async fn done(cluster: &Cluster, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let shown = cli(cluster, &arguments).await;
    shown.unwrap_or_else(|error| panic!("{line}: {error}"))
}

/// What a command says that must fail.
async fn refused(cluster: &Cluster, line: &str) -> String {
    let arguments: Vec<&str> = line.split(' ').collect();
    let shown = cli(cluster, &arguments).await;
    shown.expect_err(line)
}

/// The cells of a row of a table.
fn cells(row: &str) -> Vec<&str> {
    row.trim_end().split('\t').collect()
}

/// `A` adds two and `B` doubles, both defined from the command line.
async fn with_services() -> Cluster {
    let cluster = Cluster::start(plan(1, Mirror::Without)).await.unwrap();
    for class in ["add", "times"] {
        cluster.rest.push(class).await.unwrap();
    }
    let shown = done(&cluster, "service put A --function add --timeout 5s").await;
    assert_eq!(cells(&shown)[..3], ["A", "running", "add 0.1"]);
    let spec = "class_specification: {id: times, version: '0.1', function_type: RUST_WASM}\n";
    write(&cluster, "B.yaml", spec);
    let path = path(&cluster, "B.yaml");
    done(&cluster, &format!("service put B {path}")).await;
    cluster
}

fn path(cluster: &Cluster, name: &str) -> String {
    cluster.folder().join(name).display().to_string()
}

fn write(cluster: &Cluster, name: &str, text: &str) {
    std::fs::write(path(cluster, name), text).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_orders_are_at_hand_on_the_command_line() {
    let cluster = with_services().await;
    let missing = refused(&cluster, "service put C --function odd").await;
    assert!(missing.contains("no function `odd` 0.1"), "{missing}");
    let services = done(&cluster, "service list").await;
    let services: Vec<_> = services.lines().map(|row| cells(row)[0]).collect();
    assert_eq!(services, ["A", "B"]);

    let result = done(&cluster, "order submit --input 5 --task A,B --wait 20s").await;
    assert_eq!(result, "14\n");
    let result = "order submit --input 5 --task B,A --mode trace --metadata site=lab --wait 20s";
    assert_eq!(done(&cluster, result).await, "12\n");

    let listed = done(&cluster, "order list --state completed --metadata site=lab").await;
    let row = cells(&listed);
    assert_eq!(row[1..5], ["anybody", "completed", "B,A", "2/2"]);
    let trace = done(&cluster, &format!("order get {}", row[0])).await;
    let (facts, trace) = trace.split_once("\n\n").unwrap();
    assert!(
        facts.contains("\nstate\tcompleted\n") && facts.contains("\nresult\t12"),
        "{facts}"
    );
    let trace: Vec<_> = trace.lines().map(cells).collect();
    let first = (&trace[0][..3], trace[0][5]);
    assert_eq!(first, (&["B", "done", "1"][..], "10"));
    assert_eq!((trace[1][0], trace[1][5]), ("A", "12"));
    let two = done(&cluster, "--json order list --all").await;
    let two: Value = serde_json::from_str(&two).unwrap();
    assert_eq!(two["orders"].as_array().unwrap().len(), 2);
    let one = done(&cluster, "--json order list --limit 1").await;
    let one: Value = serde_json::from_str(&one).unwrap();
    assert!(one["orders"][0] == two["orders"][0] && one["next"].is_string());
    assert_eq!(done(&cluster, "order list --since 1h --task C").await, "");

    let top = done(&cluster, "order top --once").await;
    let rows: Vec<_> = top.lines().map(cells).collect();
    assert_eq!(rows.len(), 2, "{top}");
    assert_eq!(rows[0][..4], ["A", "0", "0", "0"]);
    let unknown = refused(&cluster, "order submit --input 5 --task C").await;
    assert!(unknown.contains("there is no service `C`"), "{unknown}");
    assert!(
        unknown.contains("hint: `edgeless_cli service put"),
        "{unknown}"
    );
    assert_eq!(
        done(&cluster, "service delete B").await,
        "service B is deleted\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_held_up_watched_cancelled_and_tried_again() {
    let cluster = with_services().await;
    assert_eq!(
        done(&cluster, "service pause A").await,
        "service A is held up\n"
    );
    let id = done(&cluster, "order submit --input 5 --task A").await;
    let id = id.trim_end();
    let late = "order submit --input 5 --task A --wait 50ms";
    let late = refused(&cluster, late).await;
    assert!(
        late.contains("has not ended within 50ms; it goes on"),
        "{late}"
    );
    let top = done(&cluster, "order top").await;
    assert_eq!(
        cells(top.lines().next().unwrap())[..3],
        ["A (paused)", "2", "2"]
    );

    done(&cluster, &format!("order pause {id}")).await;
    let paused = done(&cluster, "order list --state paused").await;
    assert_eq!(cells(&paused)[0], id);
    done(&cluster, &format!("order resume {id}")).await;
    done(&cluster, &format!("order cancel {id} --reason enough")).await;
    let watched = refused(&cluster, &format!("order watch {id}")).await;
    assert!(watched.contains("is cancelled: enough"), "{watched}");
    let again = refused(&cluster, &format!("order retry {id}")).await;
    assert!(again.contains("only an order that failed"), "{again}");

    assert_eq!(
        done(&cluster, "service resume A").await,
        "service A goes on\n"
    );
    let id = done(&cluster, "order submit --input {} --task B --deadline 1ms").await;
    let id = id.trim_end();
    let ended = refused(&cluster, &format!("order watch {id}")).await;
    assert!(ended.contains("is expired"), "{ended}");
    let new = done(&cluster, &format!("order retry {id}")).await;
    let new = done(&cluster, &format!("--json order get {}", new.trim_end())).await;
    let new: Value = serde_json::from_str(&new).unwrap();
    assert_eq!(new["retry_of"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_orders_come_from_files_and_pipes_and_clients_have_contracts() {
    let cluster = with_services().await;
    write(
        &cluster,
        "c.yaml",
        "tasks: [A, B]\nlimits: {active_orders: 1000}\n",
    );
    let contract = path(&cluster, "c.yaml");
    let shown = done(&cluster, &format!("client put c {contract}")).await;
    assert_eq!(cells(&shown)[..4], ["c", "0", r#"["A","B"]"#, "listed"]);
    let outside = refused(&cluster, "order submit --client c --input 5 --task X").await;
    assert!(outside.contains("does not allow the task `X`"), "{outside}");

    let table = "client,input,tasks,key\nc,5,,k-1\n,6,A;B,k-2\nc,7,X,k-3\nc,5,,k-1\n";
    write(&cluster, "orders.csv", table);
    let csv = path(&cluster, "orders.csv");
    let some = refused(&cluster, &format!("order submit --csv {csv}")).await;
    assert!(some.contains("orders.csv:4: /tasks: "), "{some}");
    assert!(some.contains("1 of 4 orders are refused"), "{some}");
    let listed = done(&cluster, "order list --all").await;
    assert_eq!(listed.lines().count(), 2, "one key is one order: {listed}");

    let mut submit = tokio::process::Command::new(binary("edgeless_cli").unwrap())
        .args([
            "--url",
            &cluster.rest.url,
            "order",
            "submit",
            "--ndjson",
            "-",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = (0..3000)
        .map(|input| format!("{{\"client\":\"c\",\"input\":{input},\"tasks\":[\"B\"]}}\n"))
        .collect();
    let mut pipe = submit.stdin.take().unwrap();
    let write = async {
        pipe.write_all(lines.as_bytes()).await.unwrap();
        drop(pipe);
    };
    let (output, ()) = tokio::join!(submit.wait_with_output(), write);
    let output = output.unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    let accepted = shown.lines().count();
    let listed = done(&cluster, "order list --client c --task B --all").await;
    assert_eq!(listed.lines().count(), accepted + 1);
    assert!(
        accepted >= 1000,
        "at least as many as may be active: {accepted}"
    );
    assert_eq!(output.status.success(), accepted == 3000);
    assert_eq!(
        done(&cluster, "client delete c").await,
        "client c is deleted\n"
    );
    assert_eq!(done(&cluster, "client list").await, "");
}
