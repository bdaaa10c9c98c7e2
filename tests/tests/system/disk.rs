//! A disk that is full where the datasets are.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use edgeless_tests::{
    client::function,
    cluster::{Cluster, Mirror},
    wait::until,
};
use serde_json::json;

use super::plan;

/// A small file system; it goes with its owner.
pub(super) struct Small(PathBuf);

impl Small {
    /// None: this user or this machine may not mount.
    pub(super) fn mount(path: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(path).unwrap();
        let mut mount = Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path);
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then(|| Self(path.to_owned()))
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Takes all the room that is left.
    pub(super) fn fill(&self) {
        let mut file = File::options()
            .create(true)
            .append(true)
            .open(self.ballast())
            .unwrap();
        for length in [1 << 12, 1] {
            while file.write_all(&vec![0; length]).is_ok() {}
        }
    }

    pub(super) fn free(&self) {
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("`{}` is still mounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_delays_only_the_datasets() {
    let folder = tempfile::tempdir().unwrap();
    let Some(small) = Small::mount(&folder.path().join("dataset"), "2m") else {
        println!("skipped: a small file system cannot be mounted here, which takes root");
        return;
    };
    // The file system goes before the folder.
    let (cluster, small) = (
        Cluster::start_in(plan(1, Mirror::Without), folder, &[])
            .await
            .unwrap(),
        small,
    );
    cluster.rest.push("noop").await.unwrap();
    let ready = async || {
        let report = cluster.orc_http.get("/readyz").await?;
        Ok::<_, anyhow::Error>((
            report["status"].as_str().unwrap_or_default().to_owned(),
            report.to_string(),
        ))
    };
    let says = async |wanted: &str| {
        until(wanted, async || {
            let (status, report) = ready().await?;
            anyhow::ensure!(status == wanted, "{report}");
            Ok(Some(report))
        })
        .await
        .unwrap()
    };
    let functions = json!({"label_match_all": "zone=functions"});
    let document = json!({"functions": [function("n", "noop", &json!({}), &functions)]});
    says("ready").await;

    for _ in 0..2 {
        small.fill();
        // Health is a row per node and refresh.
        let report = says("degraded").await;
        assert!(report.contains("datasets"), "{report}");
        small.fill();
        let id = cluster.rest.start(&document).await.unwrap();
        let placed = cluster.rest.placed(&id).await.unwrap();
        assert_eq!(placed.len(), 1, "decisions go on");
        small.free();
        says("ready").await;
        let lid = super::logical_id(&cluster.rest, &id, "n").await;
        let mapping = cluster.dataset.join("mapping_to_instance_id.csv");
        until("what happened meanwhile is written", async || {
            let rows = std::fs::read_to_string(&mapping)?;
            Ok(rows.contains(&lid).then_some(()))
        })
        .await
        .unwrap();
    }
    let columns = std::fs::read_to_string(cluster.dataset.join("health_status.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(columns.as_bytes());
    assert!(rows.records().all(|row| row.is_ok()), "each row is whole");
}
