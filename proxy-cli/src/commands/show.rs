//! `proxy_cli show`: what a domain has.

use std::{collections::BTreeMap, time::Duration};

use clap::Subcommand;
use edgeless_types::{
    NodeId, Timestamp,
    mirror::{self, ActiveInstance, RunningSince},
    workflow::VertexSpec,
};
use serde::Serialize;
use serde_json::{Value, json};

use super::CommandError;
use crate::{
    domain::{self, Domain},
    output::{Rows, moment},
    source::Source,
};

/// Health reports are looked for in this time.
const LATELY: Duration = Duration::from_secs(120);

/// What is shown.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Show {
    /// Where each function and resource runs and since when, or why it waits
    Instances,
    /// Functions and their classes
    Functions,
    /// Resources, their classes and settings
    Resources,
    /// Nodes, with their latest health
    Nodes,
    /// Which output channel leads to which vertex
    Dependencies,
    /// The workflow of each logical id
    LogicalToWorkflow,
    /// Providers of resources
    Providers,
    /// One node
    #[command(subcommand)]
    Node(ShowNode),
}

/// What of a node is shown.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ShowNode {
    /// What it can do
    Capabilities {
        /// Its id, or the beginning of it
        node: String,
    },
    /// Its health reports of the last two minutes, oldest first
    Health {
        /// Its id, or the beginning of it
        node: String,
    },
    /// What runs on it
    Instances {
        /// Its id, or the beginning of it
        node: String,
    },
}

/// Reads what is asked for, at `now`.
pub(crate) async fn show(
    source: &mut Source,
    what: &Show,
    now: Timestamp,
) -> Result<Rows, CommandError> {
    let mut domain = Domain::load(source).await?;
    Ok(match what {
        Show::Instances => instances(&domain, None),
        Show::Functions => functions(&domain),
        Show::Resources => resources(&domain),
        Show::Nodes => {
            domain.load_health(source, now - LATELY).await?;
            nodes(&domain)
        }
        Show::Dependencies => dependencies(&domain),
        Show::LogicalToWorkflow => logical_to_workflow(&domain),
        Show::Providers => providers(&domain),
        Show::Node(ShowNode::Capabilities { node }) => {
            let node_id = domain.node(node)?;
            fields(domain.nodes.get(&node_id))
        }
        Show::Node(ShowNode::Instances { node }) => {
            let node_id = domain.node(node)?;
            instances(&domain, Some(node_id))
        }
        Show::Node(ShowNode::Health { node }) => {
            let key = mirror::health_key(domain.node(node)?);
            let sets = source
                .samples(std::slice::from_ref(&key), now - LATELY)
                .await?;
            let mut rows = Rows::new(HEALTH);
            for member in sets.iter().flatten() {
                rows.push(health_cells(&domain::health(&key, member)?));
            }
            rows
        }
    })
}

/// One row per running copy, and one per vertex that runs nowhere.
fn instances(domain: &Domain, only_on: Option<NodeId>) -> Rows {
    let mut rows = Rows::new(&[
        "logical_id",
        "physical_id",
        "node_id",
        "workflow_id",
        "name",
        "class",
        "since",
        "waiting",
    ]);
    let row = |active: &ActiveInstance, copy: Option<&RunningSince>, since, waiting| {
        [
            json!(active.logical_id),
            json!(copy.map(|copy| copy.physical_id)),
            json!(copy.map(|copy| copy.node_id)),
            json!(active.workflow_id),
            json!(active.spec.name()),
            json!(active.spec.class()),
            since,
            waiting,
        ]
    };
    for active in domain.instances.values() {
        let waiting = active.waiting.as_ref();
        let why = json!(waiting.map(|waiting| &waiting.message));
        for copy in &active.instances {
            if only_on.is_none_or(|node_id| node_id == copy.node_id) {
                let since = json!(moment(copy.since));
                rows.push(row(active, Some(copy), since, why.clone()));
            }
        }
        if active.instances.is_empty() && only_on.is_none() {
            let since = json!(waiting.map(|waiting| moment(waiting.since)));
            rows.push(row(active, None, since, why));
        }
    }
    rows
}

