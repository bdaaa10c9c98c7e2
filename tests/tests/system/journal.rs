//! ε-ORC returns with what is desired, be ε-CON away, and lives with a disk that is full.

use std::process::Command;

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    wait::until,
};
use serde_json::{Value, json};

use super::{Load, all_logged_once, pipeline, plan, with_pipeline};

/// What runs where as ε-ORC shows it: (logical id, node id, physical id), sorted.
async fn running(cluster: &Cluster) -> anyhow::Result<Vec<[String; 3]>> {
    let state = cluster.state("instance:").await?;
    let mut running = Vec::new();
    for instance in state.as_object().into_iter().flat_map(|all| all.values()) {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        for copy in instance["instances"].as_array().into_iter().flatten() {
            running.push([
                text(&instance["logical_id"]),
                text(&copy["node_id"]),
                text(&copy["physical_id"]),
            ]);
        }
    }
    running.sort();
    Ok(running)
}

async fn cordoned(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
    let nodes = nodes.as_array().into_iter().flatten();
    let cordoned = nodes.filter(|node| node["cordoned"] == true);
    Ok(cordoned
        .filter_map(|node| node["node_id"].as_str().map(str::to_owned))
        .collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_controller_the_orchestrator_returns_with_all_and_restarts_nothing() {
    let (mut cluster, id) = with_pipeline(3, Mirror::Without).await;
    let placed = cluster.rest.placed(&id).await.unwrap();
    let before = running(&cluster).await.unwrap();
    assert_eq!(before.len(), 4);
    // A node that runs nothing takes nothing new either.
    let is_free = |node_id: &String| !placed.iter().any(|(_, busy, _)| busy == node_id);
    let mut ids = cluster.nodes.iter().map(|node| node.node_id.clone());
    let free = ids.find(is_free).unwrap();
    let intent = json!({"key": format!("intent:cordon:{free}"), "value": ""}).to_string();
    let (status, body) = send_intent(&cluster, intent).await;
    assert_eq!(status, 200, "{body}");

    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    cluster.con.kill();
    cluster.orc.kill();
    load.more(50).await;
    cluster.orc.restart().unwrap();
    until("everything is adopted", async || {
        Ok((running(&cluster).await? == before).then_some(()))
    })
    .await
    .unwrap();
    until("the cordoned node is back, and is cordoned", async || {
        Ok((cordoned(&cluster).await? == [free.clone()]).then_some(()))
    })
    .await
    .unwrap();
    // Past the grace after which what nobody reported would have been placed anew.
    load.more(1_000).await;
    assert_eq!(running(&cluster).await.unwrap(), before);
    let accepted = load.end().await;
    all_logged_once(&cluster, &accepted).await;

    // Still without the controller: what a dead node ran goes elsewhere, but not to the cordoned one.
    let (_, victim, _) = placed.iter().find(|(name, ..)| name == "double").unwrap();
    cluster.node(victim).unwrap().daemon.kill();
    until("its functions run elsewhere", async || {
        let now = running(&cluster).await?;
        let moved = now.len() == 4 && now.iter().all(|[_, node, _]| node != victim);
        Ok(moved.then_some(now))
    })
    .await
    .unwrap();
    let moved = running(&cluster).await.unwrap();
    assert!(moved.iter().all(|[_, node, _]| *node != free), "{moved:?}");

    // The controller comes back, says the same, and nothing is restarted.
    cluster.con.restart().unwrap();
    until("ε-CON knows where everything is", async || {
        Ok((cluster.rest.placed(&id).await?.len() == 4).then_some(()))
    })
    .await
    .unwrap();
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(200).await;
    load.end().await;
    assert_eq!(running(&cluster).await.unwrap(), moved);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stopped_does_not_come_back_without_the_controller_and_a_drained_node_stays_so() {
    let (mut cluster, id) = with_pipeline(1, Mirror::Without).await;
    let path = format!("/api/v1/workflows/{id}");
    let stopped = cluster.rest.send(reqwest::Method::DELETE, &path, "");
    assert_eq!(stopped.await.unwrap().0, 204);
    until("ε-ORC was told", async || {
        Ok(running(&cluster).await?.is_empty().then_some(()))
    })
    .await
    .unwrap();
    // Whatever is answered later is kept later.
    let node_id = &cluster.nodes[0].node_id;
    let intent = json!({"key": format!("intent:drain:{node_id}"), "value": ""});
    assert_eq!(send_intent(&cluster, intent.to_string()).await.0, 200);
    cluster.con.kill();
    cluster.orc.kill();
    cluster.orc.restart().unwrap();
    until("the nodes are back", async || {
        let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
        Ok((nodes.as_array().map(Vec::len) == Some(2)).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(running(&cluster).await.unwrap(), Vec::<[String; 3]>::new());
    let nodes = cluster.orc_http.get("/api/v1/nodes").await.unwrap();
    let mut nodes = nodes.as_array().unwrap().iter();
    let drained = nodes.find(|node| node["node_id"] == **node_id).unwrap();
    assert_eq!(drained["closed"], "drained", "{drained}");
}

async fn send_intent(cluster: &Cluster, intent: String) -> (u16, Value) {
    let http = reqwest::Client::new();
    let url = format!("{}/api/v1/intents", cluster.orc_http.url);
    let request = http.post(url).header("content-type", "application/json");
    let response = request.body(intent).send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

/// A small file system on a folder; it goes with its owner.
struct Small(std::path::PathBuf);

impl Small {
    /// None where this may not be done.
    fn mount(folder: std::path::PathBuf) -> Option<Self> {
        std::fs::create_dir_all(&folder).unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .arg(&folder)
            .output()
            .ok()?;
        mount.status.success().then_some(Self(folder))
    }

    fn ballast(&self) -> std::path::PathBuf {
        self.0.join("ballast")
    }

    /// Leaves no byte free.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.ballast()).unwrap();
        let bytes = [1; 4_096];
        while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
    }

    fn empty(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if let Err(error) = Command::new("umount").arg("-l").arg(&self.0).status() {
            eprintln!("`{}` is still mounted: {error}", self.0.display());
        }
    }
}

/// A cluster whose ε-ORC has a small disk; none: that is not permitted here.
async fn on_a_small_disk() -> Option<(Cluster, Small)> {
    let mut cluster = Cluster::start(plan(2, Mirror::Without)).await.unwrap();
    cluster.orc.kill();
    let folder = cluster.folder().join("orc");
    std::fs::remove_dir_all(&folder).unwrap();
    let Some(small) = Small::mount(folder) else {
        eprintln!("skipped: mounting a file system is not permitted here");
        return None;
    };
    for name in ["http_processor", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    cluster.con.kill();
    cluster.orc.restart().unwrap();
    until("the nodes are back", async || {
        let nodes = cluster.orc_http.get("/api/v1/nodes").await?;
        Ok((nodes.as_array().map(Vec::len) == Some(3)).then_some(()))
    })
    .await
    .unwrap();
    // What ε-CON says of nodes was said by the ε-ORC of now.
    cluster.con.restart().unwrap();
    cluster.all_registered(3).await.unwrap();
    Some((cluster, small))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_shown_refuses_starts_and_holds_up_nothing_else() {
    let Some((mut cluster, small)) = on_a_small_disk().await else {
        return;
    };
    let id = cluster.rest.start(&pipeline("pipe.test")).await.unwrap();
    small.fill();

    // Starts are answered with the reason as soon as the file would have to grow.
    let mut refused = Vec::new();
    let reason = until("a start is refused, and it is shown why", async || {
        let host = format!("more{}.test", refused.len());
        let body = pipeline(&host).to_string();
        let post = cluster
            .rest
            .send(reqwest::Method::POST, "/api/v1/workflows", body);
        let (_, body) = post.await?;
        refused.push(body["workflow_id"].as_str().unwrap_or_default().to_owned());
        let is_refused = body.to_string().contains("journal cannot be written");
        // What was refused may fit when it is tried again: until the next one.
        let ready = cluster.orc_http.get("/readyz").await?;
        let reason = ready["reasons"]["journal"].as_str();
        let shown = reason.filter(|_| is_refused && ready["status"] == "degraded");
        Ok(shown.map(str::to_owned))
    })
    .await
    .unwrap();
    assert!(reason.contains("No space left"), "{reason}");

    // What exists is healed as ever.
    let placed = cluster.rest.placed(&id).await.unwrap();
    let (_, victim, _) = placed.iter().find(|(name, ..)| name == "double").unwrap();
    cluster.node(victim).unwrap().daemon.kill();
    until("its functions run elsewhere", async || {
        let now = cluster.rest.placed(&id).await?;
        let moved = now.len() == 4 && now.iter().all(|(_, node, _)| node != victim);
        Ok(moved.then_some(()))
    })
    .await
    .unwrap();

    small.empty();
    until("the journal is written again", async || {
        let ready = cluster.orc_http.get("/readyz").await?;
        Ok((ready["reasons"]["journal"] == Value::Null).then_some(()))
    })
    .await
    .unwrap();
    until("all that was accepted runs", async || {
        for id in &refused {
            if cluster.rest.placed(id).await?.len() != 4 {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
    .unwrap();
    let before = running(&cluster).await.unwrap();
    cluster.con.kill();
    cluster.orc.kill();
    cluster.orc.restart().unwrap();
    until("everything is adopted", async || {
        Ok((running(&cluster).await? == before).then_some(()))
    })
    .await
    .unwrap();
    // The daemon goes before its folder.
    cluster.orc.kill();
}
