//! More domains for a cluster.

use serde_json::Value;

use crate::{
    cluster::{Announced, Around, Cluster, Node, NodePlan, daemon, quoted, start_node},
    process::{Daemon, free_port},
    wait::until,
};

/// A domain beside the first one of a cluster: its ε-ORC and its nodes.
#[derive(Debug)]
pub struct Domain {
    /// ε-ORC.
    pub orc: Daemon,
    /// Where ε-CON reaches it.
    pub orchestrator_url: String,
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Domain {
    /// Starts a domain and waits until ε-CON knows its nodes.
    ///
    /// # Errors
    /// Something does not start.
    pub async fn start(
        cluster: &Cluster,
        id: &str,
        labels: &[&str],
        plans: &[NodePlan],
    ) -> anyhow::Result<Self> {
        let domain = Self::begin(cluster, id, id, labels, plans)?;
        until("the domain is there", async || {
            let status = cluster.rest.get(&format!("/api/v1/domains/{id}")).await?;
            Ok((status["nodes"] == plans.len()).then_some(()))
        })
        .await?;
        Ok(domain)
    }

    /// Starts a domain in a folder of its own, whatever ε-CON says to it.
    ///
    /// # Errors
    /// Something does not start.
    pub fn begin(
        cluster: &Cluster,
        folder: &str,
        id: &str,
        labels: &[&str],
        plans: &[NodePlan],
    ) -> anyhow::Result<Self> {
        let path = cluster.folder().join(folder);
        std::fs::create_dir(&path)?;
        let url = || Ok::<_, anyhow::Error>(format!("http://127.0.0.1:{}", free_port()?));
        let (orchestrator_url, register, status) = (url()?, url()?, url()?);
        let text = format!(
            "[general]\ndomain_register_url = {}\nsubscription_refresh_interval = \"200ms\"\n\
             domain_id = {}\nlabels = {}\norchestrator_url = {}\nnode_register_url = {}\n\
             status_url = {}\ndata_dir = {}\n\n[baseline]\nseed = 1\nadoption_grace = \"2s\"\n",
            quoted(&cluster.domains_url),
            quoted(id),
            Value::from(labels),
            quoted(&orchestrator_url),
            quoted(&register),
            quoted(&status),
            quoted(&path.join("orc").display().to_string()),
        );
        let around = Around {
            path: &path,
            environment: &[],
        };
        let orc = daemon(around, "edgeless_orc_d", "orchestrator", &text)?;
        let nodes = plans.iter().enumerate();
        let nodes = nodes
            .map(|(index, plan)| start_node(around, index, plan, &register, Announced::default()));
        Ok(Self {
            orc,
            orchestrator_url,
            nodes: nodes.collect::<anyhow::Result<_>>()?,
        })
    }
}
