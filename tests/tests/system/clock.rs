//! The wall clock is set while everything runs.

use std::path::{Path, PathBuf};

use edgeless_tests::{
    cluster::{Cluster, Mirror},
    wait::until,
};

use super::{Load, all_logged_once, pipeline, plan};

/// The library that shows programs another clock; none: it is not installed.
pub(super) fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?;
    let mut files = folders
        .flatten()
        .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists())
}

/// Sets the wall clock of all that look at this file.
pub(super) fn set(file: &Path, seconds: i32) {
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
    std::fs::rename(&new, file).unwrap();
}

/// The environment of daemons that look at this file for the clock.
pub(super) fn environment(library: &Path, file: &Path) -> [(&'static str, String); 5] {
    [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("NO_FAKE_STAT", "1".to_owned()),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_of_an_hour_lose_no_node_and_no_domain() {
    let Some(library) = library() else {
        println!("skipped: libfaketime is not installed");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clock");
    set(&file, 0);
    let environment = environment(&library, &file);
    let plan = plan(2, Mirror::Without);
    let cluster = Cluster::start_in(plan, folder, &environment).await.unwrap();
    for name in ["http_processor", "double"] {
        cluster.rest.push(name).await.unwrap();
    }
    let id = cluster.rest.start(&pipeline("pipe.test")).await.unwrap();
    let before = cluster.rest.placed(&id).await.unwrap();
    let load = Load::start(cluster.nodes[0].ingress_url.clone(), "pipe.test");
    load.more(50).await;
    let mut daemons = vec![&cluster.con, &cluster.orc];
    daemons.extend(cluster.nodes.iter().map(|node| &node.daemon));
    for (times, seconds) in [(1, 3_600), (2, -3_600)] {
        set(&file, seconds);
        for daemon in &daemons {
            until("the daemon has seen the step", async || {
                let told = daemon
                    .log()
                    .matches("the clock of this machine was set")
                    .count();
                Ok((told >= times).then_some(()))
            })
            .await
            .unwrap();
        }
        load.more(100).await;
        cluster.all_registered(3).await.unwrap();
        assert_eq!(cluster.rest.placed(&id).await.unwrap(), before);
    }
    let lost = |log: String| log.contains("lost") || log.contains("joined again");
    assert!(
        !daemons.iter().any(|daemon| lost(daemon.log())),
        "nothing was lost"
    );
    all_logged_once(&cluster, &load.end().await).await;
}
