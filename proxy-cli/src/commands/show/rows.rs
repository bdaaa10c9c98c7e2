//! The tables that `show` has: pure.

use std::collections::BTreeMap;

use edgeless_daemon::show::{Rows, moment};
use edgeless_types::{
    NodeId,
    mirror::{ActiveInstance, HealthMember, RunningSince},
    workflow::VertexSpec,
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::domain::Domain;

/// One row per running copy, and one per vertex that runs nowhere.
pub(super) fn instances(domain: &Domain, only_on: Option<NodeId>) -> Rows {
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

pub(super) fn functions(domain: &Domain) -> Rows {
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
        if let VertexSpec::Function(function) = &*active.spec {
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

pub(super) fn resources(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&[
        "logical_id",
        "name",
        "class_type",
        "configurations",
        "workflow_id",
        "instances",
    ]);
    for active in domain.instances.values() {
        if let VertexSpec::Resource(resource) = &*active.spec {
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

pub(super) fn nodes(domain: &Domain) -> Rows {
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

pub(super) fn dependencies(domain: &Domain) -> Rows {
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

pub(super) fn logical_to_workflow(domain: &Domain) -> Rows {
    let mut rows = Rows::new(&["logical_id", "workflow_id"]);
    for (logical_id, active) in &domain.instances {
        rows.push([json!(logical_id), json!(active.workflow_id)]);
    }
    rows
}

pub(super) fn providers(domain: &Domain) -> Rows {
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
pub(super) fn fields(value: impl Serialize) -> Rows {
    let mut rows = Rows::new(&["field", "value"]);
    if let Value::Object(fields) = json!(value) {
        for (field, value) in fields {
            rows.push([json!(field), value]);
        }
    }
    rows
}

/// The columns of health reports.
pub(super) const HEALTH: &[&str] = &[
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

pub(super) fn health_cells(member: &HealthMember) -> [Value; 11] {
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