fn functions(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&[
        "logical_id",
        "name",
        "class",
        "version",
        "function_type",
        "outputs",
        "workflow_id",
        "instances",
    ]);
    for active in domain.instances.values() {
        if let VertexSpec::Function(function) = &active.spec {
            rows.push([
                json!(active.logical_id),
                json!(function.name),
                json!(function.class_id),
                json!(function.version),
                json!(function.function_type),
                json!(function.outputs),
                json!(active.workflow_id),
                json!(active.instances.len()),
            ]);
        }
    }
    rows
}

fn resources(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&[
        "logical_id",
        "name",
        "class_type",
        "configurations",
        "workflow_id",
        "instances",
    ]);
    for active in domain.instances.values() {
        if let VertexSpec::Resource(resource) = &active.spec {
            rows.push([
                json!(active.logical_id),
                json!(resource.name),
                json!(resource.class_type),
                json!(resource.configurations),
                json!(active.workflow_id),
                json!(active.instances.len()),
            ]);
        }
    }
    rows
}

/// How many instances run on each node.
pub(crate) fn instances_by_node(domain: &Domain) -> BTreeMap<NodeId, usize> {
    let mut numbers = BTreeMap::new();
    let running = domain
        .instances
        .values()
        .flat_map(|active| &active.instances);
    for copy in running {
        *numbers.entry(copy.node_id).or_default() += 1;
    }
    numbers
}

fn nodes(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&[
        "node_id",
        "instances",
        "cordoned",
        "cores",
        "mem_size_mib",
        "mem_available_mib",
        "load_avg_1_percent",
        "runtimes",
        "labels",
        "reported",
    ]);
    let numbers = instances_by_node(domain);
    for (node_id, capabilities) in &domain.nodes {
        let member = domain.health.get(node_id);
        let health = member.map(|member| &member.health);
        let cordoned = domain.cordoned.as_ref();
        rows.push([
            json!(node_id),
            json!(numbers.get(node_id).unwrap_or(&0)),
            json!(cordoned.map(|cordoned| cordoned.contains(node_id))),
            json!(capabilities.num_cores),
            json!(capabilities.mem_size),
            json!(health.map(|health| health.mem_available)),
            json!(health.map(|health| health.load_avg_1)),
            json!(capabilities.runtimes),
            json!(capabilities.labels),
            json!(member.map(|member| moment(member.timestamp))),
        ]);
    }
    rows
}

fn dependencies(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&["logical_id", "name", "output", "target_id", "target_name"]);
    for (logical_id, outputs) in &domain.dependencies {
        for (output, target_id) in outputs {
            rows.push([
                json!(logical_id),
                json!(domain.name(*logical_id)),
                json!(output),
                json!(target_id),
                json!(domain.name(*target_id)),
            ]);
        }
    }
    rows
}

fn logical_to_workflow(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&["logical_id", "workflow_id"]);
    for (logical_id, active) in &domain.instances {
        rows.push([json!(logical_id), json!(active.workflow_id)]);
    }
    rows
}

fn providers(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&["provider_id", "class_type", "node_id", "outputs"]);
    for provider in &domain.providers {
        rows.push([
            json!(provider.provider_id),
            json!(provider.class_type),
            json!(provider.node_id),
            json!(provider.outputs),
        ]);
    }
    rows
}

/// A row per field of a value.
fn fields(value: impl Serialize) -> Rows {
    let mut rows = Rows::new(&["field", "value"]);
    if let Value::Object(fields) = json!(value) {
        for (field, value) in fields {
            rows.push([json!(field), value]);
        }
    }
    rows
}

const HEALTH: &[&str] = &[
    "reported",
    "mem_available_mib",
    "mem_used_mib",
    "proc_cpu_percent",
    "proc_memory_mib",
    "load_avg_1_percent",
    "load_avg_5_percent",
    "load_avg_15_percent",
    "rx_bytes",
    "tx_bytes",
    "disk_free_mib",
];

fn health_cells(member: &mirror::HealthMember) -> [Value; 11] {
    let health = &member.health;
    [
        json!(moment(member.timestamp)),
        json!(health.mem_available),
        json!(health.mem_used),
        json!(health.proc_cpu_usage),
        json!(health.proc_memory),
        json!(health.load_avg_1),
        json!(health.load_avg_5),
        json!(health.load_avg_15),
        json!(health.tot_rx_bytes),
        json!(health.tot_tx_bytes),
        json!(health.disk_free_space),
    ]
}
